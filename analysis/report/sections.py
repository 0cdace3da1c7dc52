"""The sections of a report: which tables, figures and interactive plots, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.figures import DrawnFigure
from analysis.report import front_tables, run_tables
from analysis.report import study_tables as tables
from analysis.report.study import StudyAnalysis
from analysis.report.tables import Table
from analysis.results import Results

MANY_TASKS = 2
SPACE_METRICS = 3


@dataclass(frozen=True)
class Widget:
    """An interactive plot that the page's script fills: its name there, heading and caption."""

    name: str
    title: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; `note` explains how to read it."""

    name: str
    title: str
    note: str = ""
    tables: Sequence[Table] = field(default=())
    widgets: Sequence[Widget] = field(default=())
    figures: Sequence[DrawnFigure] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.tables or self.widgets or self.figures)


TRADE_OFF = Widget(
    "tradeoff",
    "Trade-off, interactive",
    "Every trial on two metrics or losses (these on validation only); the dashed lines are "
    "single-task, the grey line joins the front of the swept weights' means. Point at a mark for "
    "its trial and hyper-parameters; click it, a name below or a table row to isolate a method.",
)
SPACE = Widget(
    "space",
    "Three metrics, interactive",
    "Drag sideways or up and down, or use the arrow keys, to turn it; stems lead to the floor. "
    "Grey: swept weights, filled where no other swept point is better in all three. Point at a "
    "mark for its values; click it to isolate a method.",
)
WEIGHTS = Widget(
    "weights",
    "Effective weights, interactive",
    "Mean over seeds of the normalised effective weights, with the standard deviation as a band "
    "and the moving average dotted. Point at the plot to read an epoch.",
)
SEARCH = Widget(
    "search",
    "Search, interactive",
    "Best validation objective against the configurations tried (line), and every configuration "
    "(marks). Point at a mark for its hyper-parameters.",
)


def sections(study: StudyAnalysis, drawn: Mapping[str, DrawnFigure]) -> list[Section]:
    """The sections that have something to show.

    Args:
        study: The analysed folder.
        drawn: Static figures by name.

    Returns:
        Sections in the page's order.
    """

    def figures(*names: str) -> list[DrawnFigure]:
        return [drawn[name] for name in names if name in drawn]

    results = study.results
    finished = not results.finished.empty
    several = len(results.tasks) >= MANY_TASKS
    has_weights = "weights" in drawn
    has_search = "best_so_far" in drawn
    found = [
        Section(
            "methods",
            "Methods compared",
            tables=_some(
                tables.summary_table(study),
                tables.intervals_table(study),
                tables.metrics_table(study),
                tables.validation_table(study),
            ),
            figures=figures("delta_mtm", "intervals"),
        ),
        Section(
            "trade-off",
            "Trade-off between tasks and the front of fixed weights",
            tables=[
                *front_tables.standing_tables(study),
                *_some(front_tables.hypervolume_table(study)),
            ],
            widgets=_plots(results) if finished and several else [],
            figures=figures(
                "trade_off", "space", "trade_off_losses", "standing", "parallel", "scatter_matrix"
            ),
        ),
        Section(
            "fixed",
            "Fixed against dynamic weights",
            tables=_some(front_tables.fixed_dynamic_table(study), front_tables.sweep_table(study)),
            widgets=[WEIGHTS] if has_weights else [],
            figures=figures("weights", "equivalence", "distance_to_equal"),
        ),
        Section(
            "fairness-section",
            "Fairness",
            tables=_some(tables.fairness_table(study)),
            figures=figures("fairness"),
        ),
        Section(
            "statistics",
            "Statistics",
            tables=_some(tables.ranks_table(study), tables.pairs_table(study)),
            figures=figures("critical_difference"),
        ),
        Section(
            "training",
            "What happens in training",
            tables=_some(run_tables.losses_table(study), run_tables.time_table(study)),
            figures=figures("similarity", "losses", "time"),
        ),
        Section(
            "search-section",
            "How well everything was tuned",
            tables=_some(
                run_tables.neighbours_table(study),
                run_tables.borders_table(study),
                run_tables.budgets_table(study),
            ),
            widgets=[SEARCH] if has_search else [],
            figures=figures("best_so_far", "responses", "importance"),
        ),
        Section("went-wrong", "What went wrong", tables=_some(run_tables.failures_table(study))),
    ]
    return [section for section in found if not section.empty]


def _some(*found: Table | None) -> list[Table]:
    return [table for table in found if table is not None]


def _plots(results: Results) -> list[Widget]:
    """Two metrics as a plane, three or more also as a space."""
    return [TRADE_OFF, SPACE] if len(results.metrics) >= SPACE_METRICS else [TRADE_OFF]
