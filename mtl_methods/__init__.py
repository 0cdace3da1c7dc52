"""Multi-task balancing methods, a drop-in for any PyTorch loop.

``make_method("fairgrad", alpha=2.0)`` makes one; ``method.backward(losses, shared=...)`` takes the
place of ``loss.backward()``; ``method.weights`` tells what it did.
"""

from __future__ import annotations

from mtl_methods.configuration import HyperParameter
from mtl_methods.core.compose import ComposedMethod, compose
from mtl_methods.core.method import Method, Need, StepRecord
from mtl_methods.registry import MethodInfo, list_methods, make_method, method_info
from mtl_methods.version import __version__

__all__ = [
    "ComposedMethod",
    "HyperParameter",
    "Method",
    "MethodInfo",
    "Need",
    "StepRecord",
    "__version__",
    "compose",
    "list_methods",
    "make_method",
    "method_info",
]
