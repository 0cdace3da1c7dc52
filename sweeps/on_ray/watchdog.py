"""The watchdog: a trial that makes no progress is ended by killing its worker.

A worker that hangs in a step cannot be asked to stop, and Ray waits for it for ever. Each trial
gives signs of life in the results folder (:mod:`trainables.heartbeat`); what counts is that they
change, by the watchdog's own clock, so that clocks of other machines do not matter. What happens to
the trial then is what happens whenever a worker dies: it is taken up again from its checkpoint, and
recorded as failed after the study's ``retries``.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sweeps.errors import RunError
from trainables.heartbeat import heartbeat_path, read_heartbeat, trace_path

__all__ = ["Stall", "Watchdog", "clear_signs", "forget_signs", "kill_worker"]

logger = logging.getLogger("sweeps")

_LONGEST_LOOK = 5.0
_KILL_SECONDS = 30.0
_TRACE_CHARACTERS = 20_000


@dataclass(frozen=True)
class Stall:
    """A trial that made no progress.

    Attributes:
        trial_id: The trial.
        seconds: For how long.
        trace: Where its worker hung, as far as that is known.
    """

    trial_id: str
    seconds: float
    trace: str | None


@dataclass
class _Sign:
    changed: int
    since: float
    killed: bool = False


class Watchdog:
    """Looks at the running trials from a thread of its own; use it as a context.

    Args:
        results: The results folder.
        stall_seconds: Seconds without a sign after which a worker is killed; ``None`` for never.
        kill: Kills the worker that a sign of life names.

    Attributes:
        stalls: The trials whose workers were killed, until somebody takes them out.
    """

    def __init__(
        self,
        results: Path,
        stall_seconds: float | None,
        kill: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.stalls: dict[str, Stall] = {}
        self._results = results
        self._limit = stall_seconds
        self._kill = kill or kill_worker
        self._signs: dict[str, _Sign] = {}
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watchdog:
        if self._limit is not None:
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _watch(self) -> None:
        assert self._limit is not None
        while not self._end.wait(min(_LONGEST_LOOK, self._limit / 5.0)):
            self.look()

    def look(self) -> None:
        """Kills the workers of trials that have given no sign for too long."""
        if self._limit is None:
            return
        now = time.monotonic()
        there = set()
        for path in heartbeat_path(self._results, "x").parent.glob("*.json"):
            try:
                changed = path.stat().st_mtime_ns
            except OSError:
                continue
            there.add(path.stem)
            sign = self._signs.get(path.stem)
            if sign is None or sign.changed != changed:
                self._signs[path.stem] = _Sign(changed, now)
            elif now - sign.since > self._limit and not sign.killed:
                sign.killed = True
                self._end_worker(path, now - sign.since)
        self._signs = {name: sign for name, sign in self._signs.items() if name in there}

    def _end_worker(self, path: Path, seconds: float) -> None:
        content = read_heartbeat(path)
        if content is None:
            return
        trial_id = path.stem
        place = f"process {content.get('pid')} on {content.get('host')}"
        logger.warning(
            "%s %s (%s) has made no progress for %.0f s; its worker is killed (%s)",
            content.get("phase"),
            content.get("label"),
            trial_id,
            seconds,
            place,
        )
        self.stalls[trial_id] = Stall(trial_id, seconds, _trace(self._results, trial_id))
        try:
            self._kill(content)
        except Exception as error:  # noqa: BLE001  (whatever Ray or the system says)
            self.stalls.pop(trial_id, None)
            logger.warning("the worker of %s could not be killed (%s): %s", trial_id, place, error)


def kill_worker(sign: Mapping[str, Any]) -> None:
    """Kills the process that gave a sign of life, on whichever machine of the cluster it runs.

    Args:
        sign: The content of the sign: ``pid``, ``node``.

    Raises:
        RunError: If the sign does not say which process it is.
        OSError: If it cannot be killed.
    """
    import ray

    pid, node = sign.get("pid"), sign.get("node")
    if not isinstance(pid, int) or pid <= 1 or not isinstance(node, str):
        raise RunError("its sign of life does not say which process it is")
    if node == ray.get_runtime_context().get_node_id():
        _kill(pid)
        return
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(_kill).options(scheduling_strategy=there)
    ray.get(task.remote(pid), timeout=_KILL_SECONDS)


def _kill(pid: int) -> None:
    """Kills a worker of Ray's; a process that has taken its number since is left alone."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        title = b"ray::"  # not on this system, or gone
    if title.startswith(b"ray::"):
        os.kill(pid, signal.SIGKILL)


def _trace(results: Path, trial_id: str) -> str | None:
    try:
        text = trace_path(results, trial_id).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text[:_TRACE_CHARACTERS].strip() or None


def forget_signs(results: Path, trial_id: str) -> None:
    """Removes what a worker that died has left of its signs of life."""
    for path in (heartbeat_path(results, trial_id), trace_path(results, trial_id)):
        path.unlink(missing_ok=True)


def clear_signs(results: Path) -> None:
    """Removes what workers of an earlier run have left."""
    for path in heartbeat_path(results, "x").parent.glob("*"):
        path.unlink(missing_ok=True)
