"""What is looked at and put in order before the first trial of a run."""

from __future__ import annotations

import logging
from pathlib import Path

from sweeps.definition.resolved import ResolvedStudy
from sweeps.folder.disk import check_space, disk_need, tidy_checkpoints
from sweeps.folder.ledger import Ledger
from sweeps.on_ray.capacity import local_slots
from sweeps.on_ray.nodes import check_nodes, cluster_nodes
from sweeps.on_ray.watchdog import clear_signs
from sweeps.planning.plan import Plan

__all__ = ["check_cluster", "check_disk", "check_new", "put_in_order"]

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
