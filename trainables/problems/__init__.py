"""Every problem by its name: one file per problem, one line here."""

from __future__ import annotations

from typing import Any

from mtl_methods.configuration import closest, registry_lookup
from mtl_methods.errors import UnknownNameError
from trainables.problem import Problem, ProblemInfo
from trainables.problems.multi_digits import MultiDigits
from trainables.problems.multi_mnist import MultiFashion, MultiFashionMNIST, MultiMNIST
from trainables.problems.qm9 import QM9
from trainables.problems.toy import Toy

__all__ = [
    "QM9",
    "MultiDigits",
    "MultiFashion",
    "MultiFashionMNIST",
    "MultiMNIST",
    "Toy",
    "list_problems",
    "make_problem",
]

_PROBLEMS: dict[str, type[Problem[Any]]] = {
    problem.name: problem
    for problem in (MultiDigits, MultiMNIST, MultiFashion, MultiFashionMNIST, QM9, Toy)
}


def make_problem(name: str, **options: Any) -> Problem[Any]:
    """Makes a problem by its name.

    Args:
        name: One of :func:`list_problems`.
        **options: The options that differ from their defaults.

    Raises:
        UnknownNameError: If the name or an option does not exist; names the valid ones.
        ConfigurationError: If the value of an option is not valid.
    """
    problem = registry_lookup(_PROBLEMS, name, "problem")
    valid = [option.name for option in problem.hyperparameters()]
    for option in options:
        if option not in valid:
            raise UnknownNameError(
                f"{name} has no option {option!r}{closest(option, valid)}; valid: "
                + (", ".join(valid) or "none")
            )
    return problem(problem.Options.from_settings(options))


def list_problems() -> dict[str, ProblemInfo]:
    """What is known of every problem, by name."""
    return {name: problem.info() for name, problem in _PROBLEMS.items()}
