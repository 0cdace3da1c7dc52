"""Pareto fronts: what a weight sweep of linear scalarisation reaches, and where methods stand.

The question is Xin et al.'s ("Do current multi-task optimization methods in deep learning even
help?", 2022): does a method reach a trade-off that fixed weights do not? Non-dominated sets,
hypervolume and attainment functions are moocore's; here they get directions, seeds and verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.errors import AnalysisError
from analysis.measures import Floats


def nondominated(values: ArrayLike, higher_is_better: Sequence[bool]) -> NDArray[np.bool_]:
    """Which points no other point dominates; equal points are all kept.

    Args:
        values: Points, shape (N, M): one objective a column.
        higher_is_better: Direction of each objective, length M.

    Returns:
        Mask of shape (N,); a point with a missing value is never in the set.

    Raises:
        AnalysisError: The shape does not match.
    """
    costs = _costs(values, higher_is_better)
    complete = ~np.isnan(costs).any(axis=1)
    mask = np.zeros(len(costs), dtype=bool)
    if complete.any():
        mask[complete] = moocore.is_nondominated(costs[complete], keep_weakly=True)
    return mask


def pareto_front(
    table: pd.DataFrame, objectives: Sequence[str], higher_is_better: Sequence[bool]
) -> pd.DataFrame:
    """The rows of a table that no other row dominates in `objectives`, sorted by the first.

    Args:
        table: Any table.
        objectives: Its columns to compare.
        higher_is_better: Direction of each objective.

    Returns:
        A selection of the rows.

    Raises:
        AnalysisError: An objective is no column of the table.
    """
    missing = [name for name in objectives if name not in table.columns]
    if missing:
        raise AnalysisError(f"The table has no column {', '.join(missing)}.")
    mask = nondominated(table[list(objectives)].to_numpy(dtype=np.float64), higher_is_better)
    return table[mask].sort_values(objectives[0])


def reference_point(
    values: ArrayLike, higher_is_better: Sequence[bool], margin: float = 0.1
) -> Floats:
    """A reference point for the hypervolume: the worst value of each objective, and a bit worse.

    ``r_j = worst_j +- margin * (worst_j - best_j)``; a margin makes end points of the front count.

    Args:
        values: All points that will be compared, shape (N, M).
        higher_is_better: Direction of each objective, length M.
        margin: Share of the range to add.

    Returns:
        Shape (M,).

    Raises:
        AnalysisError: No point has all its values.
    """
    costs = _complete(_costs(values, higher_is_better))
    span = np.ptp(costs, axis=0)
    span = np.where(span > 0, span, np.maximum(np.abs(costs.max(axis=0)), 1.0))
    worst = costs.max(axis=0) + margin * span
    return np.asarray(np.where(np.asarray(higher_is_better, dtype=bool), -worst, worst))


EXACT_OBJECTIVES, MOST_OBJECTIVES = 8, 31
"""With more objectives an exact hypervolume takes too long and is estimated; moocore's most."""
DIRECTIONS = 10_000
"""Directions of an estimate; its relative error is then a few percent at most."""


def hypervolume(values: ArrayLike, reference: ArrayLike, higher_is_better: Sequence[bool]) -> float:
    """Volume that a set of points dominates up to a reference point.

    Args:
        values: Points, shape (N, M); those with a missing value are left out.
        reference: Reference point, shape (M,).
        higher_is_better: Direction of each objective, length M.

    Returns:
        The volume, in the product of the objectives' units; 0 for no point better than the
        reference in every objective. With more than `EXACT_OBJECTIVES` objectives an estimate by
        polar coordinates on a fixed low-discrepancy set of directions.

    Raises:
        AnalysisError: A shape does not match, or there are more than `MOST_OBJECTIVES` objectives.

    Source: Deng and Zhang, "Approximating hypervolume and hypervolume contributions using polar
    coordinate", 2019 (estimate).
    """
    if len(higher_is_better) > MOST_OBJECTIVES:
        raise AnalysisError(
            f"A hypervolume needs at most {MOST_OBJECTIVES} objectives, not "
            f"{len(higher_is_better)}."
        )
    costs = _costs(values, higher_is_better)
    worst = _costs(np.atleast_2d(np.asarray(reference, dtype=np.float64)), higher_is_better)[0]
    costs = costs[~np.isnan(costs).any(axis=1)]
    costs = costs[(costs < worst).all(axis=1)]
    if not len(costs):
        return 0.0
    if costs.shape[1] > EXACT_OBJECTIVES:
        return float(moocore.hv_approx(costs, ref=worst, nsamples=DIRECTIONS, method="DZ2019-HW"))
    return float(moocore.hypervolume(costs, ref=worst))


