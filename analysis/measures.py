"""The measures of multi-task performance, one pure function for each name.

Three different quantities are called "delta m" in the literature and they differ even in sign, so
each has its own name here and none is called just that:

======================  ==========================================================  ==============
name                    what it is                                                  direction
======================  ==========================================================  ==============
`delta_m`               mean over **metrics** of the drop against single-task       lower is better
`delta_mtm`             mean over **tasks** of the gain against single-task         higher
`delta_p`               as `delta_mtm`, against equal weighting                     higher
`delta_m_variance`      population variance over metrics of the drops               lower is fairer
`mean_rank`             mean over tasks of the mean rank over a task's metrics      lower is better
`mean_rank_metrics`     mean rank over all metrics                                  lower is better
`worst_drop`            drop of the task that lost most                             lower is fairer
`jain_index`, `gini`    evenness of the tasks' relative performance                 1, 0 is even
======================  ==========================================================  ==============

Shapes: a value array ends in an axis of M metrics; leading axes (methods, seeds, ...) are kept.
`baseline`, `higher_is_better` and `tasks` have length M. All drops, gains and their means are in
percent; the variance is in squared percent.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from analysis.errors import AnalysisError

Floats = NDArray[np.float64]
Ties = Literal["min", "dense", "average"]

TIES: tuple[Ties, ...] = ("min", "dense", "average")


def relative_drops(
    values: ArrayLike, baseline: ArrayLike, higher_is_better: Sequence[bool]
) -> Floats:
    """Relative drop of every metric against a baseline, in percent; positive is worse.

    ``drop_j = 100 * (-1)**h_j * (v_j - b_j) / |b_j|`` with ``h_j = 1`` where higher is better.
    The absolute value in the denominator only matters for a metric that can be negative (R², a
    log-likelihood): there the published formula, without it, would call an improvement a drop.

    Args:
        values: Metric values, shape (..., M).
        baseline: Values of the reference, shape (M,).
        higher_is_better: Direction of each metric, length M.

    Returns:
        Drops in percent, shape (..., M).

    Raises:
        AnalysisError: A length does not match, or a baseline value is zero.

    Source: FairGrad paper, section 5 (and the papers of PIVRG and LDC-MTL after it).
    """
    v, b, sign = _aligned(values, baseline, higher_is_better)
    return 100.0 * sign * (v - b) / np.abs(b)


def relative_gains(
    values: ArrayLike, baseline: ArrayLike, higher_is_better: Sequence[bool]
) -> Floats:
    """Relative gain of every metric against a baseline, in percent; positive is better.

    The negative of `relative_drops`; same arguments, shape and errors.
    """
    return -relative_drops(values, baseline, higher_is_better)


def delta_m(values: ArrayLike, baseline: ArrayLike, higher_is_better: Sequence[bool]) -> Floats:
    """Mean over all metrics of the relative drop against single-task, in percent.

    ``delta_m = 100 / M * sum_j (-1)**h_j (v_j - b_j) / b_j``; lower is better. A task with many
    metrics weighs more than one with few (the normals of NYUv2 weigh 5/9): `delta_mtm` does not
    have this property.

    Args:
        values: Metric values, shape (..., M).
        baseline: Single-task values, shape (M,).
        higher_is_better: Direction of each metric, length M.

    Returns:
        Percent, shape (...).

    Raises:
        AnalysisError: A length does not match, or a baseline value is zero.

    Source: papers of FairGrad, PIVRG and LDC-MTL (their text calls M "the number of tasks").
    """
    return np.asarray(relative_drops(values, baseline, higher_is_better).mean(axis=-1))


def delta_mtm(
    values: ArrayLike,
    baseline: ArrayLike,
    higher_is_better: Sequence[bool],
    tasks: Sequence[Hashable],
) -> Floats:
    """Mean over tasks of the mean relative gain over the task's metrics, in percent.

    ``delta_mtm = 100/K sum_k 1/M_k sum_j (-1)**l_kj (v_kj - b_kj) / b_kj`` with ``l_kj = 1`` where
    lower is better; higher is better.

    Args:
        values: Metric values, shape (..., M).
        baseline: Single-task values, shape (M,).
        higher_is_better: Direction of each metric, length M.
        tasks: The task each metric belongs to, length M.

    Returns:
        Percent, shape (...). (Eq. 1 of the source is a fraction; its tables are in percent.)

    Raises:
        AnalysisError: A length does not match, or a baseline value is zero.

    Source: "Uniform Loss vs. Specialized Optimization", Eq. 1.
    """
    gains = relative_gains(values, baseline, higher_is_better)
    return np.asarray(mean_per_task(gains, tasks).mean(axis=-1))


def delta_p(
    values: ArrayLike,
    equal_weighting: ArrayLike,
    higher_is_better: Sequence[bool],
    tasks: Sequence[Hashable],
) -> Floats:
    """`delta_mtm` with equal weighting instead of single-task as the reference, in percent.

    Args:
        values: Metric values, shape (..., M).
        equal_weighting: Values of equally weighted training, shape (M,).
        higher_is_better: Direction of each metric, length M.
        tasks: The task each metric belongs to, length M.

    Returns:
        Percent, shape (...); higher is better.

    Raises:
        AnalysisError: A length does not match, or a baseline value is zero.

    Source: random-weighting paper, Tables 1 and 6.
    """
    return delta_mtm(values, equal_weighting, higher_is_better, tasks)


def delta_m_variance(
    values: ArrayLike, baseline: ArrayLike, higher_is_better: Sequence[bool]
) -> Floats:
    """Population variance over metrics of the relative drops, in squared percent.

    ``Var = 1/M sum_j (drop_j - delta_m)**2``; lower is fairer. The divisor is M, not M - 1, and the
    mean is over metrics, not tasks: only so do the published tables come out.

    Args:
        values: Metric values, shape (..., M).
        baseline: Single-task values, shape (M,).
        higher_is_better: Direction of each metric, length M.

    Returns:
        Squared percent, shape (...).

    Raises:
        AnalysisError: A length does not match, or a baseline value is zero.

    Source: PIVRG supplement, Tables 10 to 12.
    """
    return np.asarray(relative_drops(values, baseline, higher_is_better).var(axis=-1))


def metric_ranks(values: ArrayLike, higher_is_better: Sequence[bool], ties: Ties = "min") -> Floats:
    """Rank of every method on every metric; 1 is best.

    Args:
        values: Metric values, shape (N, M): N methods.
        higher_is_better: Direction of each metric, length M.
        ties: What equal values get: the smallest of their places (``"min"``, competition ranks),
            the same place without a gap after it (``"dense"``), or their mean (``"average"``).

    Returns:
        Ranks, shape (N, M); a missing value gets NaN and takes no place.

    Raises:
        AnalysisError: The shape does not match or `ties` is not a known rule.
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2 or v.shape[1] != len(higher_is_better):
        raise AnalysisError(
            f"Ranks need values of shape (methods, {len(higher_is_better)}), not {v.shape}."
        )
    if ties not in TIES:
        raise AnalysisError(f"Unknown tie rule {ties!r}; valid rules: {', '.join(TIES)}.")
    oriented = np.where(np.asarray(higher_is_better, dtype=bool), -v, v)
    return np.asarray(rankdata(oriented, method=ties, axis=0, nan_policy="omit"), dtype=np.float64)


