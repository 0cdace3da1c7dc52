"""From the arrays of a problem to tensors and batches: all in memory, no worker processes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from trainables.problem import Problem, Splits

__all__ = ["DataCache", "SplitTensors", "count_items", "iterate", "to_tensors"]

logger = logging.getLogger(__name__)

SplitTensors = Mapping[str, Mapping[str, Tensor]]
"""Tensors by name, by split."""


class DataCache:
    """The tensors of the problems that this process has met; they outlive single trials.

    Args:
        splits: Arrays that are at hand already, by :attr:`Problem.key` (as from Ray's object
            store); what is not there is loaded.
        device: Where the tensors live.
        data_dir: The folder of downloaded data sets.
    """

    def __init__(
        self,
        splits: Mapping[str, Splits] | None = None,
        *,
        device: torch.device | str = "cpu",
        data_dir: str | None = None,
    ) -> None:
        self._splits = dict(splits or {})
        self._device = torch.device(device)
        self._data_dir = data_dir
        self._tensors: dict[str, SplitTensors] = {}

    def tensors(
        self, problem: Problem[Any], on_progress: Callable[[], None] = lambda: None
    ) -> SplitTensors:
        """The tensors of a problem, made at its first use.

        Args:
            problem: The problem.
            on_progress: Called when its arrays are loaded, and after every tensor.
        """
        key = problem.key
        if key not in self._tensors:
            splits = self._splits.get(key)
            if splits is None:
                logger.info("loading the data of %r", problem)
                splits = problem.load(self._data_dir)
                on_progress()
            self._tensors[key] = to_tensors(splits, self._device, on_progress)
        return self._tensors[key]


def to_tensors(
    splits: Splits,
    device: torch.device | str = "cpu",
    on_progress: Callable[[], None] = lambda: None,
) -> SplitTensors:
    """Tensors over the arrays' own memory; on another device than the CPU, a copy.

    Args:
        splits: The arrays.
        device: Where the tensors live.
        on_progress: Called after every tensor.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    for split, arrays in splits.items():
        tensors[split] = {}
        for name, array in arrays.items():
            tensors[split][name] = _tensor(array).to(device)
            on_progress()
    return tensors


def count_items(split: Mapping[str, Tensor]) -> int:
    """The number of items of a split."""
    return len(next(iter(split.values())))


def iterate(
    problem: Problem[Any],
    split: Mapping[str, Tensor],
    batch_size: int,
    generator: Generator | None = None,
    *,
    items: Tensor | None = None,
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yields the batches of one pass over a split; the last may be smaller.

    Args:
        problem: Gathers the items of a batch.
        split: The tensors.
        batch_size: Items per batch.
        generator: Shuffles; the order of the split without one.
        items: The indices of the items to pass over; default all.

    Yields:
        The number of items and the batch.
    """
    count = count_items(split) if items is None else len(items)
    device = next(iter(split.values())).device
    order = torch.arange(count) if generator is None else torch.randperm(count, generator=generator)
    if items is not None:
        order = items[order]
    for index in torch.split(order.to(device), batch_size):
        yield len(index), problem.make_batch(split, index)


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():
        # Arrays in Ray's object store are read-only and shared; nothing here writes into data.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
