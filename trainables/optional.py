"""Packages that only some problems need: imported where used, with a sentence where missing."""

from __future__ import annotations

import importlib
from typing import Any

from trainables.errors import MissingExtraError

__all__ = ["optional_import"]


def optional_import(module: str, *, extra: str, purpose: str) -> Any:
    """Imports a module of a package that an extra installs.

    Args:
        module: Its name.
        extra: The extra of fairsweep that installs it.
        purpose: What needs it, for the message.

    Raises:
        MissingExtraError: If its package is not installed; says how to install it.
        ImportError: If it is installed and cannot be imported.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtraError(
            f"{purpose} needs the package {package}, which is not installed; "
            f'`python -m pip install -c constraints.txt -e ".[{extra}]"` installs it'
        ) from error
    return importlib.import_module(module)
