"""When actors rest, and when they are called back to work; see :mod:`sweeps.on_ray.worker`.

At the start, and again after a worker has died, every slot gets a rest, and trials go on when all
actors are up. Whenever no trial can be handed out because results are missing, there is a rest for
every slot, which the next free actor takes. A rest ends when there is a trial that waits for an
actor.
"""

from __future__ import annotations

import time

__all__ = ["Rests"]

# How long actors wait for others to come up.
_PATIENCE_S = 30.0


class Rests:
    """Keeps account of actors, of rests, and of trials that wait for an actor.

    Args:
        slots: How many trials run at once.

    Attributes:
        interval: Seconds between two reports of a rest.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._up: set[tuple[str, int]] = set()
        self._waiting: set[str] = set()
        self._rests: set[str] = set()
        self._freed = 0
        self._assembling = True
        self._since: float | None = None
        # Reports cost the driver some milliseconds each.
        self.interval = max(0.25, 0.02 * slots)

    @property
    def assembling(self) -> bool:
        """Whether trials should wait until all actors are up."""
        if self._assembling:
            impatient = self._since is not None and time.monotonic() - self._since > _PATIENCE_S
            self._assembling = len(self._up) < self._slots and not impatient
        return self._assembling

    @property
    def wanted(self) -> bool:
        """Whether there should be another rest while there is no trial to hand out."""
        return len(self._rests) < self._slots

    def rest_given(self, ray_id: str) -> None:
        """A rest was handed to Ray."""
        self._rests.add(ray_id)

    def trial_given(self, ray_id: str) -> None:
        """A trial was handed to Ray, where it waits for an actor."""
        self._waiting.add(ray_id)

    def started(self, ray_id: str) -> None:
        """An actor took a trial or a rest."""
        self._freed = max(0, self._freed - 1)
        self._waiting.discard(ray_id)

    def reported(self, worker: tuple[str, int]) -> None:
        """A worker process, named by node and process id, is alive."""
        self._up.add(worker)
        if self._since is None:
            self._since = time.monotonic()

    def died(self) -> None:
        """A worker died: the others are counted anew, and wait for its successor.

        Without the wait a short trial's actor would be given the successor's trial again and again
        before the successor is up, and the slot would be lost.
        """
        self._up.clear()
        self._assembling = True
        self._since = time.monotonic()

    def ended(self, ray_id: str) -> bool:
        """A trial or rest ended; returns whether it was a rest."""
        self._waiting.discard(ray_id)
        if ray_id in self._rests:
            self._rests.remove(ray_id)
            return True
        return False

    def is_over(self, ray_id: str, *, no_more: bool) -> bool:
        """Whether what has just reported is a rest that should end.

        Args:
            ray_id: Ray's name of the trial or rest.
            no_more: Whether there will be no more trials at all.
        """
        if ray_id not in self._rests:
            return False
        if no_more:
            return True
        if not self.assembling and len(self._waiting) > self._freed:
            # One actor for each trial that waits: an actor with nothing to do would be lost.
            self._freed += 1
            return True
        return False
