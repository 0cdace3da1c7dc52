"""Static weights as a candidate with a single configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtl_methods.registry import method_info
from sweeps.definition.resolved import SCALARISATION, Candidate
from sweeps.definition.spaces import Configuration, Space
from sweeps.definition.study import Constant, Setting

__all__ = ["static_candidate"]


def static_candidate(
    tasks: Sequence[str], label: str, weights: Mapping[str, float], source: Configuration
) -> Candidate:
    """Linear scalarisation with given weights.

    Args:
        tasks: The K tasks.
        label: Its label.
        weights: Weights by task that sum to 1; trained times K, so that equal weights coincide
            with a plain sum of losses.
        source: Whose training settings it takes.
    """
    info = method_info(SCALARISATION)
    settings: dict[str, Setting] = {p.name: Constant(p.default) for p in info.hyperparameters}
    settings["weights"] = Constant({task: weights[task] * len(tasks) for task in tasks})
    training: dict[str, Setting] = {
        name: Constant(value) for name, value in source.training.items()
    }
    return Candidate(label, info, Space(settings, training, tuple(tasks)))
