"""Handwritten digits laid over each other two by two: real data that needs no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mtl_methods.configuration import Configurable, hyperparameter
from trainables.architectures.lenet import (
    LeNetEncoder,
    classification_head,
    reconstruction_head,
)
from trainables.model import MTLModel
from trainables.overlay import overlay
from trainables.problem import SPLITS, Problem, Splits, Task
from trainables.problems.digit_tasks import CLASSES, digit_losses, digit_metrics, parse_tasks
from trainables.randomness import derive_seed

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = ["MultiDigits", "MultiDigitsOptions"]

_DIGITS = {"train": 1200, "validation": 300, "test": 297}
_SIDE = 8
_SHIFT = 4
_BRIGHTEST = 16.0


class MultiDigitsOptions(Configurable):
    """Options of :class:`MultiDigits`."""

    name = "multi_digits"

    tasks: str = hyperparameter(
        "CL_RR",
        source='"Uniform Loss vs. Specialized Optimization", section 3.1',
        description="The tasks, joined by '_': any of CL, CR, RL, RR.",
    )
    train_pairs: int = hyperparameter(8000, low=1, description="Number of training images.")
    validation_pairs: int = hyperparameter(2000, low=1, description="Number of validation images.")
    test_pairs: int = hyperparameter(2000, low=1, description="Number of test images.")
    data_seed: int = hyperparameter(
        0, low=0, description="Seed of split and pairing, independent of every training seed."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # One way to write a choice of tasks, so that one problem has one identity.
        self.tasks = "_".join(task.name for task in parse_tasks(self.tasks, self.name))


class MultiDigits(Problem[MultiDigitsOptions]):
    """scikit-learn's digits in pairs: classify or reconstruct the left or the right one.

    The 1,797 images (8 x 8, intensities 0 to 16, here divided by 16) are split into 1,200, 300
    and 297 digits first, so that no digit is in two splits, and paired within each split then:
    the left digits run through the split again and again in random order, the right ones are drawn
    uniformly. A pair lies on a 12 x 12 canvas, the right digit shifted by 4 pixels down and right,
    with the maximum where both lie. Pairs and images do not depend on the chosen tasks.

    Tasks CL and CR (classify left, right): cross entropy, accuracy. Tasks RL and RR (reconstruct
    left, right): mean squared error over the 64 pixels of the single digit.

    The model is the LeNet of the paper scaled to the image: kernels of 3 pixels for 5, and no
    second pooling, which would leave a single pixel; dropout and heads as there.

    Data: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI machine
        learning repository, its test part as bundled with scikit-learn (``load_digits``; BSD
        3-clause). The overlay follows Multi-MNIST (:mod:`trainables.overlay`).
    """

    name = "multi_digits"
    summary = "Real 8 x 8 digits overlaid in pairs: classify or reconstruct either; no download"
    source = "Optical Recognition of Handwritten Digits (UCI), as bundled with scikit-learn"
    licence = "BSD 3-clause (scikit-learn)"
    Options = MultiDigitsOptions
    protocol: ClassVar[Mapping[str, Any]] = {
        "epochs": 15,
        "batch_size": 128,
        "optimizer": "adam",
        "lr": 0.0025,
        "schedule": {"name": "exponential", "gamma": 0.9},
    }

    def __init__(self, options: MultiDigitsOptions) -> None:
        super().__init__(options)
        self._tasks = parse_tasks(options.tasks, self.name)
        self._pairs = {
            "train": options.train_pairs,
            "validation": options.validation_pairs,
            "test": options.test_pairs,
        }

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The chosen tasks in the order CL, CR, RL, RR."""
        return self._tasks

    def sources(self) -> dict[str, npt.NDArray[np.int64]]:
        """Indices of the digits of each split, in scikit-learn's order."""
        order = self._generator("split").permutation(sum(_DIGITS.values()))
        ends = np.cumsum([_DIGITS[split] for split in SPLITS])[:-1]
        return dict(zip(SPLITS, np.split(order, ends), strict=True))

    def pairs(self, split: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Indices of the left and of the right digit of every image of a split, (n,) each."""
        digits = self.sources()[split]
        count = self._pairs[split]
        generator = self._generator(split)
        rounds = -(-count // len(digits))
        left = np.concatenate([generator.permutation(digits) for _ in range(rounds)])[:count]
        right = generator.choice(digits, size=count)
        return left, right

    def load(self, data_dir: str | None = None) -> Splits:
        """Makes the images and targets of the chosen tasks.

        Args:
            data_dir: Ignored, the digits come with scikit-learn.

        Returns:
            For each split ``image`` (n, 1, 12, 12) float32 in [0, 1]; for each of CL and CR the
            digit (n,) int64; for each of RL and RR the pixels (n, 64) float32 in [0, 1].
        """
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images / _BRIGHTEST).astype(np.float32)
        classes = digits.target.astype(np.int64)
        splits = {}
        for split in SPLITS:
            left, right = self.pairs(split)
            arrays = {"image": overlay(images[left], images[right], _SHIFT)[:, None]}
            for task in self._tasks:
                digit = left if task.name[1] == "L" else right
                if task.name[0] == "C":
                    arrays[task.name] = classes[digit]
                else:
                    arrays[task.name] = images[digit].reshape(len(digit), -1)
            splits[split] = arrays
        return splits

    def build_model(
        self, tasks: Sequence[str] | None = None, *, dropout: float = 0.0, seed: int = 0
    ) -> MTLModel:
        """Builds encoder and heads; see :meth:`trainables.problem.Problem.build_model`."""
        features = 50
        side = _SIDE + _SHIFT
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "shared"))
            shared = LeNetEncoder(
                (side, side),
                kernel_sizes=(3, 3),
                pooled=(True, False),
                feature_dim=features,
                dropout=dropout,
            )
            heads = {}
            for task in self.choose(tasks):
                torch.manual_seed(derive_seed(seed, task.name))
                if task.name.startswith("C"):
                    head = classification_head(features, CLASSES, dropout=dropout)
                else:
                    head = reconstruction_head(features, _SIDE * _SIDE, dropout=dropout)
                heads[task.name] = head
        return MTLModel(shared, heads, feature_dim=features)

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Cross entropy of the C tasks, mean squared error of the R tasks."""
        return digit_losses(outputs, batch)

    def make_metrics(self, tasks: Sequence[str] | None = None) -> dict[str, MetricCollection]:
        """Accuracy of the C tasks, mean squared error of the R tasks."""
        return digit_metrics(self.choose(tasks))

    def _generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.options.data_seed, *purpose.encode()])
