"""The command line: running and checking studies, reports, listings, data, further analyses."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sweeps.commands.analysis_commands import audit, compare
from sweeps.commands.data_commands import data_app
from sweeps.commands.flatness_command import flatness
from sweeps.commands.run_commands import dashboard, status, stop
from sweeps.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.definition.resolved import ResolvedStudy
    from sweeps.running.outcome import Outcome

__all__ = ["app", "main"]

EXIT_BAD_INPUT = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130
_WIDTH = 140

# The base of errors in arguments; it is click's, which recent versions of typer bring along.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="fairsweep",
    help="Fair sweeps over multi-task learning methods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_app)
app.command()(status)
app.command()(stop)
app.command()(dashboard)
app.command()(flatness)
app.command()(compare)
app.command()(audit)

StudyArgument = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A study file (YAML) or the name of a packaged study."),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option(
        "--results", metavar="DIR", help="The results folder. [default: results/<study name>]"
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(metavar="ADDR", help="Address of a Ray cluster. [default: a Ray of our own]"),
]


def main() -> None:
    """Runs the command line; bad input is one sentence on standard error and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if isinstance(error, _UsageError):
            _refuse(error.format_message())
        if _is_meant_for_users(error):
            _refuse(str(error), _exit_code(error))
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            _refuse(f"{error}; make room and run the same command again", EXIT_FAILED)
        raise
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _refuse(message: str, code: int = EXIT_BAD_INPUT) -> NoReturn:
    sys.stderr.write(f"fairsweep: {printable(' '.join(message.split()))}\n")
    sys.exit(code)


def _exit_code(error: Exception) -> int:
    """2 for what could be refused before any work, 3 for a sweep that broke off."""
    from sweeps.errors import SweepFailedError

    return EXIT_FAILED if isinstance(error, SweepFailedError) else EXIT_BAD_INPUT


def _is_meant_for_users(error: Exception) -> bool:
    """Whether an error is one of ours; looks at loaded modules only, so that help stays fast."""
    ours = [
        getattr(sys.modules[module], name)
        for module, name in _ERRORS.items()
        if module in sys.modules
    ]
    return isinstance(error, tuple(ours))


_ERRORS = {"mtl_methods.errors": "FairsweepError", "analysis.errors": "AnalysisError"}


