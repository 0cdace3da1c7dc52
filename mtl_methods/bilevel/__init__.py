"""Methods that judge weights on a validation batch. A new one: a file and a line in METHODS."""

from __future__ import annotations

from mtl_methods.bilevel.auto_lambda import AutoLambda
from mtl_methods.bilevel.closure import ModelClosure
from mtl_methods.bilevel.forum import FORUM
from mtl_methods.bilevel.moml import MOML
from mtl_methods.core.method import Method

__all__ = ["FORUM", "METHODS", "MOML", "AutoLambda", "ModelClosure"]

METHODS: tuple[type[Method], ...] = (MOML, AutoLambda, FORUM)
