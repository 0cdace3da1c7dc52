"""What a trial computes, completely: the content that identifies it.

A specification is a plain, JSON-able dictionary::

    {"problem": {"name": "multi_digits", "options": {"tasks": "CL_RR"}},
     "method": {"name": "fairgrad", "hyperparameters": {"alpha": 2.0}},
     "training": {"epochs": 15, "lr": 0.0025, ...},
     "seed": 7, "evaluate_test": false, "selection": "delta_mtm",
     "reference": {"CL": {"accuracy": 0.968}, "RR": {"mse": 0.0156}}}

:class:`TrialSpec` checks it, fills every default in, and hashes it. Two specifications that compute
the same have the same identity, whether a default was written out or left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mtl_methods import Method, Need, make_method
from mtl_methods.configuration import Configurable, closest, hyperparameter
from mtl_methods.errors import ConfigurationError, UnknownNameError
from trainables.problem import Problem, plain_settings
from trainables.problems import make_problem
from trainables.schedules import Constant, Schedule, make_schedule
from trainables.selection import SELECTIONS, check_reference

__all__ = ["OPTIMIZERS", "TrainingSettings", "TrialSpec", "canonical_json"]

OPTIMIZERS = ("adam", "adamw", "sgd")
"""The optimisers, by name."""

_ID_LENGTH = 16
_MAX_SEED = 2**63 - 1


class TrainingSettings(Configurable):
    """The training settings of a trial, the same for every method that they concern."""

    name = "training"

    epochs: int = hyperparameter(15, low=1, description="Passes over the training split.")
    batch_size: int = hyperparameter(128, low=1, description="Items per step.")
    optimizer: str = hyperparameter("adam", choices=OPTIMIZERS, description="The optimiser.")
    lr: float = hyperparameter(
        1e-3, low=0.0, high=1e3, low_open=True, description="Learning rate of the model."
    )
    method_lr: float = hyperparameter(
        0.025,
        low=0.0,
        high=1e3,
        source="Nash-MTL, --method-params-lr",
        description="Learning rate of the method's own parameters, a group of their own.",
    )
    weight_decay: float = hyperparameter(
        0.0, low=0.0, high=1e3, description="Weight decay of the model, never of the method."
    )
    momentum: float = hyperparameter(
        0.9, low=0.0, high=1.0, high_open=True, description="Momentum; only SGD has one."
    )
    dropout: float = hyperparameter(
        0.0, low=0.0, high=1.0, high_open=True, description="Probability of dropping an activation."
    )
    clip_grad_norm: float | None = hyperparameter(
        None,
        low=0.0,
        high=1e30,
        low_open=True,
        description="Largest norm of the gradient of the whole model; none for no clipping.",
    )
    inner_validation: float | None = hyperparameter(
        0.1,
        low=0.0,
        high=1.0,
        low_open=True,
        high_open=True,
        optional=True,
        source=(
            "this project: the papers of MOML, Auto-Lambda and FORUM leave the size open, and "
            "published code takes the training set itself or the split of model selection"
        ),
        description=(
            "Part of the training split held out of training for the validation batches of methods "
            "that need some; null for all other methods, which train on the whole split."
        ),
    )
    schedule: Schedule = field(default_factory=Constant)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> TrainingSettings:
        """Checks the settings and fills defaults in.

        Raises:
            UnknownNameError: If a key does not exist.
            ConfigurationError: If a value is not valid.
        """
        valid = [p.name for p in cls.hyperparameters()] + ["schedule"]
        _check_keys(settings, valid, "training")
        plain = {key: value for key, value in settings.items() if key != "schedule"}
        return cls(**plain, schedule=make_schedule(settings.get("schedule")))

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values."""
        return {**plain_settings(self), "schedule": self.schedule.to_dict()}

    def for_method(self, method: Method) -> TrainingSettings:
        """These settings without those that have no effect on a method.

        Raises:
            ConfigurationError: If the method needs validation batches and nothing is held out.
        """
        if Need.VALIDATION_BATCH not in method.needs:
            return replace(self, inner_validation=None)
        if self.inner_validation is None:
            raise ConfigurationError(
                f"{method.name} needs validation batches from held-out training items, so "
                "training.inner_validation must be a number > 0 and < 1, not null"
            )
        return self


