"""From a results folder to answers; needs neither Ray nor torch.

>>> from analysis import load, summarise, write_report
>>> results = load("results/quickstart")            # doctest: +SKIP
>>> summarise(results)                              # doctest: +SKIP
"""

from __future__ import annotations

from analysis.errors import AnalysisError
from analysis.fixed_dynamic import fixed_versus_dynamic
from analysis.pareto import hypervolume, nondominated, pareto_front
from analysis.report import ReportPaths, write_report
from analysis.results import Metric, Results, load
from analysis.summary import summarise

__all__ = [
    "AnalysisError",
    "Metric",
    "ReportPaths",
    "Results",
    "fixed_versus_dynamic",
    "hypervolume",
    "load",
    "nondominated",
    "pareto_front",
    "summarise",
    "write_report",
]
