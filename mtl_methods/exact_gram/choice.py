"""Which way each shared parameter goes, by a cost model, and how many tasks travel at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mtl_methods.exact_gram.layer import LayerUse, MatrixUse, RowUse, has_many_rows

__all__ = ["Choice", "KnownParameter", "PlacedUse", "choose"]

# Costs are in multiply-adds; a number moved through memory weighs as much as so many of them.
_MOVE = 8.0
# Rows at which a matrix product is efficient on its own; smaller tasks travel together.
_ROWS_AT_ONCE = 512
_LEAST_TOGETHER = 8  # fewer do not repay the batching


class PlacedUse(NamedTuple):
    """A use of a parameter and the position of the node where it takes place."""

    node: int
    use: LayerUse


class KnownParameter(NamedTuple):
    """What a choice depends on of a parameter.

    Attributes:
        size: Number of its elements.
        uses: Its uses, none if the rules do not cover all.
        reason: Why they do not.
    """

    size: int
    uses: tuple[PlacedUse, ...]
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


def choose(
    parameters: Sequence[KnownParameter], tasks: int, *, batched: bool, forced: bool
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
    known = [_of_one_kind(parameter) for parameter in parameters]
    at_once = _tasks_at_once(known, tasks) if batched else 1
    ways: dict[int, tuple[str, str]] = {}
    factors: list[tuple[int, bool, int | None]] = []
    matrices: dict[frozenset[int], int] = {}  # by the nodes of their uses, place among factors
    saved = total = 0.0
    # biases last: they go the way of their layer's weight
    for place, parameter in sorted(enumerate(known), key=lambda item: _is_bias(item[1])):
        uses = [placed.use for placed in parameter.uses]
        nodes = frozenset(placed.node for placed in parameter.uses)
        if uses:
            way, plain, exact = _way(parameter.size, uses, tasks, at_once > 1, forced)
        else:
            way = "plain", parameter.reason
            plain = exact = _row_costs(parameter.size, tasks)[0]
        layer = matrices.get(nodes) if _is_bias(parameter) else None
        if layer is not None:
            way, exact = ("exact", "bias, with its weight"), 0.0
        ways[place] = way
        total += plain
        if way[0] == "plain":
            factors.append((place, False, None))
            continue
        saved += plain - exact
        if layer is not None and _is_column(parameter, known[factors[layer][0]], factors[layer]):
            factors[layer] = (factors[layer][0], True, place)
            continue
        if uses[0].kind == "matrix":
            matrices[nodes] = len(factors)
        factors.append((place, True, None))
    ordered = tuple(ways[place] for place in range(len(known)))
    if not forced and saved < 0.05 * total:
        return Choice("plain", "layer inputs have too many rows to save work", 1, ordered)
    if not any(way == "exact" for way, _ in ordered):
        return Choice("plain", "no rule covers any parameter", 1, ordered)
    share = 100.0 * saved / total if total else 0.0
    reason = f"saves {share:.0f} % of the work on weight gradients"
    return Choice("exact", reason, at_once, ordered, tuple(factors))


def _of_one_kind(parameter: KnownParameter) -> KnownParameter:
    """The same, without uses if these differ in ways that no factor joins."""
    uses = [placed.use for placed in parameter.uses]
    kinds = {"gradient" if use.kind == "bias" else use.kind for use in uses}
    layouts = {use.layout for use in uses if isinstance(use, MatrixUse)}
    if len(kinds) > 1 or len(layouts) > 1:
        return KnownParameter(parameter.size, (), "used in different ways")
    return parameter


def _is_bias(parameter: KnownParameter) -> bool:
    return bool(parameter.uses) and all(placed.use.kind == "bias" for placed in parameter.uses)


def _is_column(
    bias: KnownParameter, weight: KnownParameter, factor: tuple[int, bool, int | None]
) -> bool:
    """Whether a bias is the weight of one more column of what is kept of its layer."""
    uses = [placed.use for placed in weight.uses]
    first = uses[0]
    assert isinstance(first, MatrixUse)
    is_free = factor[2] is None and not has_many_rows(uses)
    return is_free and bias.size == first.groups * first.out


def _way(
    size: int, uses: Sequence[LayerUse], tasks: int, together: bool, forced: bool
) -> tuple[tuple[str, str], float, float]:
    """The way of one parameter by itself, and its estimated cost on the plain and this way.

    Args:
        size: Number of its elements.
        uses: Its uses, at least one.
        tasks: Number of tasks K.
        together: Whether several tasks travel at once.
        forced: See :func:`choose`.
    """
    plain, exact = _row_costs(size, tasks)
    what = uses[0].rule
    matrix = [use for use in uses if isinstance(use, MatrixUse)]
    if matrix:
        plain, exact = _matrix_costs(matrix, tasks)
        rows, width = sum(use.rows for use in matrix), matrix[0].width
        what = f"{what}, {rows} rows against width {width}"
        pays = exact < plain and not has_many_rows(matrix)
    elif isinstance(uses[0], RowUse):
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


def _matrix_costs(uses: Sequence[MatrixUse], tasks: int) -> tuple[float, float]:
    """Estimated cost of the plain and of the exact way."""
    first = uses[0]
    rows, width, out, groups = sum(u.rows for u in uses), first.width, first.out, first.groups
    plain = tasks * out * width * (rows + tasks + 3.0 * _MOVE)
    exact = tasks * out * rows * (rows + tasks + 3.0 * _MOVE)
    exact += rows * width * (rows + out)
    if first.rule == "convolution":
        exact += _MOVE * (2.0 * rows * width + 2.0 * tasks * rows * out)
    return groups * plain, groups * exact


def _tasks_at_once(parameters: Sequence[KnownParameter], tasks: int) -> int:
    """Many small tasks travel together as far as memory allows, large ones one by one."""
    elements: dict[int, int] = {}
    rows = 1
    for parameter in parameters:
        for node, use in parameter.uses:
            elements[node] = use.elements
            if isinstance(use, MatrixUse):
                rows = max(rows, use.rows)
            elif isinstance(use, RowUse):
                rows = max(rows, use.elements)
    size = sum(parameter.size for parameter in parameters)
    per_task = 2 * sum(elements.values())
    fitting = size * tasks // (4 * per_task) if per_task else tasks
    together = min(tasks, fitting, _ROWS_AT_ONCE // rows)
    if together < min(tasks, _LEAST_TOGETHER):
        return 1
    return -(-tasks // -(-tasks // together))  # chunks of about the same size
