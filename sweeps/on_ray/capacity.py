"""What this machine has for trials, and how many of them run at once on it."""

from __future__ import annotations

import os
from pathlib import Path

from sweeps.definition.study import Resources
from sweeps.errors import StudyError

__all__ = ["available_cpus", "available_gpus", "capped", "fitting", "local_slots"]


def available_cpus() -> int:
    """The processors that this process may use, a container's quota included."""
    # Not on macOS, where processes are not bound to processors.
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return cpus if quota == "max" else min(cpus, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        return cpus


def available_gpus() -> int:
    """The GPUs that trials can use."""
    import torch

    return torch.cuda.device_count()


def fitting(resources: Resources, cpus: float, gpus: float) -> int:
    """How many trials fit into so many processors and GPUs; 0 if not even one does."""
    slots = int(cpus // resources.cpus_per_trial)
    each = resources.gpus_per_trial
    if 0.0 < each <= 1.0:
        # Trials share a GPU, but none lies across two.
        slots = min(slots, int(gpus) * int(1.0 / each + 1e-9))
    elif each:
        slots = min(slots, int(gpus // each))
    return slots


def local_slots(resources: Resources) -> int:
    """How many trials run at once here: as many as fit, or fewer if the study says so.

    Raises:
        StudyError: If not even one fits; names what is there.
    """
    cpus = available_cpus()
    if resources.cpus_per_trial > cpus:
        raise StudyError(
            f"resources.cpus_per_trial: a trial takes {resources.cpus_per_trial} processors, and "
            f"this machine has {cpus}; take at most {cpus}, or a cluster with --address"
        )
    gpus = available_gpus() if resources.gpus_per_trial else 0
    slots = fitting(resources, cpus, gpus)
    if slots < 1:
        raise StudyError(
            f"resources.gpus_per_trial: a trial takes {resources.gpus_per_trial:g} GPUs, and this "
            f"machine has {gpus or 'none'} that PyTorch can use; take "
            f"{f'at most {gpus}' if gpus else '0'}, or a cluster with --address"
        )
    return min(slots, resources.concurrent or slots)


def capped(resources: Resources, slots: int) -> str | None:
    """A sentence if fewer trials run at once than the study asks for; ``None`` if not."""
    if resources.concurrent is None or resources.concurrent <= slots:
        return None
    return (
        f"resources.concurrent: {slots} of {resources.concurrent} trials fit at once, with "
        f"{resources.cpus_per_trial} processors and {resources.gpus_per_trial:g} GPUs each"
    )
