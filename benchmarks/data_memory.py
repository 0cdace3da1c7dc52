"""The memory of several trials on one data set beside that of one.

``fairsweep data get mnist && python benchmarks/data_memory.py``: trains CL_RR of Multi-MNIST, all
50,000 pairs, for one epoch in one worker and then in eight at once, and prints what the workers
hold: their private memory, and the shared memory that holds the data, divided among those that map
it (the kernel's proportional set size). Linux only.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of this checkout
os.environ["PYTHONPATH"] = sys.path[0]

import numpy as np
import ray

from trainables import make_problem
from trainables.trainable import trainable_with_data

MIB = 2**20


def memory(pid: int) -> dict[str, float]:
    """MiB of a process: private, and its part of what it shares, anonymous or not."""
    found: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        key, value = line.split(":")
        found[key] = int(value.split()[0]) * 1024 / MIB
    return {
        "private": found["Private_Clean"] + found["Private_Dirty"],
        "shared memory": found["Pss_Shmem"],
        "all": found["Pss"],
    }


def train(trainable: type[Any], spec: dict[str, Any], workers: int) -> list[dict[str, float]]:
    """One epoch in each of several workers at once; what each holds after it."""

    class Worker(trainable):  # type: ignore[misc]
        def pid(self) -> int:
            return os.getpid()

    remote = ray.remote(num_cpus=0)(Worker)
    specs = [{**spec, "seed": seed} for seed in range(workers)]
    actors = [remote.remote(config={"spec": one}) for one in specs]
    ray.get([actor.train.remote() for actor in actors])
    pids: Sequence[int] = ray.get([actor.pid.remote() for actor in actors])
    held = [memory(pid) for pid in pids]
    for actor in actors:
        ray.kill(actor)
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    options = parser.parse_args()
    problem = make_problem("multi_mnist", tasks="CL_RR")
    arrays = [array for split in problem.load().values() for array in split.values()]
    data = sum(np.asarray(array).nbytes for array in arrays) / MIB
    spec = {
        "problem": {"name": "multi_mnist", "options": {"tasks": "CL_RR"}},
        "method": "ls",
        "training": {"epochs": 1, "batch_size": 256},
        "selection": "loss",
    }
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False,
        object_store_memory=1024 * MIB,
    )  # fmt: skip
    trainable = trainable_with_data([problem])
    print(f"arrays of the problem: {data:.0f} MiB")
    totals = {}
    for workers in (1, options.workers):
        held = train(trainable, spec, workers)
        sums = {key: sum(one[key] for one in held) for key in held[0]}
        totals[workers] = sums
        parts = ", ".join(f"{key} {value:.0f} MiB" for key, value in sums.items())
        print(f"{workers} workers together: {parts}")
    one, many = totals[1], totals[options.workers]
    print(
        f"shared memory of {options.workers} workers / of one: "
        f"{many['shared memory'] / one['shared memory']:.2f}; private memory per worker: "
        f"{many['private'] / options.workers:.0f} MiB against {one['private']:.0f} MiB"
    )
    ray.shutdown()


if __name__ == "__main__":
    main()
