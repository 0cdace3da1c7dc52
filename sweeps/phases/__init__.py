"""The phases of a study, one file each, in the order in which they are preferred."""

from __future__ import annotations

from collections.abc import Callable

from sweeps.phases import (
    baselines,
    fixed_weights,
    population,
    replicate,
    search,
    sensitivity,
    weight_sweep,
)
from sweeps.phases.context import Context
from sweeps.phases.units import Unit

__all__ = ["PHASES"]

PHASES: dict[str, Callable[[Context], list[Unit]]] = {
    phase.NAME: phase.units
    for phase in (
        baselines,
        search,
        replicate,
        fixed_weights,
        weight_sweep,
        sensitivity,
        population,
    )
}
"""Every phase's units by its name. A new phase is one file and one entry here."""
