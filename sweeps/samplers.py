"""Samplers by name: who proposes the next configuration of a search.

A new sampler is one entry here. A sampler is made afresh for every proposal with a seed that
depends on the study's seed, the variant and the number of the proposal; a proposal is then a
function of these and of the results told so far, whether or not the study was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["SAMPLERS", "make_sampler"]


def _tpe(seed: int, startup_trials: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, n_startup_trials=startup_trials)


def _random(seed: int, startup_trials: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {"tpe": _tpe, "random": _random}
"""Factories of samplers: ``factory(seed, startup_trials)``."""


def make_sampler(name: str, seed: int, startup_trials: int) -> BaseSampler:
    """Makes a sampler; ``startup_trials`` is the number of random proposals of those that learn."""
    return SAMPLERS[name](seed, startup_trials)
