"""Methods that weight task gradients. A new one is a file here and a line in ``METHODS``."""

from __future__ import annotations

from mtl_methods.core.gradient_weighting import GradientWeighting
from mtl_methods.gradient_weighting.fairgrad import FairGrad
from mtl_methods.gradient_weighting.nash_mtl import NashMTL
from mtl_methods.gradient_weighting.pivrg import PIVRG

__all__ = ["METHODS", "PIVRG", "FairGrad", "NashMTL"]

METHODS: tuple[type[GradientWeighting], ...] = (
    NashMTL,
    FairGrad,
    PIVRG,
)
