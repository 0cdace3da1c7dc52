"""The Multi-MNIST family: real 28 x 28 images laid over each other in pairs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mtl_methods.configuration import Configurable, hyperparameter
from mtl_methods.errors import ConfigurationError, FairsweepError
from trainables.architectures.lenet import (
    LeNetEncoder,
    classification_head,
    reconstruction_head,
)
from trainables.datasets import DataFolder, data_root, find
from trainables.datasets.arrays import cached_splits
from trainables.datasets.image_pairs import (
    SIDE,
    Images,
    Indices,
    draw_pairs,
    image_counts,
    read_images,
    split_ranges,
)
from trainables.model import MTLModel
from trainables.overlay import overlay, resize_nearest
from trainables.problem import SPLITS, Problem, Splits, Task
from trainables.problems.digit_tasks import CLASSES, digit_losses, digit_metrics, parse_tasks
from trainables.randomness import derive_seed

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = [
    "ImagePairs",
    "ImagePairsOptions",
    "MultiFashion",
    "MultiFashionMNIST",
    "MultiMNIST",
]

_CANVAS = 36
_FEATURES = 50
_MEAN, _DEVIATION = 0.1307, 0.3081  # of MNIST's pixels scaled to [0, 1]
_ARRAYS_VERSION = 1  # raise it when the same options give other arrays


@dataclass(frozen=True)
class _Protocol:
    """What a published protocol prescribes.

    Attributes:
        shift: Pixels by which the right image lies lower and to the right.
        side: Side of the images that the model sees.
        repeats: How often each left image of a split is used, on average.
        different: Whether the two classes of a pair differ.
        tasks: The tasks that it has.
        kernel_sizes: Of the encoder.
        hidden: Whether heads have a hidden layer.
        training: Training settings.
    """

    shift: int
    side: int
    repeats: Mapping[str, float]
    different: bool
    tasks: frozenset[str]
    kernel_sizes: tuple[int, int]
    hidden: bool
    training: Mapping[str, Any]


_PROTOCOLS = {
    "uniform_loss": _Protocol(
        shift=6,
        side=28,
        repeats={"train": 1.0, "validation": 1.0, "test": 1.0},
        different=False,
        tasks=frozenset({"CL", "CR", "RL", "RR"}),
        kernel_sizes=(5, 5),
        hidden=True,
        training={
            "epochs": 100,
            "batch_size": 256,
            "optimizer": "adam",
            "lr": 0.0025,
            "schedule": {"name": "exponential", "gamma": 0.95},
        },
    ),
    "random_weighting": _Protocol(
        shift=8,
        side=36,
        repeats={"train": 2.4, "validation": 2.0, "test": 2.0},
        different=True,
        tasks=frozenset({"CL", "CR"}),
        kernel_sizes=(9, 5),
        hidden=False,
        training={
            "epochs": 100,
            "batch_size": 256,
            "optimizer": "sgd",
            "lr": 0.001,
            "momentum": 0.9,
            "schedule": {"name": "none"},
        },
    ),
}


class ImagePairsOptions(Configurable):
    """Options of :class:`ImagePairs`."""

    name = "multi_mnist"

    tasks: str = hyperparameter(
        "CL_RR",
        source='"Uniform Loss vs. Specialized Optimization", section 3.1',
        description="The tasks, joined by '_': any of CL, CR, RL, RR.",
    )
    protocol: str = hyperparameter(
        "uniform_loss",
        choices=tuple(_PROTOCOLS),
        description="The paper whose images, split sizes, model and training are followed: "
        "'uniform_loss' (28 x 28) or 'random_weighting' (36 x 36, tasks CL_CR).",
    )
    subset: int | None = hyperparameter(
        None,
        kind="int",
        low=1,
        description="Train on the first so many training images after a seeded shuffle.",
    )
    data_seed: int = hyperparameter(
        0, low=0, description="Seed of pairing and subset, independent of every training seed."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        tasks = parse_tasks(self.tasks, self.name)
        valid = _PROTOCOLS[self.protocol].tasks
        if not {task.name for task in tasks} <= valid:
            raise ConfigurationError(
                f"{self.name}: tasks = {self.tasks!r} is not valid with protocol "
                f"{self.protocol!r}, which has the tasks {', '.join(sorted(valid))}"
            )
        self.tasks = "_".join(task.name for task in tasks)


class ImagePairs(Problem[ImagePairsOptions]):
    """Images of MNIST or Fashion-MNIST in pairs: classify or reconstruct the left or right one.

    Two images of 28 x 28 pixels lie on a canvas of 36 x 36, the left one at the top left, the right
    one shifted down and right, with the maximum where both lie. The 60,000 training images are cut
    into the first 50,000 for training and the last 10,000 for validation, the 10,000 test images
    are the test split; a pair is of one split. Pairs do not depend on the chosen tasks. Inputs and
    reconstruction targets are scaled to [0, 1] and then (x - 0.1307) / 0.3081, the constants of
    MNIST for all three problems, so that a mean squared error means the same in each.

    Protocol ``uniform_loss``: the right image is shifted by 6 pixels; the canvas is resized to
    28 x 28 pixels, each the one nearest to its centre. 50,000 / 10,000 / 10,000 pairs: left images
    in the order of the files, right ones drawn uniformly. The encoder and heads of
    :mod:`trainables.architectures.lenet`.

    Protocol ``random_weighting``: shifted by 8 pixels, 36 x 36 pixels, the two images of different
    classes (where both are of one data set). 120,000 / 20,000 / 20,000 pairs: the left images run
    through the files again and again. The paper has no validation split and does not print the
    shift, the kernels and the normalisation; kernels of 9 and 5 pixels and heads of one linear
    layer are those of Lin et al., "Pareto Multi-Task Learning", which it follows.

    Tasks CL and CR (classify left, right): cross entropy, accuracy. Tasks RL and RR (reconstruct
    left, right): mean squared error over the 784 pixels of the single image.

    Source: "Uniform Loss vs. Specialized Optimization", section 3.1 and appendix A.6; "Reasonable
        Effectiveness of Random Weighting", section 5.
    """

    left: ClassVar[str]
    right: ClassVar[str]
    Options = ImagePairsOptions
    protocol: ClassVar[Mapping[str, Any]] = _PROTOCOLS["uniform_loss"].training

    def __init__(self, options: ImagePairsOptions) -> None:
        super().__init__(options)
        self._tasks = parse_tasks(options.tasks, self.name)
        self._protocol = _PROTOCOLS[options.protocol]
        self._data_dir: str | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The chosen tasks in the order CL, CR, RL, RR."""
        return self._tasks

    @property
    def training_defaults(self) -> Mapping[str, Any]:
        """The training settings of the chosen protocol."""
        return self._protocol.training

    @property
    def fixture(self) -> bool:
        """Whether the images at hand are made up."""
        try:
            return any(folder.fixture for folder in self._folders().values())
        except FairsweepError:
            return False

    def sources(self) -> dict[str, Indices]:
        """Indices of the images of each split, in the order of the files.

        Training images come first, then test images; then, if the right images are of another data
        set, those.

        Raises:
            DataNotFoundError: If the data set is not there, which says how many images it has.
        """
        sizes = [image_counts(folder) for folder in self._folders().values()]
        parts: dict[str, list[Indices]] = {split: [] for split in SPLITS}
        offset = 0
        for train, test in sizes:
            for split, indices in split_ranges(train, test).items():
                parts[split].append(indices + offset)
            offset += train + test
        return {split: np.concatenate(indices) for split, indices in parts.items()}

    def load(self, data_dir: str | None = None) -> Splits:
        """Loads the images and targets of the chosen tasks; made once per machine, then mapped.

        Args:
            data_dir: The folder of all data sets; the user's by default.

        Returns:
            For each split ``image`` (n, 1, side, side) uint8; for each of CL and CR the class (n,)
            int64; for each of RL and RR the pixels (n, 784) uint8. Intensities are 0 to 255 and
            are scaled by :meth:`make_batch`, so that the arrays take a quarter of the memory.

        Raises:
            DataNotFoundError: If a data set is not there: where, and how to get it.
            CorruptFileError: If a file is not what its checksum says.
            DataFormatError: If a file is not in its format.
            ConfigurationError: If ``subset`` is more than there is.
        """
        self._data_dir = data_dir
        folders = self._folders()
        identities = [folder.identity for folder in folders.values()]
        key = json.dumps([_ARRAYS_VERSION, self.key, identities])
        return cached_splits(data_root(data_dir), key, lambda: self._build(folders))

    def make_batch(self, split: Mapping[str, Tensor], index: Tensor) -> dict[str, Tensor]:
        """Gathers items; pixels become float32, (x / 255 - 0.1307) / 0.3081."""
        batch = super().make_batch(split, index)
        return {
            name: values.float().sub_(255 * _MEAN).mul_(1 / (255 * _DEVIATION))
            if values.dtype == torch.uint8
            else values
            for name, values in batch.items()
        }

    def build_model(
        self, tasks: Sequence[str] | None = None, *, dropout: float = 0.0, seed: int = 0
    ) -> MTLModel:
        """Builds encoder and heads; see :meth:`trainables.problem.Problem.build_model`."""
        side = self._protocol.side
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "shared"))
            shared = LeNetEncoder(
                (side, side),
                kernel_sizes=self._protocol.kernel_sizes,
                feature_dim=_FEATURES,
                dropout=dropout,
            )
            heads = {}
            for task in self.choose(tasks):
                torch.manual_seed(derive_seed(seed, task.name))
                heads[task.name] = self._head(task, dropout)
        return MTLModel(shared, heads, feature_dim=_FEATURES)

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Cross entropy of the C tasks, mean squared error of the R tasks."""
        return digit_losses(outputs, batch)

    def make_metrics(self, tasks: Sequence[str] | None = None) -> dict[str, MetricCollection]:
        """Accuracy of the C tasks, mean squared error of the R tasks."""
        return digit_metrics(self.choose(tasks))

    def _head(self, task: Task, dropout: float) -> nn.Module:
        if not self._protocol.hidden:
            return nn.Linear(_FEATURES, CLASSES)
        if task.name.startswith("C"):
            return classification_head(_FEATURES, CLASSES, dropout=dropout)
        return reconstruction_head(_FEATURES, SIDE * SIDE, dropout=dropout)

    def _folders(self) -> dict[str, DataFolder]:
        """The folders of the data sets of the left and the right images; one if they are one."""
        return {name: find(name, self._data_dir) for name in (self.left, self.right)}

    def _build(self, folders: Mapping[str, DataFolder]) -> Splits:
        data = {name: read_images(folder) for name, folder in folders.items()}
        left_images, left_classes, left_split = data[self.left]
        right_images, right_classes, right_split = data[self.right]
        same: Callable[[Indices, Indices], npt.NDArray[np.bool_]] | None = None
        if self._protocol.different and self.left == self.right:

            def same(left: Indices, right: Indices) -> npt.NDArray[np.bool_]:
                return np.equal(left_classes[left], right_classes[right])

        splits = {}
        for split in SPLITS:
            generator = self._generator(split)
            count = round(len(left_split[split]) * self._protocol.repeats[split])
            left, right = draw_pairs(left_split[split], right_split[split], count, same, generator)
            if split == "train":
                chosen = self._subset(len(left))
                left, right = left[chosen], right[chosen]
            arrays = {"image": self._canvases(left_images[left], right_images[right])}
            for task in self._tasks:
                index, images, classes = (
                    (left, left_images, left_classes)
                    if task.name[1] == "L"
                    else (right, right_images, right_classes)
                )
                if task.name[0] == "C":
                    arrays[task.name] = classes[index].astype(np.int64)
                else:
                    arrays[task.name] = images[index].reshape(len(index), -1)
            splits[split] = arrays
        return splits

    def _subset(self, count: int) -> Indices | slice:
        subset = self.options.subset
        if subset is None:
            return slice(None)
        if subset > count:
            raise ConfigurationError(
                f"{self.name}: subset = {subset} is more than the {count} training images"
            )
        return self._generator("subset").permutation(count)[:subset]

    def _canvases(self, left: Images, right: Images) -> Images:
        shift, side = self._protocol.shift, self._protocol.side
        rest = _CANVAS - SIDE - shift
        canvas = np.pad(overlay(left, right, shift), ((0, 0), (0, rest), (0, rest)))
        return resize_nearest(canvas, side)[:, None]

    def _generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.options.data_seed, *purpose.encode()])


class MultiMNISTOptions(ImagePairsOptions):
    """Options of :class:`MultiMNIST`."""

    name = "multi_mnist"


class MultiFashionOptions(ImagePairsOptions):
    """Options of :class:`MultiFashion`."""

    name = "multi_fashion"


class MultiFashionMNISTOptions(ImagePairsOptions):
    """Options of :class:`MultiFashionMNIST`."""

    name = "multi_fashion_mnist"


class MultiMNIST(ImagePairs):
    """Two handwritten digits; see :class:`ImagePairs`."""

    name = "multi_mnist"
    summary = "Two MNIST digits laid over each other: classify or reconstruct either"
    source = "MNIST (Y. LeCun, C. Cortes, C. Burges); `fairsweep data get mnist`"
    licence = "none stated with the files"
    left = "mnist"
    right = "mnist"
    Options = MultiMNISTOptions


class MultiFashion(ImagePairs):
    """Two pieces of clothing; see :class:`ImagePairs`."""

    name = "multi_fashion"
    summary = "Two Fashion-MNIST images laid over each other: classify or reconstruct either"
    source = "Fashion-MNIST (Zalando SE); `fairsweep data get fashion_mnist`"
    licence = "MIT (Expat)"
    left = "fashion_mnist"
    right = "fashion_mnist"
    Options = MultiFashionOptions


class MultiFashionMNIST(ImagePairs):
    """A piece of clothing on the left, a digit on the right; see :class:`ImagePairs`."""

    name = "multi_fashion_mnist"
    summary = "A Fashion-MNIST image (left) and an MNIST digit (right) laid over each other"
    source = "Fashion-MNIST (Zalando SE) and MNIST; `fairsweep data get`"
    licence = "MIT (Fashion-MNIST); none stated with the files (MNIST)"
    left = "fashion_mnist"
    right = "mnist"
    Options = MultiFashionMNISTOptions
