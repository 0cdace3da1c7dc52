"""Every vector that the peers' own code gave, put to our methods or listed with a reason."""

from __future__ import annotations

import pytest
from adapters import ADAPTERS, EXCLUSIONS, METHOD_OF
from reference import load_cases

from mtl_methods import list_methods

NO_METHODS = {
    "delta_m": "a measure: tests/analysis",
    "delta_p": "a measure: tests/analysis",
    "paper-table": "printed tables: tests/analysis",
    "alpha-fair-loss": "a transform of losses: tests/mtl_methods/transforms",
}
"""Cases of the file that are no methods, and where they are tested."""

# fmt: off
PROMISED = (
    "ls", "si", "rlw", "dwa", "uw", "imtl_l", "gls", "famo", "go4align", "stch", "ldc_mtl",
    "excess_mtl", "db_mtl", "mgda", "pcgrad", "gradvac", "graddrop", "cagrad", "imtl_g", "imtl",
    "gradnorm", "nash_mtl", "fairgrad", "pivrg", "edm", "cdtt", "moco", "rgw", "rotograd",
    "aligned_mtl", "upgrad", "sdmgrad", "modo", "config", "bayes_agg", "moml", "auto_lambda",
    "forum", "stl",
)
# fmt: on
"""The methods that the project promises; one that is lost must fail, not go untested."""


def reason_against(case):
    """Why a case is not run, or ``None``."""
    if case["method"] in NO_METHODS:
        return NO_METHODS[case["method"]]
    return next((e.reason for e in EXCLUSIONS if e.covers(case)), None)


CASES = load_cases()
RUN = [case for case in CASES if reason_against(case) is None]


@pytest.mark.parametrize("case", RUN, ids=lambda case: case["id"])
def test_vector(case):
    ADAPTERS[case["method"], case["variant"]](case)


def test_every_promised_method_is_registered():
    assert len(set(PROMISED)) == len(PROMISED) == 39
    assert set(PROMISED) - set(list_methods()) == set()


def test_every_method_of_the_file_is_registered_and_compared():
    of_the_file = {case["method"] for case in CASES} - set(NO_METHODS)
    assert of_the_file == set(METHOD_OF)
    assert {METHOD_OF[method] for method in of_the_file} - set(list_methods()) == set()
    assert of_the_file - {case["method"] for case in RUN} == set()


def test_every_case_is_run_or_listed():
    missing = {
        (case["method"], case["variant"])
        for case in RUN
        if (case["method"], case["variant"]) not in ADAPTERS
    }
    assert missing == set()
    listed = [case for case in CASES if reason_against(case)]
    assert len(RUN) + len(listed) == len(CASES) == 1246
    assert len({case["id"] for case in CASES}) == len(CASES)


def test_exclusions_are_used_and_say_why():
    for exclusion in EXCLUSIONS:
        assert len(exclusion.reason) > 20
        covered = [case for case in CASES if exclusion.covers(case)]
        assert covered, f"the exclusion {exclusion.reason!r} covers no case"


def test_adapters_belong_to_cases():
    known = {(case["method"], case["variant"]) for case in CASES}
    assert set(ADAPTERS) <= known
