"""The Multi-MNIST family on fixtures in the true file format, and on the real files if present."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from digit_fixtures import TEST, TRAIN, write_fixture

from mtl_methods.errors import ConfigurationError
from trainables import run_trial
from trainables.data import iterate, to_tensors
from trainables.datasets import find
from trainables.datasets.idx import read_images, read_labels, write_idx
from trainables.datasets.locate import mark_fixture
from trainables.errors import CorruptFileError, DataFormatError, DataNotFoundError
from trainables.overlay import overlay, resize_nearest
from trainables.problems import make_problem
from trainables.spec import TrialSpec

ALL = "CL_CR_RL_RR"
RW = {"protocol": "random_weighting", "tasks": "CL_CR"}
SIZES = {"train": 150, "validation": 30, "test": 60}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in ("mnist", "fashion_mnist"):
        write_fixture(folder, name)
    return folder


def raw(root, name):
    folder = root / name
    return tuple(
        np.concatenate([read(folder / f"{part}-{kind}-ubyte") for part in ("train", "t10k")])
        for read, kind in ((read_images, "images-idx3"), (read_labels, "labels-idx1"))
    )


def right_of(pictures, images):
    """The index of each picture, by its pixels."""
    known = {image.tobytes(): index for index, image in enumerate(images)}
    return np.array([known[picture.tobytes()] for picture in pictures])


@pytest.mark.parametrize(
    ("name", "left_set", "right_set"),
    [
        ("multi_mnist", "mnist", "mnist"),
        ("multi_fashion", "fashion_mnist", "fashion_mnist"),
        ("multi_fashion_mnist", "fashion_mnist", "mnist"),
    ],
)
def test_images_and_targets_of_the_28_pixel_protocol(root, name, left_set, right_set):
    problem = make_problem(name, tasks=ALL)
    splits = problem.load(str(root))
    left_images, left_classes = raw(root, left_set)
    right_images, right_classes = raw(root, right_set)
    sources = problem.sources()
    start = 0
    for split, count in SIZES.items():
        arrays = splits[split]
        left = np.arange(start, start + count)
        right = right_of(arrays["RR"], right_images)
        offset = 0 if left_set == right_set else TRAIN + TEST
        assert set(left) <= set(sources[split])
        assert set(right + offset) <= set(sources[split])
        np.testing.assert_array_equal(arrays["RL"], left_images[left].reshape(count, -1))
        np.testing.assert_array_equal(arrays["CL"], left_classes[left])
        np.testing.assert_array_equal(arrays["CR"], right_classes[right])
        for item in (0, count - 1):
            canvas = np.zeros((36, 36), np.uint8)
            canvas[:28, :28] = left_images[left[item]]
            canvas[6:34, 6:34] = np.maximum(canvas[6:34, 6:34], right_images[right[item]])
            rows = [int((i + 0.5) * 36 / 28) for i in range(28)]
            np.testing.assert_array_equal(arrays["image"][item, 0], canvas[np.ix_(rows, rows)])
        assert arrays["image"].dtype == arrays["RR"].dtype == np.uint8
        assert arrays["CL"].dtype == np.int64
        start += count


def test_images_of_the_36_pixel_protocol(root):
    splits = make_problem("multi_mnist", **RW).load(str(root))
    assert {split: len(arrays["image"]) for split, arrays in splits.items()} == {
        "train": 360,
        "validation": 60,
        "test": 120,
    }
    images, classes = raw(root, "mnist")
    for split, start in (("train", 0), ("validation", 150), ("test", 180)):
        arrays = splits[split]
        assert arrays["image"].shape[1:] == (1, 36, 36)
        assert (arrays["CL"] != arrays["CR"]).all()
        count = SIZES[split]
        np.testing.assert_array_equal(arrays["CL"][:count], classes[start : start + count])
        np.testing.assert_array_equal(arrays["CL"][count : count + 9], arrays["CL"][:9])
        # What the right image cannot reach is the left one, and the other way round.
        np.testing.assert_array_equal(arrays["image"][0, 0, :8, :28], images[start, :8])
        right = [image for image in images if (arrays["image"][0, 0, 28:, 8:] == image[20:]).all()]
        assert len(right) == 1


def test_clothes_and_digits_may_have_the_same_class_number(root):
    splits = make_problem("multi_fashion_mnist", **RW).load(str(root))
    assert (splits["train"]["CL"] == splits["train"]["CR"]).any()


def test_a_batch_is_normalised(root):
    problem = make_problem("multi_mnist", tasks=ALL)
    tensors = to_tensors(problem.load(str(root)))["validation"]
    batch = next(iterate(problem, tensors, 7))[1]
    for name in ("image", "RL", "RR"):
        expected = (tensors[name][:7].numpy() / 255 - 0.1307) / 0.3081
        np.testing.assert_allclose(batch[name].numpy(), expected, atol=1e-6)
        assert batch[name].dtype == torch.float32
    assert batch["CL"].dtype == torch.int64
    assert tensors["image"].dtype == torch.uint8


def test_subset_is_a_seeded_choice_of_the_training_images_only(root):
    full = make_problem("multi_mnist", tasks=ALL).load(str(root))
    some = make_problem("multi_mnist", tasks=ALL, subset=40).load(str(root))
    more = make_problem("multi_mnist", tasks=ALL, subset=60).load(str(root))
    known = {image.tobytes() for image in full["train"]["image"]}
    assert len(some["train"]["image"]) == 40
    assert {image.tobytes() for image in some["train"]["image"]} < known
    np.testing.assert_array_equal(some["train"]["image"], more["train"]["image"][:40])
    assert not np.array_equal(some["train"]["CL"], full["train"]["CL"][:40])
    for split in ("validation", "test"):
        np.testing.assert_array_equal(some[split]["image"], full[split]["image"])
    with pytest.raises(ConfigurationError, match="subset = 151 is more than the 150 training"):
        make_problem("multi_mnist", subset=151).load(str(root))


def test_pairs_depend_on_the_data_seed_and_not_on_tasks(root):
    one = make_problem("multi_mnist", tasks="CL").load(str(root))
    same = make_problem("multi_mnist", tasks="RL_RR").load(str(root))
    other = make_problem("multi_mnist", tasks="CL", data_seed=1).load(str(root))
    np.testing.assert_array_equal(one["train"]["image"], same["train"]["image"])
    assert not np.array_equal(one["train"]["image"], other["train"]["image"])


def test_a_second_load_maps_the_same_files_and_other_content_others(root, tmp_path):
    problem = make_problem("multi_mnist")
    first, second = problem.load(str(root)), problem.load(str(root))
    assert first["train"]["image"].base.filename == second["train"]["image"].base.filename
    write_fixture(tmp_path, "mnist", train=60)
    (tmp_path / "cache").symlink_to(root / "cache")
    assert len(problem.load(str(tmp_path))["train"]["image"]) == 50


def test_defaults_are_those_of_the_chosen_protocol():
    def training(**options):
        return TrialSpec.from_dict(
            {
                "problem": {"name": "multi_mnist", "options": options},
                "method": "ls",
                "selection": "loss",
            }
        ).to_dict()["training"]

    uniform, weighting = training(), training(**RW)
    assert (uniform["optimizer"], uniform["epochs"], uniform["batch_size"]) == ("adam", 100, 256)
    assert uniform["schedule"] == {"name": "exponential", "gamma": 0.95}
    assert (weighting["optimizer"], weighting["lr"], weighting["momentum"]) == ("sgd", 0.001, 0.9)


def test_models():
    uniform = make_problem("multi_mnist", tasks="CL_RR").build_model()
    sizes = {name: tuple(p.shape) for name, p in uniform.named_parameters() if p.ndim > 1}
    assert sizes == {
        "shared.conv1.weight": (10, 1, 5, 5),
        "shared.conv2.weight": (20, 10, 5, 5),
        "shared.linear.weight": (50, 320),
        "heads.CL.0.weight": (50, 50),
        "heads.CL.3.weight": (10, 50),
        "heads.RR.0.weight": (256, 50),
        "heads.RR.3.weight": (784, 256),
    }
    weighting = make_problem("multi_mnist", **RW).build_model()
    assert weighting.shared.linear.weight.shape == (50, 500)
    assert weighting.heads["CL"].weight.shape == (10, 50)


def test_tasks_must_fit_the_protocol():
    with pytest.raises(
        ConfigurationError, match=r"multi_fashion: tasks = 'CL_RR' is not valid with"
    ):
        make_problem("multi_fashion", protocol="random_weighting")
    with pytest.raises(ConfigurationError, match="multi_mnist: tasks = 'CL_CX' is not valid"):
        make_problem("multi_mnist", tasks="CL_CX")


def test_missing_data_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("FAIRSWEEP_DATA_DIR", str(tmp_path))
    problem = make_problem("multi_mnist")
    assert problem.fixture is False
    for action in (problem.load, problem.sources):
        with pytest.raises(DataNotFoundError) as caught:
            action()
        assert str(caught.value) == (
            f"the data set mnist is not there: looked in {tmp_path / 'mnist'}; "
            "`fairsweep data get mnist` gets it"
        )


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("train-images-idx3-ubyte", np.zeros((180, 27, 28)), "byte 8: images of 27 x 28 pixels"),
        ("train-labels-idx1-ubyte", np.zeros(180), "byte 8: the 150 labels of the train split"),
        (
            "train-labels-idx1-ubyte",
            np.repeat([1, 2, 3], [70, 80, 30]),
            "byte 158: the 30 labels of the validation split are not of two classes or more",
        ),
        ("t10k-labels-idx1-ubyte", np.ones(60), "byte 8: the 60 labels of the test split"),
        ("t10k-labels-idx1-ubyte", np.zeros(59), "59 labels do not fit the 60 images"),
    ],
)
def test_files_that_do_not_fit_leave_nothing(tmp_path, file, values, message):
    folder = write_fixture(tmp_path, "mnist")
    write_idx(folder / file, values.astype(np.uint8))
    with pytest.raises(CorruptFileError, match=file):
        make_problem("multi_mnist").load(str(tmp_path))
    mark_fixture(folder)
    with pytest.raises(DataFormatError, match=f"{file}: .*{message}"):
        make_problem("multi_mnist").load(str(tmp_path))
    assert not list(tmp_path.glob("cache/*"))


def test_a_trial_learns_and_the_fixture_is_known(root):
    problem = make_problem("multi_mnist")
    problem.load(str(root))
    assert problem.fixture
    record = run_trial(
        {
            "problem": {"name": "multi_mnist", "options": {"tasks": "CL_RR"}},
            "method": "ls",
            "training": {"epochs": 6, "batch_size": 16},
            "selection": "loss",
        },
        data_dir=str(root),
    )
    rows = record["epochs"]
    assert rows[-1]["train_loss.CL"] < 0.8 * rows[0]["train_loss.CL"]
    assert rows[-1]["train_loss.RR"] < rows[0]["train_loss.RR"]


def test_nearest_pixels():
    image = np.arange(36, dtype=np.uint8).reshape(1, 6, 6)
    np.testing.assert_array_equal(
        resize_nearest(image, 4)[0], image[0][np.ix_([0, 2, 3, 5], [0, 2, 3, 5])]
    )
    np.testing.assert_array_equal(resize_nearest(image, 6), image)
    assert overlay(image, image, 0).shape == resize_nearest(image, 6).shape


# ------------------------------------------------------------------ the real files


@pytest.fixture(scope="module", params=["mnist", "fashion_mnist"])
def real(request):
    try:
        folder = find(request.param)
    except DataNotFoundError as error:
        pytest.skip(str(error))
    if folder.fixture:
        pytest.skip(f"{folder.path} is a fixture")
    folder.verify()
    return folder


FIRST = {
    "mnist": ([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265]),
    "fashion_mnist": ([9, 0, 0, 3, 0, 2, 7, 2, 5, 5], [6000] * 8),
}


def test_the_real_files_are_what_is_known_of_them(real):
    images = read_images(real.path / "train-images-idx3-ubyte")
    labels = read_labels(real.path / "train-labels-idx1-ubyte")
    assert images.shape == (60000, 28, 28)
    first, counts = FIRST[real.data.name]
    assert labels[:10].tolist() == first
    assert np.bincount(labels)[:8].tolist() == counts
    if real.data.name == "mnist":
        assert abs(images.mean() / 255 - 0.1307) < 1e-4
        assert abs(images.std() / 255 - 0.3081) < 1e-4


def test_real_sizes(real):
    name = {"mnist": "multi_mnist", "fashion_mnist": "multi_fashion"}[real.data.name]
    problem = make_problem(name, tasks="CL_CR", subset=1000)
    splits = problem.load()
    assert {split: len(arrays["CL"]) for split, arrays in splits.items()} == {
        "train": 1000,
        "validation": 10000,
        "test": 10000,
    }
    assert {split: len(index) for split, index in problem.sources().items()} == {
        "train": 50000,
        "validation": 10000,
        "test": 10000,
    }
    assert not problem.fixture
