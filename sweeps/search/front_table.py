"""The front of every method's search as a table: ``search_front.csv`` of a results folder.

Written where a study names several objectives. One row for each configuration that no other one of
the same method dominates: ``variant``, ``replicated_as`` (the label of its replicates, if it has
any), ``number`` (its place in the search), ``configuration_id``, a column for each objective (mean
over seeds on validation, as it is defined), then ``hp.<name>`` and ``training.<name>``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.phases.tuning import Attempt, Tuning
from sweeps.planning.plan import Plan
from sweeps.search.front import chosen
from sweeps.search.objectives import Objective
from trainables.files import write_atomically

__all__ = ["NAME", "front_rows", "write_front"]

NAME = "search_front.csv"


def write_front(folder: Path, plan: Plan) -> None:
    """Writes the table if the study names several objectives, else removes that of an earlier one.

    Args:
        folder: The results folder.
        plan: The plan of the study.
    """
    if len(plan.resolved.objectives) < 2:
        (folder / NAME).unlink(missing_ok=True)
        return
    rows = front_rows(plan)
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomically(folder / NAME, text.getvalue().encode())


def front_rows(plan: Plan) -> list[dict[str, Any]]:
    """The rows of the table, methods in the order of the study, best by the first objective."""
    return [
        row
        for candidate in plan.resolved.candidates
        if candidate.variant in plan.context.tunings
        for row in _rows(plan, plan.context.tunings[candidate.variant])
    ]


def _rows(plan: Plan, tuning: Tuning) -> list[dict[str, Any]]:
    resolved = plan.resolved
    replicated = {
        attempt.number: f"{tuning.variant}/{place}" if place > 1 else tuning.variant
        for place, attempt in enumerate(
            chosen(tuning.front, resolved.choose, resolved.max_configurations), start=1
        )
    }
    ordered = sorted(tuning.front, key=lambda attempt: (-attempt.values[0], attempt.number))
    return [_row(plan, tuning, attempt, replicated.get(attempt.number)) for attempt in ordered]


def _row(plan: Plan, tuning: Tuning, attempt: Attempt, label: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "variant": tuning.variant,
        "replicated_as": label or "",
        "number": attempt.number,
        "configuration_id": attempt.results[0][0].configuration_id,
    }
    for goal, value in zip(plan.resolved.objectives, attempt.values, strict=True):
        turned = isinstance(goal, Objective) and not goal.higher_is_better
        row[goal.name] = -value if turned else value
    for prefix, settings in (
        ("hp", attempt.configuration.hyperparameters),
        ("training", attempt.configuration.training),
    ):
        for name, value in settings.items():
            row.update(_cells(f"{prefix}.{name}", value))
    return row


def _cells(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {f"{name}.{key}": item for key, item in value.items()}
    if isinstance(value, list | tuple):
        return {f"{name}.{index}": item for index, item in enumerate(value)}
    return {name: value}
