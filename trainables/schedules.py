"""Learning-rate schedules by name. One step an epoch; all groups of the optimiser follow."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch.optim import Optimizer, lr_scheduler

from mtl_methods.configuration import Configurable, hyperparameter, registry_lookup
from mtl_methods.errors import ConfigurationError
from trainables.problem import plain_settings

__all__ = ["SCHEDULES", "LearningRate", "Schedule", "make_schedule"]


class LearningRate:
    """A running schedule: steps once per epoch, saved and restored.

    Args:
        scheduler: The scheduler of torch; ``None`` keeps the learning rate.
    """

    def __init__(
        self, scheduler: lr_scheduler.LRScheduler | lr_scheduler.ReduceLROnPlateau | None
    ) -> None:
        self._scheduler = scheduler

    def step(self, selection: float) -> None:
        """Ends an epoch.

        Args:
            selection: The selection measure on validation, higher is better.
        """
        if isinstance(self._scheduler, lr_scheduler.ReduceLROnPlateau):
            self._scheduler.step(selection)
        elif self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The state, plain values only."""
        return {} if self._scheduler is None else self._scheduler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`."""
        if self._scheduler is not None:
            self._scheduler.load_state_dict(dict(state))


class Schedule(Configurable):
    """How the learning rate changes from epoch to epoch."""

    name: ClassVar[str]

    @abstractmethod
    def start(self, optimizer: Optimizer, epochs: int) -> LearningRate:
        """Starts the schedule on an optimiser for a training of so many epochs."""

    def to_dict(self) -> dict[str, Any]:
        """Name and settings, as in a trial specification."""
        return {"name": self.name, **plain_settings(self)}


class Constant(Schedule):
    """The same learning rate throughout."""

    name = "none"

    def start(self, optimizer: Optimizer, epochs: int) -> LearningRate:
        """Nothing to do."""
        return LearningRate(None)


class Exponential(Schedule):
    """Times ``gamma`` after every epoch."""

    name = "exponential"
    gamma: float = hyperparameter(
        0.95,
        low=0.0,
        high=1.0,
        low_open=True,
        source='"Uniform Loss vs. Specialized Optimization", published code',
        description="Factor per epoch.",
    )

    def start(self, optimizer: Optimizer, epochs: int) -> LearningRate:
        """Starts it."""
        return LearningRate(lr_scheduler.ExponentialLR(optimizer, self.gamma))


class Step(Schedule):
    """Times ``gamma`` every ``step_size`` epochs."""

    name = "step"
    step_size: int = hyperparameter(
        100, low=1, source="Nash-MTL, NYUv2 protocol", description="Epochs between two reductions."
    )
    gamma: float = hyperparameter(
        0.5,
        low=0.0,
        high=1.0,
        low_open=True,
        source="Nash-MTL, NYUv2 protocol",
        description="Factor of each reduction.",
    )

    def start(self, optimizer: Optimizer, epochs: int) -> LearningRate:
        """Starts it."""
        return LearningRate(lr_scheduler.StepLR(optimizer, self.step_size, self.gamma))


class Cosine(Schedule):
    """From the learning rate to ``min_lr`` along half a cosine over all epochs."""

    name = "cosine"
    min_lr: float = hyperparameter(
        0.0,
        low=0.0,
        high=1e3,
        source="Loshchilov and Hutter, SGDR (2017)",
        description="Learning rate at the end.",
    )

    def start(self, optimizer: Optimizer, epochs: int) -> LearningRate:
        """Starts it."""
        return LearningRate(lr_scheduler.CosineAnnealingLR(optimizer, epochs, self.min_lr))


class Plateau(Schedule):
    """Times ``factor`` when the selection measure has not risen for ``patience`` epochs."""

    name = "plateau"
    factor: float = hyperparameter(
        0.7,
        low=0.0,
        high=1.0,
        low_open=True,
        high_open=True,
        source="Nash-MTL, QM9 protocol",
        description="Factor of each reduction.",
    )
    patience: int = hyperparameter(
        5, low=0, source="Nash-MTL, QM9 protocol", description="Epochs without a rise to wait."
    )
    min_lr: float = hyperparameter(
        1e-5,
        low=0.0,
        high=1e3,
        source="Nash-MTL, QM9 protocol",
        description="Learning rate below which it stays.",
    )

    def start(self, optimizer: Optimizer, epochs: int) -> LearningRate:
        """Starts it."""
        return LearningRate(
            lr_scheduler.ReduceLROnPlateau(
                optimizer,
                mode="max",
                factor=self.factor,
                patience=self.patience,
                min_lr=self.min_lr,
            )
        )


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.name: schedule for schedule in (Constant, Exponential, Step, Cosine, Plateau)
}
"""Every schedule by its name."""


def make_schedule(settings: Mapping[str, Any] | None) -> Schedule:
    """Makes a schedule from ``{"name": ..., **settings}``; ``None`` is a constant rate.

    Raises:
        UnknownNameError: If name or a setting does not exist; names the valid ones.
        ConfigurationError: If the name is missing or a value is not valid.
    """
    if settings is None:
        return Constant()
    if not isinstance(settings, Mapping) or not isinstance(settings.get("name"), str):
        raise ConfigurationError(
            f"schedule = {settings!r} is not valid; it must be a mapping with a name of "
            + ", ".join(SCHEDULES)
        )
    rest = {key: value for key, value in settings.items() if key != "name"}
    return registry_lookup(SCHEDULES, settings["name"], "schedule").from_settings(rest)
