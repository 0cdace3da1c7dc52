"""Property tests that any method can be held to, shipped for methods from elsewhere.

A test of a new method is one line per check::

    import pytest
    from mtl_methods.testing import CHECKS, NotApplicable

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
    def test_my_method(check):
        try:
            check(lambda: MyMethod(alpha=2.0))
        except NotApplicable as reason:
            pytest.skip(str(reason))

or, without pytest, ``check_method(lambda: MyMethod(alpha=2.0))``. A failed check raises
:class:`ContractViolation`, an ``AssertionError`` that says what is wrong. Needs are read from the
method and served; nothing is known of any method by name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

from mtl_methods.testing import declaration_checks, numeric_checks, state_checks, step_checks
from mtl_methods.testing.declaration_checks import coinciding
from mtl_methods.testing.expectations import ContractViolation, Factory, NotApplicable
from mtl_methods.testing.stage import Outcome, Stage, matrix_stage, network_stage

__all__ = [
    "CHECKS",
    "ContractViolation",
    "Factory",
    "NotApplicable",
    "Outcome",
    "Stage",
    "check_method",
    "coinciding",
    "matrix_stage",
    "network_stage",
]


def _in_words(check: Callable[[Factory], None]) -> Callable[[Factory], None]:
    """The check, with an error that a method raises on the way as a violation."""

    @functools.wraps(check)
    def run(factory: Factory) -> None:
        try:
            check(factory)
        except (ContractViolation, NotApplicable):
            raise
        except Exception as error:
            raise ContractViolation(
                f"a step that every method must take raised {type(error).__name__}: {error}"
            ) from error

    return run


CHECKS: Mapping[str, Callable[[Factory], None]] = MappingProxyType(
    {
        name.removeprefix("check_"): _in_words(getattr(module, name))
        for module in (declaration_checks, step_checks, state_checks, numeric_checks)
        for name in module.__all__
        if name.startswith("check_")
    }
)
"""All checks by name; each takes a factory of methods."""


def check_method(factory: Factory) -> dict[str, str]:
    """Runs every check.

    Args:
        factory: Makes a new method, not set up, on each call.

    Returns:
        The checks that say nothing about the method, with the reason.

    Raises:
        ContractViolation: By the first check that fails.
    """
    left_out = {}
    for name, check in CHECKS.items():
        try:
            check(factory)
        except NotApplicable as reason:
            left_out[name] = str(reason)
    return left_out
