"""State of one number per task and shared parameter."""

from __future__ import annotations

import torch
from torch import Tensor

from mtl_methods.core.method import Method
from mtl_methods.errors import TaskError

__all__ = ["rows_of_all_tasks"]


def rows_of_all_tasks(method: Method, key: str, matrix: Tensor) -> Tensor:
    """The state ``method.state[key]``, made as zeros at the first call.

    Args:
        method: A method that is set up.
        key: Name of the state.
        matrix: Task gradients of this step, shape (K, m).

    Returns:
        Shape (number of all tasks, m), in the type and on the device of the gradients; to be
        changed in place.

    Raises:
        TaskError: If the number of shared parameters is no longer what it was.
    """
    kept: Tensor | None = method.state[key]
    size = matrix.shape[1]
    if kept is None:
        kept = torch.zeros(len(method.tasks), size, dtype=matrix.dtype, device=matrix.device)
    elif kept.shape[1] != size:
        raise TaskError(
            f"{method.name}: it knows {kept.shape[1]} shared parameters, but this step has {size}; "
            "make a new method when parameters are frozen or thawed"
        )
    elif kept.device != matrix.device or kept.dtype != matrix.dtype:
        kept = kept.to(matrix)
    method.state[key] = kept
    return kept
