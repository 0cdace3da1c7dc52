"""The two-objective problem of Navon et al. in the plane: objectives, Pareto front, trajectories.

With c1 = max(tanh(x2/2), 0) and c2 = max(tanh(-x2/2), 0):

    L1 = scale (c1 f1 + c2 g1),  L2 = c1 f2 + c2 g2
    f1 = log max(|(-x1 - 7)/2 - tanh(-x2)|, 5e-6) + 6
    f2 = log max(|(-x1 + 3)/2 + s tanh(-x2) + 2|, 5e-6) + 6
    g1 = ((-x1 + 7)^2 + 0.1 (-y - 8)^2) / 10 - 20
    g2 = ((-x1 - 7)^2 + 0.1 (-y - 8)^2) / 10 - 20

The published forms differ in the sign s and in y:

=============  ====  ====  ==========================================================
form           s     y     where
=============  ====  ====  ==========================================================
``code``       +1    x2    the published code (Nash-MTL, CAGrad, FAMO); the default
``ldc_mtl``    -1    x2    as printed in LDC-MTL A.3 and PIVRG 7.1
``fairgrad``   -1    x1    as printed in FairGrad A.1; its front is reached only for
                           x2 to minus infinity
=============  ====  ====  ==========================================================

``scale`` is 0.1 in FairGrad and LDC-MTL, 1 in PIVRG.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtl_methods import Method, Need
from mtl_methods.errors import ConfigurationError

__all__ = [
    "FLOOR",
    "FORMS",
    "STARTS",
    "TASKS",
    "Trajectories",
    "objectives",
    "pareto_front",
    "trajectories",
]

Floats = npt.NDArray[np.float64]

TASKS = ("L1", "L2")
FORMS = ("code", "ldc_mtl", "fairgrad")
FLOOR = -21.0
"""Below every value of L2, and of L1 / scale: what methods that need positive losses subtract."""
STARTS = {
    "fairgrad": ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)),
    "ldc_mtl": ((-8.5, 7.5), (-8.5, 5.0), (0.0, 0.0), (9.0, 9.0), (10.0, -8.0)),
}
"""The starting points of FairGrad A.1 (and PIVRG 7.1) and of LDC-MTL A.3."""

_SMALLEST = 5e-6
_SERVED = frozenset(
    {Need.LOSSES, Need.LOSSES_AFTER_STEP, Need.GRAM, Need.GRADIENTS, Need.OWN_PARAMETERS}
)
_NEWTON_STEPS = 50


def objectives(points: Tensor, *, form: str = "code", scale: float = 0.1) -> Tensor:
    """Both objectives at every point.

    Args:
        points: (x1, x2), shape (..., 2).
        form: One of :data:`FORMS`.
        scale: Factor on L1.

    Returns:
        (L1, L2), shape (..., 2), dtype of the points.

    Raises:
        ConfigurationError: If there is no such form.
    """
    _check(form)
    x1, x2 = points[..., 0], points[..., 1]
    sign, y = (1.0 if form == "code" else -1.0), (x1 if form == "fairgrad" else x2)
    # Not relu: at x2 = 0, where a starting point lies, both must have the slope of their inside.
    above, below = (torch.tanh(half * x2).clamp_min(0.0) for half in (0.5, -0.5))
    bend = torch.tanh(-x2)
    f1 = torch.log((0.5 * (-x1 - 7) - bend).abs().clamp_min(_SMALLEST)) + 6
    f2 = torch.log((0.5 * (-x1 + 3) + sign * bend + 2).abs().clamp_min(_SMALLEST)) + 6
    far = 0.1 * (-y - 8) ** 2
    g1 = ((-x1 + 7) ** 2 + far) / 10 - 20
    g2 = ((-x1 - 7) ** 2 + far) / 10 - 20
    return torch.stack([scale * (above * f1 + below * g1), above * f2 + below * g2], dim=-1)


def pareto_front(
    count: int = 200, *, form: str = "code", scale: float = 0.1
) -> tuple[Floats, Floats]:
    """The Pareto front, from its best L1 to its best L2.

    It lies at x2 < 0. Where y is x2, stationarity in x1 of a mixture of g1 and g2 gives the mixture
    (7 + x1, 7 - x1) / 14 at x1 in [-7, 7], whose quadratic part is (49 - x1^2) / 10; x2 is the root
    of the remaining equation in one unknown, found by Newton's method. Where y is x1 (``fairgrad``)
    both objectives fall with x2 for ever and the front is the limit c2 = 1.

    Args:
        count: Number of points.
        form: One of :data:`FORMS`.
        scale: Factor on L1.

    Returns:
        Points (``count``, 2), with x2 minus infinity where the front is a limit, and (L1, L2),
        shape (``count``, 2).

    Raises:
        ConfigurationError: If there is no such form.
    """
    _check(form)
    if form == "fairgrad":
        # The minima of g1 and of g2, with 0.1 (-x1 - 8)^2 in both.
        x1 = np.linspace((7 - 0.8) / 1.1, (-7 - 0.8) / 1.1, count)
        far = 0.1 * (x1 + 8) ** 2
        values = np.stack(
            [scale * (((7 - x1) ** 2 + far) / 10 - 20), ((x1 + 7) ** 2 + far) / 10 - 20], axis=-1
        )
        return np.stack([x1, np.full(count, -np.inf)], axis=-1), values
    x1 = np.linspace(7.0, -7.0, count)
    points = np.stack([x1, _lowest_x2((49 - x1**2) / 10)], axis=-1)
    return points, objectives(torch.from_numpy(points), form=form, scale=scale).numpy()


def _lowest_x2(quadratic: Floats) -> Floats:
    """Minimises tanh(-x2/2) (quadratic + 0.01 (x2 + 8)^2 - 20) over x2 < 0, element by element."""
    x2 = np.full_like(quadratic, -8.0)
    for _ in range(_NEWTON_STEPS):
        t = np.tanh(-x2 / 2)
        inner = quadratic + 0.01 * (x2 + 8) ** 2 - 20
        slope, curve = 0.02 * (x2 + 8), 0.02
        first = -(1 - t**2) / 2
        second = -t * (1 - t**2) / 2
        gradient = first * inner + t * slope
        hessian = second * inner + 2 * first * slope + t * curve
        step = gradient / hessian
        x2 = x2 - step
        if np.abs(step).max() < 1e-12:
            break
    return x2


@dataclass(frozen=True)
class Trajectories:
    """Where a method leads from several starting points.

    Attributes:
        steps: The recorded steps, shape (T,).
        points: (x1, x2) before each of them, shape (S, T, 2).
        values: (L1, L2) there, shape (S, T, 2).
    """

    steps: npt.NDArray[np.int64]
    points: Floats
    values: Floats


def trajectories(
    make_method: Callable[[], Method],
    *,
    starts: Sequence[tuple[float, float]] = STARTS["fairgrad"],
    form: str = "code",
    scale: float = 0.1,
    steps: int = 50_000,
    lr: float = 1e-3,
    method_lr: float = 0.025,
    record_every: int = 100,
    above_floor: bool = False,
) -> Trajectories:
    """Follows a method with Adam from every starting point at once.

    Objectives and their gradients are computed for all points in one batch, in double precision;
    the balancing is of each point by itself, with a method of its own.

    Args:
        make_method: Makes a fresh method for each point.
        starts: The starting points, S of them.
        form: One of :data:`FORMS`.
        scale: Factor on L1.
        steps: Number of optimiser steps.
        lr: Adam's learning rate.
        method_lr: Adam's learning rate for the method's own parameters.
        record_every: Steps between two recorded points; the last is always recorded.
        above_floor: Whether methods see L1 - FLOOR scale and L2 - FLOOR, which are positive, in
            place of the objectives; what is recorded stays the same.

    Raises:
        ConfigurationError: If the form does not exist, a number is not positive, there are no
            starts, or the method needs what this problem has not (features, batches of data).
    """
    _check(form)
    if not starts or min(steps, record_every) < 1 or min(lr, method_lr) <= 0:
        raise ConfigurationError(
            "toy: trajectories need starting points, steps >= 1, record_every >= 1 and learning "
            "rates > 0"
        )
    points = torch.tensor(starts, dtype=torch.float64)
    followed = [_Followed(make_method(), point, method_lr) for point in points]
    optimizer = torch.optim.Adam([points], lr=lr)
    floor = torch.tensor([FLOOR * scale, FLOOR], dtype=torch.float64) if above_floor else 0.0
    taken: list[int] = []
    seen: list[Tensor] = []
    heights: list[Tensor] = []
    for step in range(steps + 1):
        values, gradients = _with_gradients(points, form, scale)
        if step % record_every == 0 or step == steps:
            taken.append(step)
            seen.append(points.clone())
            heights.append(values)
        if step == steps:
            break
        if step > 0:
            for one, value in zip(followed, values, strict=True):
                one.after_step(value - floor)
        points.grad = torch.stack(
            [
                one.direction(value - floor, gradient)
                for one, value, gradient in zip(followed, values, gradients, strict=True)
            ]
        )
        optimizer.step()
    return Trajectories(
        np.array(taken), torch.stack(seen, 1).numpy(), torch.stack(heights, 1).numpy()
    )


class _Followed:
    """One starting point with its method, which sees objectives linear around the point."""

    def __init__(self, method: Method, point: Tensor, method_lr: float) -> None:
        lacking = method.needs - _SERVED
        if lacking:
            needs = ", ".join(sorted(need.value for need in lacking))
            raise ConfigurationError(f"toy: {method.name} needs what this problem has not: {needs}")
        self._method = method
        self._point = torch.nn.Parameter(torch.zeros_like(point))
        method.setup(TASKS)
        own = list(method.parameters())
        self._optimizer = torch.optim.Adam(own, lr=method_lr) if own else None

    def direction(self, values: Tensor, gradients: Tensor) -> Tensor:
        """The balanced gradient, shape (2,), of values (2,) with gradients (2, 2), row by task."""
        self._point.grad = None
        if self._optimizer is not None:
            self._optimizer.zero_grad()
        losses = {
            task: torch.dot(self._point, gradient) + value
            for task, value, gradient in zip(TASKS, values, gradients, strict=True)
        }
        self._method.backward(losses, [self._point])
        if self._optimizer is not None:
            self._optimizer.step()
        grad = self._point.grad
        return torch.zeros_like(values) if grad is None else grad

    def after_step(self, values: Tensor) -> None:
        """Tells the method the values at the new point, if it needs them."""
        if Need.LOSSES_AFTER_STEP in self._method.needs:
            self._method.after_step(dict(zip(TASKS, values, strict=True)))


def _with_gradients(points: Tensor, form: str, scale: float) -> tuple[Tensor, Tensor]:
    """Values (S, 2) and gradients (S, 2, 2), row by task, of all points in one batch."""
    leaf = points.detach().clone().requires_grad_()
    values = objectives(leaf, form=form, scale=scale)
    rows = [
        torch.autograd.grad(values[:, task].sum(), leaf, retain_graph=task == 0)[0]
        for task in range(len(TASKS))
    ]
    return values.detach(), torch.stack(rows, dim=1)


def _check(form: str) -> None:
    if form not in FORMS:
        raise ConfigurationError(
            f"toy: form = {form!r} is not valid; it must be one of {', '.join(FORMS)}"
        )