def mean_rank(
    values: ArrayLike,
    higher_is_better: Sequence[bool],
    tasks: Sequence[Hashable],
    ties: Ties = "min",
) -> Floats:
    """Mean over tasks of the mean rank over each task's metrics; lower is better.

    ``MR = 1/K sum_k 1/M_k sum_j R_kj``.

    Args:
        values: Metric values, shape (N, M): N methods.
        higher_is_better: Direction of each metric, length M.
        tasks: The task each metric belongs to, length M.
        ties: Tie rule, see `metric_ranks`.

    Returns:
        One mean rank per method, shape (N,), in places.

    Raises:
        AnalysisError: The shape does not match or `ties` is not a known rule.

    Source: "Uniform Loss vs. Specialized Optimization", Eq. 2.
    """
    return np.asarray(
        mean_per_task(metric_ranks(values, higher_is_better, ties), tasks).mean(axis=-1)
    )


def mean_rank_metrics(
    values: ArrayLike, higher_is_better: Sequence[bool], ties: Ties = "dense"
) -> Floats:
    """Mean rank over all metrics, every metric weighing the same; lower is better.

    Args:
        values: Metric values, shape (N, M): N methods.
        higher_is_better: Direction of each metric, length M.
        ties: Tie rule, see `metric_ranks`. The FairGrad paper's tables come out only with
            ``"dense"``, the PIVRG supplement's QM9 table only with ``"min"``.

    Returns:
        One mean rank per method, shape (N,), in places.

    Raises:
        AnalysisError: The shape does not match or `ties` is not a known rule.

    Source: tables of the FairGrad and PIVRG papers (column MR).
    """
    return np.asarray(metric_ranks(values, higher_is_better, ties).mean(axis=-1))


