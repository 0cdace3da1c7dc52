"""Every registered method, held to the contract by the shipped checks."""

import functools

import pytest

from mtl_methods import list_methods, make_method
from mtl_methods.testing import CHECKS, NotApplicable, coinciding

COMPOSITIONS = (
    "uw+nash_mtl",
    "famo+fairgrad",
    "ls+pivrg",
    "log+fairgrad",
    "rescale+uw+nash_mtl",
    "alpha_fair+rlw+fairgrad",
    "log+moml",
    "auto_lambda+fairgrad",
    "uw+ls",
    "alpha_fair+famo",
    "rlw+db_mtl",
)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", [*list_methods(), *COMPOSITIONS])
def test_contract(name, check):
    try:
        check(functools.partial(make_method, name))
    except NotApplicable as reason:
        pytest.skip(str(reason))


def test_no_two_methods_coincide():
    factories = {name: functools.partial(make_method, name) for name in list_methods()}
    assert coinciding(factories) == []
