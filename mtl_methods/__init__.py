"""Multi-task balancing methods, a drop-in for any PyTorch loop.

``make_method("fairgrad", alpha=2.0)`` makes one; ``method.backward(losses, shared=...)`` takes the
place of ``loss.backward()``; ``method.weights`` tells what it did.
"""

from __future__ import annotations

from mtl_methods.bilevel.closure import ModelClosure
from mtl_methods.configuration import HyperParameter
from mtl_methods.core.compose import ComposedMethod
from mtl_methods.core.method import Method, Need, StepRecord
from mtl_methods.core.transform import LossTransform, TransformedMethod
from mtl_methods.registry import (
    MethodInfo,
    TransformInfo,
    compose,
    list_methods,
    list_transforms,
    make_method,
    method_info,
)
from mtl_methods.version import __version__

__all__ = [
    "ComposedMethod",
    "HyperParameter",
    "LossTransform",
    "Method",
    "MethodInfo",
    "ModelClosure",
    "Need",
    "StepRecord",
    "TransformInfo",
    "TransformedMethod",
    "__version__",
    "compose",
    "list_methods",
    "list_transforms",
    "make_method",
    "method_info",
]
