"""FairGrad: alpha-fair allocation of the tasks' rates of decrease."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.alpha_fair import AlphaFairWeighting, relative_residual
from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.method import StepInputs
from mtl_methods.solvers.min_norm import solve_min_norm

__all__ = ["FairGrad"]

_SGD_STEPS, _SGD_LR, _SGD_MOMENTUM = 20, 0.1, 0.5  # FairGrad paper, section 5.5
_SGD_FLOOR = 1e-3  # keeps w ** (-1 / alpha) defined; the paper leaves it open
_SOLVED = 1e-3
_STATIONARY = 8.0  # as in the solver of the alpha-fair family


class FairGrad(AlphaFairWeighting):
    """Maximises the alpha-fair utility of the rates ``g_k . d``.

    The weights solve ``G w = w ** (-1 / alpha)`` elementwise, with ``G`` the Gram matrix of the
    task gradients. alpha = 0 is linear scalarisation (weights 1), alpha = 1 Nash-MTL, alpha = 2
    minimum potential delay fairness, and alpha = inf max-min fairness: MGDA's direction, scaled so
    that the slowest tasks have rate 1.

    As alpha falls to 0 the weights tend to 1 only where no task conflicts with the sum: the paper's
    condition ``g_k . d >= 0`` makes the limit the sum projected on the gradients' dual cone.
    alpha = 0 itself is the sum.

    At a Pareto-stationary point the equation has no solution: see ``on_pareto_stationary``.

    Source: Ban and Ji, "Fair Resource Allocation in Multi-Task Learning" (ICML 2024), equation 4.
    """

    name: ClassVar[str] = "fairgrad"
    summary: ClassVar[str] = "FairGrad: alpha-fair rates of decrease."
    paper: ClassVar[str] = "Ban and Ji, ICML 2024"
    equation: ClassVar[str] = "G w = w^(-1/alpha)"
    scale_law: ClassVar[str] = "s^(-2 alpha / (1 + alpha))"
    deviations: ClassVar[tuple[str, ...]] = (
        "The paper minimises ||G w - w^(-1/alpha)||^2 by scipy's least_squares from w = 1/K "
        "(solver='least_squares'), which misses the solution at unequal or small gradients while "
        "reporting success; the default solves the same equation exactly.",
        "For reinforcement learning the paper takes 20 steps of SGD on it (solver='sgd'); how w is "
        "kept positive is not said, here by w >= 1e-3.",
        "The published code multiplies the shared gradient by K and clips it to norm 1; neither is "
        "in the paper nor here.",
        "Heads are unweighted, as in the published code; LibMTL weights them "
        "(head_weighting='same').",
    )

    alpha: float = hyperparameter(
        2.0,
        low=0.0,
        search=(1.0, 10.0),
        log=True,
        source="FairGrad section 5.5: grid 1, 2, 5, 10, then steps of 0.1; 2 preferable",
        description="Fairness: 0 for the sum of rates, infinity for the slowest rate.",
    )
    solver: str = hyperparameter(
        "exact",
        choices=("exact", "least_squares", "sgd"),
        source="FairGrad section 4 (least_squares), section 5.5 (sgd)",
        description="How the equation is solved.",
    )

    @property
    def scale_exponent(self) -> float | None:
        """``-2 alpha / (1 + alpha)`` for the exact solution, -2 in the max-min limit."""
        if self.solver != "exact":
            return None
        return -2.0 if math.isinf(self.alpha) else -2.0 * self.alpha / (1.0 + self.alpha)

    def exponent(self) -> float:
        """``1 / alpha``."""
        return math.inf if self.alpha == 0.0 else 1.0 / self.alpha

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The weights, shape (K,)."""
        count = len(inputs.tasks)
        if self.alpha == 0.0:
            return Combination(weights=np.ones(count), residual=0.0)
        if math.isinf(self.alpha):
            return self._max_min(gram, inputs)
        if self.solver == "exact":
            return super().solve(gram, inputs)
        p = self.exponent()
        weights = _least_squares(gram, p) if self.solver == "least_squares" else _sgd(gram, p)
        residual = relative_residual(gram, weights, p, np.ones(count))
        decision = Combination(weights=weights, residual=residual)
        if not residual <= _SOLVED:
            decision.events.append(
                ("solver_tolerance", f"{self.solver} solves the equation only to {residual:.1e}")
            )
        return decision

    def _max_min(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The limit alpha -> inf: the min-norm point, with its least rate scaled to 1."""
        solution = solve_min_norm(gram, precision=self.precision)
        if solution.relative_norm**2 <= _STATIONARY * self.precision:
            return self.stationary(inputs)
        return Combination(
            weights=solution.weights / solution.norm**2,
            residual=solution.residual,
            iterations=solution.iterations,
        )


def _least_squares(gram: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """The paper's solver: nonlinear least squares on the equation, from ``w = 1/K``."""
    from scipy.optimize import least_squares

    def error(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return gram @ weights - weights ** (-p)

    start = np.full(len(gram), 1.0 / len(gram))
    found = least_squares(error, start, bounds=(0.0, np.inf))
    weights: NDArray[np.float64] = found.x
    return weights


def _sgd(gram: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """The paper's solver for reinforcement learning: SGD with momentum on the squared error."""
    weights = np.full(len(gram), 1.0 / len(gram))
    velocity = np.zeros(len(gram))
    for _ in range(_SGD_STEPS):
        powers = weights ** (-p)
        error = gram @ weights - powers
        gradient = 2.0 * (gram @ error + error * p * powers / weights)
        velocity = _SGD_MOMENTUM * velocity + gradient
        weights = np.maximum(weights - _SGD_LR * velocity, _SGD_FLOOR)
    return weights
