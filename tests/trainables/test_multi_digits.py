from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mtl_methods.errors import ConfigurationError
from trainables.overlay import overlay
from trainables.problems import make_problem

SHAPES = {"CL": (), "CR": (), "RL": (64,), "RR": (64,)}


@pytest.mark.parametrize("tasks", ["CL", "RR", "CL_CR", "CL_RR", "RL_RR", "CL_CR_RL_RR"])
def test_shapes_and_types(tasks):
    problem = make_problem("multi_digits", tasks=tasks)
    assert "_".join(task.name for task in problem.tasks) == tasks
    splits = problem.load()
    for split, count in (("train", 8000), ("validation", 2000), ("test", 2000)):
        arrays = splits[split]
        assert set(arrays) == {"image", *tasks.split("_")}
        assert arrays["image"].shape == (count, 1, 12, 12)
        assert arrays["image"].dtype == np.float32
        assert arrays["image"].min() == 0.0
        assert arrays["image"].max() == 1.0
        for task in tasks.split("_"):
            assert arrays[task].shape == (count, *SHAPES[task])
            assert arrays[task].dtype == (np.int64 if task[0] == "C" else np.float32)


def test_split_sizes_and_all_digits_used_once():
    sources = make_problem("multi_digits").sources()
    assert {split: len(index) for split, index in sources.items()} == {
        "train": 1200,
        "validation": 300,
        "test": 297,
    }
    assert sorted(np.concatenate(list(sources.values())).tolist()) == list(range(1797))


def test_pairs_come_from_their_split_and_targets_fit_the_images():
    digits = load_digits()
    pixels = (digits.images / 16).astype(np.float32)
    problem = make_problem("multi_digits", tasks="CL_CR_RL_RR")
    splits = problem.load()
    sources = problem.sources()
    for split, arrays in splits.items():
        left, right = problem.pairs(split)
        assert set(left.tolist()) == set(sources[split].tolist())
        assert set(right.tolist()) <= set(sources[split].tolist())
        np.testing.assert_array_equal(
            arrays["image"][:, 0], overlay(pixels[left], pixels[right], 4)
        )
        np.testing.assert_array_equal(arrays["CL"], digits.target[left])
        np.testing.assert_array_equal(arrays["CR"], digits.target[right])
        np.testing.assert_array_equal(arrays["RL"], pixels[left].reshape(-1, 64))
        np.testing.assert_array_equal(arrays["RR"], pixels[right].reshape(-1, 64))
        # Every left digit is used as often as any other, give or take one.
        assert np.ptp(np.bincount(left)[sources[split]]) <= 1


def test_images_do_not_depend_on_tasks_but_on_the_data_seed():
    one = make_problem("multi_digits", tasks="CL").load()
    same = make_problem("multi_digits", tasks="CL_RR").load()
    other = make_problem("multi_digits", tasks="CL", data_seed=1).load()
    for split in one:
        np.testing.assert_array_equal(one[split]["image"], same[split]["image"])
        assert not np.array_equal(one[split]["image"], other[split]["image"])


def test_fewer_pairs_are_the_first_ones():
    few = make_problem("multi_digits", train_pairs=100).load()["train"]
    full = make_problem("multi_digits").load()["train"]
    assert len(few["image"]) == 100
    np.testing.assert_array_equal(few["CL"], full["CL"][:100])


def test_the_order_of_tasks_is_no_matter():
    one, other = make_problem("multi_digits", tasks="RR_CL"), make_problem("multi_digits")
    assert one.key == other.key
    assert one.settings()["tasks"] == "CL_RR"
    assert [task.name for task in one.tasks] == ["CL", "RR"]


@pytest.mark.parametrize("tasks", ["", "CL_XX", "CL_CL", "cl", "CL-RR"])
def test_bad_tasks(tasks):
    with pytest.raises(ConfigurationError, match="different tasks of CL, CR, RL, RR, joined by"):
        make_problem("multi_digits", tasks=tasks)


def test_bad_size():
    with pytest.raises(ConfigurationError, match="train_pairs = 0 is not valid"):
        make_problem("multi_digits", train_pairs=0)
