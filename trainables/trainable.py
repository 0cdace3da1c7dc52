"""The trial as Ray Tune runs it.

Ray's experiment state is disposable: a trial finds its own checkpoint in the results folder and
writes its own record there, so that it does not matter which actor runs it, nor whether Ray
remembers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from mtl_methods.errors import ConfigurationError
from trainables.checkpoint import load_checkpoint, save_checkpoint
from trainables.data import DataCache
from trainables.heartbeat import Heartbeat
from trainables.problem import Problem, Splits
from trainables.session import TrialSession
from trainables.spec import TrialSpec

__all__ = ["MTLTrainable", "trainable_with_data"]

_KEYS = (
    "spec",
    "trial_id",
    "phase",
    "results_dir",
    "checkpoint_every_s",
    "device",
    "data_dir",
    "raise_on_failure",
    "keep_best",
    "keep_last",
    "prunable",
    "rule",
    "hand_on",
    "continues",
    "stall_s",
    "label",
)


class MTLTrainable(tune.Trainable):
    """Joins one problem and one method; one ``step`` is one epoch and reports one row.

    The configuration:

    ====================== ======================================================================
    ``spec``               the trial specification (:class:`trainables.spec.TrialSpec`); required
    ``trial_id``           its identity; checked if given
    ``phase``              the phase of the study, for the record
    ``results_dir``        absolute path of the results folder; ``None`` writes nothing
    ``checkpoint_every_s`` seconds between two checkpoints at least (default 30)
    ``device``             where to train (default ``"cpu"``)
    ``data_dir``           the folder of downloaded data sets
    ``raise_on_failure``   whether Ray is told of an exception (default: only the record is)
    ``keep_best``          whether the parameters of the best epoch are kept on disk
    ``keep_last``          whether the state after the last epoch is kept on disk
    ``prunable``           whether the trial ends early when a mark says so
    ``rule``               the rule by which it may; marks and records of other rules are ignored
    ``hand_on``            whether the state after the last epoch is left for another trial
    ``continues``          the trial whose state this one goes on from, if it is there
    ``stall_s``            seconds without progress after which somebody kills this process; where
                           it hangs is noted before (:mod:`trainables.heartbeat`)
    ``label``              what the trial is called in its signs of life
    ====================== ======================================================================

    A result is the epoch's row (see :mod:`trainables.training`) with ``status``, ``objective`` and
    ``done`` (see :meth:`trainables.session.TrialSession.step`). A trial that diverges or fails
    ends with that status; it is no error of Ray's.

    Actors are meant to be reused (``TuneConfig(reuse_actors=True)``): what costs time, importing
    torch and making tensors, happens once per actor. Make the class with
    :func:`trainable_with_data` so that the arrays reach all actors of a machine through one copy
    in shared memory. Torch uses as many threads as the trial has CPUs.
    """

    def setup(self, config: dict[str, Any], data: Mapping[str, Splits] | None = None) -> None:
        """Starts the first trial of this actor.

        Args:
            config: The configuration.
            data: Arrays by :attr:`trainables.problem.Problem.key`; what is not there is loaded.
        """
        self._session: TrialSession | None = None
        self._heartbeat: Heartbeat | None = None
        self._arrays = data
        self._caches: dict[tuple[str, str | None], DataCache] = {}
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Starts another trial in this actor; tensors stay."""
        self.cleanup()
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Runs one epoch."""
        assert self._session is not None
        result = self._session.step()
        if self._heartbeat is not None:
            self._heartbeat.completed(int(result.get("epoch") or 0))
            if result["done"]:
                self._end_heartbeat()
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Saves the state for Ray, in the format of the trial's own checkpoint."""
        assert self._session is not None
        save_checkpoint(Path(checkpoint_dir) / "last.pt", self._session.payload())

    def load_checkpoint(self, checkpoint: str | dict[str, Any] | None) -> None:
        """Continues from :meth:`save_checkpoint`, unless the trial's own checkpoint is as far."""
        assert self._session is not None
        self._session.restore(load_checkpoint(Path(str(checkpoint)) / "last.pt"))

    def cleanup(self) -> None:
        """Saves an unfinished trial."""
        try:
            if self._session is not None:
                self._session.close()
                self._session = None
        finally:
            self._end_heartbeat()

    def _end_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.end()
            self._heartbeat = None

    def _begin_heartbeat(self, config: Mapping[str, Any], spec: TrialSpec) -> None:
        results_dir = config.get("results_dir")
        if results_dir is None:
            return
        who = {
            "phase": config.get("phase") or "",
            "label": config.get("label") or "",
            "epochs": spec.epochs,
            "node": _node(),
        }
        self._heartbeat = Heartbeat(results_dir, spec.trial_id, who, stall_s=config.get("stall_s"))

    def _on_progress(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.beat()

    def _start(self, config: Mapping[str, Any]) -> None:
        unknown = [key for key in config if key not in _KEYS]
        if unknown:
            raise ConfigurationError(
                f"MTLTrainable has no configuration key {unknown[0]!r}; valid: {', '.join(_KEYS)}"
            )
        spec = TrialSpec.from_dict(config["spec"])
        trial_id = config.get("trial_id")
        if trial_id is not None and trial_id != spec.trial_id:
            raise ConfigurationError(
                f"trial_id {trial_id!r} is not that of the specification, {spec.trial_id!r}"
            )
        self._begin_heartbeat(config, spec)
        torch.set_num_threads(self._cpus())
        device = config.get("device") or "cpu"
        where = (str(device), config.get("data_dir"))
        if where not in self._caches:
            self._caches[where] = DataCache(self._arrays, device=device, data_dir=where[1])
        self._session = TrialSession(
            spec,
            self._caches[where],
            phase=config.get("phase") or "",
            results_dir=config.get("results_dir"),
            checkpoint_every_s=config.get("checkpoint_every_s", 30.0),
            device=device,
            raise_on_failure=config.get("raise_on_failure", False),
            keep_best=config.get("keep_best", False),
            keep_last=config.get("keep_last", False),
            prunable=config.get("prunable", False),
            rule=config.get("rule") or "",
            hand_on=config.get("hand_on", False),
            continues=config.get("continues"),
            on_progress=self._on_progress,
        )

    def _cpus(self) -> int:
        resources = self.trial_resources
        return max(1, int(getattr(resources, "head_cpus", 1)))


def _node() -> str | None:
    """Ray's name of the machine that this process runs on; ``None`` outside Ray."""
    if not ray.is_initialized():
        return None
    return str(ray.get_runtime_context().get_node_id())


def trainable_with_data(
    problems: Iterable[Problem[Any]], data_dir: str | None = None
) -> type[MTLTrainable]:
    """A :class:`MTLTrainable` whose actors share the data of these problems.

    Each array lies once in the object store of every machine; tensors are made over that memory,
    without a copy, and stay when an actor is reused.

    Args:
        problems: The problems of all trials.
        data_dir: The folder of downloaded data sets.
    """
    data = {problem.key: problem.load(data_dir) for problem in problems}
    trainable: type[MTLTrainable] = tune.with_parameters(MTLTrainable, data=data)
    return trainable
