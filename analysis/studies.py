"""Several studies at once: which method is best across problems, and where balancing pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from analysis.errors import AnalysisError
from analysis.loading import load
from analysis.planned import planned_methods
from analysis.results import Results
from analysis.scores import MEASURES
from analysis.statistics import RankTest, block_table, paired_tests, rank_test
from analysis.summary import summarise
from analysis.understanding import similarity_and_gain


@dataclass(frozen=True)
class Comparison:
    """Several loaded studies.

    Attributes:
        studies: The studies by a name that is unique among them.
        measure: Measure that is compared, on the test split.
    """

    studies: dict[str, Results]
    measure: str = "delta_mtm"

    @cached_property
    def table(self) -> pd.DataFrame:
        """Mean of the measure: one row for each method, one column for each study."""
        columns = {}
        for name, results in self.studies.items():
            summary = summarise(results)
            methods = summary[summary["kind"] == "method"].set_index("variant")
            columns[name] = methods[self.measure]
        return pd.DataFrame(columns)

    @cached_property
    def labels(self) -> dict[str, str]:
        """Label of each method, from the first study that has it."""
        found: dict[str, str] = {}
        for results in self.studies.values():
            for variant in self.table.index:
                label = results.label(str(variant))
                if label != variant:
                    found.setdefault(str(variant), label)
        return {str(v): found.get(str(v), str(v)) for v in self.table.index}

    @cached_property
    def common(self) -> pd.DataFrame:
        """One row for each study, one column for each method that all studies have."""
        return self.table[self.comparable].dropna(axis=0).T

    @cached_property
    def comparable(self) -> list[str]:
        """The studies in which at least one method has the measure."""
        return [str(name) for name in self.table.columns if self.table[name].notna().any()]

    @cached_property
    def ambiguous(self) -> list[str]:
        """Variants that are one method in one study and another method in another."""
        named: dict[str, set[str]] = {}
        for results in self.studies.values():
            for variant, method in planned_methods(results).items():
                named.setdefault(variant, set()).add(method)
        return [variant for variant, methods in named.items() if len(methods) > 1]

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Rank of each method in each study (among those it has), and means over studies.

        ``common_rank`` ranks the methods that all studies have among themselves, so that it
        compares like with like; ``mean_rank`` is the mean of the ranks shown, which also depends
        on how many other methods a study has.
        """
        ranks = self.table.rank(ascending=not MEASURES[self.measure])
        among_common = self.common.rank(axis=1, ascending=not MEASURES[self.measure]).mean()
        ranks.insert(0, "common_rank", among_common)
        ranks.insert(1, "mean_rank", ranks[list(self.studies)].mean(axis=1))
        ranks.insert(2, "studies", self.table.notna().sum(axis=1))
        return ranks.sort_values(["common_rank", "mean_rank"], kind="stable")

    @cached_property
    def over_studies(self) -> RankTest | None:
        """Friedman and Nemenyi with studies as blocks: the test that generalises over problems."""
        return rank_test(self.common, higher_is_better=MEASURES[self.measure])

    @cached_property
    def over_seeds(self) -> RankTest | None:
        """Friedman and Nemenyi with every seed of every study as a block.

        Seeds of one study are not independent problems: this test says whether the order holds on
        these problems, not on others.
        """
        return rank_test(self.seed_blocks, higher_is_better=MEASURES[self.measure])

    @cached_property
    def seed_blocks(self) -> pd.DataFrame:
        """Seeds of all studies, for the methods that all of them have."""
        blocks = {
            name: block_table(results, self.measure)
            for name, results in self.studies.items()
            if name in self.comparable
        }
        stacked = pd.concat(blocks, join="inner") if blocks else pd.DataFrame()
        return stacked.dropna(axis=1)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Paired tests of every two methods over the studies' means."""
        return paired_tests(self.common)

    @cached_property
    def similarity(self) -> pd.DataFrame:
        """One row for each study: similarity of task gradients, gain over equal weights, spread.

        Source: "Uniform Loss vs. Specialized Optimization", Figure 7.
        """
        rows = {name: similarity_and_gain(results) for name, results in self.studies.items()}
        return pd.DataFrame(rows).T.rename_axis("study").reset_index()

    @cached_property
    def similarity_correlation(self) -> float:
        """Spearman correlation of similarity and gain over studies; NaN for fewer than three."""
        table = self.similarity.dropna(subset=["similarity", "gain"])
        if len(table) < 3:
            return np.nan
        return float(stats.spearmanr(table["similarity"], table["gain"]).statistic)


def load_studies(directories: Sequence[str | Path], measure: str = "delta_mtm") -> Comparison:
    """Load several results folders for comparison.

    Args:
        directories: At least two results folders.
        measure: A measure of `scores.MEASURES`.

    Returns:
        The comparison.

    Raises:
        AnalysisError: Fewer than two folders, one twice, an unknown measure, or one that cannot be
            read.
    """
    if measure not in MEASURES:
        raise AnalysisError(f"Unknown measure {measure!r}; valid: {', '.join(MEASURES)}.")
    paths = [Path(directory) for directory in directories]
    if len(paths) < 2:
        raise AnalysisError("A comparison needs at least two results folders.")
    if len({path.resolve() for path in paths}) < len(paths):
        raise AnalysisError("A results folder is named twice in the comparison.")
    loaded = [load(path, strict=False) for path in paths]
    names = [results.name for results in loaded]
    studies = {
        name if names.count(name) == 1 else f"{name} ({results.path.name})": results
        for name, results in zip(names, loaded, strict=True)
    }
    if len(studies) < len(loaded):
        studies = {str(results.path): results for results in loaded}
    return Comparison(studies, measure)
