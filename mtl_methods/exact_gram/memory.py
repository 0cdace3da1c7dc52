"""Whether anyone else can write to a tensor's memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["is_sole_owner"]

_uses_of: Callable[[int], int] | None = (
    getattr(torch._C, "_storage_Use_Count", None) if hasattr(Tensor, "_use_count") else None
)


def is_sole_owner(tensor: Tensor) -> bool:
    """Whether nothing else has the memory: no view, no alias, no array of numpy.

    False where torch does not tell. Memory that torch did not allocate cannot be resized.
    """
    if _uses_of is None:
        return False
    storage = tensor.untyped_storage()  # itself one of the uses
    if not storage.resizable():
        return False
    return _uses_of(storage._cdata) <= 2 and tensor._use_count() <= 1  # type: ignore[attr-defined]
