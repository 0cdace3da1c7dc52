"""Adapters from the peers' reference vectors to our methods, one file a family.

A new file is found by itself: write functions under ``@adapter("Method", "variant")`` and list
what cannot be compared with ``exclude(...)``.
"""

from __future__ import annotations

import importlib
import pkgutil

from adapters.registry import ADAPTERS, EXCLUSIONS, METHOD_OF

__all__ = ["ADAPTERS", "EXCLUSIONS", "METHOD_OF"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
