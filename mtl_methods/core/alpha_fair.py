"""What the alpha-fair methods share: one equation, one solver, one answer to stationary points."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.gram_weighting import GramWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.errors import ParetoStationaryError
from mtl_methods.solvers.alpha_fair import AlphaFairSolution, solve_alpha_fair

__all__ = ["AlphaFairWeighting", "relative_residual"]


class AlphaFairWeighting(GramWeighting):
    """Base of the methods whose weights solve ``G w = c * w**(-p)`` elementwise, ``w > 0``.

    At a Pareto-stationary point a convex combination of the task gradients vanishes, within their
    precision, and the equation has no solution. The shared parameters then get no gradient
    (weights 0, counted as ``pareto_stationary``) and the heads train on with weight 1, or the step
    raises, as ``on_pareto_stationary`` says.
    """

    on_pareto_stationary: str = hyperparameter(
        "zero",
        choices=("zero", "raise"),
        source="Nash-MTL (Navon et al., 2022), section 4: stop at a Pareto-stationary point",
        description="At a Pareto-stationary point: no shared update, or ParetoStationaryError.",
    )

    @abstractmethod
    def exponent(self) -> float:
        """The p of the equation, > 0."""

    @property
    def scale_exponent(self) -> float | None:
        """``-2 / (1 + p)``, since the Gram matrix answers with ``s**2``."""
        return -2.0 / (1.0 + self.exponent())

    def constants(self, inputs: StepInputs) -> NDArray[np.float64] | None:
        """The c of the equation, shape (K,); ``None`` for 1."""
        return None

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The weights of the shared solver."""
        solution = solve_alpha_fair(
            gram, self.exponent(), self.constants(inputs), precision=self.precision
        )
        return self.decision(solution, inputs)

    def decision(self, solution: AlphaFairSolution, inputs: StepInputs) -> Combination:
        """What to do with what the solver found."""
        if solution.status == "pareto_stationary":
            return self.stationary(inputs)
        decision = Combination(
            weights=solution.weights,
            residual=solution.residual,
            iterations=solution.iterations,
        )
        if solution.status != "converged":
            decision.events.append(
                (
                    "solver_tolerance",
                    f"the weights solve their equation only to {solution.residual:.1e}",
                )
            )
        return decision

    def stationary(self, inputs: StepInputs) -> Combination:
        """The decision at a Pareto-stationary point."""
        sentence = (
            "a convex combination of the gradients of "
            f"{', '.join(inputs.tasks)} vanishes (Pareto-stationary)"
        )
        if self.on_pareto_stationary == "raise":
            raise ParetoStationaryError(f"{self.name}: {sentence}, so its equation has no solution")
        return Combination(
            weights=np.zeros(len(inputs.tasks)),
            head_weights=np.ones(len(inputs.tasks)),
            events=[("pareto_stationary", f"{sentence}; the shared parameters get no update")],
        )


def relative_residual(
    gram: NDArray[np.float64], weights: NDArray[np.float64], p: float, c: NDArray[np.float64]
) -> float:
    """``max_i |(G w)_i w_i**p / c_i - 1|``, how far weights are from solving the equation."""
    return float(np.max(np.abs((gram @ weights) * weights**p / c - 1.0)))
