"""Writes results folders with the columns of real ones and numbers from a simple model.

Each method has a trade-off point: a share in (0, 1) that says which tasks it favours and a cost.
The tests know what went in, so they can say what must come out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

METHODS = {
    "ls": (0.90, 0.10),
    "uw": (0.60, 0.06),
    "famo": (0.45, 0.03),
    "cagrad": (0.50, 0.02),
    "fairgrad": (0.40, 0.02),
}
"""Name: (share of the first task, cost in relative terms)."""


@dataclass
class Plan:
    """What a folder holds."""

    tasks: int = 2
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 4
    epochs: int = 8
    search: int = 6
    baselines: bool = True
    fixed: tuple[str, ...] = ("cagrad", "fairgrad")
    sweep: int = 7
    lowest: float = 0.06  # share of the first swept point; 0.05 sweeps equal weights too
    sensitivity: tuple[float, ...] = ()
    diverge: tuple[str, ...] = ()
    fail: tuple[str, ...] = ()
    test_on_sweep: bool = False
    name: str = "synthetic"
    seed: int = 0
    noise: float = 0.01
    extra: dict[str, object] = field(default_factory=dict)


def task_names(count: int) -> list[str]:
    return ["CL", "RR"] if count == 2 else [f"T{k}" for k in range(count)]


def problem(count: int) -> dict[str, object]:
    """Odd tasks are regressions (mse; lower is better), even ones classify (accuracy; higher)."""
    tasks = []
    for k, name in enumerate(task_names(count)):
        if k % 2 == 0:
            metrics = [{"name": "accuracy", "higher_is_better": True, "unit": ""}]
        else:
            metrics = [{"name": "mse", "higher_is_better": False, "unit": ""}]
            if count > 2:
                metrics.append({"name": "mae", "higher_is_better": False, "unit": "m"})
        loss = "nll" if k % 2 == 0 else "mse"
        tasks.append({"name": name, "loss": loss, "metrics": metrics})
    return {
        "name": "multi_digits",
        "options": {"tasks": "CL_RR"},
        "tasks": tasks,
        "source": "synthetic",
        "licence": "none",
    }


class _Writer:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = np.random.default_rng(plan.seed)
        self.problem = problem(plan.tasks)
        self.tasks = task_names(plan.tasks)
        self.trials: list[dict[str, object]] = []
        self.epochs: list[pd.DataFrame] = []
        self.base = {"accuracy": 0.95, "mse": 0.02, "mae": 0.1}

    def drops(self, share: float, cost: float) -> np.ndarray:
        """Relative drop of each task: favouring one task costs the others."""
        k = len(self.tasks)
        if k == 1:
            return np.array([cost])
        tilt = np.linspace(1.0, -1.0, k) * (share - 0.5)
        return cost + 0.15 * (np.exp(-1.5 * tilt) - 1.0)

    def add(
        self,
        phase: str,
        method: str,
        variant: str,
        seed: int,
        drops: np.ndarray,
        *,
        hp: dict[str, object] | None = None,
        lr: float = 0.001,
        test: bool = False,
        only: int | None = None,
        status: str = "finished",
        source: str | None = None,
        weights: np.ndarray | None = None,
        speed: float = 1.0,
    ) -> None:
        plan, rng = self.plan, self.rng
        hp = hp or {}
        key = json.dumps([phase, method, variant, seed, hp, lr, len(self.trials)])
        trial_id = hashlib.sha256(key.encode()).hexdigest()[:16]
        configuration = json.dumps([method, variant, hp, lr])
        finished = status == "finished"
        epochs = plan.epochs if finished else max(1, plan.epochs // 2)
        row: dict[str, object] = {
            "trial_id": trial_id,
            "phase": phase,
            "method": method,
            "variant": variant,
            "source_method": source,
            "configuration_id": hashlib.sha256(configuration.encode()).hexdigest()[:16],
            "seed": seed,
            "status": status,
            "epochs": epochs,
            "best_epoch": epochs if finished else np.nan,
            "seconds": epochs * speed,
            "seconds_per_epoch": speed,
            "training.lr": lr,
            "training.dropout": 0.1,
        }
        row |= {f"hp.{name}": value for name, value in hp.items()}
        noise = rng.normal(0.0, plan.noise, size=(2, len(self.tasks)))
        metrics = {}
        for k, task in enumerate(self.problem["tasks"]):
            if only is not None and only != k:
                continue
            for metric in task["metrics"]:
                sign = -1.0 if metric["higher_is_better"] else 1.0
                for s, split in enumerate(("validation", "test")):
                    value = self.base[metric["name"]] * (1 + sign * (drops[k] + noise[s, k]))
                    metrics[f"{split}.{task['name']}.{metric['name']}"] = value
        for column, value in metrics.items():
            wanted = finished and (test or column.startswith("validation."))
            row[column] = value if wanted else np.nan
        mean_drop = float(np.mean(drops if only is None else drops[only]))
        row["validation.delta_mtm"] = -100 * mean_drop if finished and only is None else np.nan
        row["validation.delta_m"] = 100 * mean_drop if finished and only is None else np.nan
        if not finished:
            kind = "NonFiniteLossError" if status == "diverged" else "RuntimeError"
            row |= {
                "error_type": kind,
                "error_message": "the loss of task <b>RR</b> is nan",
                "error_task": self.tasks[-1],
                "error_epoch": float(epochs),
                "error_step": 17.0,
            }
        self.trials.append(row)
        self.epochs.append(self.curve(row, epochs, metrics, weights, speed, finished, only, drops))

    def curve(
        self,
        row: dict[str, object],
        epochs: int,
        metrics: dict[str, float],
        weights: np.ndarray | None,
        speed: float,
        finished: bool,
        only: int | None,
        drops: np.ndarray,
    ) -> pd.DataFrame:
        rng, t = self.rng, np.arange(1, epochs + 1)
        decay = np.exp(-3.0 * t / epochs)
        table: dict[str, object] = {
            name: [row[name]] * epochs
            for name in ("trial_id", "phase", "method", "variant", "seed")
        }
        table["epoch"] = t
        for k, task in enumerate(self.tasks):
            if only is not None and only != k:
                continue
            scale = 1 + drops[k] + 0.01 * rng.normal()
            table[f"train_loss.{task}"] = (0.1 + 0.05 * k) * scale * (1 + 2 * decay)
            table[f"validation_loss.{task}"] = (0.12 + 0.05 * k) * scale * (1 + 2 * decay)
            if weights is not None:
                start = np.full(len(self.tasks), 1 / len(self.tasks))[k]
                path = weights[k] + (start - weights[k]) * decay
                table[f"weight.{task}"] = path * (1 + 0.02 * rng.normal(size=epochs))
        for column, value in metrics.items():
            if column.startswith("validation."):
                table[column] = value * (1 - 0.2 * decay)
        if only is None:
            score = row["validation.delta_mtm"] if finished else -50.0
            table["validation.delta_mtm"] = score - 30 * decay
        if row["method"] in ("cagrad", "fairgrad"):
            table["grad_cosine"] = 0.45 + 0.3 * decay + 0.01 * rng.normal(size=epochs)
            table["solver_residual"] = 1e-9
        table["lr"] = row["training.lr"]
        table["train_seconds"] = speed
        table["solve_seconds"] = 0.01
        return pd.DataFrame(table)

    def fill(self) -> None:
        plan, rng, k = self.plan, self.rng, len(self.tasks)
        zero = np.zeros(k)
        if plan.baselines:
            for j, task in enumerate(self.tasks):
                for i in range(max(1, plan.search)):
                    lr = float(10 ** rng.uniform(-4, -2))
                    miss = np.full(k, 0.02 * abs(np.log10(lr) + 3))
                    self.add("baselines", "stl", f"stl:{task}", i, miss, only=j, lr=lr)
                for seed in range(plan.seeds):
                    self.add("baselines", "stl", f"stl:{task}", 100 + seed, zero, only=j, test=True)
        for method in plan.methods:
            share, cost = METHODS[method]
            status = (
                "diverged" if method in plan.diverge else "failed" if method in plan.fail else None
            )
            weights = simplex(share, k) if method not in ("uw",) else None
            speed = 2.0 if method in ("cagrad", "fairgrad") else 1.0
            hp = {"fairgrad": "alpha", "cagrad": "c"}.get(method)
            for i in range(plan.search):
                lr = float(10 ** rng.uniform(-4, -2))
                value = float(rng.uniform(1, 10)) if hp else None
                miss = self.drops(share, cost) + 0.02 * abs(np.log10(lr) + 3)
                miss = miss + (0.005 * abs(value - 2) if value is not None else 0.0)
                ends = status or ("diverged" if lr > 0.009 else "finished")
                self.add(
                    "search",
                    method,
                    method,
                    i,
                    miss,
                    hp={hp: value} if hp else None,
                    lr=lr,
                    status=ends,
                    weights=weights,
                    speed=speed,
                )
            for seed in range(plan.seeds):
                self.add(
                    "replicate",
                    method,
                    method,
                    100 + seed,
                    self.drops(share, cost),
                    hp={hp: 2.0} if hp else None,
                    test=True,
                    status=status or "finished",
                    weights=weights,
                    speed=speed,
                )
            if hp:
                for value in plan.sensitivity:
                    for seed in range(2):
                        drops = self.drops(share - 0.03 * (value - 2), cost)
                        drops = drops + 0.005 * abs(value - 2)
                        self.add("sensitivity", method, method, seed, drops, hp={hp: value})
        for source in plan.fixed:
            if source in plan.methods and source not in plan.diverge:
                share, cost = METHODS[source]
                for seed in range(plan.seeds):
                    self.add(
                        "fixed_weights",
                        "ls",
                        f"fixed({source})",
                        100 + seed,
                        self.drops(share, cost + 0.005),
                        test=True,
                        source=source,
                        weights=simplex(share, k),
                        hp={"weights": simplex(share, k).tolist()},
                    )
        if k > 1:
            for share in np.linspace(plan.lowest, 0.95, plan.sweep):
                for seed in range(2):
                    point = simplex(float(share), k) * k
                    variant = f"ls[{','.join(f'{w:.2f}' for w in point)}]"
                    self.add(
                        "weight_sweep",
                        "ls",
                        variant,
                        seed,
                        self.drops(float(share), 0.03),
                        test=plan.test_on_sweep,
                    )
                    self.trials[-1] |= {
                        f"static_weight.{t}": w for t, w in zip(self.tasks, point, strict=True)
                    }


def simplex(share: float, k: int) -> np.ndarray:
    """Weights on the simplex that favour the first tasks by `share`."""
    raw = np.exp(np.linspace(1.0, -1.0, k) * 2 * (share - 0.5)) if k > 1 else np.ones(1)
    return raw / raw.sum()


def manifest(plan: Plan) -> dict[str, object]:
    described = {
        "alpha": {
            "name": "alpha",
            "default": 2.0,
            "valid": "a number >= 0",
            "study": {"low": 1.0, "high": 10.0, "log": True},
            "source": "FairGrad, section 5.4",
            "description": "order of fairness",
        },
        "c": {
            "name": "c",
            "default": 0.4,
            "valid": "a number >= 0",
            "study": {"low": 1.0, "high": 10.0, "log": False},
            "source": "CAGrad",
            "description": "radius",
        },
    }
    own = {"fairgrad": ["alpha"], "cagrad": ["c"]}
    labels = {"ls": "LS", "uw": "UW", "famo": "FAMO", "cagrad": "CAGrad", "fairgrad": "FairGrad"}
    return {
        "format": 1,
        "fairsweep": "0.1.0",
        "study": plan.name,
        "study_hash": "abc",
        "created": "2026-11-22T12:00:00+00:00",
        "versions": {"python": "3.11.2", "torch": "2.13.0", "ray": "2.60.0"},
        "hardware": {"cpu": "test <cpu>", "cores": 2},
        "fixture": False,
        "problem": problem(plan.tasks),
        "methods": {
            name: {
                "label": labels[name],
                "summary": f"the method {name}",
                "paper": "a paper",
                "hyperparameters": [described[h] for h in own.get(name, [])],
            }
            for name in plan.methods
        },
        "budgets": {"search": {"trials": plan.search, "seeds": 1}},
        "selection": "delta_mtm",
        **plan.extra,
    }


def write_folder(path: Path, plan: Plan | None = None) -> Path:
    """Write a folder; returns it."""
    plan = plan or Plan()
    path.mkdir(parents=True, exist_ok=True)
    writer = _Writer(plan)
    writer.fill()
    trials = pd.DataFrame(writer.trials)
    for column in [c for c in trials.columns if c.startswith("hp.")]:
        trials[column] = trials[column].map(lambda v: json.dumps(v) if isinstance(v, list) else v)
    trials.to_parquet(path / "trials.parquet")
    pd.concat(writer.epochs, ignore_index=True).to_parquet(path / "epochs.parquet")
    (path / "manifest.json").write_text(json.dumps(manifest(plan)))
    study = {
        "name": plan.name,
        "protocol": {"epochs": plan.epochs, "batch_size": 128, "optimizer": "adam"},
        "search_space": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "dropout": 0.1},
        "methods": [{"name": name, "label": name} for name in plan.methods],
    }
    (path / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return path
