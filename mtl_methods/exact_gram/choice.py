"""Which way each shared parameter goes, by a cost model, and how many tasks travel at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Choice", "ParameterFacts", "UseFacts", "choose"]

# Costs are in multiply-adds; a number moved through memory weighs as much as so many of them.
_MOVE = 8.0
# Rows at which a matrix product is efficient on its own; smaller tasks travel together.
_ROWS_AT_ONCE = 512
_LEAST_TOGETHER = 8  # fewer do not repay the batching
_REMEMBERED = 64  # choices: a model, its last batch, batches that lack a task


class UseFacts(NamedTuple):
    """What a choice depends on of one use of a parameter, see ``layer.LayerUse``.

    Attributes:
        kind: Of use: ``"matrix"``, ``"bias"``, ``"gradient"`` or ``"rows"``.
        rule: The rule's name, for reports.
        edge: A number for the edge where Δ is read.
        elements: Number of elements of Δ for one task.
        rows: Rows of a matrix use, as the following.
        width: Columns of A in a group.
        out: Columns of Δ in a group.
        groups: Number of groups.
        layout: Uses of one layout join along their rows.
    """

    kind: str
    rule: str
    edge: int
    elements: int
    rows: int = 0
    width: int = 0
    out: int = 0
    groups: int = 0
    layout: str = ""


class ParameterFacts(NamedTuple):
    """What a choice depends on of a parameter.

    Attributes:
        size: Number of its elements.
        uses: Its uses, none if the rules do not cover all.
        reason: Why they do not.
    """

    size: int
    uses: tuple[UseFacts, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The ways of a step's parameters; these are places in the list of them.

    Attributes:
        path: ``"exact"`` if any parameter goes that way, else ``"plain"``.
        reason: Why, in one clause.
        tasks_at_once: How many tasks travel down the trunk together.
        ways: For each parameter ``"exact"`` or ``"plain"``, and why, in a few words.
        factors: What is to be kept on the exact path: the parameter, whether it goes the exact way,
            and the bias that is kept with it, as the weight of one more column of A.
    """

    path: str
    reason: str
    tasks_at_once: int
    ways: tuple[tuple[str, str], ...]
    factors: tuple[tuple[int, bool, int | None], ...] = ()


@functools.lru_cache(maxsize=_REMEMBERED)
def choose(
    parameters: tuple[ParameterFacts, ...], tasks: int, *, batched: bool, forced: bool
) -> Choice:
    """Chooses a way for every parameter.

    Args:
        parameters: The shared parameters in use.
        tasks: Number of tasks K.
        batched: Whether torch batches all nodes of the trunk over tasks.
        forced: Whether every parameter that rules cover goes the exact way, whatever it costs.

    Returns:
        The choice. Unless forced the path is exact only if that saves at least a twentieth of the
        estimated work and needs no more memory than the K gradients.
    """
    known = [_of_one_kind(facts) for facts in parameters]
    at_once = _tasks_at_once(known, tasks) if batched else 1
    ways: dict[int, tuple[str, str]] = {}
    factors: list[tuple[int, bool, int | None]] = []
    matrices: dict[frozenset[int], int] = {}  # by the edges of their uses, place among factors
    saved = total = 0.0
    # biases last: they go the way of their layer's weight
    for place, facts in sorted(enumerate(known), key=lambda item: _is_bias(item[1])):
        uses = facts.uses
        edges = frozenset(use.edge for use in uses)
        if uses:
            way, plain, exact = _way(facts, tasks, together=at_once > 1, forced=forced)
        else:
            way = "plain", facts.reason
            plain = exact = _row_costs(facts.size, tasks)[0]
        layer = matrices.get(edges) if _is_bias(facts) else None
        if layer is not None:
            way, exact = ("exact", "bias, with its weight"), 0.0
        ways[place] = way
        total += plain
        if way[0] == "plain":
            factors.append((place, False, None))
            continue
        saved += plain - exact
        if layer is not None and _is_column(facts, known[factors[layer][0]], factors[layer]):
            factors[layer] = (factors[layer][0], True, place)
            continue
        if uses[0].kind == "matrix":
            matrices[edges] = len(factors)
        factors.append((place, True, None))
    ordered = tuple(ways[place] for place in range(len(known)))
    if not forced and saved < 0.05 * total:
        return Choice("plain", "layer inputs have too many rows to save work", 1, ordered)
    if not any(way == "exact" for way, _ in ordered):
        return Choice("plain", "no rule covers any parameter", 1, ordered)
    share = 100.0 * saved / total if total else 0.0
    reason = f"saves {share:.0f} % of the work on weight gradients"
    return Choice("exact", reason, at_once, ordered, tuple(factors))


