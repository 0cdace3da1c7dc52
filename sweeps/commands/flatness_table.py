"""Flatness of the trials of a results folder: which are measured, and the table of results.

``flatness.csv`` has a row for the weighted sum of tasks and one for each task of every trial:

======================  ===========================================================================
``trial_id``            the trial
``variant``             its label in tables
``seed``                its seed
``task``                ``weighted sum`` (weights 1/K) or a task
``lambda_max``          largest eigenvalue of the Hessian of the loss (:mod:`trainables.flatness`)
``residual``            an eigenvalue lies within this distance of it
``gradient_variance``   mean squared distance of mini-batch gradients from their mean
``items``               items that both were measured on
``seconds``             wall-clock seconds
``phase``               the phase of the study
``split``               the split that the items are from
``parameters``          what derivatives are taken by: ``all`` parameters or the ``shared`` ones
``batch_size``          items of a mini-batch, as in training
``iterations``          Lanczos steps
``converged``           whether the eigenvalue met the tolerance: ``True`` or ``False``
======================  ===========================================================================
"""

from __future__ import annotations

import csv
import io
import logging
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import ResultsFolderError
from trainables.checkpoint import best_checkpoint_path
from trainables.data import DataCache
from trainables.errors import CheckpointNotKeptError, CorruptFileError
from trainables.files import write_atomically
from trainables.flatness import measure_flatness
from trainables.record import read_record
from trainables.restore import restore_best

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "COLUMNS",
    "FILE",
    "Labelled",
    "choose_trials",
    "measure",
    "read_table",
    "screen_table",
    "write_table",
]

logger = logging.getLogger("sweeps")

FILE = "flatness.csv"

COLUMNS = (
    *("trial_id", "variant", "seed", "task", "lambda_max", "residual", "gradient_variance"),
    *("items", "seconds", "phase", "split", "parameters", "batch_size", "iterations", "converged"),
)
# What tells measurements apart; a new one replaces an old one that agrees in all of these.
_KEY = ("trial_id", "variant", "task", "split", "parameters", "items", "batch_size")


@dataclass(frozen=True)
class Labelled:
    """A trial under one of its labels.

    Attributes:
        trial_id: The trial.
        phase: The phase of the study.
        method: Registered name of its method.
        variant: Its label in tables.
    """

    trial_id: str
    phase: str
    method: str
    variant: str


def choose_trials(
    folder: Path, trial_ids: Sequence[str] = (), method: str | None = None
) -> list[Labelled]:
    """The trials to measure: the named ones, or all that kept the parameters of their best epoch.

    Args:
        folder: The results folder.
        trial_ids: The trials; all that can be measured by default.
        method: Only trials with this label or of this method.

    Raises:
        ResultsFolderError: If there are none, or the folder is no results folder.
        CheckpointNotKeptError: If trials fit, but none kept a checkpoint.
    """
    labelled = _labels(folder)
    if trial_ids:
        chosen = [trial for trial in labelled if trial.trial_id in trial_ids]
        known = {trial.trial_id for trial in labelled}
        unknown = [trial_id for trial_id in trial_ids if trial_id not in known]
        if unknown:
            raise ResultsFolderError(
                f"the ledger of {folder} has no finished trial {unknown[0]!r}; trials.parquet and "
                "the names of the files in ledger/ list the trials"
            )
    else:
        chosen = labelled
    if method is not None:
        chosen = [trial for trial in chosen if method in (trial.variant, trial.method)]
        if not chosen:
            valid = sorted({trial.variant for trial in labelled})
            raise ResultsFolderError(
                f"{folder} has no such finished trial of {method!r}; its labels are "
                + ", ".join(valid)
            )
    if trial_ids:
        return chosen
    kept = [t for t in chosen if best_checkpoint_path(folder, t.trial_id).is_file()]
    if not kept:
        raise CheckpointNotKeptError(
            f"none of {len(chosen)} finished trials in {folder} kept the parameters of its best "
            "epoch; a study with resources.keep_checkpoints: best keeps those of the trials that "
            "read the test split, in a new results folder, since trials that have ended are not "
            "repeated"
        )
    return kept


