"""The manifest of a results folder: what was run, with which versions, on what hardware."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mtl_methods import __version__
from sweeps.definition.resolved import Candidate, ResolvedStudy
from sweeps.on_ray.capacity import available_cpus

__all__ = ["FORMAT", "make_manifest"]

FORMAT = 1
_PACKAGES = (
    *("torch", "ray", "optuna", "numpy", "scipy", "pandas", "pyarrow", "pydantic"),
    *("scikit-learn", "torchmetrics"),
)


def make_manifest(resolved: ResolvedStudy, earlier: Mapping[str, Any] | None) -> dict[str, Any]:
    """Describes a study as JSON.

    Args:
        resolved: The study.
        earlier: The manifest of an earlier run in the same folder, whose creation is kept.
    """
    study, problem = resolved.study, resolved.problem
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "format": FORMAT,
        "fairsweep": __version__,
        "study": study.name,
        "description": study.description,
        "study_hash": resolved.study_hash,
        "created": (earlier or {}).get("created") or now,
        "updated": now,
        "versions": _versions(),
        "hardware": _hardware(),
        "fixture": problem.fixture,
        "problem": {
            "name": problem.name,
            "summary": problem.summary,
            "options": problem.settings(),
            "tasks": [
                {
                    "name": task.name,
                    "loss": task.loss,
                    "description": task.description,
                    "metrics": [
                        {
                            "name": metric.name,
                            "higher_is_better": metric.higher_is_better,
                            "unit": metric.unit,
                        }
                        for metric in task.metrics
                    ],
                }
                for task in resolved.tasks
            ],
            "source": problem.source,
            "licence": problem.licence,
        },
        "methods": {c.variant: _method(c) for c in _candidates(resolved)},
        "budgets": {
            "trials": study.budget.trials if study.budget else 0,
            "seeds": study.budget.seeds if study.budget else 0,
            **({"seconds": study.budget.seconds} if study.budget and study.budget.seconds else {}),
            "baseline_seeds": resolved.baseline_seeds,
            "replicate_seeds": study.replicate.seeds if study.replicate else 0,
            "fixed_weights_seeds": resolved.fixed_seeds,
            "weight_sweep_points": len(resolved.points),
            "weight_sweep_seeds": study.weight_sweep.seeds if study.weight_sweep else 0,
            **_further(resolved),
            "epochs": resolved.protocol["epochs"],
        },
        "selection": study.selection,
        **({"objectives": study.objectives} if study.objectives else {}),
    }


def _further(resolved: ResolvedStudy) -> dict[str, Any]:
    """Budgets of phases that a study has only if it names them."""
    found: dict[str, Any] = {}
    if resolved.study.sensitivity:
        sweeps = resolved.study.sensitivity
        found["sensitivity_values"] = sum(len(sweep.values) for sweep in sweeps)
    if resolved.population is not None:
        found["population_members"] = resolved.population_size
    return found


def _candidates(resolved: ResolvedStudy) -> list[Candidate]:
    """The methods, population-based training among them."""
    own = [] if resolved.population is None else [resolved.population]
    return [*resolved.candidates, *own]


def _method(candidate: Candidate) -> dict[str, Any]:
    info = candidate.info
    return {
        "name": info.name,
        "label": candidate.variant,
        "summary": info.summary,
        "paper": info.paper,
        "equation": info.equation,
        "needs": sorted(need.value for need in info.needs),
        "hyperparameters": [
            {
                "name": parameter.name,
                "default": _json(parameter.default),
                "valid": parameter.valid_range,
                "study": _json(candidate.space.hyperparameters[parameter.name].as_yaml()),
                "source": parameter.source,
                "description": parameter.description,
            }
            for parameter in info.hyperparameters
        ],
    }


def _json(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _hardware() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_available": available_cpus(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
