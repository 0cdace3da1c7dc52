"""Population-based training of scalarisation weights: who goes on from whom, with which weights.

A population trains for some epochs; then those of its members that do worst go on from the state of
those that do best, with other weights (exploit and explore). Pure functions of what the members
achieved and of a seed; all members are compared after the same number of epochs, so that the result
does not depend on the order in which trials end. Weights are points of the simplex: they sum to 1.

How new weights are drawn:

* ``pbt`` multiplies each weight of the member that is copied by ``exp(noise * N(0, 1))`` or, with
  probability ``resample``, draws a point of the whole simplex;
* ``pb2`` fits a Gaussian process to how much members gained with which weights in which generation,
  and takes the weights with the largest upper confidence bound.

Sources: Jaderberg et al., "Population Based Training of Neural Networks", 2017; Royer, Blankevoort
and Bejnordi, "Scalarization for Multi-Task and Multi-Domain Learning at Scale", NeurIPS 2023, which
searches scalarisation weights so; Parker-Holder, Nguyen and Roberts, "Provably Efficient Online
Hyperparameter Optimization with Population-Based Bandits", NeurIPS 2020 (pb2).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeps.definition.identity import derived_seed
from sweeps.definition.simplex import sobol
from sweeps.definition.spaces import simplex_weights
from sweeps.definition.study import Population

__all__ = ["EXPLORERS", "Line", "Observation", "first_generation", "next_generation"]

Floats = NDArray[np.float64]
Weights = tuple[float, ...]

_SMALLEST = 1e-6  # every task keeps some weight
_CANDIDATES = 512


@dataclass(frozen=True)
class Line:
    """A member with all that it descends from: what a training from the start would do.

    Attributes:
        course: The weights in task order, summing to 1, by the epoch they begin at.
        training: The training settings.
        seed: The seed of the training run.
        trial_id: The trial of its last generation; ``None`` before the first.
    """

    course: tuple[tuple[int, Weights], ...]
    training: Mapping[str, Any]
    seed: int
    trial_id: str | None = None

    @property
    def weights(self) -> Weights:
        """The present weights."""
        return self.course[-1][1]

    def changed(self, epoch: int, weights: Weights) -> Line:
        """The line with other weights from an epoch on."""
        return replace(self, course=(*self.course, (epoch, weights)))


@dataclass(frozen=True)
class Observation:
    """What a member gained in a generation.

    Attributes:
        generation: Counted from 0.
        weights: The weights that it had.
        gain: By how much its measure rose, in standard deviations over the generation.
    """

    generation: int
    weights: Weights
    gain: float


def first_generation(
    size: int, tasks: int, training: Sequence[Mapping[str, Any]], seed: int
) -> list[Line]:
    """Members to begin with: equal weights, then an even cover of the simplex.

    Args:
        size: How many.
        tasks: K.
        training: The training settings of each.
        seed: The study's seed; member i trains with the i-th seed after it.
    """
    points = sobol(tasks, size, seed) if tasks > 1 else [[1.0]] * size
    weights = [tuple([1.0 / tasks] * tasks), *(tuple(point) for point in points[1:])]
    return [
        Line(((0, own),), settings, seed + index)
        for index, (own, settings) in enumerate(zip(weights, training, strict=True))
    ]


def next_generation(
    lines: Sequence[Line],
    values: Sequence[float],
    epoch: int,
    settings: Population,
    seed: int,
    history: Sequence[Observation],
) -> list[Line]:
    """Exploits and explores.

    Args:
        lines: The members.
        values: What each is at the end of the generation, higher is better; NaN for those that
            came to nothing, which are always replaced.
        epoch: How many epochs they have completed.
        settings: The section of the study.
        seed: Of all draws of this generation.
        history: What was gained in all generations so far.

    Returns:
        The members of the next generation: those that go on as they are keep their place.

    Raises:
        ValueError: If nobody is left to go on from.
    """
    order = sorted(range(len(lines)), key=lambda i: (not math.isfinite(values[i]), -_or(values[i])))
    alive = [member for member in order if math.isfinite(values[member])]
    if not alive:
        raise ValueError("no member is left to go on from")
    share = max(1, int(settings.quantile * len(lines)))
    best = alive[:share]
    lost = set(order[len(alive) :]) | (set(alive[-share:]) - set(best))
    explore = EXPLORERS[settings.explore]
    asked: list[Observation] = list(history)
    generation = max((seen.generation for seen in history), default=0) + 1
    found = list(lines)
    for member in sorted(lost):
        generator = np.random.default_rng(derived_seed(seed, epoch, member))
        donor = lines[best[int(generator.integers(len(best)))]]
        weights, expected = explore(donor.weights, settings, generator, asked, generation)
        asked.append(Observation(generation, weights, expected))
        found[member] = donor.changed(epoch, weights)
    return found


def _or(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


# ------------------------------------------------------------------ explorers


def _perturbed(
    weights: Weights,
    settings: Population,
    generator: np.random.Generator,
    history: Sequence[Observation],
    generation: int,
) -> tuple[Weights, float]:
    if generator.uniform() < settings.resample:
        return _on_simplex(np.array(_uniform(generator, 1, len(weights))[0])), 0.0
    factors = np.exp(settings.noise * generator.standard_normal(len(weights)))
    return _on_simplex(np.asarray(weights) * factors), 0.0


def _uniform(generator: np.random.Generator, count: int, tasks: int) -> list[list[float]]:
    """Points drawn uniformly from the simplex."""
    uniforms = generator.uniform(_SMALLEST, 1.0 - _SMALLEST, (count, tasks))
    return [simplex_weights(row) for row in uniforms.tolist()]


def _bandit(
    weights: Weights,
    settings: Population,
    generator: np.random.Generator,
    history: Sequence[Observation],
    generation: int,
) -> tuple[Weights, float]:
    """The weights with the largest upper confidence bound, and what is expected of them.

    The bound is ``mean + sqrt(beta) * deviation`` with ``beta = 0.2 + log(0.4 t + 1)``. What was
    chosen for other members of the generation counts as seen, with its expected gain, so that they
    do not all choose the same.
    """
    candidates = np.array(_uniform(generator, _CANDIDATES, len(weights))) / len(weights)
    near, _ = _perturbed(weights, settings, generator, history, generation)
    candidates = np.vstack([candidates, near])
    points = np.array([seen.weights for seen in history])
    times = np.array([seen.generation for seen in history], dtype=np.float64)
    gains = np.array([seen.gain for seen in history])
    mean, deviation = gaussian_process(points, times, gains, candidates, float(generation))
    beta = 0.2 + math.log(0.4 * generation + 1.0)
    place = int(np.argmax(mean + math.sqrt(beta) * deviation))
    return _on_simplex(candidates[place]), float(mean[place])


Explorer = Callable[
    [Weights, Population, np.random.Generator, Sequence[Observation], int], tuple[Weights, float]
]

EXPLORERS: dict[str, Explorer] = {"pbt": _perturbed, "pb2": _bandit}
"""How weights are drawn, by name: new weights, and the gain that is expected of them."""


def _on_simplex(weights: Floats) -> Weights:
    positive = np.maximum(weights, _SMALLEST)
    return tuple((positive / positive.sum()).tolist())


# ------------------------------------------------------------------ the Gaussian process of pb2

_LENGTHS, _FORGETTING, _NOISES = (0.1, 0.2, 0.4, 0.8), (0.01, 0.1, 0.3), (0.05, 0.2, 0.8)


def gaussian_process(
    points: Floats, times: Floats, gains: Floats, candidates: Floats, now: float
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the gain at candidate weights, now.

    The kernel is ``exp(-|w - w'|^2 / (2 l^2)) * (1 - e)^(|t - t'| / 2)``: what was seen long ago
    counts less. Length l, forgetting e and noise are those of a grid with the largest likelihood.

    Args:
        points: Weights that were tried, shape (N, K).
        times: In which generation, shape (N,).
        gains: What was gained, shape (N,).
        candidates: Weights to judge, shape (M, K).
        now: The generation to come.

    Source: Parker-Holder et al. 2020, equation 6 and section 3.
    """
    squared = ((points[:, None] - points[None]) ** 2).sum(-1)
    lags = np.abs(times[:, None] - times[None])
    best: tuple[float, float, float, Floats, Floats] | None = None
    for length, forget, noise in itertools.product(_LENGTHS, _FORGETTING, _NOISES):
        kernel = np.exp(-squared / (2 * length**2)) * (1 - forget) ** (lags / 2)
        factor = np.linalg.cholesky(kernel + (noise + 1e-9) * np.eye(len(points)))
        weights = np.linalg.solve(factor.T, np.linalg.solve(factor, gains))
        likelihood = -0.5 * float(gains @ weights) - float(np.log(np.diag(factor)).sum())
        if best is None or likelihood > best[0] + 1e-12:
            best = (likelihood, length, forget, factor, weights)
    assert best is not None
    _, length, forget, factor, weights = best
    across = ((candidates[:, None] - points[None]) ** 2).sum(-1)
    cross = np.exp(-across / (2 * length**2)) * (1 - forget) ** (np.abs(now - times) / 2)
    explained = np.linalg.solve(factor, cross.T)
    variance = np.maximum(1.0 - (explained**2).sum(0), 0.0)
    return cross @ weights, np.sqrt(variance)