def measure(
    folder: Path,
    trials: Sequence[Labelled],
    *,
    items: int,
    split: str = "train",
    parameters: str = "all",
) -> Iterator[list[dict[str, Any]]]:
    """Measures one trial after the other; yields the rows of each.

    Mini-batches are as large as in training. Every trial of a problem is measured on the same
    items.

    Args:
        folder: The results folder.
        trials: The trials.
        items: How many items; all of the split if it has fewer.
        split: The split.
        parameters: What derivatives are taken by, see :data:`trainables.flatness.PARAMETERS`.

    Raises:
        FairsweepError: If a trial cannot be restored or measured; says which and why.
    """
    data = DataCache()
    measured: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        if trial.trial_id not in measured:
            restored = restore_best(folder, trial.trial_id, data)
            found = measure_flatness(
                restored.problem,
                restored.model,
                restored.data[split],
                items=items,
                batch_size=restored.spec.training.batch_size,
                tasks=restored.tasks,
                parameters=parameters,
            )
            measured[trial.trial_id] = [
                {"seed": restored.spec.seed, **vars(flatness)} for flatness in found
            ]
        labels = {"trial_id": trial.trial_id, "variant": trial.variant, "phase": trial.phase}
        yield [
            {**labels, **row, "split": split, "parameters": parameters}
            for row in measured[trial.trial_id]
        ]


def read_table(folder: Path) -> list[dict[str, Any]]:
    """The rows of an earlier ``flatness.csv``, as texts; none if there is no such file.

    Raises:
        ResultsFolderError: If the file is not such a table.
    """
    path = folder / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsFolderError(f"{path} cannot be read: {error}; move it away") from error
    if tuple(reader.fieldnames or ()) != COLUMNS or any(None in row.values() for row in rows):
        raise ResultsFolderError(
            f"{path} is no flatness table with the columns {', '.join(COLUMNS)}; move it away"
        )
    return rows


def write_table(
    folder: Path, earlier: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]
) -> Path:
    """Writes ``flatness.csv`` atomically: new rows, and the earlier ones that they do not replace.

    Raises:
        ResultsFolderError: If it cannot be written.
    """
    rows = {_key(row): row for row in (*earlier, *new)}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    path = folder / FILE
    try:
        write_atomically(path, text.getvalue().encode("utf-8"))
    except OSError as error:
        raise ResultsFolderError(f"{path} cannot be written ({error.strerror or error})") from error
    return path


def screen_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows for the terminal: means over the trials of each label, in the order of the rows."""
    from rich.table import Table
    from rich.text import Text

    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["variant"], row["task"]), []).append(row)
    table = Table(
        title=Text("Flatness, mean ± standard error over trials; lower is flatter"),
        title_justify="left",
    )
    for column in (
        *("method", "task", "trials", "lambda_max", "largest residual", "gradient variance"),
        *("items", "not converged"),
    ):
        table.add_column(Text(column), overflow="fold")
    for (variant, task), group in groups.items():
        cells = (
            *(variant, task, str(len(group)), _mean([row["lambda_max"] for row in group])),
            f"{max(row['residual'] for row in group):.2g}",
            _mean([row["gradient_variance"] for row in group]),
            str(group[0]["items"]),
            str(sum(not row["converged"] for row in group)),
        )
        table.add_row(*map(Text, cells))
    return table


def _mean(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.4g}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.2g}"


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[column]) for column in _KEY)


def _labels(folder: Path) -> list[Labelled]:
    """Every finished trial under each of its labels, in the order of the tables.

    A folder without tables (trials run one by one) has its methods' names for labels.
    """
    ledger = folder / "ledger"
    if not folder.is_dir():
        raise ResultsFolderError(f"there is no results folder {folder}")
    if not ledger.is_dir():
        raise ResultsFolderError(f"{folder} has no ledger, so it is no results folder")
    found = {}
    for path in sorted(ledger.glob("*.json")):
        try:
            record = read_record(path)
        except CorruptFileError as error:
            logger.warning("%s; its trial is left out", error)
            continue
        if record["status"] == "finished":
            found[path.stem] = record
    labelled = [trial for trial in _table_labels(folder) if trial.trial_id in found]
    listed = {trial.trial_id for trial in labelled}
    for trial_id, record in found.items():
        if trial_id not in listed:
            method = record["spec"]["method"]["name"]
            labelled.append(Labelled(trial_id, record["phase"], method, method))
    return labelled


def _table_labels(folder: Path) -> list[Labelled]:
    import pandas as pd

    path = folder / "trials.parquet"
    if not path.exists():
        return []
    try:
        table = pd.read_parquet(path, columns=["trial_id", "phase", "method", "variant"])
    except (OSError, ValueError) as error:
        raise ResultsFolderError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); `fairsweep report {folder}` "
            "writes it anew"
        ) from error
    # A trial that several variants share is named "<trial_id>@<variant>" from the second on.
    return [
        Labelled(str(name).partition("@")[0], str(phase), str(method), str(variant))
        for name, phase, method, variant in table.itertuples(index=False, name=None)
    ]
