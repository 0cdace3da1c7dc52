"""Which needs of a method the training loop serves, and what they ask of a model."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from mtl_methods import Method, Need
from mtl_methods.errors import ConfigurationError

__all__ = ["SERVED_NEEDS", "check_needs", "unserved_needs"]

SERVED_NEEDS = frozenset(
    {
        Need.LOSSES,
        Need.LOSSES_AFTER_STEP,
        Need.GRAM,
        Need.GRADIENTS,
        Need.FEATURES,
        Need.TASK_FEATURES,
        Need.VALIDATION_BATCH,
        Need.EXTRA_BATCHES,
        Need.PERFORMANCE_DROPS,
        Need.OWN_PARAMETERS,
    }
)
"""The needs that the training loop serves, whatever the model."""


def unserved_needs(needs: Iterable[Need], heads: nn.ModuleDict) -> list[str]:
    """What a method needs and does not get, in words; empty if it can be trained.

    Args:
        needs: What the method needs.
        heads: The head of each task of the model: ``Need.LINEAR_HEADS`` is theirs to serve.
    """
    found = []
    for need in sorted(set(needs) - SERVED_NEEDS, key=lambda need: need.value):
        if need is Need.LINEAR_HEADS:
            deep = [task for task, head in heads.items() if not isinstance(head, nn.Linear)]
            if deep:
                found.append(f"{need.value} (that of {deep[0]} is another module)")
        else:
            found.append(f"{need.value} (which the training loop does not serve)")
    return found


def check_needs(method: Method, heads: nn.ModuleDict, *, reference: bool) -> None:
    """Checks that a method gets in a trial what it needs.

    Args:
        method: The method.
        heads: The head of each task.
        reference: Whether the specification has single-task metrics to compare with.

    Raises:
        ConfigurationError: If it does not.
    """
    unserved = unserved_needs(method.needs, heads)
    if unserved:
        raise ConfigurationError(f"{method.name} needs {', '.join(unserved)}")
    if Need.PERFORMANCE_DROPS in method.needs and not reference:
        raise ConfigurationError(
            f"{method.name} needs performance drops against single-task training, so the "
            "trial specification needs a reference"
        )
