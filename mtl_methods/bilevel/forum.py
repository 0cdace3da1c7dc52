"""FORUM: first-order multi-objective bilevel descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl_methods.bilevel.hypergradient import inner_lr_option
from mtl_methods.configuration import hyperparameter
from mtl_methods.core.lower_level import LowerLevel
from mtl_methods.core.method import Family, Method, Need, StepInputs
from mtl_methods.core.writing import accumulate
from mtl_methods.errors import NonFiniteGradientError, NonFiniteLossError
from mtl_methods.solvers.simplex_quadratic import solve_simplex_quadratic

__all__ = ["FORUM"]

_DIVERGED = 1e3  # growth of the training loss at which the look-ahead is cut short


class FORUM(Method):
    """Descends all validation losses at once, while the training problem stays nearly solved.

    With ``w = softmax(alpha)`` and ``f(alpha, theta) = sum_i w_i l_i^train(theta)``, the constraint
    is ``q = f(alpha, theta) - f(alpha, theta_T) <= 0``, where ``theta_T`` is ``theta`` after
    ``inner_steps`` descent steps on ``f`` (held fixed). The direction, for ``alpha`` and all model
    parameters together, is ``d = sum_i lambda_i grad F_i + nu grad q`` with the validation losses
    ``F_i`` and the solution of::

        min  |sum_i lambda_i grad F_i + nu grad q|^2 / 2 - nu rho |grad q|^2
        over lambda on the simplex, nu >= 0

    so that ``<grad q, d> >= rho |grad q|^2``. The ``lambda`` are averaged over steps,
    ``lambda~ <- lambda~ + (k + 1)^(-3/4) (lambda - lambda~)``, and ``nu`` is
    ``max(sum_i lambda~_i (rho - <grad q, grad F_i> / |grad q|^2), 0)``.

    The model descends along validation gradients too, so that there are no effective weights of
    the training losses, and heads receive the direction like every other parameter. The ``alpha``
    are own parameters: add ``method.parameters()`` to the optimiser as a group of their own.

    Source: Ye et al., "A First-Order Multi-Gradient Algorithm for Multi-Objective Bi-Level
    Optimization" (ECAI 2024).
    """

    name: ClassVar[str] = "forum"
    summary: ClassVar[str] = "FORUM: first-order descent of all validation losses."
    paper: ClassVar[str] = "Ye et al., ECAI 2024"
    equation: ClassVar[str] = "d = sum_i lambda_i grad F_i + nu grad q, q = f(theta) - f(theta_T)"
    needs: ClassVar[frozenset[Need]] = frozenset(
        {Need.LOSSES, Need.VALIDATION_BATCH, Need.OWN_PARAMETERS}
    )
    family: ClassVar[Family] = "bilevel"
    backward_passes: ClassVar[str] = "1 + K + inner_steps"
    deviations: ClassVar[tuple[str, ...]] = (
        "LibMTL minimises |d|^2 - nu rho |grad q|^2 (no factor 1/2) under a second constraint on "
        "nu that its own optimality does not imply; here both follow from one problem.",
        "LibMTL divides validation gradients by their lengths (normalisation='l2'); the paper "
        "does not (the default).",
        "LibMTL averages lambda with (epoch + 1)^(-3/4) (average='epochs'), the paper with the "
        "iteration's number (the default).",
        "LibMTL stops the inner steps where the loss exceeds 1e5; here before it has grown a "
        "thousandfold, which is counted.",
        "LibMTL solves with cvxpy; here an active-set method reports its residual.",
    )

    rho: float = hyperparameter(
        0.1,
        low=0.0,
        search=(0.01, 1.0),
        log=True,
        source="LibMTL: 0.1 (FORUM_phi)",
        description="How much of the training problem's gradient each step must keep.",
    )
    inner_steps: int = hyperparameter(
        5,
        low=1,
        search=(1, 10),
        source="LibMTL: 5",
        description="Descent steps of the look-ahead.",
    )
    inner_lr: float | None = inner_lr_option()
    normalisation: str = hyperparameter(
        "none",
        choices=("none", "l2"),
        search=("none", "l2"),
        source="none: the paper; l2: LibMTL",
        description="Whether validation gradients are divided by their lengths.",
    )
    average: str = hyperparameter(
        "iterations",
        choices=("iterations", "epochs", "none"),
        source="iterations: the paper; epochs: LibMTL",
        description=(
            "What counts the steps of the averaging of lambda; epochs needs end_epoch after each."
        ),
    )

    @property
    def awaits_epoch(self) -> bool:
        """With ``average="epochs"``, whose first average is no average."""
        return self.average == "epochs" and not self.state.get("epochs", 0)

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        count = len(self.tasks)
        self.own.alpha = nn.Parameter(torch.zeros(count, device=device, dtype=dtype))
        self.state["average"] = torch.full((count,), 1.0 / count, dtype=torch.float64, device="cpu")
        self.state["steps"] = 0
        self.state["epochs"] = 0

    def _step(self, inputs: StepInputs) -> None:
        own: nn.Parameter = self.own.alpha  # type: ignore[assignment]
        level = LowerLevel.of_step(self, inputs, self.inner_lr)
        with torch.enable_grad():
            weights = torch.softmax(own[inputs.index.to(own.device)], 0)
        tasks, upper = self._upper_gradients(level)
        ahead = self._ahead(level, weights.detach())
        gap = inputs.values.to(weights) - ahead.to(weights)
        (alpha_slope,) = torch.autograd.grad(weights, own, gap)
        lower = self._lower_gradient(level, inputs, weights.detach())
        shares, nu = self._combine(tasks, upper, lower, alpha_slope)
        direction = nu * lower
        if tasks:
            direction = direction + torch.as_tensor(shares, device=upper.device).to(upper) @ upper
        level.write(inputs, direction)
        accumulate([own], [nu * alpha_slope], inputs.grad_scale)

    def _upper_gradients(self, level: LowerLevel) -> tuple[tuple[str, ...], Tensor]:
        """The gradient of each validation loss by all model parameters, as rows (n, m)."""
        with torch.enable_grad():
            tasks, upper = level.validation_losses(level.parameters, level.tasks)
            rows = [
                level.gradient([loss], [1.0], retain_graph=k + 1 < len(tasks))
                for k, loss in enumerate(upper.unbind())
            ]
        if not tasks:
            self._event("no_validation_loss", "the validation batch has none of the tasks")
            return (), torch.zeros(0)
        stacked = torch.stack(rows)
        if self.normalisation == "l2":
            lengths = stacked.norm(dim=1, keepdim=True)
            stacked = stacked / lengths.masked_fill(lengths == 0.0, 1.0)
        return tasks, stacked

    def _lower_gradient(self, level: LowerLevel, inputs: StepInputs, weights: Tensor) -> Tensor:
        """The gradient of the weighted training losses by all model parameters, shape (m,)."""
        scaled = (weights.to(torch.float64) * inputs.grad_scale).tolist()
        return level.live_gradient(inputs.losses, scaled) / inputs.grad_scale

    def _ahead(self, level: LowerLevel, weights: Tensor) -> Tensor:
        """The training losses after the look-ahead, shape (K,)."""
        current: Mapping[str, Tensor] = level.parameters
        losses = level.training_losses(current).detach()
        bound = _DIVERGED * float(weights @ losses.abs().to(weights))
        for _ in range(self.inner_steps):
            try:
                with torch.enable_grad():
                    current = level.descend(
                        lambda found: weights @ found.to(weights.dtype), 1, start=current
                    )
                found = level.training_losses(current).detach()
            except NonFiniteLossError:
                found = torch.full_like(losses, torch.inf)
            if float(weights @ found.abs().to(weights)) > bound:
                self._event("look_ahead_diverged", "the look-ahead diverged and was cut short")
                break
            losses = found
        return losses

    def _combine(
        self, tasks: tuple[str, ...], upper: Tensor, lower: Tensor, alpha_slope: Tensor
    ) -> tuple[NDArray[np.float64], float]:
        """The averaged lambda of the validation losses, and nu."""
        count = len(tasks)
        rows = torch.cat([upper.reshape(count, -1).to(lower), lower[None]])
        gram = (rows @ rows.T).to("cpu", torch.float64).numpy()
        square = float(gram[count, count]) + float(alpha_slope.double().square().sum())
        gram[count, count] = square
        if not np.isfinite(gram).all():
            raise NonFiniteGradientError(self.tasks[0])
        if not tasks:
            return np.zeros(0), self.rho
        linear = np.zeros(count + 1)
        linear[count] = self.rho * square
        solution = solve_simplex_quadratic(gram, linear, count)
        self.last_step.residual = solution.residual
        self.last_step.iterations = solution.iterations
        if solution.status != "converged":
            self._event("solver_inaccurate", "the quadratic programme missed its tolerance")
        shares = self._averaged(tasks, solution.weights[:count])
        nu = 0.0
        if square > 0.0:
            nu = max(float(self.rho - shares @ gram[:count, count] / square), 0.0)
        return shares, nu

    def _averaged(self, tasks: tuple[str, ...], found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Moves the averages of the tasks towards ``found``; returns them, of sum 1."""
        number = self.state["epochs" if self.average == "epochs" else "steps"]
        rate = 1.0 if self.average == "none" else (number + 1.0) ** -0.75
        index = torch.tensor([self.tasks.index(task) for task in tasks], device="cpu")
        kept: Tensor = self.state["average"]
        kept[index] += rate * (torch.from_numpy(found) - kept[index])
        self.state["steps"] += 1
        shares = kept[index]
        normalised: NDArray[np.float64] = (shares / shares.sum()).numpy()
        return normalised

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Counts epochs, for ``average="epochs"``."""
        self.state["epochs"] = self.state.get("epochs", 0) + 1
