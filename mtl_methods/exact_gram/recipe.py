"""What a step's graph says of its Gram matrix, found once for all steps that look alike."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mtl_methods.exact_gram.choice import KnownParameter, PlacedUse, choose
from mtl_methods.exact_gram.factors import Factor, FactorRecipe, factor_recipe
from mtl_methods.exact_gram.layer import Entrance, NodeReading
from mtl_methods.exact_gram.layout import Layout
from mtl_methods.exact_gram.listing import Node
from mtl_methods.exact_gram.plan import GramPlan, ParameterPlan
from mtl_methods.exact_gram.rules import RULES
from mtl_methods.exact_gram.workspace import Workspace

__all__ = ["NodeReadings", "Recipe", "Recipes", "read_nodes"]

_REMEMBERED = 128  # recipes: batch sizes, lengths of sequences, batches that lack a task

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

NodeReadings = Mapping[int, NodeReading | None]
"""By the position of each node that uses a shared parameter, what its rule reads there."""


@dataclass(frozen=True, eq=False, slots=True)
class Recipe:
    """How the task gradients of steps that look alike are kept.

    Attributes:
        plan: The same in words, for reports.
        targets: What tasks are to be differentiated by: parameters, and positions of nodes at whose
            first output Δ is read.
        factors: What is to be kept of every parameter, if the path is ``"exact"``.
    """

    plan: GramPlan
    targets: tuple[Tensor | int, ...]
    factors: tuple[FactorRecipe, ...]

    def begin(self, readings: NodeReadings, tasks: int, workspace: Workspace) -> list[Factor]:
        """The factors of a step.

        Args:
            readings: What rules read from its graph; what no factor needs is not held.
            tasks: Number of tasks K.
            workspace: Memory of earlier steps to use again.
        """
        workspace.reset()
        factors = []
        for factor in self.factors:
            found = [readings[node] for node in factor.nodes]
            saved = [reading.saved for reading in found if reading is not None]
            factors.append(factor.kind(factor, saved, tasks, workspace))
        return factors


class Recipes:
    """Recipes of one set of parameters by what else they depend on.

    Another set, as of another model, takes the place of the one before, which is let go of. A deep
    copy begins with none.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Recipe] = {}
        self._parameters: tuple[Tensor, ...] = ()

    def __reduce__(self) -> tuple[type[Recipes], tuple[()]]:
        return Recipes, ()

    def recipe(
        self,
        layout: Layout,
        readings: NodeReadings,
        parameters: Sequence[Tensor],
        tasks: int,
        *,
        forced: bool,
    ) -> Recipe:
        """The recipe of a step.

        Args:
            layout: Of its graph.
            readings: What rules read from it.
            parameters: The shared parameters, each once.
            tasks: Number of tasks K.
            forced: Whether every parameter that rules cover goes the exact way.
        """
        same = len(parameters) == len(self._parameters)
        if not (same and all(map(operator.is_, parameters, self._parameters))):
            self._known.clear()
            self._parameters = tuple(parameters)
        key = (
            layout,
            forced,
            tuple([None if found is None else found.facts for found in readings.values()]),
            tuple([parameter.shape for parameter in parameters]),
        )
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            known = self._known[key] = _make(layout, readings, parameters, tasks, forced)
        return known


def read_nodes(nodes: Sequence[Node], layout: Layout) -> NodeReadings:
    """What rules read from the nodes that use a shared parameter."""
    readings: dict[int, NodeReading | None] = {}
    for position, name in layout.users:
        rule = RULES.get(name)
        readings[position] = None if rule is None else rule.read(nodes[position])
    return readings


def _make(
    layout: Layout,
    readings: NodeReadings,
    parameters: Sequence[Tensor],
    tasks: int,
    forced: bool,
) -> Recipe:
    used = [parameters[place] for place, _ in layout.uses]
    names = dict(layout.users)
    known = [
        _known(parameter, uses, readings, names)
        for parameter, (_, uses) in zip(used, layout.uses, strict=True)
    ]
    batched = layout.node_names <= _BATCHED
    choice = choose(known, tasks, batched=batched, forced=forced)
    ways = zip(used, choice.ways, strict=True)
    plan = GramPlan(
        choice.path,
        choice.reason,
        tuple([ParameterPlan(parameter, way, reason) for parameter, (way, reason) in ways]),
        choice.tasks_at_once,
    )
    targets: dict[int | Tensor, int] = {}
    factors = [
        _factor(
            used[place],
            known[place].uses if is_exact else (),
            None if bias is None else used[bias],
            targets,
        )
        for place, is_exact, bias in choice.factors
    ]
    return Recipe(plan, tuple(targets), tuple(factors))


def _known(
    parameter: Tensor,
    uses: Sequence[tuple[int, int, bool]],
    readings: NodeReadings,
    names: Mapping[int, str],
) -> KnownParameter:
    """What rules know of all uses of a parameter; nothing, and why, if they do not cover it."""
    found = []
    for node, slot, transposed in uses:
        reading, name = readings[node], names[node]
        entrance = Entrance(slot, transposed, parameter.shape)
        use = None if reading is None else RULES[name].use(reading.facts, entrance)
        if use is None:
            return KnownParameter(parameter.numel(), (), f"no rule for {name}")
        found.append(PlacedUse(node, use))
    return KnownParameter(parameter.numel(), tuple(found))


def _factor(
    parameter: Tensor,
    placed: Sequence[PlacedUse],
    bias: Tensor | None,
    targets: dict[int | Tensor, int],
) -> FactorRecipe:
    """The recipe of one factor; its targets join the others, by the places that they have there."""
    nodes = tuple([node for node, _ in placed])
    wanted: Sequence[int | Tensor] = nodes or (parameter,)
    places = tuple([targets.setdefault(target, len(targets)) for target in wanted])
    return factor_recipe(parameter, [use for _, use in placed], nodes, places, bias)