def task_drops(
    values: ArrayLike,
    baseline: ArrayLike,
    higher_is_better: Sequence[bool],
    tasks: Sequence[Hashable],
) -> Floats:
    """Mean relative drop of each task over its metrics, in percent; positive is worse.

    Args:
        values: Metric values, shape (..., M).
        baseline: Single-task values, shape (M,).
        higher_is_better: Direction of each metric, length M.
        tasks: The task each metric belongs to, length M.

    Returns:
        Percent, shape (..., K), tasks in order of first appearance.

    Raises:
        AnalysisError: A length does not match, or a baseline value is zero.
    """
    return mean_per_task(relative_drops(values, baseline, higher_is_better), tasks)


def worst_drop(
    values: ArrayLike,
    baseline: ArrayLike,
    higher_is_better: Sequence[bool],
    tasks: Sequence[Hashable],
) -> Floats:
    """Drop of the task that lost most against single-task, in percent; lower is fairer.

    ``max_k 1/M_k sum_j drop_kj`` (Rawls' criterion on relative drops). Negative: every task gained.
    Arguments, errors as `task_drops`; returns shape (...).
    """
    return np.asarray(task_drops(values, baseline, higher_is_better, tasks).max(axis=-1))


def relative_performance(drops: ArrayLike) -> Floats:
    """Performance relative to single-task from drops in percent: ``max(0, 1 - drop / 100)``.

    1 is as good as single-task; 0 is a drop of 100 % or more (an error may double and more; the
    evenness indices need shares that are not negative). Shape is kept.
    """
    return np.maximum(0.0, 1.0 - np.asarray(drops, dtype=np.float64) / 100.0)


def jain_index(shares: ArrayLike) -> Floats:
    """Jain's fairness index of non-negative shares over the last axis.

    ``J = (sum_k x_k)**2 / (K sum_k x_k**2)``, from 1/K (one task has all) to 1 (even).

    Args:
        shares: Shares of K tasks, e.g. `relative_performance` of their drops, shape (..., K).

    Returns:
        Index without unit, shape (...); NaN where all shares are zero.

    Raises:
        AnalysisError: A share is negative.

    Source: Jain, Chiu and Hawe, "A quantitative measure of fairness and discrimination", 1984.
    """
    x = _shares(shares)
    squares = x.shape[-1] * (x**2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(squares > 0, x.sum(axis=-1) ** 2 / squares, np.nan))


def gini(shares: ArrayLike) -> Floats:
    """Gini coefficient of non-negative shares over the last axis.

    ``G = sum_i sum_j |x_i - x_j| / (2 K sum_k x_k)``, from 0 (even) to 1 - 1/K (one has all).

    Args:
        shares: Shares of K tasks, e.g. `relative_performance` of their drops, shape (..., K).

    Returns:
        Coefficient without unit, shape (...); NaN where all shares are zero.

    Raises:
        AnalysisError: A share is negative.

    Source: Gini, "Variabilità e mutabilità", 1912.
    """
    x = np.sort(_shares(shares), axis=-1)
    size = x.shape[-1]
    place = 2.0 * np.arange(1, size + 1) - size - 1.0
    total = size * x.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(total > 0, (place * x).sum(axis=-1) / total, np.nan))


def mean_per_task(values: ArrayLike, tasks: Sequence[Hashable]) -> Floats:
    """Mean over each task's metrics: shape (..., M) to (..., K), tasks in order of appearance.

    Raises:
        AnalysisError: `tasks` does not name one task for each of the M metrics.
    """
    v = np.asarray(values, dtype=np.float64)
    if v.shape[-1:] != (len(tasks),) or not tasks:
        raise AnalysisError(f"{len(tasks)} task names were given for values of shape {v.shape}.")
    names = list(dict.fromkeys(tasks))
    columns = [[j for j, task in enumerate(tasks) if task == name] for name in names]
    return np.stack([v[..., j].mean(axis=-1) for j in columns], axis=-1)


def _aligned(
    values: ArrayLike, baseline: ArrayLike, higher_is_better: Sequence[bool]
) -> tuple[Floats, Floats, Floats]:
    v = np.asarray(values, dtype=np.float64)
    b = np.asarray(baseline, dtype=np.float64)
    higher = np.asarray(higher_is_better, dtype=bool)
    if b.ndim != 1 or v.shape[-1:] != b.shape or higher.shape != b.shape:
        raise AnalysisError(
            f"Values of shape {v.shape} need a baseline and directions of length "
            f"{v.shape[-1] if v.ndim else 1}, not {b.shape} and {higher.shape}."
        )
    if (b == 0).any():
        places = np.flatnonzero(b == 0).tolist()
        raise AnalysisError(
            f"The baseline of metric number {places} is zero, so no relative drop is defined."
        )
    return v, b, np.where(higher, -1.0, 1.0)


def _shares(shares: ArrayLike) -> Floats:
    x = np.asarray(shares, dtype=np.float64)
    if (x < 0).any():
        raise AnalysisError("Evenness is defined for shares that are not negative.")
    return x
