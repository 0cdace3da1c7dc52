"""Reading a results folder: the manifest and the two tables, validated.

`load` reads only ``manifest.json``, ``study.yaml``, ``trials.parquet`` and ``epochs.parquet``:
plain files with documented columns, so that a copied folder can be analysed anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import yaml

from analysis.errors import AnalysisError

FORMAT = 1
STATUSES = ("finished", "diverged", "failed")
SPLITS = ("validation", "test")

TRIAL_COLUMNS = (
    "trial_id",
    "phase",
    "method",
    "variant",
    "configuration_id",
    "seed",
    "status",
    "epochs",
    "best_epoch",
    "seconds",
    "seconds_per_epoch",
)
EPOCH_COLUMNS = ("trial_id", "phase", "method", "variant", "seed", "epoch")
ERROR_COLUMNS = ("error_type", "error_message", "error_task", "error_epoch", "error_step")


@dataclass(frozen=True)
class Metric:
    """One metric of one task."""

    task: str
    name: str
    higher_is_better: bool
    unit: str = ""

    def column(self, split: str) -> str:
        """Its column in ``trials.parquet`` on a split (``"validation"`` or ``"test"``)."""
        return f"{split}.{self.task}.{self.name}"

    @property
    def label(self) -> str:
        """Task, metric and the direction that is better, for axes and table heads."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.task} {self.name}{unit} {'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True)
class Results:
    """A results folder in memory.

    Attributes:
        path: The folder.
        manifest: ``manifest.json``: versions, hardware, problem, methods, budgets.
        study: ``study.yaml`` as run, defaults resolved.
        metrics: All metrics of all tasks, in the manifest's order.
        trials: One row for each trial that ended.
        epochs: One row for each epoch of each trial.
        problems: One sentence for each thing that is wrong with the folder but leaves it usable.
    """

    path: Path
    manifest: Mapping[str, Any]
    study: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    problems: tuple[str, ...] = field(default=())

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in the manifest's order."""
        return tuple(dict.fromkeys(metric.task for metric in self.metrics))

    @property
    def name(self) -> str:
        """Name of the study."""
        return str(self.manifest.get("study", self.path.name))

    @property
    def main_metrics(self) -> tuple[Metric, ...]:
        """The first metric of every task: what two-task plots show."""
        return tuple(
            next(metric for metric in self.metrics if metric.task == task) for task in self.tasks
        )

    @cached_property
    def finished(self) -> pd.DataFrame:
        """Trials that finished: the only ones that are ever averaged."""
        return self.trials[self.trials["status"] == "finished"]

    @cached_property
    def diverged(self) -> pd.DataFrame:
        """Trials that ended with a loss or gradient that is not finite."""
        return self.trials[self.trials["status"] == "diverged"]

    @cached_property
    def failed(self) -> pd.DataFrame:
        """Trials that ended with any other error."""
        return self.trials[self.trials["status"] == "failed"]

    def label(self, variant: str) -> str:
        """Name of a variant for tables and legends: the method's label, else the variant itself."""
        methods = self.manifest.get("methods", {})
        described = methods.get(variant)
        if isinstance(described, Mapping) and described.get("label"):
            return str(described["label"])
        if variant.startswith("stl:"):
            return f"single-task {variant[4:]}"
        if variant.startswith("fixed(") and variant.endswith(")"):
            return f"fixed({self.label(variant[6:-1])})"
        return variant


