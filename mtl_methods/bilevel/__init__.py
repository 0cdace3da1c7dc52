"""Methods that judge weights on a validation batch. A new one: a file and a line in METHODS."""

from __future__ import annotations

from mtl_methods.core.method import Method

__all__ = ["METHODS"]

METHODS: tuple[type[Method], ...] = ()
