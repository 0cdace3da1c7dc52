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
    """

    trial_id: str
    configuration_id: str
    spec: Mapping[str, Any]
    phase: str
    method: str
    variant: str
    source_method: str | None = None
    static_weights: Mapping[str, float] | None = None

    @property
    def seed(self) -> int:
        """The seed of the training run."""
        return int(self.spec["seed"])

    @property
    def epochs(self) -> int:
        """The number of epochs it trains for."""
        return int(self.spec["training"]["epochs"])
