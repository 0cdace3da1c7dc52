"""The trainable of a sweep: a trial, or a rest between trials.

Ray Tune throws an actor away when no trial is waiting for it. A new one takes seconds to import
torch; meanwhile its trial may be taken over by another actor, so that it never comes up. A sweep
therefore lets actors rest: a rest is a trial of Tune's that trains nothing, and ends when the
driver has work (:mod:`sweeps.on_ray.rests`). Nothing of it reaches the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from trainables.problem import Splits
from trainables.spec import TrialSpec
from trainables.trainable import MTLTrainable

__all__ = ["REST", "SweepTrainable"]

REST = "rest_s"
"""Key of a configuration, and of a result: the seconds between two reports of a rest."""

_FIRST_REST = 0.02
# All that the driver acts on. Tune keeps a history of whatever a trial reports, for every trial to
# the end of the sweep; the whole rows are in the record.
_REPORTED = ("epoch", "status", "objective", "done")


class SweepTrainable(MTLTrainable):
    """An :class:`MTLTrainable` that rests if its configuration has a ``rest_s``.

    The specification of a rest tells what to make ready for: what is slow to import is imported, so
    that the first trials of an actor take no longer than later ones.
    """

    _rest_s: float | None = None
    _rested: bool = False

    def setup(self, config: dict[str, Any], data: Mapping[str, Splits] | None = None) -> None:
        """Starts the first trial or rest of this actor."""
        super().setup(self._noted(config), data)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Starts another trial or rest in this actor."""
        return super().reset_config(self._noted(new_config))

    def step(self) -> dict[str, Any]:
        """Runs one epoch, or rests a little."""
        if self._rest_s is None:
            result = super().step()
            return {key: result[key] for key in _REPORTED if key in result}
        time.sleep(self._rest_s if self._rested else _FIRST_REST)
        self._rested = True
        return {REST: self._rest_s, "done": False}

    def _noted(self, config: Mapping[str, Any]) -> dict[str, Any]:
        self._rest_s = config.get(REST)
        self._rested = False
        if self._rest_s is not None:
            _warm_up(TrialSpec.from_dict(config["spec"]))
        return {key: value for key, value in config.items() if key != REST}


def _warm_up(spec: TrialSpec) -> None:
    """Imports what is otherwise imported in the first epoch, some of it for seconds."""
    spec.make_problem().make_metrics()
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter])
    torch.autograd.backward(parameter.sum())
    optimizer.step()
