"""A planned trial: what it computes and where it belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Trial"]


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial of a study.

    Attributes:
        trial_id: Identity of what it computes: a digest of ``spec``.
        configuration_id: The same for all seeds of a configuration.
        spec: What it computes, as plain data.
        phase: The phase it belongs to.
        method: Registered name of the method that trains.
        variant: Its label in tables: ``"fairgrad"``, ``"stl:CL"``, ``"fixed(cagrad)"``.
        source_method: For fixed weights, the label of the method they come from.
        static_weights: For a point of the weight sweep, its weights by task, summing to 1.
        continues: The trial whose last state it goes on from, where that is there.
        hand_on: Whether it leaves its last state for others.
    """

    trial_id: str
    configuration_id: str
    spec: Mapping[str, Any]
    phase: str
    method: str
    variant: str
    source_method: str | None = None
    static_weights: Mapping[str, float] | None = None
    continues: str | None = None
    hand_on: bool = False

    @property
    def seed(self) -> int:
        """The seed of the training run."""
        return int(self.spec["seed"])

    @property
    def epochs(self) -> int:
        """The number of epochs it trains for, those before it goes on included."""
        return int(self.spec.get("until") or self.spec["training"]["epochs"])
