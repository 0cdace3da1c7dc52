"""How many trials a cluster has room for, and nodes that are still on their way."""

from __future__ import annotations

import logging
import time
from typing import Any

from sweeps.definition.study import Resources
from sweeps.errors import RunError
from sweeps.on_ray.capacity import fitting

__all__ = ["cluster_slots"]

logger = logging.getLogger("sweeps")

# Slurm's and Kubernetes' nodes come one after another; the number of slots stands once it is found.
_WAIT_SECONDS = 60.0
_LOOK_SECONDS = 1.0


def cluster_slots(resources: Resources, wait: float | None = None) -> int:
    """How many trials run at once on the cluster that Ray is connected to.

    Where fewer fit than the study asks for (``resources.concurrent``, or one), an autoscaler is
    asked for more nodes and nodes that join are waited for.

    Args:
        resources: What a trial takes and how many run at once.
        wait: Seconds to wait at most; a minute by default.

    Raises:
        RunError: If not even one trial fits.
    """
    wanted = resources.concurrent or 1
    cpus, gpus = _there()
    slots = fitting(resources, cpus, gpus)
    if slots < wanted:
        seconds = _WAIT_SECONDS if wait is None else wait
        logger.info(
            "the cluster has room for %d of %d trials at once; waiting up to %.0f s for more nodes",
            slots,
            wanted,
            seconds,
        )
        bundle = {"CPU": float(resources.cpus_per_trial), "GPU": resources.gpus_per_trial}
        bundle = {name: amount for name, amount in bundle.items() if amount}
        _request([bundle] * wanted)
        try:
            deadline = time.monotonic() + seconds
            while slots < wanted and time.monotonic() < deadline:
                time.sleep(_LOOK_SECONDS)
                cpus, gpus = _there()
                slots = fitting(resources, cpus, gpus)
        finally:
            _request([])  # or the cluster never shrinks again
    if slots < 1:
        raise RunError(
            f"the cluster has {cpus:g} CPUs and {gpus:g} GPUs, not enough for one trial of this "
            f"study ({resources.cpus_per_trial} CPUs, {resources.gpus_per_trial:g} GPUs)"
        )
    return min(slots, resources.concurrent or slots)


def _there() -> tuple[float, float]:
    """The processors and the GPUs of all nodes."""
    import ray

    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return available.get("CPU", 0.0), available.get("GPU", 0.0)


def _request(bundles: list[dict[str, Any]]) -> None:
    """Tells an autoscaler what the cluster should have room for; nothing where there is none."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=bundles)
