"""Methods that weight losses. A new one is a file here and a line in ``METHODS``."""

from __future__ import annotations

from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.loss_weighting.ls import LS
from mtl_methods.loss_weighting.stl import STL
from mtl_methods.loss_weighting.uw import UW

__all__ = ["LS", "METHODS", "STL", "UW"]

METHODS: tuple[type[LossWeighting], ...] = (STL, LS, UW)
