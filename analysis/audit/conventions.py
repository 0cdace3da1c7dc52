"""The conventions under which papers aggregate their columns, each with its rounding interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import optimize

from analysis import measures
from analysis.audit.printed import ColumnKey, Number
from analysis.measures import Floats

CORNERS = 14
"""Largest number of metrics for which all corners of the rounding box are tried."""


@dataclass(frozen=True)
class Recomputed:
    """An aggregate from printed columns: its value and the range that rounding allows."""

    value: float
    low: float
    high: float


Rows = Sequence[Sequence[Number]]
Rule = Callable[[Rows, Sequence[Number] | None, Sequence[ColumnKey]], list[Recomputed]]


@dataclass(frozen=True)
class Convention:
    """A way to aggregate: name, description, rule, and whether a reference row is needed."""

    name: str
    description: str
    rule: Rule
    needs_reference: bool


def changes(*, per_task: bool, gain: bool) -> Rule:
    """Mean relative change against a reference, over metrics or over tasks first, in percent.

    Every relative change is monotone in the value and in a positive reference, so the ends of the
    interval are at the ends of every entry.
    """

    def rule(
        rows: Rows, reference: Sequence[Number] | None, columns: Sequence[ColumnKey]
    ) -> list[Recomputed]:
        low, middle, high = _drop_box(rows, _needed(reference), columns)
        ends = [_average(part, columns, per_task) for part in (low, middle, high)]
        if gain:
            ends = [-part for part in reversed(ends)]
        return [Recomputed(float(m), float(a), float(b)) for a, m, b in zip(*ends, strict=True)]

    return rule


def means(*, per_task: bool) -> Rule:
    """Mean of columns that are relative changes already."""

    def rule(
        rows: Rows, reference: Sequence[Number] | None, columns: Sequence[ColumnKey]
    ) -> list[Recomputed]:
        parts = [
            _average(np.array([[getattr(n, end) for n in row] for row in rows]), columns, per_task)
            for end in ("low", "value", "high")
        ]
        return [Recomputed(float(m), float(a), float(b)) for a, m, b in zip(*parts, strict=True)]

    return rule


def ranks(*, ties: measures.Ties, per_task: bool) -> Rule:
    """Mean rank over metrics or tasks; the range is what other orders of ties allow."""

    def rule(
        rows: Rows, reference: Sequence[Number] | None, columns: Sequence[ColumnKey]
    ) -> list[Recomputed]:
        values = np.array([[n.value for n in row] for row in rows])
        higher = [column.higher_is_better for column in columns]
        middle = _average(measures.metric_ranks(values, higher, ties), columns, per_task)
        best = _average(measures.metric_ranks(values, higher, "dense"), columns, per_task)
        # Tied printed values may differ before rounding: the worst place is behind all of them.
        turned = [not h for h in higher]
        last = len(values) + 1 - measures.metric_ranks(values, turned, "min")
        worst = _average(last, columns, per_task)
        return [
            Recomputed(float(m), float(min(a, m)), float(max(b, m)))
            for a, m, b in zip(best, middle, worst, strict=True)
        ]

    return rule


def variances(*, sample: bool, per_task: bool) -> Rule:
    """Variance of the relative drops over metrics or tasks, in squared percent."""

    def rule(
        rows: Rows, reference: Sequence[Number] | None, columns: Sequence[ColumnKey]
    ) -> list[Recomputed]:
        low, middle, high = _drop_box(rows, _needed(reference), columns)
        if per_task:
            tasks = [column.task for column in columns]
            low, middle, high = (
                measures.mean_per_task(part, tasks) for part in (low, middle, high)
            )
        count = low.shape[1]
        if count <= int(sample):
            return [Recomputed(np.nan, np.nan, np.nan)] * len(low)
        factor = count / (count - 1) if sample else 1.0
        return [
            Recomputed(
                factor * float(m.var()),
                factor * _smallest_variance(a, b),
                factor * _largest_variance(a, b),
            )
            for a, m, b in zip(low, middle, high, strict=True)
        ]

    return rule


def conventions_for(
    metric: str, *, higher_is_better: bool, relative_columns: bool
) -> list[Convention]:
    """The conventions that an aggregate of this name may follow.

    Args:
        metric: Name of the aggregate (``delta_m_pct``, ``MR``, ``var_delta_m_i``, ...).
        higher_is_better: Its direction: gains are better higher, drops better lower.
        relative_columns: Whether the columns are relative changes themselves.

    Returns:
        The candidates; empty for a name that says nothing.
    """
    name = metric.lower()
    over = {False: "metrics", True: "tasks"}
    if name.startswith(("mr", "mean_rank", "mean rank")):
        return [
            Convention(
                f"mean rank over {over[per_task]}, {ties} ranks",
                "reference row excluded",
                ranks(ties=ties, per_task=per_task),
                needs_reference=False,
            )
            for per_task, ties in product((False, True), measures.TIES)
        ]
    if "var" in name:
        return [
            Convention(
                f"{'sample' if sample else 'population'} variance over {over[per_task]} of drops",
                "against single-task",
                variances(sample=sample, per_task=per_task),
                needs_reference=True,
            )
            for sample, per_task in product((False, True), (False, True))
        ]
    if not any(part in name for part in ("delta", "δ", "improvement", "drop", "gain")):
        return []
    if relative_columns:
        return [
            Convention(
                f"mean over {over[per_task]} of the columns",
                "columns are relative changes",
                means(per_task=per_task),
                needs_reference=False,
            )
            for per_task in (False, True)
        ]
    kind = "gain" if higher_is_better else "drop"
    return [
        Convention(
            f"mean over {over[per_task]} of relative {kind}s",
            "",
            changes(per_task=per_task, gain=higher_is_better),
            needs_reference=True,
        )
        for per_task in (False, True)
    ]


def _needed(reference: Sequence[Number] | None) -> Sequence[Number]:
    if reference is None:  # conventions_for says which rules need one
        raise TypeError("this convention needs a reference row")
    return reference


def _drop_box(
    rows: Rows, reference: Sequence[Number], columns: Sequence[ColumnKey]
) -> tuple[Floats, Floats, Floats]:
    """Smallest, printed and largest relative drop of every entry, each of shape (N, M)."""
    sign = np.where([column.higher_is_better for column in columns], -1.0, 1.0)
    value = np.array([[n.value for n in row] for row in rows])
    half = np.array([[n.half for n in row] for row in rows])
    base = np.array([n.value for n in reference])
    base_half = np.array([n.half for n in reference])

    def drops(v: Floats, b: Floats) -> Floats:
        return np.asarray(100.0 * sign * (v - b) / np.abs(b))

    up = np.sign(base) * sign
    worse = drops(value + sign * half, base - up * base_half)
    better = drops(value - sign * half, base + up * base_half)
    return np.minimum(worse, better), drops(value, base), np.maximum(worse, better)


def _average(values: Floats, columns: Sequence[ColumnKey], per_task: bool) -> Floats:
    if per_task:
        values = measures.mean_per_task(values, [column.task for column in columns])
    return np.asarray(values.mean(axis=1))


def _largest_variance(low: Floats, high: Floats) -> float:
    """Largest population variance in a box: a convex function, so at one of its corners."""
    if len(low) > CORNERS:
        middle = (low + high) / 2
        corner = np.where(middle >= middle.mean(), high, low)
        return float(corner.var())
    corners = np.array(list(product((0.0, 1.0), repeat=len(low))))
    return float((low + corners * (high - low)).var(axis=1).max())


def _smallest_variance(low: Floats, high: Floats) -> float:
    """Smallest population variance in a box: min over the centre of the clipped distances."""

    def spread(centre: float) -> float:
        return float(((np.clip(centre, low, high) - centre) ** 2).mean())

    found = optimize.minimize_scalar(
        spread, bounds=(float(low.min()), float(high.max())), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    return float(found.fun)
