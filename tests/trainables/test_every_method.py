"""Every registered method, and compositions, train in a trial and resume bit-identically."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl_methods import Need, list_methods, make_method
from trainables import run_trial
from trainables.problems import MultiDigits
from trainables.session import TrialSession

REFERENCE = {"CL": {"accuracy": 0.97}, "CR": {"accuracy": 0.97}, "RR": {"mse": 0.014}}
SMALL = {"train_pairs": 96, "validation_pairs": 48, "test_pairs": 48}
TIMES = ("train_seconds", "solve_seconds")
# A new method is covered without a new test; the rest are options and compositions whose needs
# differ from those of their parts.
CASES = [
    *((name, {}) for name in sorted(list_methods())),
    ("ldc_mtl", {"loop": "double", "inner_steps": 2}),
    ("ldc_mtl", {"router": "features"}),
    ("auto_lambda", {"hypergradient": "finite_difference"}),
    ("mgda", {"gradients_on": "features"}),
    ("rlw+cagrad", {}),
    ("log+uw+cagrad", {}),
    ("log+moml", {}),
    ("auto_lambda+sdmgrad", {}),
    ("moml+rotograd", {}),
]


def linear_heads(monkeypatch):
    """Gives the small problem heads of one layer, of no more outputs than features."""
    build = MultiDigits.build_model

    def build_linear(self, tasks=None, *, dropout=0.0, seed=0):
        model = build(self, tasks, dropout=dropout, seed=seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for task in ("CL", "CR"):
                model.heads[task] = nn.Linear(model.feature_dim, 10)
        return model

    monkeypatch.setattr(MultiDigits, "build_model", build_linear)


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    CASES,
    ids=["-".join([name, *map(str, settings.values())]) for name, settings in CASES],
)
def test_trains_and_resumes_identically(
    name, hyperparameters, make_spec, data, tmp_path, monkeypatch
):
    tasks = ("CL", "RR")
    if Need.LINEAR_HEADS in make_method(name, **hyperparameters).needs:
        tasks = ("CL", "CR")
        linear_heads(monkeypatch)
    spec = make_spec(
        name,
        hyperparameters=hyperparameters,
        options={**SMALL, "tasks": "_".join(tasks)},
        reference={task: REFERENCE[task] for task in tasks},
        epochs=2,
        batch_size=32,
        dropout=0.2,
        schedule={"name": "plateau", "patience": 0},
        clip_grad_norm=2.0,
        evaluate_test=True,
    )
    whole = run_trial(spec, data=data)
    assert whole["status"] == "finished", whole["error"]
    assert len(whole["epochs"]) == 2

    interrupted = TrialSession(spec, data, results_dir=tmp_path, checkpoint_every_s=0.0)
    assert interrupted.step()["status"] == "running"
    del interrupted
    torch.manual_seed(1)  # whatever the process did in between
    resumed = run_trial(spec, data=data, results_dir=tmp_path)
    for key in ("status", "best_epoch", "validation", "test", "counters", "spec"):
        assert resumed[key] == whole[key], key
    rows = [
        [{key: value for key, value in row.items() if key not in TIMES} for row in record["epochs"]]
        for record in (resumed, whole)
    ]
    assert rows[0] == rows[1]
