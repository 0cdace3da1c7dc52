"""When actors rest, and when they are called back to work; see :mod:`sweeps.worker`.

At the start every slot gets a rest, and trials begin when all actors are up. Whenever no trial can
be handed out because results are missing, there is a rest for every slot, which the next free actor
takes. A rest ends when there is a trial that waits for an actor.
"""

from __future__ import annotations

import time

__all__ = ["Rests"]

# How long the first actor waits for the others to come up.
_PATIENCE_S = 30.0


class Rests:
    """Keeps account of rests and of trials that wait for an actor.

    Args:
        slots: How many trials run at once.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._waiting: set[str] = set()
        self._rests: set[str] = set()
        self._resting: set[str] = set()
        self._freed = 0
        self._given = 0
        self._up = 0
        self._first_up: float | None = None
        # Reports cost the driver some milliseconds each.
        self.interval = max(0.25, 0.02 * slots)

    @property
    def starting(self) -> bool:
        """Whether the actors are still to be given their first rest."""
        return self._given < self._slots

    @property
    def wanted(self) -> bool:
        """Whether there should be another rest while there is no trial to hand out."""
        return len(self._rests) < self._slots

    def rest_given(self, ray_id: str) -> None:
        """A rest was handed to Ray."""
        self._given += 1
        self._rests.add(ray_id)

    def trial_given(self, ray_id: str) -> None:
        """A trial was handed to Ray, where it waits for an actor."""
        self._waiting.add(ray_id)

    def started(self, ray_id: str) -> None:
        """An actor took a trial or a rest."""
        self._freed = max(0, self._freed - 1)
        self._waiting.discard(ray_id)
        if ray_id in self._rests:
            self._resting.add(ray_id)
            self._up += 1
            self._first_up = self._first_up or time.monotonic()

    def ended(self, ray_id: str) -> bool:
        """A trial or rest ended; returns whether it was a rest."""
        self._waiting.discard(ray_id)
        self._resting.discard(ray_id)
        if ray_id in self._rests:
            self._rests.remove(ray_id)
            return True
        return False

    def is_over(self, ray_id: str, *, no_more: bool) -> bool:
        """Whether a rest that has just reported should end.

        Args:
            ray_id: Ray's name of the trial or rest.
            no_more: Whether there will be no more trials at all.
        """
        if ray_id not in self._resting:
            return False
        if no_more:
            return True
        if self._up < self._slots and not self._out_of_patience():
            return False
        if len(self._waiting) > self._freed:
            # One actor for each trial that waits: an actor with nothing to do would be lost.
            self._freed += 1
            return True
        return False

    def _out_of_patience(self) -> bool:
        return self._first_up is None or time.monotonic() - self._first_up > _PATIENCE_S
