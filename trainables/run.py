"""A whole trial in this process, without Ray."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainables.data import DataCache
from trainables.problem import Splits
from trainables.session import TrialSession
from trainables.spec import TrialSpec

__all__ = ["run_trial"]


def run_trial(
    spec: TrialSpec | Mapping[str, Any],
    splits: Splits | None = None,
    results_dir: str | Path | None = None,
    *,
    phase: str = "",
    data: DataCache | None = None,
    data_dir: str | None = None,
    device: torch.device | str = "cpu",
    threads: int | None = 1,
    checkpoint_every_s: float = 30.0,
    raise_on_failure: bool = True,
    keep_best: bool = False,
    keep_last: bool = False,
) -> dict[str, Any]:
    """Runs a trial to its end, or what is left of it, and returns its record.

    Args:
        spec: What to run; a dictionary is checked first.
        splits: The data of the problem; loaded if not given.
        results_dir: Where checkpoint and record go; nothing is written without one.
        phase: The phase of a study, for the record.
        data: A cache of tensors to use for several trials, in place of ``splits``.
        data_dir: The folder of downloaded data sets.
        device: Where to train.
        threads: Threads of torch during the trial (restored after it); ``None`` leaves them.
        checkpoint_every_s: Seconds between two checkpoints at least.
        raise_on_failure: Whether an exception that is no divergence is raised.
        keep_best: Whether the parameters of the best epoch are kept on disk.
        keep_last: Whether the state after the last epoch is kept on disk.

    Returns:
        The record, see :mod:`trainables.record`; without ``sha256``.

    Raises:
        FairsweepError: If the specification is not valid.
    """
    if not isinstance(spec, TrialSpec):
        spec = TrialSpec.from_dict(spec)
    if data is None:
        known = None if splits is None else {spec.make_problem().key: splits}
        data = DataCache(known, device=device, data_dir=data_dir)
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        session = TrialSession(
            spec,
            data,
            phase=phase,
            results_dir=results_dir,
            checkpoint_every_s=checkpoint_every_s,
            device=device,
            raise_on_failure=raise_on_failure,
            keep_best=keep_best,
            keep_last=keep_last,
        )
        return session.run()
    finally:
        torch.set_num_threads(before)
