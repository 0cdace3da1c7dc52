"""From a results folder to answers; needs neither Ray nor torch.

>>> from analysis import load, summarise, write_report
>>> results = load("results/quickstart")            # doctest: +SKIP
>>> summarise(results)                              # doctest: +SKIP

Every function takes tables and returns tables; `write_report` and `compare` write files.
"""

from __future__ import annotations

from analysis.bootstrap import bootstrap_intervals
from analysis.equivalence import fixed_equivalence, tost
from analysis.errors import AnalysisError
from analysis.fairness import fairness_sweep
from analysis.fixed_dynamic import fixed_versus_dynamic
from analysis.front import hypervolumes, standing
from analysis.loading import load
from analysis.loss_view import loss_view
from analysis.pareto import attainment, distance_to_front, hypervolume, nondominated, pareto_front
from analysis.report import ReportPaths, write_report
from analysis.report.comparison import ComparisonPaths, compare
from analysis.results import Metric, Results
from analysis.scores import final_scores, score, stl_reference
from analysis.search import best_and_neighbours, best_so_far, importance, response_curves
from analysis.statistics import block_table, paired_tests, rank_test, seeds_needed
from analysis.summary import summarise
from analysis.tuning_checks import border_values, unequal_budgets
from analysis.weights import extract_fixed_weights, moving_average, normalised_weights

__all__ = [
    "AnalysisError",
    "ComparisonPaths",
    "Metric",
    "ReportPaths",
    "Results",
    "attainment",
    "best_and_neighbours",
    "best_so_far",
    "block_table",
    "bootstrap_intervals",
    "border_values",
    "compare",
    "distance_to_front",
    "extract_fixed_weights",
    "fairness_sweep",
    "final_scores",
    "fixed_equivalence",
    "fixed_versus_dynamic",
    "hypervolume",
    "hypervolumes",
    "importance",
    "load",
    "loss_view",
    "moving_average",
    "nondominated",
    "normalised_weights",
    "paired_tests",
    "pareto_front",
    "rank_test",
    "response_curves",
    "score",
    "seeds_needed",
    "standing",
    "stl_reference",
    "summarise",
    "tost",
    "unequal_budgets",
    "write_report",
]
