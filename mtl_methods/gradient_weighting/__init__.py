"""Methods that weight task gradients. A new one is a file here and a line in ``METHODS``."""

from __future__ import annotations

from mtl_methods.core.gradient_weighting import GradientWeighting
from mtl_methods.gradient_weighting.db_mtl import DBMTL
from mtl_methods.gradient_weighting.excess_mtl import ExcessMTL
from mtl_methods.gradient_weighting.fairgrad import FairGrad
from mtl_methods.gradient_weighting.nash_mtl import NashMTL
from mtl_methods.gradient_weighting.pivrg import PIVRG

__all__ = ["DBMTL", "METHODS", "PIVRG", "ExcessMTL", "FairGrad", "NashMTL"]

METHODS: tuple[type[GradientWeighting], ...] = (
    NashMTL,
    FairGrad,
    PIVRG,
    ExcessMTL,
    DBMTL,
)
