"""A methods section for a paper's appendix, written from the study as run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.report.study import StudyAnalysis
from analysis.search import searches
from analysis.wording import counted, joined


def methods_text(study: StudyAnalysis) -> list[str]:
    """Paragraphs that say what was done: problem, protocol, search, evaluation, statistics."""
    return [
        text
        for text in (
            _problem(study),
            _protocol(study),
            _search(study),
            _ranges(study),
            _evaluation(study),
            _statistics(study),
            _software(study),
        )
        if text
    ]


def _problem(study: StudyAnalysis) -> str:
    problem = study.results.manifest.get("problem", {})
    tasks = "; ".join(
        f"{task['name']} (loss: {task.get('loss', 'unnamed')}; metrics: "
        + ", ".join(
            f"{m['name']}, {'higher' if m['higher_is_better'] else 'lower'} is better"
            for m in task["metrics"]
        )
        + ")"
        for task in problem.get("tasks", [])
    )
    options = _listed(problem.get("options"))
    text = f"Problem: {problem.get('name', 'unnamed')}" + (f" ({options})" if options else "")
    text += f", {len(study.results.tasks)} tasks: {tasks}."
    if problem.get("source"):
        text += f" Data: {problem['source']}."
    return text


def _protocol(study: StudyAnalysis) -> str:
    listed = _listed(study.results.study.get("protocol"))
    return f"Every model was trained under one protocol: {listed}." if listed else ""


def _search(study: StudyAnalysis) -> str:
    counts: dict[str, int] = {}
    trials = 0
    for tuned in searches(study.results):
        counts[tuned.name] = len(tuned.configurations())
        trials += len(tuned.trials)
    if not counts:
        return ""
    low, high = min(counts.values()), max(counts.values())
    number = f"{low}" if low == high else f"{low} to {high}"
    sampler = study.results.study.get("sampler")
    sampler = sampler.get("name") if isinstance(sampler, Mapping) else sampler
    text = (
        f"Hyper-parameters of every method, and of the single-task model of every task, were "
        f"searched with {number} configurations each ({trials} trials in all)"
    )
    text += f", proposed by {sampler}" if sampler else ""
    return (
        f"{text}, and selected by {_selected_by(study)} on the validation split; "
        f"single-task models by their own metric.{_stopped_early(study)}"
    )


def _selected_by(study: StudyAnalysis) -> str:
    """What configurations were chosen by."""
    named = study.results.manifest.get("objectives")
    if not isinstance(named, list) or not named:
        return f"mean {study.results.manifest.get('selection', 'delta_mtm')}"
    if len(named) == 1:
        return f"mean {named[0]}"
    replicate = study.results.study.get("replicate")
    rule = replicate.get("choose") if isinstance(replicate, Mapping) else None
    return (
        f"mean {', '.join(map(str, named[:-1]))} and {named[-1]}: of the configurations that none "
        f"other dominates, the one of the rule {rule or 'knee'}"
    )


def _stopped_early(study: StudyAnalysis) -> str:
    trials = study.results.trials
    stopped = int((trials["status"] == "pruned").sum())
    if not stopped:
        return ""
    scheduler = study.results.study.get("scheduler")
    name = scheduler.get("name") if isinstance(scheduler, Mapping) else None
    return (
        f" {counted(stopped, 'search trial')} ended early, compared with other trials of the same "
        f"method{f' ({name})' if name else ''}."
    )


def _ranges(study: StudyAnalysis) -> str:
    shared = _listed(study.results.study.get("search_space"))
    own = []
    for method in study.results.study.get("methods") or []:
        if isinstance(method, Mapping):
            settings = {k: v for k, v in method.items() if k not in ("name", "label")}
            if settings:
                own.append(f"{method.get('label') or method.get('name')}: {_listed(settings)}")
    text = f"Searched for all methods: {shared}." if shared else ""
    return " ".join(
        part for part in (text, f"Per method: {'; '.join(own)}." if own else "") if part
    )


def _evaluation(study: StudyAnalysis) -> str:
    trials = study.results.trials
    replicated = trials[trials["phase"] == "replicate"]
    if replicated.empty:
        return ""
    seeds = set(replicated["seed"])
    fresh = not seeds & set(trials.loc[trials["phase"] == "search", "seed"])
    text = (
        f"The best configuration of each method was trained anew with {counted(len(seeds), 'seed')}"
        f"{' that the search had not used' if fresh else ''}; the test split was read "
        f"{_tested(study)}, once for each model, at the epoch with the best validation value."
    )
    diverged = int((replicated["status"] != "finished").sum())
    if diverged:
        text += f" {diverged} of these trials did not finish and are left out of all means."
    if (trials["phase"] == "fixed_weights").any():
        text += (
            " Fixed weights were extracted from the effective weights of a method: means over each "
            "epoch, normalised to sum to 1, averaged over seeds, smoothed by an exponential moving "
            "average, last value."
        )
    population = trials[trials["phase"] == "population"]
    if not population.empty:
        text += (
            f" Weights were also found by population-based training "
            f"({', '.join(map(str, population['variant'].unique()))}): what is reported is the "
            "best member's course of weights, trained anew."
        )
    sweep = trials[trials["phase"] == "weight_sweep"]
    if not sweep.empty:
        text += (
            f" Linear scalarisation was trained at {sweep['variant'].nunique()} points of the "
            "weight simplex."
        )
    return text


def _tested(study: StudyAnalysis) -> str:
    """Where the test split was read, from the values that are there."""
    trials = study.results.trials
    test = [metric.column("test") for metric in study.results.metrics]
    read = set(trials.loc[trials[test].notna().any(axis=1), "phase"])
    names = {
        "baselines": "for the replicated single-task models",
        "fixed_weights": "for extracted fixed weights",
        "weight_sweep": "for the weight sweep, which selects nothing",
        "sensitivity": "for the sensitivity trials, which select nothing",
        "search": "during the search",
    }
    others = [text for phase, text in names.items() if phase in read]
    return "only there" + (f" and {joined(others)}" if others else "")


def _statistics(study: StudyAnalysis) -> str:
    return (
        "Δmtm is the mean over tasks of the mean relative gain over a task's metrics against the "
        "mean single-task model (higher is better); Δm the mean relative drop over all metrics "
        "(lower is better); Δp is Δmtm against equal weighting. Errors are standard errors over "
        "seeds. Confidence intervals are bootstrap intervals in which the seeds of a method and of "
        "the single-task models are resampled. Methods were compared by paired t tests over the "
        "same seeds with Holm's correction, and by Friedman's test with Nemenyi's critical "
        "difference; equivalence by two one-sided Welch tests."
    )


def _software(study: StudyAnalysis) -> str:
    manifest = study.results.manifest
    versions = _listed(manifest.get("versions"))
    hardware = _listed(manifest.get("hardware"))
    text = f"Software: fairsweep {manifest.get('fairsweep', '')}" + (
        f"; {versions}" if versions else ""
    )
    return f"{text}. Hardware: {hardware}." if hardware else f"{text}."


def _listed(entries: Any) -> str:
    """A mapping as "name value, ..."; ranges as "from low to high", lists as "among the values"."""
    if not isinstance(entries, Mapping):
        return ""
    return ", ".join(
        f"{name} {_value(value)}" for name, value in entries.items() if value is not None
    )


def _value(value: Any) -> str:
    if isinstance(value, Mapping) and {"low", "high"} <= set(value):
        log = " (logarithmic)" if value.get("log") else ""
        return f"from {value['low']} to {value['high']}{log}"
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{k} {_value(v)}" for k, v in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        return "among the values " + "{" + ", ".join(str(v) for v in value) + "}"
    return str(value)
