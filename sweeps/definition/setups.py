"""Whether methods accept their settings for the tasks of a problem: each is asked before any work.

What a method cannot do with the number or the names of its tasks it says itself when it is set up,
so that nothing here knows of any method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from mtl_methods import make_method
from sweeps.definition.resolved import Candidate
from sweeps.definition.spaces import Configuration
from sweeps.definition.study import Choices

__all__ = ["check_setup", "every_choice"]

# Sizes of features concern the model, not the settings.
_FEATURE_DIM = 1


def check_setup(candidate: Candidate, configuration: Configuration, tasks: Sequence[str]) -> None:
    """Makes a method and sets it up for tasks; random numbers are left as they were.

    Args:
        candidate: The method.
        configuration: Its settings.
        tasks: The K tasks, in order.

    Raises:
        FairsweepError: If the method refuses its settings, or refuses them for these tasks.
    """
    with torch.random.fork_rng(devices=[]):
        method = make_method(candidate.method, **configuration.hyperparameters)
        method.setup(tasks, feature_dim=_FEATURE_DIM)


def every_choice(candidate: Candidate) -> Iterator[Configuration]:
    """Configurations in which every value of every list of a method's settings occurs.

    The first is the corner of the space; each of the others differs from it in one setting.
    """
    space = candidate.space
    corner = space.corner()
    yield space.configuration(corner)
    listed = {
        f"method.{name}"
        for name, setting in space.hyperparameters.items()
        if isinstance(setting, Choices)
    }
    for dimension in space.dimensions():
        if dimension.name in listed:
            for value in dimension.choices[1:]:
                yield space.configuration({**corner, dimension.name: value})
