"""Methods that weight task gradients. A new one is a file here and a line in ``METHODS``."""

from __future__ import annotations

from mtl_methods.core.gradient_weighting import GradientWeighting

__all__ = ["METHODS"]

METHODS: tuple[type[GradientWeighting], ...] = ()
