"""The closure that bilevel methods need, made from a module and two batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mtl_methods.errors import ConfigurationError

__all__ = ["ModelClosure"]

Losses = Callable[[Callable[..., Any], Any], Mapping[str, Tensor]]


class ModelClosure:
    """The losses of a training and a validation batch as functions of the model's parameters.

    The model itself stays as it is: parameters are put in place functionally, buffers (running
    statistics) are copies, and random draws (dropout) are the same in every call and leave the
    global generators alone. Made before the model's own pass over the training batch, it draws
    what that pass draws::

        closure = ModelClosure(
            model,
            lambda run, batch: losses_of(run(batch.inputs), batch.targets),
            train=train_batch,
            validation=validation_batch,
        )
        method.backward(
            losses, shared, closure=closure, named_parameters=closure.named_parameters, lr=lr
        )

    Args:
        model: The model, on one device.
        losses: ``losses(run, batch)`` gives one scalar per task; ``run`` stands for the model and
            is called with whatever the model takes.
        train: The batch of the split ``"train"``: the one whose losses ``backward`` is given.
        validation: The batch of the split ``"validation"``: held out of training.
    """

    def __init__(self, model: nn.Module, losses: Losses, *, train: Any, validation: Any) -> None:
        self._model = model
        self._losses = losses
        self._batches = {"train": train, "validation": validation}
        devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
        self._devices = sorted({device.index for device in devices if device.index is not None})
        self._cpu_state = torch.get_rng_state()
        self._cuda_states = [torch.cuda.get_rng_state(index) for index in self._devices]

    @property
    def named_parameters(self) -> dict[str, Tensor]:
        """The model's trainable parameters by name, the live ones."""
        return {name: p for name, p in self._model.named_parameters() if p.requires_grad}

    def __call__(self, parameters: Mapping[str, Tensor], split: str) -> Mapping[str, Tensor]:
        """The task losses of a batch with some parameters in place of the model's.

        Args:
            parameters: By name; those that are left out are the model's own.
            split: ``"train"`` or ``"validation"``.

        Raises:
            ConfigurationError: If there is no such split.
        """
        if split not in self._batches:
            raise ConfigurationError(
                f"a closure has the splits train and validation, there is no split {split!r}"
            )
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        given = {**buffers, **parameters}

        def run(*args: Any, **kwargs: Any) -> Any:
            return functional_call(self._model, given, args, kwargs)

        with torch.random.fork_rng(devices=self._devices):
            torch.set_rng_state(self._cpu_state)
            for index, state in zip(self._devices, self._cuda_states, strict=True):
                torch.cuda.set_rng_state(state, index)
            return self._losses(run, self._batches[split])
