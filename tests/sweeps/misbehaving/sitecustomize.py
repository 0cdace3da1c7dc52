"""Two methods that misbehave, in every process of Python's that finds this folder on its path.

Workers are processes of their own; Python imports this file in each before anything else.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import time
from types import ModuleType
from typing import Any

_PLACE = "mtl_methods.loss_weighting"


def _add(module: Any) -> None:
    class Raising(module.SI):
        """Always raises."""

        name = "raising"

        def coefficients(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("made to raise")

    class Hanging(module.SI):
        """Never comes back."""

        name = "hanging"

        def coefficients(self, *_: Any, **__: Any) -> Any:
            time.sleep(3600)

    module.METHODS = (*module.METHODS, Raising, Hanging)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != _PLACE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        self._loader = spec.loader
        spec.loader = self
        return spec

    def create_module(self, spec: Any) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        assert self._loader is not None
        self._loader.exec_module(module)
        _add(module)


sys.meta_path.insert(0, _Finder())
