"""Tests, effect sizes, power and intervals against published and hand-made values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from analysis import AnalysisError, block_table, paired_tests, rank_test, seeds_needed, tost
from analysis.bootstrap import bootstrap_intervals, expanded_percentiles
from analysis.results import Results
from analysis.statistics import cliffs_delta, detectable_effect

# Demšar (2006), Table 6: AUC of C4.5 and three variants on 14 data sets.
DEMSAR = pd.DataFrame(
    {
        "C4.5": [.763, .599, .954, .628, .882, .936, .661, .583, .775, 1., .94, .619, .972, .957],
        "C4.5+m": [.768, .591, .971, .661, .888, .931, .668, .583, .838, 1., .962, .666, .981,
                   .978],
        "C4.5+cf": [.771, .590, .968, .654, .886, .916, .609, .563, .866, 1., .965, .614, .9751,
                    .946],
        "C4.5+m+cf": [.798, .569, .967, .657, .898, .931, .685, .625, .875, 1., .962, .669, .975,
                      .970],
    }
)  # fmt: skip


def test_friedman_and_nemenyi_reproduce_demsar() -> None:
    test = rank_test(DEMSAR)
    assert test is not None
    expected = {"C4.5+m+cf": 1.964, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5": 3.143}
    for name, rank in expected.items():
        assert test.mean_ranks[name] == pytest.approx(rank, abs=0.001)
    assert test.blocks == 14
    # Demšar: q_0.05 = 2.569 for four methods, CD = 1.25.
    assert test.critical_difference == pytest.approx(1.25, abs=0.005)
    # His chi-squared of 9.28 takes no account of ties, which make it larger.
    plain = 12 * 14 / (4 * 5) * ((test.mean_ranks**2).sum() - 4 * 5**2 / 4)
    assert plain == pytest.approx(9.28, abs=0.01)
    assert test.statistic == pytest.approx(stats.friedmanchisquare(*DEMSAR.T.to_numpy()).statistic)
    assert test.statistic > plain
    assert test.nemenyi.loc["C4.5", "C4.5+m+cf"] == pytest.approx(0.076, abs=0.02)


def test_groups_are_maximal_runs_within_the_critical_difference() -> None:
    blocks = pd.DataFrame([[10.0 - k for k in range(8)]] * 6, columns=list("abcdefgh"))
    test = rank_test(blocks)
    assert test is not None
    assert test.mean_ranks.tolist() == list(range(1, 9))
    width = int(np.floor(test.critical_difference))
    assert all(len(group) == width + 1 for group in test.groups)
    assert test.groups[0][0] == "a"
    assert test.groups[-1][-1] == "h"


@pytest.mark.parametrize("shape", [(5, 2), (1, 4), (0, 3)])
def test_rank_test_says_nothing_with_too_little(shape: tuple[int, int]) -> None:
    assert rank_test(pd.DataFrame(np.zeros(shape))) is None


def test_identical_methods_do_not_differ() -> None:
    blocks = pd.DataFrame({name: [1.0, 2.0, 3.0] for name in "abc"})
    test = rank_test(blocks)
    assert test is not None
    assert test.p_value == 1.0
    assert (paired_tests(blocks)["p_holm"] == 1.0).all()


def test_paired_tests_and_holm_by_hand() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=6)
    blocks = pd.DataFrame(
        {"a": base + 5 + 0.1 * rng.normal(size=6), "b": base + 0.1 * rng.normal(size=6), "c": base}
    )
    table = paired_tests(blocks).set_index(["first", "second"])
    raw = {
        pair: stats.ttest_rel(blocks[pair[0]], blocks[pair[1]]).pvalue
        for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    }
    ordered = sorted(raw.values())
    holm = np.maximum.accumulate([ordered[0] * 3, ordered[1] * 2, ordered[2]])
    assert table["p"].to_dict() == pytest.approx(raw)
    assert table["p_holm"].tolist() == pytest.approx(np.minimum(holm, 1.0).tolist())
    assert table.loc[("a", "b"), "significant"]
    assert not table.loc[("b", "c"), "significant"]
    assert table.loc[("a", "c"), "difference"] == pytest.approx((blocks["a"] - base).mean())
    assert table.loc[("a", "c"), "dominance"] == cliffs_delta(blocks["a"], blocks["c"])
    low, high = stats.ttest_rel(blocks["a"], blocks["c"]).confidence_interval()
    assert table.loc[("a", "c"), ["low", "high"]].tolist() == pytest.approx([low, high])


def test_cliffs_delta() -> None:
    assert cliffs_delta([3, 4], [1, 2]) == 1.0
    assert cliffs_delta([1, 2], [1, 2]) == 0.0
    assert cliffs_delta([1, 3], [2]) == 0.0


@pytest.mark.parametrize(
    ("effect", "seeds"), [(0.5, 34), (1.0, 10), (0.2, 199), (25.0, 2), (0.0, np.inf)]
)
def test_seeds_needed_are_the_textbook_values(effect: float, seeds: float) -> None:
    assert seeds_needed(effect) == seeds


def test_detectable_effect_inverts_seeds_needed() -> None:
    for seeds in (3, 5, 10, 34):
        effect = detectable_effect(seeds)
        assert seeds_needed(effect * 1.001) == seeds
    assert detectable_effect(1) == np.inf


@pytest.mark.parametrize("margin", [0.2, 1.0, 3.0])
def test_tost_agrees_with_statsmodels(margin: float) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.3, 1.0, 9), rng.normal(0.0, 0.5, 7)
    found = tost(a, b, margin)
    expected, _, _ = ttost_ind(a, b, -margin, margin, usevar="unequal")
    assert found["p_equivalence"] == pytest.approx(expected)
    assert found["p_difference"] == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    inside = -margin < found["low"] and found["high"] < margin
    assert inside == (found["p_equivalence"] < 0.05)


def test_tost_edges() -> None:
    assert np.isnan(tost([1.0], [2.0, 3.0], 1.0)["p_equivalence"])
    same = tost([1.0, 1.0], [1.0, 1.0], 0.5)
    assert (same["p_equivalence"], same["p_difference"]) == (0.0, 1.0)
    with pytest.raises(AnalysisError, match="margin is positive"):
        tost([1.0, 2.0], [1.0, 2.0], 0.0)


def test_blocks_pair_methods_by_seed(results: Results) -> None:
    blocks = block_table(results)
    assert blocks.shape == (4, 5)
    with pytest.raises(AnalysisError, match="Unknown measure 'delta'"):
        block_table(results, "delta")


def test_bootstrap_interval_holds_the_mean_and_the_share_of_the_baseline(results: Results) -> None:
    table = bootstrap_intervals(results)
    assert (table["low"] <= table["mean"]).all()
    assert (table["mean"] <= table["high"]).all()
    own = table[table["measure"] == "delta_mtm"]
    assert own["stl_share"].between(0.05, 0.99).all()
    again = bootstrap_intervals(results)
    pd.testing.assert_frame_equal(table, again)
    with pytest.raises(AnalysisError, match="between 0 and 1"):
        bootstrap_intervals(results, level=95)


def test_expanded_percentiles_cover_as_a_t_interval_does() -> None:
    """Coverage of the mean of 5 normal observations: near 95 %, where plain percentiles miss it."""
    rng = np.random.default_rng(0)
    covered = plain = 0
    for _ in range(400):
        sample = rng.normal(size=5)
        means = sample[rng.integers(5, size=(400, 5))].mean(axis=1)
        low, high = expanded_percentiles(means, 5)
        covered += low <= 0 <= high
        a, b = np.quantile(means, [0.025, 0.975])
        plain += a <= 0 <= b
    assert covered / 400 > 0.88
    assert covered > plain
    assert np.isnan(expanded_percentiles(np.zeros(10), 1)[0])
