"""The plan of a step: which way each shared parameter goes, and what is to be kept for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from torch import Tensor

from mtl_methods.exact_gram.choice import ParameterFacts, UseFacts, choose
from mtl_methods.exact_gram.layer import LayerUse, MatrixUse
from mtl_methods.exact_gram.rules import layer_use
from mtl_methods.exact_gram.trunk import Slot, Trunk

__all__ = ["FactorPlan", "GramPlan", "ParameterPlan", "make_plan"]

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
    """Chooses a way for every parameter, see :func:`~mtl_methods.exact_gram.choice.choose`.

    Args:
        trunk: The trunk of the step.
        tasks: Number of tasks K.
        forced: Whether every parameter that rules cover goes the exact way, whatever it costs.

    Returns:
        The plan, which holds on to nothing of the step's graph, and what is to be kept, of every
        parameter, if the path is ``"exact"``.
    """
    edges: dict[Slot, int] = {}
    facts, uses = [], []
    for parameter in trunk.parameters:
        found, reason = _uses(trunk, parameter)
        uses.append(found)
        told = tuple([_facts(use, edges) for use in found])
        facts.append(ParameterFacts(parameter.numel(), told, reason))
    batched = trunk.node_names <= _BATCHED
    choice = choose(tuple(facts), tasks, batched=batched, forced=forced)
    ways = zip(trunk.parameters, choice.ways, strict=True)
    plan = GramPlan(
        choice.path,
        choice.reason,
        tuple([ParameterPlan(parameter, way, reason) for parameter, (way, reason) in ways]),
        choice.tasks_at_once,
    )
    return plan, [
        FactorPlan(
            trunk.parameters[place],
            uses[place] if is_exact else (),
            None if bias is None else trunk.parameters[bias],
        )
        for place, is_exact, bias in choice.factors
    ]


def _uses(trunk: Trunk, parameter: Tensor) -> tuple[tuple[LayerUse, ...], str]:
    """What rules know of all uses of a parameter; nothing, and why, if they do not cover it."""
    found: list[LayerUse] = []
    for use in trunk.uses[id(parameter)]:
        known = layer_use(use, parameter)
        if known is None:
            return (), f"no rule for {use.node.name()}"
        found.append(known)
    return tuple(found), ""


def _facts(use: LayerUse, edges: dict[Slot, int]) -> UseFacts:
    """What the choice is to know of a use; edges are numbered as they come."""
    edge = edges.setdefault((use.edge.node, use.edge.output_nr), len(edges))
    if not isinstance(use, MatrixUse):
        return UseFacts(use.kind, use.rule, edge, use.elements)
    return UseFacts(
        use.kind,
        use.rule,
        edge,
        use.elements,
        use.rows,
        use.width,
        use.out,
        use.groups,
        use.layout,
    )
