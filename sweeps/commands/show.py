"""Tables for the terminal. Texts from elsewhere are no markup and command nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sweeps.phases.population import replicates_of
from sweeps.phases.sensitivity import values_in_words
from sweeps.printable import printable
from sweeps.running.progress import duration
from sweeps.search.objectives import Objective
from sweeps.search.samplers import SAMPLERS

if TYPE_CHECKING:
    from mtl_methods import MethodInfo, TransformInfo
    from mtl_methods.configuration import HyperParameter
    from sweeps.definition.resolved import ResolvedStudy
    from sweeps.definition.study import Study

__all__ = [
    "check_table",
    "dataset_list",
    "method_details",
    "method_list",
    "problem_details",
    "problem_list",
    "summary_table",
]


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=Text(printable(title)) if title else None, title_justify="left")
    for column in columns:
        table.add_column(Text(printable(column)), overflow="fold")
    return table


def _add(table: Table, cells: Sequence[Any]) -> None:
    table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in cells))


# ------------------------------------------------------------------ summary of a results folder

_MEASURES = {
    "delta_mtm": "delta_mtm",
    "worst_drop": "worst drop",
    "mean_rank": "rank",
    "seconds_per_epoch": "s/epoch",
}
_MAX_METRICS = 4


def summary_table(folder: Path) -> Table:
    """The summary of a results folder: a row for each method, best first."""
    import analysis

    summary = analysis.summarise(analysis.load(folder, strict=False))
    measures = {column: head for column, head in _MEASURES.items() if column in summary.columns}
    metrics = [column for column in summary.columns if _is_metric(column)]
    if len(metrics) <= _MAX_METRICS:  # the report has the rest
        measures |= {column: column.removeprefix("test.") for column in metrics}
    table = _table("method", "seeds", *measures.values(), title="On the test split, mean ± s.e.")
    for _, row in summary.iterrows():
        values = [_value(row[column], row.get(f"{column}_se", math.nan)) for column in measures]
        _add(table, [row["label"], row["seeds"], *values])
    return table


def _is_metric(column: str) -> bool:
    return column.startswith("test.") and not column.endswith("_se")


def _value(mean: Any, error: Any) -> str:
    if mean is None or math.isnan(mean):
        return "–"
    if error is None or math.isnan(error):
        return f"{mean:.3g}"
    return f"{mean:.3g} ± {error:.2g}"


# ------------------------------------------------------------------ check


def check_table(resolved: ResolvedStudy, results: Path, *, local: bool = True) -> RenderableType:
    """What a study would run, and how long that would take.

    Args:
        resolved: The study.
        results: Its results folder, which need not be there.
        local: Whether it runs on this machine.

    Raises:
        StudyError: If this machine has no room for one trial of a study that runs on it, or too
            little is left to train on.
        ResultsFolderError: If what is left does not fit on the disk.
        FairsweepError: If the data of the problem or a package that the study asks for is missing.
    """
    from sweeps.folder.disk import check_space, disk_need, free_bytes, size
    from sweeps.folder.ledger import Ledger
    from sweeps.folder.trackers import check_trackers
    from sweeps.on_ray.capacity import capped, local_slots
    from sweeps.planning.estimate import measured_epoch_seconds, study_seconds
    from sweeps.planning.plan import Plan
    from sweeps.running.preflight import check_held_out

    study = resolved.study
    check_trackers(study.trackers)
    slots = local_slots(study.resources) if local else study.resources.concurrent or 1
    free = free_bytes(results)
    plan = Plan(resolved, Ledger(results / "ledger").load(), results / "search", extend=False)
    table = _table("phase", "trials", "ended", "what", title=f"study {study.name}")
    for phase, count in plan.counts().items():
        what = _composition(resolved, phase)
        _add(table, [phase, count.planned, count.ended, what])
    planned = sum(count.planned for count in plan.counts().values())
    ended = sum(count.ended for count in plan.counts().values())
    _add(table, ["all", planned, ended, ""])
    searched = _table("method", "searched", title="search spaces")
    for candidate in resolved.candidates:
        _add(searched, [candidate.variant, ", ".join(candidate.space.describe()) or "nothing"])
    need = disk_need(plan, slots)
    check_space(results, need, free)
    splits = resolved.problem.load(None)
    check_held_out(resolved, splits)
    epoch = measured_epoch_seconds(resolved, splits)
    seconds = study_seconds(plan, epoch, slots)
    facts = "".join(f"{line}\n" for line in _how_searched(resolved)) + (
        f"estimated time: about {duration(seconds)} for what is left, {slots} trials at once "
        f"(an epoch of linear scalarisation takes {epoch:.2g} s here, from a few steps just now)\n"
        f"disk: {need.describe()} for what is left, {size(free)} free\n"
        f"results folder: {results}\n"
        "the study is valid; nothing was run apart from a few timed steps"
    )
    sentence = capped(study.resources, slots)
    facts = facts if sentence is None else f"{sentence}\n{facts}"
    return Group(table, searched, Text(printable(facts)))


def _budget(study: Study) -> str:
    """How many configurations a search has, in words."""
    budget = study.budget
    if budget is None or budget.seconds is None:
        return f"{budget.trials if budget else 1} configurations"
    most = f"at most {budget.trials} configurations in " if budget.trials else "configurations for "
    return f"{most}{budget.seconds:g} s of training"


def _how_searched(resolved: ResolvedStudy) -> list[str]:
    """What a study says of its searches beside their spaces, a line each."""
    study = resolved.study
    if study.budget is None:
        return []
    sampler = study.sampler
    uses = {key: getattr(sampler, key) for key in SAMPLERS[sampler.name].uses}
    settings = "".join(f", {key} {value}" for key, value in uses.items() if value is not None)
    lines = [f"sampler: {sampler.name} ({SAMPLERS[sampler.name].summary}{settings})"]
    if study.objectives is not None:
        arrows = [
            f"{goal.name} {'↑' if goal.higher_is_better else '↓'}"
            for goal in resolved.objectives
            if isinstance(goal, Objective)
        ]
        several = f"; the best is chosen by: {resolved.choose}" if len(arrows) > 1 else ""
        lines.append(f"objectives on validation: {', '.join(arrows)}{several}")
    if study.scheduler is not None and study.scheduler.name != "none":
        lines.append(f"early stopping: {study.scheduler.name}, within each method")
    if study.budget.hours is not None:
        lines.append(f"a run stops after {study.budget.hours:g} h; the same command goes on")
    for candidate in resolved.candidates:
        for point in candidate.start_from:
            values = [
                f"{name.partition('.')[2]} = {value:.4g}"
                if isinstance(value, float)
                else f"{name.partition('.')[2]} = {value}"
                for name, value in candidate.space.settings(point).items()
            ]
            lines.append(f"{candidate.variant} starts from {', '.join(values)}")
    return [*lines, *resolved.notes]


def _composition(resolved: ResolvedStudy, phase: str) -> str:
    study = resolved.study
    configurations = _budget(study)
    searches = f"{configurations} × {len(resolved.search_seeds)} seeds"
    methods = len(resolved.candidates)
    texts = {
        "baselines": f"{len(resolved.baselines)} tasks × ({searches} + "
        f"{resolved.baseline_seeds} replicates)",
        "search": f"{methods} methods × {searches}",
        "replicate": _replicates(resolved),
        "fixed_weights": "sources "
        + ", ".join(study.fixed_weights.sources if study.fixed_weights else [])
        + f" × {resolved.fixed_seeds} seeds",
        "weight_sweep": f"{len(resolved.points)} points × "
        f"{study.weight_sweep.seeds if study.weight_sweep else 0} seeds",
    }
    if study.sensitivity:
        texts["sensitivity"] = values_in_words(study.sensitivity)
    population = study.population
    if population is not None:
        texts["population"] = (
            f"{resolved.population_size} members ({population.explore}), compared after every "
            f"{population.interval} of {resolved.protocol['epochs']} epochs"
        )
    return texts.get(phase, "")


def _replicates(resolved: ResolvedStudy) -> str:
    """Methods with their seeds, and the population with its own."""
    replicate, population = resolved.study.replicate, resolved.study.population
    parts = []
    if replicate is not None:
        text = f"{len(resolved.candidates)} methods × {replicate.seeds} seeds"
        if resolved.max_configurations > 1:
            text += f" × up to {resolved.max_configurations} configurations"
        parts.append(text)
    if population is not None and (seeds := replicates_of(resolved)):
        parts.append(f"{population.label} × {seeds} seeds")
    return " + ".join(parts)


# ------------------------------------------------------------------ methods


def method_list() -> RenderableType:
    """All methods, and the loss transforms that go before them."""
    from mtl_methods import list_methods, list_transforms

    methods = _table("method", "family", "what it does", "backward passes", "paper")
    for name, info in list_methods().items():
        _add(methods, [name, info.family, info.summary, info.backward_passes, info.paper])
    transforms = _table(
        *("transform", "what it does", "rule", "paper"),
        title="loss transforms, written before a method: log+uw",
    )
    for name, transform in list_transforms().items():
        _add(transforms, [name, transform.summary, transform.equation, transform.paper])
    return Group(methods, transforms)


def method_details(name: str) -> RenderableType:
    """One method or loss transform: description, rule, source, needs, hyper-parameters.

    Raises:
        UnknownNameError: If there is no such method or transform.
    """
    from mtl_methods import list_transforms
    from mtl_methods.registry import method_info

    transforms = list_transforms()
    if name in transforms:
        transform = transforms[name]
        usage = f"a loss transform, written before a method: {name}+ls, {name}+uw+cagrad"
        return _declared(transform, [usage], [])
    info = method_info(name)
    needs = ", ".join(sorted(need.value for need in info.needs))
    cost = [
        f"needs: {needs}",
        f"backward passes: {info.backward_passes}",
        f"all losses times s: weights {info.scale_law}",
    ]
    return _declared(info, [f"family: {info.family}"], cost)


def _declared(
    info: MethodInfo | TransformInfo, before: Sequence[str], after: Sequence[str]
) -> RenderableType:
    """What a method or a transform declares, with further lines around its rule and paper."""
    head = f"{info.name}: {info.summary}\n\n{info.description}\n"
    lines = [head, *before, f"rule: {info.equation}", f"paper: {info.paper}", *after]
    lines += [f"deviation: {deviation}" for deviation in info.deviations]
    return Group(Text("\n".join(lines)), _hyperparameters(info.hyperparameters, "search range"))


def _hyperparameters(parameters: Sequence[HyperParameter], searched: str | None) -> RenderableType:
    if not parameters:
        return Text("no hyper-parameters" if searched else "no options")
    extra = [searched] if searched else []
    table = _table("name", "default", "valid", *extra, "source", "meaning")
    for p in parameters:
        found = [_search_range(p)] if searched else []
        _add(table, [p.name, p.default, p.valid_range, *found, p.source, p.description])
    return table


def _search_range(parameter: HyperParameter) -> str:
    if parameter.search is None:
        return "not searched"
    if parameter.kind in {"float", "int"}:
        low, high = parameter.search
        return f"{low:g} to {high:g}" + (" (log)" if parameter.log else "")
    return ", ".join(map(str, parameter.search))


# ------------------------------------------------------------------ problems


def problem_list() -> Table:
    """All problems with what they are."""
    from trainables.problems import list_problems

    table = _table("problem", "what it is", "data", "licence")
    for name, info in list_problems().items():
        _add(table, [name, info.summary, info.source, info.licence])
    return table


def problem_details(name: str) -> RenderableType:
    """One problem with its default options: tasks, options, protocol, data.

    Raises:
        UnknownNameError: If there is no such problem.
    """
    from trainables.problems import list_problems, make_problem

    problem = make_problem(name)
    info = list_problems()[name]
    tasks = _table("task", "what", "loss", "metrics", title="tasks (with default options)")
    for task in problem.tasks:
        metrics = [f"{m.name} {'↑' if m.higher_is_better else '↓'}" for m in task.metrics]
        _add(tasks, [task.name, task.description, task.loss, ", ".join(metrics)])
    protocol = ", ".join(f"{key}: {value}" for key, value in info.protocol.items())
    head = f"{name}: {info.summary}\ndata: {info.source}\nlicence: {info.licence}"
    return Group(
        Text(head),
        tasks,
        _hyperparameters(info.options, None),
        Text(f"default protocol: {protocol}"),
    )


# ------------------------------------------------------------------ data sets


def dataset_list(data_dir: Path | None = None) -> Table:
    """All data sets with licence, size, and where they lie if they are present."""
    from trainables.datasets import data_root, list_datasets

    root = data_root(data_dir)
    table = _table(
        *("data set", "what it is", "licence", "size", "present", "obtained from"),
        title=f"data folder: {root}",
    )
    for name, data in list_datasets().items():
        routes = ", else ".join(route.description for route in data.routes)
        size = f"{data.size / 1e6:.0f} MB"
        _add(table, [name, data.summary, data.licence, size, _presence(name, data_dir), routes])
    return table


def _presence(name: str, data_dir: Path | None) -> str:
    from mtl_methods.errors import FairsweepError
    from trainables.datasets import data_root, find

    path = data_root(data_dir) / name
    try:
        folder = find(name, data_dir)
        if folder.fixture:
            return f"fixture in {path}"
        wrong = [f.name for f in folder.data.files if (path / f.name).stat().st_size != f.size]
    except (FairsweepError, OSError):
        # Looking only: `get` says what is wrong, and mends it.
        return f"no, {path} is incomplete" if path.exists() else "no"
    return f"no, {path} is damaged: {', '.join(wrong)}" if wrong else f"yes, {path}"
