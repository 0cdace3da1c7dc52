"""Problems, models and the training loop: one trial, from specification to ledger record.

Use without Ray::

    from trainables import run_trial

    record = run_trial({"problem": "multi_digits", "method": "ls", "selection": "loss"})

With Ray Tune: :mod:`trainables.trainable`, the only module here that imports it.
"""

from __future__ import annotations

from trainables.model import MTLModel
from trainables.problem import Metric, Problem, ProblemInfo, Splits, Task
from trainables.problems import list_problems, make_problem
from trainables.run import run_trial
from trainables.spec import TrainingSettings, TrialSpec

__all__ = [
    "MTLModel",
    "Metric",
    "Problem",
    "ProblemInfo",
    "Splits",
    "Task",
    "TrainingSettings",
    "TrialSpec",
    "list_problems",
    "make_problem",
    "run_trial",
]
