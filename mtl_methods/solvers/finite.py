"""Whether numbers are finite, at a fraction of the price of looking at each."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dasum

__all__ = ["is_finite"]

_FEW_NUMBERS = 64  # plain Python is faster for them


def is_finite(values: NDArray[np.float64]) -> bool:
    """Whether no entry is NaN or infinite."""
    if values.size <= _FEW_NUMBERS:
        return all(map(math.isfinite, values.ravel().tolist()))
    # A finite sum of magnitudes settles it for all but huge entries.
    return math.isfinite(dasum(values.ravel())) or bool(np.isfinite(values).all())
