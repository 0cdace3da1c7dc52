"""The status of a study for the terminal. Texts from elsewhere are no markup, no commands."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sweeps.folder.status import Status
from sweeps.printable import printable
from sweeps.running.progress import duration
from sweeps.search.selection import describe_objective

__all__ = ["status_view"]


def status_view(status: Status) -> RenderableType:
    """A panel: whether a run is alive, phases, trials by state, errors, best, what runs."""
    phases = Table.grid(padding=(0, 2))
    for name, count in status.phases.items():
        left_out = f", {count.left_out} left out" if count.left_out else ""
        skipped = f", {count.skipped} skipped" if count.skipped else ""
        phases.add_row(
            Text(printable(name)), Text(f"{count.ended}/{count.planned}{left_out}{skipped}")
        )
    phases.add_row(Text("all"), Text(f"{status.ended}/{status.planned}"), style="bold")
    # A frame cuts its title where it is longer than what is in it.
    lines = [f"folder: {status.folder}", _run_line(status), _list("trials", status.states)]
    if status.errors:
        lines.append(_list("not finished", status.errors))
    if status.damaged:
        lines.append(f"damaged records, whose trials run again: {', '.join(status.damaged[:5])}")
    if not math.isnan(status.rate):
        left = "" if math.isnan(status.left) else f", about {duration(status.left)} left"
        lines.append(f"rate: {_rounded(status.rate)} trials per hour{left}")
    if status.best:
        lines.append("best so far:")
        lines += [
            f"  {variant}: {describe_objective(status.selection, value)}"
            for variant, value in status.best
        ]
    if status.running:
        lines.append("running:")
        lines += [
            f"  {trial.phase} {trial.label} ({trial.trial_id}), epoch {trial.epoch}/{trial.epochs} "
            f"on {trial.host}"
            + (f", no sign of life for {duration(trial.silent)}" if trial.silent > 60 else "")
            for trial in status.running
        ]
    lines += status.left_out
    if status.complete:
        lines.append("every planned trial has ended")
    body = Group(phases, Text(printable("\n".join(lines))))
    return Panel(
        body,
        title=Text(printable(status.study)),
        expand=False,
    )


def _rounded(number: float) -> str:
    """Three digits and no exponent: ``1,460``."""
    return f"{float(f'{number:.3g}'):,.15g}"


def _run_line(status: Status) -> str:
    run = status.run
    where = "" if run is None else f" (process {run.pid} on {run.host})"
    if status.alive:
        since = "" if run is None else f", for {duration(run.age)}, {run.slots} trials at once"
        return f"a run is alive{where}{since}"
    if status.complete:
        return "no run is alive; nothing is left to do"
    return "no run is alive; run the study again to continue"


def _list(what: str, counts: dict[str, int]) -> str:
    return f"{what}: " + (", ".join(f"{count} {name}" for name, count in counts.items()) or "none")