def _version(wanted: bool) -> None:
    if wanted:
        from mtl_methods.version import __version__

        typer.echo(f"fairsweep {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Fair sweeps over multi-task learning methods."""


# ------------------------------------------------------------------ run


@app.command()
def run(
    study: StudyArgument,
    results: ResultsOption = None,
    address: AddressOption = None,
) -> None:
    """Run a study, or continue it: what has ended is never repeated.

    Exit codes: 0 every trial is accounted for; 2 bad input; 3 trials failed or were left out;
    4 its hours (budget.hours) are used up; 130 or 143 stopped.
    """
    again = ["fairsweep", "run", study]
    again += ["--results", str(results)] if results else []
    again += ["--address", address] if address else []
    continuing = f"Continue with: {shlex.join(again)}"
    try:
        outcome = _run(study, results, address, continuing)
    except KeyboardInterrupt:
        # While modules are loaded or the report is written, when nothing else waits for a signal.
        typer.echo(f"stopped; what has ended is kept.\n{continuing}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if outcome.signal is not None:
        # All is written. Taking Python, torch and Ray apart can take seconds that a stop has not,
        # and for ever if a thread of Ray's hangs in an epoch.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(outcome.exit_code)
    raise typer.Exit(outcome.exit_code)


def _run(study: str, results: Path | None, address: str | None, continuing: str) -> Outcome:
    from sweeps.running.runner import run as run_study

    resolved = _resolved(study)
    console = _console()
    outcome = run_study(resolved, results or _default_results(resolved), address, console)
    if outcome.signal is None:
        _show_outcome(outcome, console)
    else:
        kept = f"{outcome.ended} of {outcome.planned} trials have ended and are kept"
        console.print(
            printable(f"stopped; {outcome.out_of_time or kept}.\n{continuing}"),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return outcome


def _resolved(study: str) -> ResolvedStudy:
    from sweeps.definition.resolve import resolve
    from sweeps.definition.study_file import load_study

    return resolve(load_study(study))


def _default_results(resolved: ResolvedStudy) -> Path:
    return Path("results") / resolved.study.name


def _console() -> Console:
    """The screen; wide enough for tables where it is no terminal."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


def _show_outcome(outcome: Outcome, console: Console) -> None:
    from sweeps.commands.show import summary_table
    from sweeps.running.progress import duration

    console.print(summary_table(outcome.folder))
    lines = [f"{outcome.ended} of {outcome.planned} trials in {duration(outcome.seconds)}"]
    if outcome.reused:
        lines[0] += f", {outcome.reused} of them in earlier runs"
    if outcome.skipped:
        lines[0] += (
            f"; {outcome.skipped} were skipped, since another seed of their configuration had been "
            "stopped early"
        )
    for what, trials in (("diverged", outcome.diverged), ("failed", outcome.failed)):
        lines += [
            f"{what}: {trial.phase} {trial.variant} seed {trial.seed} ({trial.trial_id}): "
            f"{record.error.get('message')}"
            for trial, record in trials
        ]
    lines += outcome.notices
    if outcome.left_out:
        missing = outcome.planned - outcome.ended
        lines.append(f"{missing} of {outcome.planned} trials were left out:")
    lines += outcome.left_out
    if outcome.failed:
        lines.append(
            f"{len(outcome.failed)} trials failed, with tracebacks in {outcome.folder / 'ledger'}; "
            "running the study again tries them again"
        )
    lines.append(f"report: {outcome.report}")
    if outcome.exit_code:
        lines.append(f"not every planned trial is accounted for: exit code {outcome.exit_code}")
    console.print(printable("\n".join(lines)), markup=False, highlight=False, soft_wrap=True)


# ------------------------------------------------------------------ check


@app.command()
def check(
    study: StudyArgument, results: ResultsOption = None, address: AddressOption = None
) -> None:
    """Check a study: its phases, numbers of trials and an estimate of its time.

    Runs nothing but a few steps that are timed here; a cluster is not asked what it has.
    """
    from sweeps.commands.show import check_table
    from sweeps.folder.results import check_owner

    resolved = _resolved(study)
    folder = (results or _default_results(resolved)).expanduser()
    check_owner(folder.absolute(), resolved)
    _console().print(check_table(resolved, folder, local=address is None))


# ------------------------------------------------------------------ report


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")],
    margin: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Difference within which fixed and dynamic weights count as equivalent, in "
            "percentage points. [default: 1]",
        ),
    ] = None,
) -> None:
    """Rebuild tables, summary, figures and report of a results folder from its ledger."""
    from sweeps.commands.show import summary_table
    from sweeps.folder.rebuild import rebuild

    rebuilt = rebuild(folder, margin)
    console = _console()
    console.print(summary_table(folder))
    for note in rebuilt.notes:
        console.print(printable(f"note: {note}"), markup=False, highlight=False, soft_wrap=True)
    console.print(
        printable(f"report: {rebuilt.report}"), markup=False, highlight=False, soft_wrap=True
    )


# ------------------------------------------------------------------ methods, problems

NameArgument = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Details of one.")]


@app.command()
def methods(name: NameArgument = None) -> None:
    """List methods and loss transforms, or one with rule, hyper-parameters, ranges, sources."""
    from sweeps.commands.show import method_details, method_list

    _console().print(method_list() if name is None else method_details(name))


@app.command()
def problems(name: NameArgument = None) -> None:
    """List the problems, or one with its tasks, options and data source."""
    from sweeps.commands.show import problem_details, problem_list

    _console().print(problem_list() if name is None else problem_details(name))
