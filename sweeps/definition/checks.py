"""What must fit together in a study beyond the form of each part."""

from __future__ import annotations

from collections.abc import Sequence

from mtl_methods import Need
from mtl_methods.configuration import closest
from mtl_methods.errors import FairsweepError
from mtl_methods.registry import list_methods
from sweeps.definition.resolved import SCALARISATION, SINGLE_TASK, Candidate, ResolvedStudy
from sweeps.definition.setups import check_setup, every_choice
from sweeps.definition.study import Population
from sweeps.errors import StudyError
from sweeps.phases.sensitivity import check_sensitivity
from sweeps.search.checks import check_search
from sweeps.search.selection import needs_reference
from trainables.needs import SERVED_NEEDS, unserved_needs
from trainables.selection import SELECTIONS

__all__ = ["check_resolved"]

# The labels of other rows of tables: baselines, points of the weight sweep, fixed weights.
_OWN_LABELS = (SINGLE_TASK, "single-task")
_OWN_BEGINNINGS = (f"{SINGLE_TASK}:", f"{SCALARISATION}[", "fixed(")


def check_resolved(resolved: ResolvedStudy) -> None:
    """Checks labels, phases, needs, and that no trial of the study can be refused.

    Raises:
        StudyError: One sentence: the place in the file, what is wrong, what is valid.
    """
    _check_labels(resolved.candidates)
    _check_names(resolved)
    _check_needs(resolved)
    _check_trials(resolved)
    check_search(resolved)
    _check_phases(resolved)
    check_sensitivity(resolved)
    _check_population(resolved)


def _check_population(resolved: ResolvedStudy) -> None:
    population, epochs = resolved.study.population, int(resolved.protocol["epochs"])
    if population is None:
        return
    if len(resolved.tasks) < 2:
        raise StudyError("population: it finds weights of several tasks, and there is only one")
    if population.interval >= epochs:
        raise StudyError(
            f"population.interval: after {population.interval} of {epochs} epochs nothing is left "
            f"to go on with; it must be less than {epochs}"
        )
    for key in ("noise", "resample"):
        if population.explore == "pb2" and getattr(population, key) != (
            Population.model_fields[key].default
        ):
            raise StudyError(f"population.{key}: pb2 has no {key}; explorers that have: pbt")
    _check_label(population.label, "population.label")
    if any(population.label == candidate.variant for candidate in resolved.candidates):
        raise StudyError(
            f"population.label: {population.label!r} is the label of a method already; give "
            "another one"
        )


def _check_labels(candidates: Sequence[Candidate]) -> None:
    seen: dict[str, int] = {}
    for index, candidate in enumerate(candidates):
        label = candidate.variant
        if label in seen:
            raise StudyError(
                f"methods.{index}: the label {label!r} is that of methods.{seen[label]} already; "
                "give this one a label of its own"
            )
        _check_label(label, f"methods.{index}.label")
        seen[label] = index


def _check_label(label: str, place: str) -> None:
    """Refuses a label that tables would mistake for one of their own."""
    if label in _OWN_LABELS or label.startswith(_OWN_BEGINNINGS):
        raise StudyError(
            f"{place}: {label!r} looks like a label that fairsweep gives; valid: anything but "
            f"{' and '.join(_OWN_LABELS)} that does not begin with "
            f"{', '.join(_OWN_BEGINNINGS[:-1])} or {_OWN_BEGINNINGS[-1]}"
        )


def _check_names(resolved: ResolvedStudy) -> None:
    study = resolved.study
    if study.selection not in SELECTIONS:
        raise StudyError(
            f"selection: there is no measure {study.selection!r}"
            f"{closest(study.selection, SELECTIONS)}; valid: {', '.join(SELECTIONS)}"
        )


def _check_needs(resolved: ResolvedStudy) -> None:
    for index, candidate in enumerate(resolved.candidates):
        needs, name = candidate.info.needs, candidate.method
        if not needs <= SERVED_NEEDS:  # what is left depends on the model
            unserved = unserved_needs(needs, resolved.problem.build_model().heads)
            if unserved:
                raise StudyError(
                    f"methods.{index}: {name} needs {', '.join(unserved)} in "
                    f"{resolved.problem.name}"
                )
        if Need.PERFORMANCE_DROPS in needs and resolved.study.baselines is None:
            raise StudyError(
                f"methods.{index}: {name} needs {Need.PERFORMANCE_DROPS.value}, which compare "
                "with single-task models; add 'baselines: {}'"
            )


def _check_phases(resolved: ResolvedStudy) -> None:
    study = resolved.study
    if study.baselines is None and needs_reference(study.selection):
        raise StudyError(
            f"selection: {study.selection} compares with single-task models; add "
            "'baselines: {}' or select by 'loss'"
        )
    _check_fixed_weights(resolved)
    if study.weight_sweep is not None and resolved.scalarisation is None:
        raise StudyError(
            f"weight_sweep: it uses the training settings of {SCALARISATION}, which is not among "
            f"methods; add {SCALARISATION}"
        )


def _check_fixed_weights(resolved: ResolvedStudy) -> None:
    fixed = resolved.study.fixed_weights
    if fixed is None:
        return
    labels = [candidate.variant for candidate in resolved.candidates]
    for index, source in enumerate(fixed.sources):
        if source not in labels:
            raise StudyError(
                f"fixed_weights.sources.{index}: there is no method {source!r} in this study"
                f"{closest(source, labels)}; valid: {', '.join(labels)}"
            )
        if source in fixed.sources[:index]:
            raise StudyError(f"fixed_weights.sources.{index}: {source!r} is there twice")
    if resolved.study.replicate is None:
        raise StudyError(
            "fixed_weights: the weights come from replicates; add 'replicate: {seeds: ...}'"
        )


def _check_trials(resolved: ResolvedStudy) -> None:
    """Plans trials of every candidate, so that no trial can be refused once Ray runs."""
    known = set(list_methods())
    needed = {SINGLE_TASK} if resolved.baselines else set()
    needed |= {SCALARISATION} if resolved.points or resolved.study.fixed_weights else set()
    if needed - known:
        raise StudyError(f"this installation lacks the method {min(needed - known)}")
    places = {f"methods.{index}": found for index, found in enumerate(resolved.candidates)}
    places |= {f"baselines: {candidate.variant}": candidate for candidate in resolved.baselines}
    for place, candidate in places.items():
        try:
            for configuration in every_choice(candidate):
                seed = resolved.study.seed
                resolved.trial("check", candidate, configuration, seed, reference=None)
                check_setup(candidate, configuration, resolved.task_names)
        except FairsweepError as error:
            raise StudyError(f"{place}: {error}") from error