def attainment(
    values: ArrayLike,
    sets: Sequence[object],
    higher_is_better: Sequence[bool],
    percentiles: Sequence[float] = (0.0, 50.0, 100.0),
) -> pd.DataFrame:
    """Empirical attainment surfaces: what a share of the seeds' fronts reaches.

    Args:
        values: Points, shape (N, M), M = 2 or 3.
        sets: The seed (or run) each point belongs to, length N.
        higher_is_better: Direction of each objective, length M.
        percentiles: 0 is what the best seeds together reach, 100 what every seed reaches.

    Returns:
        Columns ``0`` .. ``M - 1`` and ``percentile``: corner points of each surface.

    Raises:
        AnalysisError: A shape does not match, or M is neither 2 nor 3.
    """
    costs = _costs(values, higher_is_better)
    if costs.shape[1] not in (2, 3):
        raise AnalysisError(
            f"Attainment surfaces exist for 2 or 3 objectives here, not {costs.shape[1]}."
        )
    codes, _ = pd.factorize(pd.Series(list(sets)))
    keep = ~np.isnan(costs).any(axis=1)
    order = np.argsort(codes[keep], kind="stable")
    surface = moocore.eaf(costs[keep][order], codes[keep][order] + 1, percentiles=list(percentiles))
    sign = np.where(np.asarray(higher_is_better, dtype=bool), -1.0, 1.0)
    points = pd.DataFrame(surface[:, :-1] * sign)
    points["percentile"] = surface[:, -1]
    return points


def distance_to_front(
    points: ArrayLike, front: ArrayLike, higher_is_better: Sequence[bool]
) -> Floats:
    """Signed distance of points to what a front dominates; positive: behind it.

    ``d(p) = max_f min_j s_j (f_j - p_j)`` with ``s_j = 1`` where higher is better, else -1: the
    amount by which every objective of p must improve until no point of the front dominates it, or,
    if negative, by which the whole front must improve in every objective to dominate p. It is the
    additive epsilon indicator of {p} against the front, with the sign turned.

    Args:
        points: Shape (N, M), objectives in one common unit (drops in percent, say).
        front: Shape (F, M).
        higher_is_better: Direction of each objective, length M.

    Returns:
        Shape (N,), in the objectives' unit; NaN for a point with a missing value.

    Raises:
        AnalysisError: A shape does not match or the front is empty.

    Source: Zitzler et al., "Performance assessment of multiobjective optimizers", 2003 (epsilon).
    """
    p = _costs(points, higher_is_better)
    f = _complete(_costs(front, higher_is_better))
    return np.asarray((p[:, None, :] - f[None, :, :]).min(axis=2).max(axis=1))


def _costs(values: ArrayLike, higher_is_better: Sequence[bool]) -> Floats:
    v = np.asarray(values, dtype=np.float64)
    higher = np.asarray(higher_is_better, dtype=bool)
    if v.ndim != 2 or v.shape[1] != higher.size or not higher.size:
        raise AnalysisError(
            f"Points need the shape (number, {higher.size}) for {higher.size} objectives, "
            f"not {v.shape}."
        )
    return np.ascontiguousarray(np.where(higher, -v, v))


def _complete(costs: Floats) -> Floats:
    complete = costs[~np.isnan(costs).any(axis=1)]
    if not len(complete):
        raise AnalysisError("No point has a value in every objective.")
    return complete