@dataclass(frozen=True)
class TrialSpec:
    """A checked, complete trial specification; make it with :meth:`from_dict`.

    Attributes:
        problem: Name and options of the problem.
        method: Name and hyper-parameters of the method.
        training: The training settings.
        seed: Seed of initial parameters, order of batches, dropout and the method.
        evaluate_test: Whether the test split is evaluated, once, at the best epoch.
        selection: What the best epoch is chosen by.
        reference: Single-task validation metrics by task; ``None`` for single-task trials.
        until: After how many epochs of the whole training it ends; ``None`` for all. What follows
            (a schedule of the learning rate, say) is as if it went on.
    """

    problem: Mapping[str, Any]
    method: Mapping[str, Any]
    training: TrainingSettings
    seed: int = 0
    evaluate_test: bool = False
    selection: str = "delta_mtm"
    reference: Mapping[str, Mapping[str, float]] | None = None
    until: int | None = None

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> TrialSpec:
        """Checks a specification and fills in every default.

        Training settings that are left out are those of the problem's protocol.

        Args:
            spec: The specification; ``problem`` and ``method`` with their names are required.

        Raises:
            UnknownNameError: If a name or key does not exist; names the valid ones.
            ConfigurationError: If a value is not valid.
            ReferenceMetricError: If the reference does not fit the problem.
        """
        valid = [
            *("problem", "method", "training", "seed", "evaluate_test", "selection", "reference"),
            "until",
        ]
        _check_keys(spec, valid, "a trial specification")
        problem_name, options = _named(spec, "problem", "options")
        problem = make_problem(problem_name, **options)
        method_name, hyperparameters = _named(spec, "method", "hyperparameters")
        method = make_method(method_name, **hyperparameters)
        training = TrainingSettings.from_dict(
            {**problem.training_defaults, **(spec.get("training") or {})}
        )
        seed = spec.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MAX_SEED:
            raise ConfigurationError(
                f"seed = {seed!r} is not valid; it must be an integer from 0 to {_MAX_SEED}"
            )
        evaluate_test = spec.get("evaluate_test", False)
        if not isinstance(evaluate_test, bool):
            raise ConfigurationError(
                f"evaluate_test = {evaluate_test!r} is not valid; it must be true or false"
            )
        selection = spec.get("selection", "delta_mtm")
        if selection not in SELECTIONS:
            raise UnknownNameError(
                f"there is no selection measure {selection!r}; valid: {', '.join(SELECTIONS)}"
            )
        until = spec.get("until")
        whole = isinstance(until, int) and not isinstance(until, bool)
        if until is not None and not (whole and 1 <= until <= training.epochs):
            raise ConfigurationError(
                f"until = {until!r} is not valid; it must be a number of epochs from 1 to "
                f"{training.epochs}"
            )
        return cls(
            until=until,
            problem={"name": problem_name, "options": problem.settings()},
            method={"name": method_name, "hyperparameters": plain_settings(method)},
            training=training.for_method(method),
            seed=seed,
            evaluate_test=evaluate_test,
            selection=selection,
            reference=_reference(problem, spec.get("reference")),
        )

    def to_dict(self) -> dict[str, Any]:
        """The complete specification, plain values only; ``until`` only where there is one."""
        until = {} if self.until is None else {"until": self.until}
        return {
            **until,
            "problem": _copy(self.problem),
            "method": _copy(self.method),
            "training": self.training.to_dict(),
            "seed": self.seed,
            "evaluate_test": self.evaluate_test,
            "selection": self.selection,
            "reference": None if self.reference is None else _copy(self.reference),
        }

    @property
    def epochs(self) -> int:
        """How many epochs the trial has."""
        return self.training.epochs if self.until is None else self.until

    @property
    def trial_id(self) -> str:
        """The identity of the trial: 16 hexadecimal digits of its content's SHA-256."""
        return _hash(self.to_dict())

    @property
    def configuration_id(self) -> str:
        """The identity of all that replicates share: the content without seed and test flag."""
        content = self.to_dict()
        del content["seed"], content["evaluate_test"]
        return _hash(content)

    def make_problem(self) -> Problem[Any]:
        """Makes the problem."""
        return make_problem(self.problem["name"], **self.problem["options"])

    def make_method(self) -> Method:
        """Makes a fresh method."""
        return make_method(self.method["name"], **self.method["hyperparameters"])


def canonical_json(content: Any) -> str:
    """JSON with sorted keys and no spaces; the same content always gives the same text.

    Raises:
        ValueError: If a number is not finite.
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _hash(content: Any) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:_ID_LENGTH]


def _copy(content: Mapping[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(canonical_json(content))
    return copied


def _check_keys(given: Mapping[str, Any], valid: list[str], owner: str) -> None:
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{owner} must be a mapping, got {given!r}")
    for key in given:
        if key not in valid:
            raise UnknownNameError(
                f"{owner} has no key {key!r}{closest(str(key), valid)}; valid: {', '.join(valid)}"
            )


def _named(spec: Mapping[str, Any], what: str, settings: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of ``{"name": ..., settings: {...}}``."""
    part = spec.get(what)
    if isinstance(part, str):
        part = {"name": part}
    if not isinstance(part, Mapping) or not isinstance(part.get("name"), str):
        raise ConfigurationError(f"a trial specification needs a {what} with a name, got {part!r}")
    _check_keys(part, ["name", settings], f"the {what} of a trial specification")
    return part["name"], dict(part.get(settings) or {})


def _reference(problem: Problem[Any], reference: Any) -> dict[str, dict[str, float]] | None:
    if reference is None:
        return None
    if not isinstance(reference, Mapping) or not all(
        isinstance(metrics, Mapping) for metrics in reference.values()
    ):
        raise ConfigurationError(
            f"reference = {reference!r} is not valid; it must map each task to its metrics"
        )
    plain = {
        str(task): {str(metric): _finite(task, metric, value) for metric, value in metrics.items()}
        for task, metrics in reference.items()
    }
    check_reference(problem.tasks, plain)
    return plain


def _finite(task: Any, metric: Any, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"the reference of {task}.{metric} is {value!r}, not a number")
    return float(value)
