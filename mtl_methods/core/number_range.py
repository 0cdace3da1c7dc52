"""The ranges of number types, and weights that are beyond them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

__all__ = ["beyond_range", "limits"]


@functools.cache
def limits(dtype: torch.dtype) -> tuple[float, float]:
    """Machine epsilon and the largest number of a type."""
    info = torch.finfo(dtype)
    return info.eps, info.max


def beyond_range(weights: Sequence[float], dtype: torch.dtype) -> int | None:
    """The place of a weight that a type cannot hold, the largest or NaN; ``None`` if it holds all.

    Args:
        weights: K numbers.
        dtype: A type of floating point.
    """
    _, end = limits(dtype)
    if all(-end <= weight <= end for weight in weights):
        return None
    return max(
        range(len(weights)),
        key=lambda k: abs(weights[k]) if weights[k] == weights[k] else float("inf"),
    )
