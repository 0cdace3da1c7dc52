"""What is looked at and put in order before the first trial of a run."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.definition.resolved import ResolvedStudy
from sweeps.definition.setups import every_choice
from sweeps.errors import StudyError
from sweeps.folder.disk import check_space, disk_need, tidy_checkpoints
from sweeps.folder.ledger import Ledger
from sweeps.on_ray.capacity import local_slots
from sweeps.on_ray.nodes import check_nodes, cluster_nodes
from sweeps.on_ray.watchdog import clear_signs
from sweeps.planning.plan import Plan

if TYPE_CHECKING:
    from trainables.problem import Splits

__all__ = ["check_cluster", "check_disk", "check_held_out", "check_new", "put_in_order"]

logger = logging.getLogger("sweeps")


def check_new(resolved: ResolvedStudy, results: Path) -> None:
    """Refuses a study that this machine has no room for, before there is a results folder.

    Raises:
        StudyError: If not one trial fits.
        ResultsFolderError: If its disk is too small.
    """
    slots = local_slots(resolved.study.resources)
    plan = Plan(resolved, Ledger(results / "ledger"), results / "search", extend=False)
    check_space(results, disk_need(plan, slots))


def check_held_out(resolved: ResolvedStudy, splits: Splits) -> None:
    """Refuses a study of whose training items too few are left for a method that holds some out.

    A batch must be left, or half of the items where these are fewer than two batches.

    Args:
        resolved: The study.
        splits: The data of its problem.

    Raises:
        StudyError: If fewer are left; says how much may be held out.
    """
    items = len(next(iter(splits["train"].values())))
    batch = int(resolved.protocol["batch_size"])
    needed = min(batch, math.ceil(items / 2))
    for candidate in resolved.candidates:
        for configuration in every_choice(candidate):
            trial = resolved.trial("check", candidate, configuration, 0, reference=None)
            fraction = trial.spec["training"]["inner_validation"]
            left = items if fraction is None else items - max(round(fraction * items), 1)
            if left < needed:
                most = math.floor(1000 * (items - needed) / items) / 1000
                raise StudyError(
                    f"protocol.inner_validation: {fraction:g} of {items} training items leaves "
                    f"{candidate.variant} {max(left, 1)} to train on, fewer than "
                    f"{f'a batch of {batch}' if needed == batch else 'half of them'}; valid: at "
                    f"most {most:g}"
                )


def put_in_order(results: Path, ledger: Ledger, keep: str) -> None:
    """Removes what runs that were killed have left in a locked results folder."""
    clear_signs(results)
    tidy_checkpoints(results, ledger, keep)


def check_disk(plan: Plan, results: Path, slots: int) -> None:
    """Says how much the trials that are left will write, and refuses if that does not fit.

    Raises:
        ResultsFolderError: If it does not fit.
    """
    if plan.finished:
        return
    need = disk_need(plan, slots)
    check_space(results, need)
    logger.info("disk: %s will be written", need.describe())


def check_cluster(plan: Plan, results: Path, slots: int) -> None:
    """Checks that all machines of a cluster share the results folder and have room in it.

    Raises:
        RunError: If one does not see it or cannot write to it.
        ResultsFolderError: If it does not fit.
    """
    check_nodes(results, cluster_nodes(), disk_need(plan, slots))
