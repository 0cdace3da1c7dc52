"""Reading a results folder: the manifest and the two tables, validated.

`load` reads only ``manifest.json``, ``study.yaml``, ``trials.parquet`` and ``epochs.parquet``:
plain files with documented columns, so that a copied folder can be analysed anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import yaml

from analysis.errors import AnalysisError
from analysis.repair import (
    Complaints,
    recovered_trials,
    with_metric_columns,
    with_trial_columns,
    without_duplicated_epochs,
    without_duplicated_trials,
    without_unusable_rows,
)
from analysis.results import EPOCH_COLUMNS, Metric, Results

FORMAT = 1


def load(directory: str | Path, *, strict: bool = True) -> Results:
    """Read and validate a results folder.

    Args:
        directory: The folder that ``fairsweep run`` wrote.
        strict: Raise for everything that is wrong. With ``False``, everything but a folder without
            a readable manifest is repaired as far as it can be, and each repair is a sentence in
            `Results.problems`: the report says what can be said. Without readable trials, those
            that ran all their epochs are taken from the epochs, with their validation values.

    Returns:
        The folder's tables; diverged and failed trials kept apart from finished ones.

    Raises:
        AnalysisError: A file or column is missing, the format is another version's, a Parquet file
            is truncated, or a trial is there twice. If not `strict`: there is no folder, or its
            manifest does not say which metrics its problem has.
    """
    path = Path(directory)
    if not path.is_dir():
        raise AnalysisError(f"There is no results folder {path}.")
    complaints = Complaints(strict=strict)
    manifest = _manifest(path / "manifest.json", complaints)
    metrics = _metrics(manifest, path)
    study = _study(path / "study.yaml", complaints)
    epochs = _epochs(path / "epochs.parquet", complaints)
    trials = _trials(path / "trials.parquet", epochs, metrics, study, complaints)
    return Results(path, manifest, study, metrics, trials, epochs, tuple(complaints.found))


def _trials(
    path: Path,
    epochs: pd.DataFrame,
    metrics: tuple[Metric, ...],
    study: Mapping[str, Any],
    complaints: Complaints,
) -> pd.DataFrame:
    try:
        trials = _table(path)
    except AnalysisError as error:
        trials, consequence = recovered_trials(epochs, metrics, study)
        if (path.parent / "ledger").is_dir():
            consequence += " The command `fairsweep report` makes it anew from the ledger."
        complaints.add(str(error), consequence)
    trials = with_trial_columns(trials, epochs, path, complaints)
    trials = without_duplicated_trials(trials, path, complaints)
    trials = without_unusable_rows(trials, path, complaints)
    return with_metric_columns(trials, metrics, path, complaints)


def _epochs(path: Path, complaints: Complaints) -> pd.DataFrame:
    try:
        epochs = _table(path)
    except AnalysisError as error:
        complaints.add(str(error), "Everything that needs epochs is left out.")
        return _no_epochs()
    missing = [column for column in EPOCH_COLUMNS if column not in epochs.columns]
    if missing:
        complaints.add(
            f"{path} lacks the column{_s(missing)} {', '.join(missing)}.",
            "Everything that needs epochs is left out.",
        )
        return _no_epochs()
    return without_duplicated_epochs(epochs, path, complaints)


def _no_epochs() -> pd.DataFrame:
    return pd.DataFrame({column: pd.Series(dtype=object) for column in EPOCH_COLUMNS})


def _manifest(path: Path, complaints: Complaints) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnalysisError(
            f"{path.parent} has no manifest.json, so it is no results folder of fairsweep."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AnalysisError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(manifest, dict):
        raise AnalysisError(f"{path} is not a JSON object.")
    if manifest.get("format") != FORMAT:
        written = manifest.get("fairsweep")
        complaints.add(
            f"{path} has format {manifest.get('format')!r}"
            + (f" (written by fairsweep {written})" if written else "")
            + f", but this version reads format {FORMAT}.",
            "What follows was read as if it had that format; columns may mean something else.",
        )
    return manifest


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


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise AnalysisError(f"{path} is missing.") from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].rpartition("': ")[2].partition(". ")[0]
        raise AnalysisError(f"{path} is truncated or is no Parquet file ({reason}).") from None


def _study(path: Path, complaints: Complaints) -> dict[str, Any]:
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
    complaints.add(sentence, "Protocol and search ranges are not known.")
    return {}


def _s(items: list[str]) -> str:
    return "" if len(items) == 1 else "s"
