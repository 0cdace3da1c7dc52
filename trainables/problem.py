"""The problem contract: data set, tasks, model, losses and metrics in one place.

A problem is one file in :mod:`trainables.problems` plus one line in its registry. It names its
tasks with their metrics and directions, gives splits that are fixed by a data seed of their own,
builds a model whose shared part and heads are stated, and turns predictions into losses.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mtl_methods.configuration import Configurable, HyperParameter, closest
from mtl_methods.errors import UnknownNameError
from trainables.model import MTLModel

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

__all__ = [
    "SPLITS",
    "Metric",
    "Problem",
    "ProblemInfo",
    "Splits",
    "Task",
    "plain_settings",
]

SPLITS = ("train", "validation", "test")
"""The splits of every problem."""

Splits: TypeAlias = Mapping[str, Mapping[str, npt.NDArray[Any]]]
"""Arrays by name, by split. All arrays of a split have the items along their first axis."""

OptionsT = TypeVar("OptionsT", bound=Configurable)


@dataclass(frozen=True)
class Metric:
    """How well a task is done, as one number.

    Attributes:
        name: Its name, unique within the task.
        higher_is_better: Its direction.
        unit: Its unit, "" for a pure number.
    """

    name: str
    higher_is_better: bool
    unit: str = ""


@dataclass(frozen=True)
class Task:
    """One task of a problem.

    Attributes:
        name: Its name: the key of its loss, its head and its target in a batch.
        loss: The name of its loss, for tables.
        metrics: Its metrics; the first is the headline metric.
        description: What the task is, in a few words.
    """

    name: str
    loss: str
    metrics: tuple[Metric, ...]
    description: str = ""


@dataclass(frozen=True)
class ProblemInfo:
    """What can be said of a problem without making it.

    Attributes:
        name: Its name in the registry.
        summary: One line of what it is.
        source: Where its data comes from.
        licence: The licence of its data.
        options: Its options with defaults and valid ranges.
        protocol: The training settings that are its default.
    """

    name: str
    summary: str
    source: str
    licence: str
    options: tuple[HyperParameter, ...]
    protocol: Mapping[str, Any] = field(default_factory=dict)


class Problem(ABC, Generic[OptionsT]):
    """A multi-task learning problem; see the module's docstring.

    Args:
        options: The options of the problem, validated.

    Class attributes:
        name: Its name in the registry.
        summary: One line of what it is.
        source: Where the data comes from.
        licence: The licence of the data.
        protocol: Training settings that differ from the general defaults, as in a trial
            specification.
        random_model: Whether a fresh model depends on its seed and knows dropout.
        Options: The declared options.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    protocol: ClassVar[Mapping[str, Any]] = {}
    random_model: ClassVar[bool] = True
    Options: ClassVar[type[Configurable]]

    def __init__(self, options: OptionsT) -> None:
        self.options = options

    @classmethod
    def hyperparameters(cls) -> tuple[HyperParameter, ...]:
        """The declared options with their ranges."""
        return cls.Options.hyperparameters()

    def settings(self) -> dict[str, Any]:
        """The options as plain values, ready for JSON."""
        return plain_settings(self.options)

    @property
    def key(self) -> str:
        """The identity of the problem: canonical JSON of its name and options."""
        return json.dumps({"name": self.name, "options": self.settings()}, sort_keys=True)

    @property
    def training_defaults(self) -> Mapping[str, Any]:
        """The training settings that are the default with these options.

        Those of :attr:`protocol`; a problem with an option that chooses among published protocols
        gives those of the chosen one.
        """
        return self.protocol

    @property
    def fixture(self) -> bool:
        """Whether the data at hand is made up, in the file format of the real one."""
        return False

    @classmethod
    def info(cls) -> ProblemInfo:
        """What can be said of the problem without making it."""
        return ProblemInfo(
            name=cls.name,
            summary=cls.summary,
            source=cls.source,
            licence=cls.licence,
            options=cls.hyperparameters(),
            protocol=dict(cls.protocol),
        )

    @property
    @abstractmethod
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order of every loss mapping."""

    @abstractmethod
    def load(self, data_dir: str | None = None) -> Splits:
        """Loads the data: arrays by name, for each split of :data:`SPLITS`.

        The arrays are fixed by the options alone (a data seed among them), never by the seed of
        a training run. They are plain numpy arrays so that Ray can share them without a copy.

        Args:
            data_dir: The folder of downloaded data sets; for problems that need none, ignored.
        """

    @abstractmethod
    def sources(self) -> dict[str, npt.NDArray[np.int64]]:
        """The raw items that each split is made of, as indices into the raw data.

        No raw item may be in two splits.
        """

    @abstractmethod
    def build_model(
        self, tasks: Sequence[str] | None = None, *, dropout: float = 0.0, seed: int = 0
    ) -> MTLModel:
        """Builds the model with fresh parameters.

        Args:
            tasks: The tasks that get a head; all by default. The parameters of a task's head do
                not depend on which other tasks there are.
            dropout: Probability of dropping an activation.
            seed: Seed of the initial parameters; the global generators are left untouched.
        """

    @abstractmethod
    def losses(
        self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The loss of each predicted task: scalars with graph, means over the batch.

        Args:
            outputs: Predictions by task, as the model returns them.
            batch: The batch, targets by task among its entries.
        """

    @abstractmethod
    def make_metrics(self, tasks: Sequence[str] | None = None) -> dict[str, MetricCollection]:
        """Fresh metrics per task, with the names of :attr:`Task.metrics`."""

    def update_metrics(
        self,
        metrics: Mapping[str, MetricCollection],
        outputs: Mapping[str, Tensor],
        batch: Mapping[str, Tensor],
    ) -> None:
        """Adds a batch to the metrics; by default with ``batch[task]`` as the target."""
        for task, collection in metrics.items():
            collection.update(outputs[task], batch[task])

    def make_batch(self, split: Mapping[str, Tensor], index: Tensor) -> dict[str, Tensor]:
        """Gathers the items ``index`` of a split; by default along the first axis."""
        return {name: values.index_select(0, index) for name, values in split.items()}

    def choose(self, tasks: Sequence[str] | None) -> tuple[Task, ...]:
        """The named tasks in the problem's order, all for ``None``.

        Raises:
            UnknownNameError: If a name is no task of the problem; names the valid ones.
        """
        if tasks is None:
            return self.tasks
        valid = [task.name for task in self.tasks]
        for name in tasks:
            if name not in valid:
                raise UnknownNameError(
                    f"{self.name} has no task {name!r}{closest(name, valid)}; valid: "
                    + ", ".join(valid)
                )
        return tuple(task for task in self.tasks if task.name in tasks)

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self.settings().items())
        return f"{type(self).__name__}({values})"


def plain_settings(configurable: Configurable) -> dict[str, Any]:
    """Settings as JSON knows them: task weights become a mapping or a list."""
    return {name: _plain(value) for name, value in configurable.settings().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return {str(key): _plain(item) for key, item in value}
        return [_plain(item) for item in value]
    return value
