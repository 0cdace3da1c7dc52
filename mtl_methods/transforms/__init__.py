"""Loss transforms for any method. A new one is a file here and a line in ``TRANSFORMS``."""

from __future__ import annotations

from mtl_methods.core.transform import LossTransform
from mtl_methods.transforms.alpha_fair import AlphaFair
from mtl_methods.transforms.identity import Identity
from mtl_methods.transforms.log import Log
from mtl_methods.transforms.rescale import Rescale

__all__ = ["TRANSFORMS", "AlphaFair", "Identity", "Log", "LossTransform", "Rescale"]

TRANSFORMS: tuple[type[LossTransform], ...] = (Identity, Log, Rescale, AlphaFair)
