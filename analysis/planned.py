"""What a study planned and no trial has told anything about yet."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.results import Results

PHASES = {
    "baselines": ("baseline_seeds", "single-task baselines"),
    "search": ("trials", "search"),
    "replicate": ("replicate_seeds", "replicates"),
    "fixed_weights": ("fixed_weights_seeds", "fixed weights"),
    "weight_sweep": ("weight_sweep_points", "weight sweep"),
    "sensitivity": ("sensitivity_values", "sensitivity"),
    "population": ("population_members", "population-based training"),
}
"""Phase: the entry of the manifest's budgets that is 0 where it was not planned, and a name."""


def planned_methods(results: Results) -> dict[str, str]:
    """The methods of the manifest: variant and name of the method, in the manifest's order."""
    methods = results.manifest.get("methods")
    if not isinstance(methods, Mapping):
        return {}
    return {
        str(variant): str(entry.get("name") or variant) if isinstance(entry, Mapping) else variant
        for variant, entry in methods.items()
    }


def untried_methods(results: Results) -> list[str]:
    """Planned variants of which no trial has ended, whatever its status."""
    ended = set(results.trials["variant"].astype(str))
    return [variant for variant in planned_methods(results) if variant not in ended]


def untried_phases(results: Results) -> list[str]:
    """Names of planned phases of which no trial has ended."""
    budgets = results.manifest.get("budgets")
    if not isinstance(budgets, Mapping):
        return []
    ended = set(results.trials["phase"].astype(str))
    found = []
    for phase, (entry, name) in PHASES.items():
        planned = budgets.get(entry)
        if isinstance(planned, int) and planned > 0 and phase not in ended:
            found.append(name)
    return found
