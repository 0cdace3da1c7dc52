"""Whether anyone else can write to a tensor's memory."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import Tensor, UntypedStorage

__all__ = ["is_sole_owner"]

_uses_of: Callable[[int], int] | None = (
    getattr(torch._C, "_storage_Use_Count", None) if hasattr(Tensor, "_use_count") else None
)


def _references(tensor: Tensor) -> tuple[UntypedStorage, int]:
    """The storage, and how many references to this very object Python counts."""
    storage = tensor.untyped_storage()
    return storage, sys.getrefcount(storage)


_given = torch.empty(1, device="cpu")
_, _ALONE = _references(_given)
del _given


def is_sole_owner(tensor: Tensor) -> bool:
    """Whether nothing else has the memory: no view, no alias, no storage, no array of numpy.

    False where torch does not tell. Memory that torch did not allocate cannot be resized.
    """
    if _uses_of is None:
        return False
    storage, references = _references(tensor)
    if not storage.resizable() or references > _ALONE:
        return False
    uses = _uses_of(storage._cdata)  # the storage object is itself one
    return uses <= 2 and tensor._use_count() <= 1  # type: ignore[attr-defined]