def load(directory: str | Path, *, strict: bool = True) -> Results:
    """Read and validate a results folder.

    Args:
        directory: The folder that ``fairsweep run`` wrote.
        strict: Raise for everything that is wrong. With ``False``, what leaves the folder usable
            (duplicated trials, a missing or truncated ``epochs.parquet``, a metric without column)
            is repaired and listed in `Results.problems` instead: the report says what can be said.

    Returns:
        The folder's tables; diverged and failed trials kept apart from finished ones.

    Raises:
        AnalysisError: A file or column is missing, the format is another version's, a Parquet file
            is truncated, or a trial is there twice.
    """
    path = Path(directory)
    if not path.is_dir():
        raise AnalysisError(f"There is no results folder {path}.")
    manifest = _manifest(path / "manifest.json")
    metrics = _metrics(manifest, path)
    problems: list[str] = []
    trials = _table(path / "trials.parquet", TRIAL_COLUMNS)
    trials = _without_duplicates(trials, ["trial_id"], path / "trials.parquet", strict, problems)
    trials = _with_metric_columns(trials, metrics, path / "trials.parquet", strict, problems)
    _check_statuses(trials, path / "trials.parquet")
    try:
        epochs = _table(path / "epochs.parquet", EPOCH_COLUMNS)
    except AnalysisError as error:
        if strict:
            raise
        problems.append(f"{error} Everything that needs epochs is left out.")
        epochs = pd.DataFrame({column: [] for column in EPOCH_COLUMNS})
    epochs = _without_duplicates(
        epochs, ["trial_id", "epoch"], path / "epochs.parquet", strict, problems
    )
    study = _study(path / "study.yaml", strict, problems)
    return Results(path, manifest, study, metrics, trials, epochs, tuple(problems))


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnalysisError(
            f"{path.parent} has no manifest.json, so it is no results folder of fairsweep."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AnalysisError(f"{path} is not valid JSON ({error}).") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        written = manifest.get("fairsweep") if isinstance(manifest, dict) else None
        raise AnalysisError(
            f"{path} has format {found!r}"
            + (f" (written by fairsweep {written})" if written else "")
            + f", but this version reads format {FORMAT}."
        )
    return dict(manifest)


def _metrics(manifest: Mapping[str, Any], path: Path) -> tuple[Metric, ...]:
    try:
        metrics = tuple(
            Metric(
                str(task["name"]),
                str(metric["name"]),
                bool(metric["higher_is_better"]),
                str(metric.get("unit") or ""),
            )
            for task in manifest["problem"]["tasks"]
            for metric in task["metrics"]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise AnalysisError(
            f"{path / 'manifest.json'} does not describe the problem's tasks and metrics "
            f"(missing {error})."
        ) from None
    if not metrics:
        raise AnalysisError(f"{path / 'manifest.json'} names no task with a metric.")
    return metrics


def _table(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except FileNotFoundError:
        raise AnalysisError(f"{path} is missing.") from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise AnalysisError(f"{path} is truncated or is no Parquet file ({reason}).") from None
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise AnalysisError(f"{path} lacks the column{_s(missing)} {', '.join(missing)}.")
    return table


def _without_duplicates(
    table: pd.DataFrame, keys: list[str], path: Path, strict: bool, problems: list[str]
) -> pd.DataFrame:
    again = table.duplicated(keys)
    if not again.any():
        return table.reset_index(drop=True)
    names = list(dict.fromkeys(table.loc[again, "trial_id"].astype(str)))
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    sentence = (
        f"{path} holds {len(names)} trial{_s(names)} more than once ({shown})"
        if keys == ["trial_id"]
        else f"{path} holds epochs of {len(names)} trial{_s(names)} more than once ({shown})"
    )
    if strict:
        raise AnalysisError(f"{sentence}.")
    problems.append(f"{sentence}; only the first of each is used.")
    return table[~again].reset_index(drop=True)


def _with_metric_columns(
    trials: pd.DataFrame,
    metrics: tuple[Metric, ...],
    path: Path,
    strict: bool,
    problems: list[str],
) -> pd.DataFrame:
    wanted = [metric.column(split) for split in SPLITS for metric in metrics]
    missing = [column for column in wanted if column not in trials.columns]
    absent = [
        metric.column(split)
        for split in SPLITS
        for metric in metrics
        if metric.column(split) in missing and _measured(trials, metric, split)
    ]
    if absent:
        sentence = f"{path} lacks the column{_s(absent)} {', '.join(absent)}"
        if strict:
            raise AnalysisError(f"{sentence}.")
        problems.append(f"{sentence}; measures that need it are left out.")
    optional = ("source_method", *ERROR_COLUMNS)
    return trials.reindex(
        columns=[
            *trials.columns,
            *missing,
            *(column for column in optional if column not in trials.columns),
        ]
    )


def _measured(trials: pd.DataFrame, metric: Metric, split: str) -> bool:
    """Whether a trial finished that reads this metric: without one its column may be absent."""
    finished = trials[trials["status"] == "finished"]
    if split == "validation":
        own = finished["variant"] == f"stl:{metric.task}"
        return bool(((finished["phase"] != "baselines") | own).any())
    if not any(str(column).startswith("test.") for column in trials.columns):
        return False
    return bool(finished["phase"].isin(["replicate", "fixed_weights"]).any())


def _check_statuses(trials: pd.DataFrame, path: Path) -> None:
    unknown = sorted(set(trials["status"].astype(str)) - set(STATUSES))
    if unknown:
        raise AnalysisError(
            f"{path} has trials of status {', '.join(unknown)}; valid: {', '.join(STATUSES)}."
        )


def _study(path: Path, strict: bool, problems: list[str]) -> dict[str, Any]:
    try:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        sentence = f"{path} is missing."
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        sentence = f"{path} is not valid YAML ({str(error).splitlines()[0]})."
    else:
        if isinstance(study, dict):
            return study
        sentence = f"{path} is not a mapping."
    if strict:
        raise AnalysisError(sentence)
    problems.append(sentence)
    return {}


def _s(items: list[str]) -> str:
    return "" if len(items) == 1 else "s"
