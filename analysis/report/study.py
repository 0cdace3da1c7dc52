"""Everything that one report computes from a folder, each once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis import search, tuning_checks, understanding
from analysis.bootstrap import bootstrap_intervals
from analysis.equivalence import MARGIN, fixed_equivalence
from analysis.fairness import fairness_sweep
from analysis.fixed_dynamic import beside_sweep
from analysis.front import hypervolumes, standing
from analysis.results import Results
from analysis.scores import MEASURES, Reference, final_scores, main_measure, stl_reference
from analysis.statistics import RankTest, block_table, paired_tests, rank_test
from analysis.summary import summarise


@dataclass(frozen=True)
class StudyAnalysis:
    """The analyses of one results folder, computed when first asked for.

    Attributes:
        results: The folder.
        margin: Within which fixed and dynamic weights count as equivalent, in the leading measure.
    """

    results: Results
    margin: float = MARGIN

    @cached_property
    def summary(self) -> pd.DataFrame:
        """See `summary.summarise`."""
        return summarise(self.results)

    @cached_property
    def measure(self) -> str:
        """The measure that leads the report."""
        return main_measure(self.results)

    @cached_property
    def methods(self) -> pd.DataFrame:
        """Rows of the summary of methods with the leading measure, best first."""
        table = self.summary
        table = table[(table["kind"] == "method") & table[self.measure].notna()]
        return table.sort_values(
            self.measure, ascending=not MEASURES[self.measure], kind="stable", ignore_index=True
        )

    @cached_property
    def reference(self) -> Reference:
        """See `scores.stl_reference`."""
        return stl_reference(self.results)

    @cached_property
    def validation(self) -> pd.DataFrame:
        """Mean validation metrics of the final trials: ``variant``, ``seeds``, means and errors."""
        scores = final_scores(self.results, "validation")
        columns = [metric.column("validation") for metric in self.results.metrics]
        grouped = scores.groupby("variant", sort=False)
        table = grouped[columns].mean().join(grouped[columns].sem().add_suffix("_se"))
        table.insert(0, "seeds", grouped["seed"].nunique())
        return table.reset_index()

    @cached_property
    def untested(self) -> bool:
        """Whether final trials finished of which none has a test value."""
        test = [metric.column("test") for metric in self.results.metrics]
        final = final_scores(self.results)
        return not final.empty and bool(final[test].isna().all(axis=None))

    @cached_property
    def intervals(self) -> pd.DataFrame:
        """See `bootstrap.bootstrap_intervals`."""
        return bootstrap_intervals(self.results)

    @cached_property
    def standings(self) -> dict[str, pd.DataFrame]:
        """See `front.standing`: by tasks, by metrics where those are more, by losses."""
        results = self.results
        kinds = ["tasks"]
        if len(results.metrics) > len(results.tasks):
            kinds.append("metrics")
        if {f"validation_loss.{task}" for task in results.tasks} <= set(results.epochs.columns):
            kinds.append("losses")
        return {kind: standing(results, kind) for kind in kinds}

    @property
    def standing(self) -> pd.DataFrame:
        """The standing by tasks."""
        return self.standings["tasks"]

    @cached_property
    def hypervolumes(self) -> pd.DataFrame:
        """See `front.hypervolumes`."""
        return hypervolumes(self.results)

    @cached_property
    def equivalence(self) -> pd.DataFrame:
        """See `equivalence.fixed_equivalence`."""
        return fixed_equivalence(self.results, self.measure, margin=self.margin)

    @cached_property
    def beside_sweep(self) -> pd.DataFrame:
        """See `fixed_dynamic.beside_sweep`."""
        return beside_sweep(self.results, self.measure)

    @cached_property
    def fairness(self) -> pd.DataFrame:
        """See `fairness.fairness_sweep`."""
        return fairness_sweep(self.results)

    @cached_property
    def blocks(self) -> pd.DataFrame:
        """See `statistics.block_table`."""
        return block_table(self.results, self.measure)

    @cached_property
    def rank_test(self) -> RankTest | None:
        """See `statistics.rank_test`."""
        return rank_test(self.blocks, higher_is_better=MEASURES[self.measure])

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """See `statistics.paired_tests`."""
        return paired_tests(self.blocks)

    @cached_property
    def losses(self) -> pd.DataFrame:
        """See `understanding.loss_distribution`."""
        return understanding.loss_distribution(self.results)

    @cached_property
    def time(self) -> pd.DataFrame:
        """See `understanding.relative_time`."""
        return understanding.relative_time(self.results)

    @cached_property
    def neighbours(self) -> pd.DataFrame:
        """See `search.best_and_neighbours`."""
        return search.best_and_neighbours(self.results)

    @cached_property
    def borders(self) -> pd.DataFrame:
        """See `tuning_checks.border_values`."""
        return tuning_checks.border_values(self.results)

    @cached_property
    def unequal_budgets(self) -> str | None:
        """See `tuning_checks.unequal_budgets`."""
        return tuning_checks.unequal_budgets(self.results)

    @cached_property
    def similarity(self) -> dict[str, float]:
        """See `understanding.similarity_and_gain`."""
        return understanding.similarity_and_gain(self.results)
