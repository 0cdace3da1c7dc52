"""Which way each shared parameter goes, by a cost model, and how many tasks travel at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from mtl_methods.exact_gram.layer import (
    BiasUse,
    GradientUse,
    LayerUse,
    MatrixUse,
    RowUse,
    has_many_rows,
    slots_of,
)
from mtl_methods.exact_gram.rules import layer_use
from mtl_methods.exact_gram.trunk import Slot, Trunk

__all__ = ["FactorPlan", "GramPlan", "ParameterPlan", "make_plan"]

# Costs are in multiply-adds; a number moved through memory weighs as much as so many of them.
_MOVE = 8.0
# Rows at which a matrix product is efficient on its own; smaller tasks travel together.
_ROWS_AT_ONCE = 512
_LEAST_TOGETHER = 8  # fewer do not repay the batching
# Graph nodes that torch batches over tasks without a loop or a copy of the saved tensors.
_BATCHED = frozenset(
    {
        "AddBackward0",
        "AddmmBackward0",
        "CloneBackward0",
        "DivBackward0",
        "EluBackward0",
        "EmbeddingBackward0",
        "ExpandBackward0",
        "GeluBackward0",
        "HardtanhBackward0",
        "LeakyReluBackward0",
        "MeanBackward0",
        "MeanBackward1",
        "MmBackward0",
        "MulBackward0",
        "NegBackward0",
        "PermuteBackward0",
        "ReluBackward0",
        "ReshapeAliasBackward0",
        "SelectBackward0",
        "SigmoidBackward0",
        "SiluBackward0",
        "SliceBackward0",
        "SoftplusBackward0",
        "SqueezeBackward0",
        "SqueezeBackward1",
        "SubBackward0",
        "SumBackward0",
        "SumBackward1",
        "TBackward0",
        "TanhBackward0",
        "ThresholdBackward0",
        "ToCopyBackward0",
        "TransposeBackward0",
        "UnsafeViewBackward0",
        "UnsqueezeBackward0",
        "ViewBackward0",
    }
)


@dataclass(frozen=True, eq=False)
class ParameterPlan:
    """The way of one shared parameter.

    Attributes:
        parameter: The parameter.
        way: ``"exact"`` (from layer inputs and output gradients) or ``"plain"`` (K gradients).
        reason: Why this way, in a few words.
    """

    parameter: Tensor = field(repr=False)
    way: str
    reason: str


@dataclass(frozen=True, eq=False)
class GramPlan:
    """How a step finds the Gram matrix; ``str(plan)`` is a line for logs.

    Attributes:
        path: ``"exact"`` if any parameter goes that way, else ``"plain"``.
        reason: Why, in one clause.
        parameters: The ways of the shared parameters in use; empty if the plain path was taken
            without a look at them.
        tasks_at_once: How many tasks travel down the trunk together.
    """

    path: str
    reason: str
    parameters: tuple[ParameterPlan, ...] = ()
    tasks_at_once: int = 1

    def __str__(self) -> str:
        text = f"Gram path {self.path}: {self.reason}"
        if self.path == "exact":
            text += f"; {self.tasks_at_once} task(s) at once"
        ways = Counter((plan.way, plan.reason) for plan in self.parameters)
        listed = [f"{count} {way} ({reason})" for (way, reason), count in ways.items()]
        return text + ("; parameters: " + ", ".join(listed) if listed else "")


@dataclass(eq=False, slots=True)
class FactorPlan:
    """What is to be kept of the task gradients of a parameter.

    Attributes:
        parameter: The parameter.
        uses: Its uses, all of one kind, if it goes the exact way; else none.
        bias: A bias that is kept with it, as the weight of one more column of A.
    """

    parameter: Tensor
    uses: tuple[LayerUse, ...]
    bias: Tensor | None = None


def make_plan(trunk: Trunk, tasks: int, *, forced: bool) -> tuple[GramPlan, list[FactorPlan]]:
    """Chooses a way for every parameter.

    Args:
        trunk: The trunk of the step.
        tasks: Number of tasks K.
        forced: Whether every parameter that rules cover goes the exact way, whatever it costs.

    Returns:
        The plan, which holds on to nothing of the step's graph, and what is to be kept, of every
        parameter, if the path is ``"exact"``. Unless forced it is so only if that saves at least a
        twentieth of the estimated work and needs no more memory than the K gradients.
    """
    known = {id(p): _uses(trunk, p) for p in trunk.parameters}
    at_once = _tasks_at_once(trunk, (uses for uses, _ in known.values()), tasks)
    plans: dict[int, ParameterPlan] = {}
    factors: list[FactorPlan] = []
    matrices: dict[frozenset[Slot], FactorPlan] = {}
    saved = total = 0.0
    biases = {key for key, (uses, _) in known.items() if _is_bias(uses)}
    # biases last: they go the way of their layer's weight
    for parameter in sorted(trunk.parameters, key=lambda p: id(p) in biases):
        uses, reason = known[id(parameter)]
        if uses:
            plan, plain, exact = _way(parameter, uses, tasks, together=at_once > 1, forced=forced)
        else:
            plan = ParameterPlan(parameter, "plain", reason)
            plain = exact = _row_costs(parameter, tasks)[0]
        layer = matrices.get(slots_of(uses)) if id(parameter) in biases else None
        if layer is not None:
            plan, exact = ParameterPlan(parameter, "exact", "bias, with its weight"), 0.0
        plans[id(parameter)] = plan
        total += plain
        if plan.way == "plain":
            factors.append(FactorPlan(parameter, ()))
            continue
        saved += plain - exact
        if layer is not None and layer.bias is None and _is_column(parameter, layer):
            layer.bias = parameter
            continue
        factor = FactorPlan(parameter, uses)
        factors.append(factor)
        if isinstance(uses[0], MatrixUse):
            matrices[slots_of(uses)] = factor
    ordered = tuple(plans[id(parameter)] for parameter in trunk.parameters)
    if not forced and saved < 0.05 * total:
        return GramPlan("plain", "layer inputs have too many rows to save work", ordered), []
    if not any(plan.way == "exact" for plan in ordered):
        return GramPlan("plain", "no rule covers any parameter", ordered), []
    share = 100.0 * saved / total if total else 0.0
    reason = f"saves {share:.0f} % of the work on weight gradients"
    return GramPlan("exact", reason, ordered, at_once), factors


def _is_bias(uses: tuple[LayerUse, ...]) -> bool:
    return bool(uses) and all(isinstance(use, BiasUse) for use in uses)


def _is_column(bias: Tensor, layer: FactorPlan) -> bool:
    """Whether a bias is the weight of one more column of what is kept of its layer."""
    first = layer.uses[0]
    return (
        isinstance(first, MatrixUse)
        and bias.numel() == first.groups * first.out
        and not has_many_rows(layer.uses)
    )


def _way(
    parameter: Tensor,
    uses: tuple[LayerUse, ...],
    tasks: int,
    *,
    together: bool,
    forced: bool,
) -> tuple[ParameterPlan, float, float]:
    """The way of one parameter by itself, and its estimated cost on the plain and this way.

    Args:
        parameter: The parameter.
        uses: What the rules know of its uses, at least one.
        tasks: Number of tasks K.
        together: Whether several tasks travel at once.
        forced: See :func:`make_plan`.
    """
    plain, exact = _row_costs(parameter, tasks)
    what = uses[0].rule
    if isinstance(uses[0], MatrixUse):
        matrix = [use for use in uses if isinstance(use, MatrixUse)]
        plain, exact = _matrix_costs(matrix, tasks)
        rows, width = sum(use.rows for use in matrix), matrix[0].width
        what = f"{what}, {rows} rows against width {width}"
        pays = exact < plain and rows <= width
    elif isinstance(uses[0], RowUse):
        exact = min(3.0 * _MOVE * tasks * sum(use.elements for use in uses), plain)
        pays = True
    else:
        pays = together
        what = what if forced or pays else f"{what}, cheaper as it is"
    return ParameterPlan(parameter, "exact" if forced or pays else "plain", what), plain, exact


def _uses(trunk: Trunk, parameter: Tensor) -> tuple[tuple[LayerUse, ...], str]:
    """What rules know of all uses of a parameter; nothing, and why, if they do not cover it."""
    found: list[LayerUse] = []
    for use in trunk.uses[id(parameter)]:
        known = layer_use(use, parameter)
        if known is None:
            return (), f"no rule for {use.node.name()}"
        found.append(known)
    if len(found) > 1:
        kinds = {GradientUse if isinstance(use, GradientUse) else type(use) for use in found}
        layouts = {use.layout for use in found if isinstance(use, MatrixUse)}
        if len(kinds) > 1 or len(layouts) > 1:
            return (), "used in different ways"
    return tuple(found), ""


def _row_costs(parameter: Tensor, tasks: int) -> tuple[float, float]:
    """Estimated cost of K gradients of a parameter and their products, and of the former alone."""
    written = 3.0 * _MOVE * tasks * parameter.numel()
    return written + tasks * tasks * parameter.numel(), written


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


def _tasks_at_once(trunk: Trunk, covered: Iterable[tuple[LayerUse, ...]], tasks: int) -> int:
    """Many small tasks travel together as far as memory allows, large ones one by one."""
    if not trunk.node_names <= _BATCHED:
        return 1
    elements: dict[tuple[object, int], int] = {}
    rows = 1
    for uses in covered:
        for use in uses:
            elements[use.edge.node, use.edge.output_nr] = use.elements
            if isinstance(use, MatrixUse):
                rows = max(rows, use.rows)
            elif not isinstance(use, GradientUse):
                rows = max(rows, use.elements)
    size = sum(parameter.numel() for parameter in trunk.parameters)
    per_task = 2 * sum(elements.values())
    fitting = size * tasks // (4 * per_task) if per_task else tasks
    together = min(tasks, fitting, _ROWS_AT_ONCE // rows)
    if together < min(tasks, _LEAST_TOGETHER):
        return 1
    return -(-tasks // -(-tasks // together))  # chunks of about the same size