def _of_one_kind(facts: ParameterFacts) -> ParameterFacts:
    """The facts, without uses if these differ in ways that no factor joins."""
    kinds = {"gradient" if use.kind == "bias" else use.kind for use in facts.uses}
    layouts = {use.layout for use in facts.uses}
    if len(kinds) > 1 or len(layouts) > 1:
        return ParameterFacts(facts.size, (), "used in different ways")
    return facts


def _is_bias(facts: ParameterFacts) -> bool:
    return bool(facts.uses) and all(use.kind == "bias" for use in facts.uses)


def _is_column(
    bias: ParameterFacts, weight: ParameterFacts, factor: tuple[int, bool, int | None]
) -> bool:
    """Whether a bias is the weight of one more column of what is kept of its layer."""
    first = weight.uses[0]
    is_free = factor[2] is None and not _has_many_rows(weight.uses)
    return is_free and bias.size == first.groups * first.out


def _has_many_rows(uses: Sequence[UseFacts]) -> bool:
    return sum(use.rows for use in uses) > uses[0].width


def _way(
    facts: ParameterFacts, tasks: int, *, together: bool, forced: bool
) -> tuple[tuple[str, str], float, float]:
    """The way of one parameter by itself, and its estimated cost on the plain and this way.

    Args:
        facts: Of the parameter, with at least one use.
        tasks: Number of tasks K.
        together: Whether several tasks travel at once.
        forced: See :func:`choose`.
    """
    uses = facts.uses
    plain, exact = _row_costs(facts.size, tasks)
    what = uses[0].rule
    if uses[0].kind == "matrix":
        plain, exact = _matrix_costs(uses, tasks)
        rows, width = sum(use.rows for use in uses), uses[0].width
        what = f"{what}, {rows} rows against width {width}"
        pays = exact < plain and not _has_many_rows(uses)
    elif uses[0].kind == "rows":
        exact = min(3.0 * _MOVE * tasks * sum(use.elements for use in uses), plain)
        pays = True
    else:
        pays = together
        what = what if forced or pays else f"{what}, cheaper as it is"
    return ("exact" if forced or pays else "plain", what), plain, exact


def _row_costs(size: int, tasks: int) -> tuple[float, float]:
    """Estimated cost of K gradients of a parameter and their products, and of the former alone."""
    written = 3.0 * _MOVE * tasks * size
    return written + tasks * tasks * size, written


def _matrix_costs(uses: Sequence[UseFacts], tasks: int) -> tuple[float, float]:
    """Estimated cost of the plain and of the exact way."""
    first = uses[0]
    rows, width, out, groups = sum(u.rows for u in uses), first.width, first.out, first.groups
    plain = tasks * out * width * (rows + tasks + 3.0 * _MOVE)
    exact = tasks * out * rows * (rows + tasks + 3.0 * _MOVE)
    exact += rows * width * (rows + out)
    if first.rule == "convolution":
        exact += _MOVE * (2.0 * rows * width + 2.0 * tasks * rows * out)
    return groups * plain, groups * exact


def _tasks_at_once(parameters: Sequence[ParameterFacts], tasks: int) -> int:
    """Many small tasks travel together as far as memory allows, large ones one by one."""
    elements: dict[int, int] = {}
    rows = 1
    for facts in parameters:
        for use in facts.uses:
            elements[use.edge] = use.elements
            if use.kind == "matrix":
                rows = max(rows, use.rows)
            elif use.kind == "rows":
                rows = max(rows, use.elements)
    size = sum(facts.size for facts in parameters)
    per_task = 2 * sum(elements.values())
    fitting = size * tasks // (4 * per_task) if per_task else tasks
    together = min(tasks, fitting, _ROWS_AT_ONCE // rows)
    if together < min(tasks, _LEAST_TOGETHER):
        return 1
    return -(-tasks // -(-tasks // together))  # chunks of about the same size
