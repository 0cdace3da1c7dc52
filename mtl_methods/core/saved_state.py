"""Whether a saved state is one that a method can take, asked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_methods.errors import TaskError

__all__ = [
    "check_generator",
    "check_head",
    "check_name",
    "check_own",
    "check_same_tasks",
    "entry",
]


def entry(name: str, state: Mapping[str, Any], key: str, kind: type) -> Any:
    """An entry of a state.

    Args:
        name: Whose state it is to be, for errors.
        state: What was given.
        key: The entry.
        kind: What it must be.

    Raises:
        TaskError: If it is not there, or something else.
    """
    if not isinstance(state, Mapping):
        raise TaskError(
            f"{name}: a state is the mapping that state_dict() gave, got {type(state).__name__}"
        )
    if key not in state:
        raise TaskError(f"{name}: this is not what state_dict() gave, its entry {key!r} is missing")
    if not isinstance(state[key], kind):
        raise TaskError(
            f"{name}: this is not what state_dict() gave, its entry {key!r} is a "
            f"{type(state[key]).__name__}"
        )
    return state[key]


def check_name(name: str, state: Mapping[str, Any]) -> None:
    """Refuses the state of another method or transform."""
    found = entry(name, state, "name", str)
    if found != name:
        raise TaskError(f"{name}: this state belongs to {found!r}")


def check_head(name: str, tasks: Sequence[str], state: Mapping[str, Any]) -> None:
    """Refuses the state of another method, or for other tasks than one that is set up has."""
    check_name(name, state)
    told = entry(name, state, "tasks", Sequence)
    if tasks and tuple(told) != tuple(tasks):
        raise TaskError(
            f"{name}: the state is for the tasks {', '.join(map(str, told)) or 'none yet'}, "
            f"this method for {', '.join(tasks)}"
        )
    entry(name, state, "counters", Mapping)


def check_same_tasks(name: str, state: Mapping[str, Any], part: Mapping[str, Any]) -> None:
    """Refuses a state of several parts that are for different tasks."""
    if list(entry(name, part, "tasks", Sequence)) != list(state["tasks"]):
        raise TaskError(f"{name}: this is not what state_dict() gave, its parts' tasks differ")


def check_own(name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuses own parameters of other names or shapes."""
    wanted = {key: tuple(value.shape) for key, value in expected.items()}
    shapes = {
        key: tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        for key, value in found.items()
    }
    if shapes != wanted:
        raise TaskError(
            f"{name}: the own parameters of the state are {shapes or 'none'}, those of this method "
            f"{wanted or 'none'}; make it with the settings and features it was saved with"
        )


def check_generator(name: str, found: Tensor) -> None:
    """Refuses what is no state of a random generator."""
    try:
        torch.Generator("cpu").set_state(found.clone())
    except (TypeError, RuntimeError) as error:
        raise TaskError(
            f"{name}: the entry 'generator' of the state is no state of a random generator"
        ) from error
