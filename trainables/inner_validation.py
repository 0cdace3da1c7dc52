"""Validation batches for methods that choose weights by them: training items held out.

Methods with ``Need.VALIDATION_BATCH`` look ahead: what would a step on the training losses do to
the losses of other items? Those items must not come from the study's validation split, by which
epochs and configurations are selected: a method that also trains on it would win the selection by
memory. They are a part of the training split that is not trained on, of the size
``training.inner_validation``, drawn with the trial's seed. Other methods keep the whole training
split; the price of holding out belongs to the method that asks for it.

What is held out are items as the problem counts them. Where items are composed of raw ones that
occur several times (the pairs of ``multi_digits``), a held-out item is new as a whole only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from mtl_methods.errors import ConfigurationError
from trainables.data import count_items
from trainables.model import MTLModel
from trainables.problem import Problem
from trainables.randomness import derive_seed
from trainables.replay import Noise

__all__ = ["InnerStep", "InnerValidation"]


class InnerValidation:
    """The held-out part of a training split, and the batches from it.

    The order in which items are held out depends on the trial's seed only: a larger fraction holds
    out what a smaller one does, and more. Batches have different items, drawn afresh in each step
    from all that are held out, by a generator of their own.

    Args:
        problem: Makes batches and losses.
        split: The training split.
        fraction: The part of it that is held out, in (0, 1); at least one item is held out and at
            least one is kept.
        batch_size: Items in a validation batch, fewer if fewer are held out.
        seed: The trial's seed.

    Attributes:
        kept: Indices of the items to train on.
        held: Indices of the items held out.

    Raises:
        ConfigurationError: If the split has fewer than two items.
    """

    def __init__(
        self,
        problem: Problem[Any],
        split: Mapping[str, Tensor],
        fraction: float,
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        count = count_items(split)
        if count < 2:
            raise ConfigurationError(
                f"{problem.name} has {count} training items, of which none can be held out"
            )
        self._problem = problem
        self._split = split
        self._batch_size = batch_size
        self._generator = torch.Generator().manual_seed(derive_seed(seed, "inner validation"))
        order = torch.randperm(count, generator=self._generator)
        held = min(max(round(fraction * count), 1), count - 1)
        self.held = order[:held].sort().values
        self.kept = order[held:].sort().values

    def begin_step(self, model: MTLModel, batch: Mapping[str, Tensor]) -> InnerStep:
        """Draws the validation batch of a step; call it just before the model's forward pass.

        Args:
            model: The model.
            batch: The training batch.
        """
        chosen = torch.randperm(len(self.held), generator=self._generator)[: self._batch_size]
        device = next(iter(self._split.values())).device
        held = self._problem.make_batch(self._split, self.held[chosen].to(device))
        seed = int(torch.randint(2**62, (), dtype=torch.int64, generator=self._generator))
        return InnerStep(self._problem, model, batch, held, seed)

    def state_dict(self) -> dict[str, Any]:
        """What the next batches depend on."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores :meth:`state_dict`."""
        self._generator.set_state(state["generator"])


class InnerStep:
    """A training and a validation batch as functions of the model's parameters.

    Args:
        problem: Gives the losses.
        model: The model, in training mode and about to do the forward pass of the training batch.
        train: The training batch.
        validation: The validation batch.
        seed: Of the noise (dropout) on the validation batch.
    """

    def __init__(
        self,
        problem: Problem[Any],
        model: MTLModel,
        train: Mapping[str, Tensor],
        validation: Mapping[str, Tensor],
        seed: int,
    ) -> None:
        device = next(model.parameters()).device
        self._problem = problem
        self._model = model
        self._batches = {
            "train": (train, Noise(device)),
            "validation": (validation, Noise(device, seed)),
        }

    def inputs(self, lr: float) -> dict[str, Any]:
        """The arguments of ``Method.backward`` that ``Need.VALIDATION_BATCH`` asks for.

        Args:
            lr: The current learning rate of the model.
        """
        return {
            "closure": self.losses,
            "named_parameters": dict(self._model.named_parameters()),
            "lr": lr,
        }

    def losses(self, parameters: Mapping[str, Tensor], split: str) -> dict[str, Tensor]:
        """The losses of one of the two batches with other parameters in the model.

        Every call draws the same noise on a batch, that of the training batch being what its
        forward pass drew; buffers (running statistics) of the model and generators are left alone.

        Args:
            parameters: By name; those that are left out are the model's own.
            split: ``"train"`` or ``"validation"``.

        Returns:
            Scalar losses by task, with graph back to ``parameters``.

        Raises:
            ConfigurationError: If there is no such batch.
        """
        if split not in self._batches:
            raise ConfigurationError(
                f"a closure has no split {split!r}; valid: {', '.join(self._batches)}"
            )
        batch, noise = self._batches[split]
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        with noise:
            _, outputs = functional_call(self._model, {**buffers, **parameters}, (batch,))
        return dict(self._problem.losses(outputs, batch))
