"""PIVRG's task weights from performance drops, for every method that uses them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.method import Method
from mtl_methods.errors import ConfigurationError, MissingNeedError, TaskError

__all__ = ["PerformanceWeighted", "performance_weights"]


def performance_weights(
    drops: Sequence[float], tau_star: float, omega_low: float, omega_high: float
) -> NDArray[np.float64]:
    """PIVRG's task weights from performance drops.

    ``omega = K softmax(drops / tau)`` with ``tau = max((max - min) / log s, tau_star)`` and
    ``s = min(1 / omega_low, omega_high)``, so that every ``omega_k`` lies in
    ``[omega_low, omega_high]`` and they sum to K.

    Args:
        drops: Performance drop of each task in percent, positive for worse; length K.
        tau_star: Least temperature, in percent.
        omega_low: Lower bound of a weight, in (0, 1).
        omega_high: Upper bound of a weight, > 1.

    Returns:
        Shape (K,).

    Source: PIVRG supplement, section 6.1.
    """
    values = np.asarray(drops, dtype=np.float64)
    s = min(1.0 / omega_low, omega_high)
    tau = max(float(values.max() - values.min()) / math.log(s), tau_star)
    powers = np.exp((values - values.max()) / tau)
    weights: NDArray[np.float64] = len(values) * powers / powers.sum()
    return weights


class PerformanceWeighted(Method):
    """Base of the methods that weight tasks by omega, found anew after every epoch.

    Before the first epoch ends, omega is 1.
    """

    omega_low: float = hyperparameter(
        0.5,
        low=0.0,
        low_open=True,
        high=1.0,
        high_open=True,
        source="PIVRG supplement, Proposition 1 (no value given)",
        description="Lower bound of omega.",
    )
    omega_high: float = hyperparameter(
        2.0,
        low=1.0,
        low_open=True,
        source="PIVRG supplement, Proposition 1 (no value given)",
        description="Upper bound of omega.",
    )
    tau_star: float = hyperparameter(
        10.0,
        low=0.0,
        low_open=True,
        search=(1.0, 100.0),
        log=True,
        source="PIVRG supplement, section 6.1 (no value given)",
        description="Least temperature of omega, in percentage points of performance drop.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if math.isinf(self.tau_star):
            raise ConfigurationError(f"{self.name}: tau_star = inf is not valid; it must be finite")
        self.state["omega"] = {}

    @property
    def awaits_epoch(self) -> bool:
        """Until performance drops were told."""
        return not self.state["omega"]

    def omega(self, tasks: Sequence[str]) -> NDArray[np.float64]:
        """The weights of some tasks, of mean 1 over all tasks; shape (K,)."""
        omega: dict[str, float] = self.state["omega"]
        return np.array([omega.get(task, 1.0) for task in tasks])

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Finds omega for the next epoch.

        Raises:
            MissingNeedError: If there are no performance drops.
            TaskError: If a task's drop is missing or not finite.
        """
        if performance_drops is None:
            raise MissingNeedError(
                f"{self.name} needs performance_drops= in end_epoch: the mean relative drop of "
                "each task's validation metrics against single-task training, in percent"
            )
        tasks = self.tasks or tuple(performance_drops)
        for task in tasks:
            if not math.isfinite(performance_drops.get(task, math.nan)):
                raise TaskError(
                    f"{self.name}: the performance drop of task {task!r} is "
                    f"{performance_drops.get(task, 'missing')}; it must be a finite number"
                )
        omega = performance_weights(
            [performance_drops[task] for task in tasks],
            self.tau_star,
            self.omega_low,
            self.omega_high,
        )
        self.state["omega"] = dict(zip(tasks, omega.tolist(), strict=True))
