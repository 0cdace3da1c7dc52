"""Parts of a composition that are no parts are refused, never dropped."""

from __future__ import annotations

import pytest

from mtl_methods import compose, make_method
from mtl_methods.bilevel import MOML
from mtl_methods.errors import ConfigurationError
from mtl_methods.gradient_weighting import CAGrad
from mtl_methods.loss_weighting import UW
from mtl_methods.transforms import Log


@pytest.mark.parametrize("forgotten", [UW, Log, MOML])
def test_a_class_in_place_of_an_instance(forgotten):
    name = forgotten.__name__
    with pytest.raises(ConfigurationError, match=rf"make an instance of it, {name}\(\)"):
        compose(forgotten, CAGrad())
    with pytest.raises(ConfigurationError, match=rf"make an instance of it, {name}\(\)"):
        compose(forgotten, "uw", "cagrad")


@pytest.mark.parametrize("stranger", [3, None, ["uw"], int, lambda losses: losses])
def test_what_is_neither_method_nor_transform(stranger):
    for parts in ((stranger, "cagrad"), ("uw", stranger), ("uw", stranger, CAGrad())):
        with pytest.raises(ConfigurationError, match="compose takes methods and loss transforms"):
            compose(*parts)


def test_names_and_objects_still_go_together():
    assert compose("log", UW(), make_method("cagrad")).name == "log+uw+cagrad"
