"""Task gradients of every difficulty, as rows of small matrices."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Rows = NDArray[np.float64]

REGIMES = ("generic", "wide", "conflict", "collinear", "duplicates", "few_parameters", "positive")
SOLVABLE = ("generic", "wide", "conflict", "collinear", "positive")


def gradients(regime: str, k: int, seed: int, decades: float = 0.0) -> Rows:
    """K gradients; norms spread over ``10**(-decades) .. 10**decades``."""
    rng = np.random.default_rng([seed, k, REGIMES.index(regime)])
    rows = rng.normal(size=(k, 2 * k + 4))
    if regime == "wide":
        rows = rng.normal(size=(k, 1000))
    elif regime == "conflict":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows -= 0.8 * rows.mean(axis=0)
    elif regime == "collinear":
        rows = rows[:1] + 1e-3 * rows
    elif regime == "duplicates":
        rows[k // 2 :] = rows[: k - k // 2]
    elif regime == "few_parameters":
        rows = rng.normal(size=(k, max(1, k // 2)))
    elif regime == "positive":
        rows = np.abs(rng.normal(size=(k, max(1, k // 2)))) + 0.1
    return rows * 10.0 ** rng.uniform(-decades, decades, size=(k, 1))


def gram_of(rows: Rows) -> Rows:
    return rows @ rows.T


def drawn_gradients(regimes: tuple[str, ...], largest: int = 12, decades: float = 3.0):
    """A Hypothesis strategy of gradients."""
    return st.builds(
        gradients,
        st.sampled_from(regimes),
        st.integers(1, largest),
        st.integers(0, 10_000),
        st.sampled_from((0.0, decades)),
    )


def minimum_over_supports(gram: Rows) -> float:
    """The smallest squared norm in the convex hull, by solving on every support (small K)."""
    k = len(gram)
    best = float(gram.diagonal().min())
    for code in range(1, 2**k):
        index = [i for i in range(k) if code >> i & 1]
        block = gram[np.ix_(index, index)]
        system = np.block([[block, np.ones((len(index), 1))], [np.ones((1, len(index))), 0.0]])
        right = np.zeros(len(index) + 1)
        right[-1] = 1.0
        weights = np.linalg.lstsq(system, right, rcond=None)[0][:-1]
        if weights.min() >= -1e-12 and abs(weights.sum() - 1.0) < 1e-9:
            best = min(best, float(weights @ block @ weights))
    return best
