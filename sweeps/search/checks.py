"""What must fit together in the search of a study: sampler, objectives, budget, early stopping."""

from __future__ import annotations

from mtl_methods.configuration import closest
from sweeps.definition.resolved import Candidate, ResolvedStudy
from sweeps.definition.study import MAX_TRIALS, Sampler, Scheduler, Simplex
from sweeps.errors import StudyError
from sweeps.search.designs import grid_size
from sweeps.search.objectives import uses_reference
from sweeps.search.pruning import SCHEDULERS
from sweeps.search.samplers import SAMPLERS, make_sampler

__all__ = ["check_search"]


def check_search(resolved: ResolvedStudy) -> None:
    """Checks everything that a search needs, before it begins.

    Raises:
        StudyError: One sentence: the place in the file, what is wrong, what is valid.
    """
    _check_names(resolved)
    _check_objectives(resolved)
    _check_needs_budget(resolved)
    if resolved.study.budget is not None:
        _check_sampler(resolved)


def _check_names(resolved: ResolvedStudy) -> None:
    study = resolved.study
    if study.sampler.name not in SAMPLERS:
        raise StudyError(
            f"sampler: there is no sampler {study.sampler.name!r}"
            f"{closest(study.sampler.name, SAMPLERS)}; valid: {', '.join(SAMPLERS)}"
        )
    uses = SAMPLERS[study.sampler.name].uses
    for setting in ("startup_trials", "population", "points"):
        default = Sampler.model_fields[setting].default
        if getattr(study.sampler, setting) != default and setting not in uses:
            others = [name for name, info in SAMPLERS.items() if setting in info.uses]
            raise StudyError(
                f"sampler.{setting}: {study.sampler.name} has no {setting}; "
                f"samplers that have: {', '.join(others)}"
            )
    if study.scheduler is not None and study.scheduler.name not in SCHEDULERS:
        raise StudyError(
            f"scheduler: there is no scheduler {study.scheduler.name!r}"
            f"{closest(study.scheduler.name, SCHEDULERS)}; valid: {', '.join(SCHEDULERS)}"
        )
    if study.scheduler is not None and study.scheduler.name != "none":
        _check_scheduler(study.scheduler, int(resolved.protocol["epochs"]))


def _check_scheduler(scheduler: Scheduler, epochs: int) -> None:
    """Refuses settings that the rule does not heed, and those with which it stops nothing."""
    unheeded = "reduction" if scheduler.name == "median" else "min_trials"
    if getattr(scheduler, unheeded) != Scheduler.model_fields[unheeded].default:
        valid = [key for key in Scheduler.model_fields if key not in {"name", unheeded}]
        raise StudyError(
            f"scheduler.{unheeded}: {scheduler.name} has no {unheeded}; valid: {', '.join(valid)}"
        )
    if scheduler.grace_epochs >= epochs:
        raise StudyError(
            f"scheduler.grace_epochs: after {scheduler.grace_epochs} of {epochs} epochs there is "
            f"nothing to stop early; it must be less than {epochs}"
        )


def _check_objectives(resolved: ResolvedStudy) -> None:
    study = resolved.study
    objectives = resolved.objectives  # unknown names are refused here
    compared = uses_reference(study.objectives or ())
    if compared and study.baselines is None:
        raise StudyError(
            f"objectives: {compared[0]} compares with single-task models; add 'baselines: {{}}' or "
            "name metrics of tasks alone"
        )
    replicate = study.replicate
    if replicate is None or len(objectives) > 1:
        return
    for key in ("choose", "max_configurations"):
        if getattr(replicate, key) is not None:
            raise StudyError(
                f"replicate.{key}: it chooses among several objectives; name at least two under "
                "objectives"
            )


def _check_needs_budget(resolved: ResolvedStudy) -> None:
    study = resolved.study
    if study.budget is not None:
        return
    for key, what in (
        ("objectives", "a search optimises them"),
        ("start_from", "a search starts from them"),
        ("scheduler", "it stops trials of a search"),
    ):
        if getattr(study, key) is not None:
            raise StudyError(f"{key}: {what}, and there is none; add budget: {{trials: ...}}")


# ------------------------------------------------------------------ sampler


def _check_sampler(resolved: ResolvedStudy) -> None:
    study = resolved.study
    info = SAMPLERS[study.sampler.name]
    if info.make is not None:
        make_sampler(study.sampler, 0)  # refuses if a package is missing
    if len(resolved.objectives) > 1 and not info.several:
        others = [name for name, other in SAMPLERS.items() if other.several]
        raise StudyError(
            f"sampler: {study.sampler.name} serves a single objective, and objectives names "
            f"{len(resolved.objectives)}; samplers for several: {', '.join(others)}"
        )
    for candidate in (*resolved.candidates, *resolved.baselines):
        if not info.choices:
            _check_choices(resolved, candidate)
        if study.sampler.name == "grid":
            _check_grid(resolved, candidate)


def _check_choices(resolved: ResolvedStudy, candidate: Candidate) -> None:
    """Refuses lists of choices, unless the space is so small that no sampler is asked."""
    study = resolved.study
    size = candidate.space.size
    if size is not None and size <= _trials(resolved):
        return
    lists = [d.name for d in candidate.space.dimensions() if d.kind == "choice"]
    if lists:
        others = [name for name, other in SAMPLERS.items() if other.choices]
        raise StudyError(
            f"sampler: {study.sampler.name} serves ranges of numbers only, and {lists[0]} of "
            f"{candidate.variant} is a list of choices; give {{low, high}} or one value, or take "
            f"one of {', '.join(others)}"
        )


def _check_grid(resolved: ResolvedStudy, candidate: Candidate) -> None:
    simplex = [
        name
        for name, setting in candidate.space.hyperparameters.items()
        if isinstance(setting, Simplex)
    ]
    if simplex:
        raise StudyError(
            f"sampler: grid cannot cut the simplex of {simplex[0]} of {candidate.variant}; list "
            "the weights, use weight_sweep, or take another sampler"
        )
    size, trials = grid_size(candidate.space, resolved.study.sampler), _trials(resolved)
    if size > trials:
        raise StudyError(
            f"budget.trials: the grid of {candidate.variant} has {size} points, more than {trials};"
            f" give at least {size}, fewer values, or a smaller sampler.points"
        )


def _trials(resolved: ResolvedStudy) -> int:
    budget = resolved.study.budget
    return MAX_TRIALS if budget is None or budget.trials is None else budget.trials
