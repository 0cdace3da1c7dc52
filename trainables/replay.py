"""A second forward pass over a batch that draws the same noise and leaves no traces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ForwardReplay"]


class ForwardReplay:
    """Repeats the forward pass of a batch after a step.

    Random layers draw what they drew in the first pass (the same dropout masks), and buffers
    (running statistics of batch normalisation) stay as the first pass left them. A method that
    asks for losses after the step so compares like with like, and does not change how the model
    is trained by asking. Use::

        replay = ForwardReplay(model)
        model(batch)
        replay.end_forward()
        ...  # the step
        with torch.no_grad(), replay:
            model(batch)

    Args:
        model: The model, about to do the first pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers = list(model.buffers())
        self._kept: list[Tensor] = []
        self._device = next(model.parameters()).device
        self._before = self._generators()
        self._after: list[Tensor] = []

    def end_forward(self) -> None:
        """Marks the end of the first pass."""
        self._kept = [buffer.clone() for buffer in self._buffers]

    def __enter__(self) -> None:
        self._after = self._generators()
        self._set_generators(self._before)

    def __exit__(self, *exception: object) -> None:
        self._set_generators(self._after)
        for buffer, kept in zip(self._buffers, self._kept, strict=True):
            buffer.copy_(kept)

    def _generators(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return states

    def _set_generators(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state(states[1], self._device)
