"""Further forward passes in a step that draw given noise and leave no traces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ForwardReplay", "Noise"]


class Noise:
    """What random layers draw from some state of the generators on; draws it in ``with`` blocks.

    After a block the generators are as they were before it.

    Args:
        device: Where the model computes; its generator counts besides the CPU's.
        seed: Of the noise; default: the noise that the generators are about to draw.
    """

    def __init__(self, device: torch.device, seed: int | None = None) -> None:
        self._device = device
        self._after: list[Tensor] = []
        self._states = self._now()
        if seed is not None:
            devices = ("cpu", device)[: len(self._states)]
            self._states = [torch.Generator(d).manual_seed(seed).get_state() for d in devices]

    def __enter__(self) -> None:
        self._after = self._now()
        self._set(self._states)

    def __exit__(self, *exception: object) -> None:
        self._set(self._after)

    def _now(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return states

    def _set(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state(states[1], self._device)


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
        self._noise = Noise(next(model.parameters()).device)

    def end_forward(self) -> None:
        """Marks the end of the first pass."""
        self._kept = [buffer.clone() for buffer in self._buffers]

    def __enter__(self) -> None:
        self._noise.__enter__()

    def __exit__(self, *exception: object) -> None:
        self._noise.__exit__(*exception)
        for buffer, kept in zip(self._buffers, self._kept, strict=True):
            buffer.copy_(kept)
