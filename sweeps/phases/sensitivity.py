"""Sensitivity: one hyper-parameter over a list of values, everything else at its best.

The trials of a value are labelled ``fairgrad[alpha=2]``. Nothing is selected by them, so that they
are evaluated on the test split, with the seeds of the replicates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mtl_methods import Need
from mtl_methods.configuration import closest
from mtl_methods.errors import FairsweepError
from sweeps.definition.places import is_finite
from sweeps.definition.resolved import TRAINING_PARAMETERS, Candidate, ResolvedStudy
from sweeps.definition.setups import check_setup
from sweeps.definition.spaces import Configuration, check_tasks
from sweeps.definition.study import SensitivitySweep
from sweeps.errors import StudyError
from sweeps.phases.context import Context
from sweeps.phases.units import Batch, Unit
from sweeps.planning.trials import Trial

NAME = "sensitivity"

__all__ = ["NAME", "check_sensitivity", "sensitivity_labels", "units"]


def units(context: Context) -> list[Unit]:
    """The trials of each value of each sweep."""
    resolved = context.resolved
    return [
        _unit(context, resolved.candidate(sweep.method), sweep, value, label)
        for sweep in resolved.study.sensitivity or ()
        for value, label in zip(sweep.values, _labels(sweep), strict=True)
    ]


def sensitivity_labels(resolved: ResolvedStudy) -> dict[str, str]:
    """The label of the method by each label of a value."""
    return {
        label: sweep.method
        for sweep in resolved.study.sensitivity or ()
        for label in _labels(sweep)
    }


def _labels(sweep: SensitivitySweep) -> list[str]:
    return [f"{sweep.method}[{sweep.parameter}={_text(value)}]" for value in sweep.values]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def seeds_of(resolved: ResolvedStudy, sweep: SensitivitySweep) -> int:
    """How often each value is trained: as often as replicates, unless the sweep says."""
    replicate = resolved.study.replicate
    return sweep.seeds or (replicate.seeds if replicate else 1)


def changed(configuration: Configuration, parameter: str, value: Any) -> Configuration:
    """A configuration with one setting replaced."""
    if parameter in configuration.hyperparameters:
        hyperparameters = {**configuration.hyperparameters, parameter: value}
        return replace(configuration, hyperparameters=hyperparameters)
    return replace(configuration, training={**configuration.training, parameter: value})


def _unit(
    context: Context, candidate: Candidate, sweep: SensitivitySweep, value: Any, label: str
) -> Unit:
    resolved = context.resolved
    seeds = resolved.fresh_seeds(seeds_of(resolved, sweep))

    def plan() -> list[Trial] | None:
        best = context.best(candidate.variant)
        reference = context.reference() if context.has_reference else None
        if best is None or (context.has_reference and reference is None):
            return None
        configuration = changed(best, sweep.parameter, value)
        return [
            resolved.trial(
                NAME,
                candidate,
                configuration,
                seed,
                reference=reference,
                evaluate_test=True,
                variant=label,
            )
            for seed in seeds
        ]

    return Batch(NAME, label, len(seeds), plan)


# ------------------------------------------------------------------ checks


def check_sensitivity(resolved: ResolvedStudy) -> None:
    """Checks methods, parameters and values of all sweeps.

    Raises:
        StudyError: One sentence: the place in the file, what is wrong, what is valid.
    """
    candidates = {candidate.variant: candidate for candidate in resolved.candidates}
    taken: dict[str, str] = {}
    for index, sweep in enumerate(resolved.study.sensitivity or ()):
        place = f"sensitivity.{index}"
        if sweep.method not in candidates:
            raise StudyError(
                f"{place}.method: there is no method {sweep.method!r} in this study"
                f"{closest(sweep.method, candidates)}; valid: {', '.join(candidates)}"
            )
        candidate = candidates[sweep.method]
        valid = [p.name for p in candidate.info.hyperparameters] + list(TRAINING_PARAMETERS)
        if sweep.parameter not in valid:
            raise StudyError(
                f"{place}.parameter: {sweep.method} has no setting {sweep.parameter!r}"
                f"{closest(sweep.parameter, valid)}; valid: {', '.join(valid)}"
            )
        _check_has_effect(resolved, candidate, sweep, place)
        _check_values(resolved, candidate, sweep, place)
        for position, label in enumerate(_labels(sweep)):
            where = f"{place}.values.{position}"
            if label in candidates or label in taken:
                raise StudyError(
                    f"{where}: {label} is there already"
                    + (f" ({taken[label]})" if label in taken else " as the label of a method")
                )
            taken[label] = where


def _check_has_effect(
    resolved: ResolvedStudy, candidate: Candidate, sweep: SensitivitySweep, place: str
) -> None:
    """Refuses a training setting that nothing heeds, whose values would all train the same."""
    own = Need.OWN_PARAMETERS in candidate.info.needs
    if sweep.parameter == "method_lr" and not own:
        raise StudyError(
            f"{place}.parameter: method_lr is the learning rate of a method's own parameters, and "
            f"{sweep.method} has none; valid: any other of its settings"
        )
    if sweep.parameter == "dropout" and not resolved.problem.random_model:
        raise StudyError(
            f"{place}.parameter: the model of {resolved.problem.name} knows no dropout; valid: any "
            f"other setting of {sweep.method}"
        )


def _check_values(
    resolved: ResolvedStudy, candidate: Candidate, sweep: SensitivitySweep, place: str
) -> None:
    weights = {p.name for p in candidate.info.hyperparameters if p.kind == "weights"}
    corner = candidate.space.configuration(candidate.space.corner())
    for position, value in enumerate(sweep.values):
        configuration = changed(corner, sweep.parameter, value)
        try:
            if isinstance(value, int | float) and not is_finite(value):
                raise StudyError(f"{value!r} is not a finite number")
            resolved.trial("check", candidate, configuration, 0, reference=None)
            if sweep.parameter in weights and value is not None:
                check_tasks(value, resolved.task_names)
            check_setup(candidate, configuration, resolved.task_names)
        except FairsweepError as error:
            raise StudyError(f"{place}.values.{position}: {error}") from error


def values_in_words(sweeps: Sequence[SensitivitySweep]) -> str:
    """What is swept, for tables: ``fairgrad alpha (5 values)``."""
    return ", ".join(f"{s.method} {s.parameter} ({len(s.values)} values)" for s in sweeps)
