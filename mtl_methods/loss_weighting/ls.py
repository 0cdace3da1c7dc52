"""Linear scalarisation: fixed weights, equal by default."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.errors import TaskError

__all__ = ["LS"]


class LS(LossWeighting):
    """Minimises ``sum_k w_k l_k`` with fixed weights ``w_k``.

    Without weights every task has weight 1: the plain sum of losses, the identity of every
    composition. Weights are used as given, never rescaled, so that ``{a: 0.1, b: 0.9}`` takes
    steps half as long as ``{a: 0.2, b: 1.8}`` under SGD.

    Source: equal and static weighting in every paper; Kurin et al., "In Defense of the Unitary
    Scalarization for Deep Multi-Task Learning" (NeurIPS 2022); Xin et al., "Do Current Multi-Task
    Optimization Methods in Deep Learning Even Help?" (NeurIPS 2022).
    """

    name: ClassVar[str] = "ls"
    summary: ClassVar[str] = "Linear scalarisation: static weights, equal by default."
    paper: ClassVar[str] = "Kurin et al., NeurIPS 2022; Xin et al., NeurIPS 2022"
    equation: ClassVar[str] = "min sum_k w_k l_k"
    scale_law: ClassVar[str] = "invariant"
    combines_gradients: ClassVar[bool] = True
    deviations: ClassVar[tuple[str, ...]] = (
        "Code bases disagree on the scale of equal weights: the Nash-MTL family sums the losses "
        "(the default here), others average them; give weights 1/K for the mean.",
    )

    static_weights: Any = hyperparameter(
        None,
        public_name="weights",
        kind="weights",
        source="any; a sum of K keeps the scale of equal weights",
        description="Weight of each task: a mapping from task names, or a list in task order.",
    )

    def __init__(self, *, weights: Any = None, head_weighting: str = "same") -> None:
        self.static_weights = weights
        self.head_weighting = head_weighting
        self.__post_init__()

    @property
    def scale_exponent(self) -> float | None:
        """0: the weights are fixed."""
        return 0.0

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        given = self.static_weights
        if given is None:
            table = [1.0] * len(self.tasks)
        elif isinstance(given[0], tuple):
            named = dict(given)
            if set(named) != set(self.tasks):
                raise TaskError(
                    f"ls: weights are given for {', '.join(named)}, "
                    f"the tasks are {', '.join(self.tasks)}"
                )
            table = [named[task] for task in self.tasks]
        else:
            if len(given) != len(self.tasks):
                raise TaskError(
                    f"ls: {len(given)} weights are given for {len(self.tasks)} tasks "
                    f"({', '.join(self.tasks)})"
                )
            table = list(given)
        self._table = table

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """The fixed weights of the present tasks, K numbers."""
        return [self._table[k] for k in inputs.index.tolist()]
