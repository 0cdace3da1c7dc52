"""Samplers by name: who proposes the next configuration of a search.

A new sampler is one entry here. There are two kinds:

* those of Optuna. One is made afresh for every proposal, with a seed that depends on the study's
  seed, the variant and the number of the proposal; what a generation or a covariance is, it finds
  in the trials that Optuna was told of;
* designs (``grid``, ``qmc``), whose points are a function of the seed, the variant and the number
  alone (:mod:`sweeps.search.designs`).

A proposal is then a function of these and of the results told so far, whether or not the study was
interrupted. Those of designs and of ``random`` do not depend on results at all.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.definition.study import Sampler
from sweeps.errors import StudyError

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["SAMPLERS", "SamplerInfo", "make_sampler"]

POPULATION = 10
"""Configurations in a generation of those samplers that have some, unless the study says."""


@dataclass(frozen=True)
class SamplerInfo:
    """What a study must know of a sampler.

    Attributes:
        summary: What it does, in a few words.
        make: Makes Optuna's sampler from a seed and the study's settings; ``None`` for a design.
        several: Whether it serves several objectives.
        choices: Whether it serves lists of choices beside ranges of numbers.
        learns: Whether its proposals depend on results.
        remembers: Whether it notes things at the trials it proposed, so that it must be asked
            again for those of an earlier run.
        uses: The settings of the section ``sampler`` that it heeds.
    """

    summary: str
    make: Callable[[int, Sampler], BaseSampler] | None
    several: bool = True
    choices: bool = True
    learns: bool = True
    remembers: bool = False
    uses: tuple[str, ...] = ()


def _tpe(seed: int, settings: Sampler) -> BaseSampler:
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, n_startup_trials=settings.startup_trials)


def _random(seed: int, settings: Sampler) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def _gp(seed: int, settings: Sampler) -> BaseSampler:
    from optuna.samplers import GPSampler

    return GPSampler(
        seed=seed,
        n_startup_trials=settings.startup_trials,
        independent_sampler=_random(seed, settings),
        warn_independent_sampling=False,
    )


def _nsga2(seed: int, settings: Sampler) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed, population_size=settings.population or POPULATION)


def _nsga3(seed: int, settings: Sampler) -> BaseSampler:
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import NSGAIIISampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return NSGAIIISampler(seed=seed, population_size=settings.population or POPULATION)


def _cmaes(seed: int, settings: Sampler) -> BaseSampler:
    if importlib.util.find_spec("cmaes") is None:  # Optuna says so at the second proposal only
        raise StudyError(
            "sampler: cmaes needs the package cmaes; install it with "
            "pip install 'fairsweep[cmaes]', or take another sampler"
        )
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(
        seed=seed,
        popsize=settings.population,
        independent_sampler=_random(seed, settings),
        warn_independent_sampling=False,
    )


SAMPLERS: dict[str, SamplerInfo] = {
    "tpe": SamplerInfo("tree-structured Parzen estimator", _tpe, uses=("startup_trials",)),
    "random": SamplerInfo("independent random points", _random, learns=False),
    "qmc": SamplerInfo("scrambled Sobol points, more even than random ones", None, learns=False),
    "grid": SamplerInfo("every combination of values", None, learns=False, uses=("points",)),
    "gp": SamplerInfo("Gaussian process, expected improvement", _gp, uses=("startup_trials",)),
    "cmaes": SamplerInfo(
        "covariance matrix adaptation, ranges of numbers only",
        _cmaes,
        several=False,
        choices=False,
        remembers=True,
        uses=("population",),
    ),
    "nsga2": SamplerInfo(
        "genetic algorithm, non-dominated sorting and crowding",
        _nsga2,
        remembers=True,
        uses=("population",),
    ),
    "nsga3": SamplerInfo(
        "genetic algorithm, non-dominated sorting and reference points",
        _nsga3,
        remembers=True,
        uses=("population",),
    ),
}
"""Every sampler by its name."""


def make_sampler(settings: Sampler, seed: int) -> BaseSampler:
    """Makes Optuna's sampler for one proposal; only for those that are no designs."""
    make = SAMPLERS[settings.name].make
    assert make is not None
    return make(seed, settings)
