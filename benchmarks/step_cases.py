"""The models of the step benchmark, and the plain PyTorch steps that set its floors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["MODELS", "Case", "backward_floor", "make_case", "sum_floor"]

CLASSES = 10


@dataclass(frozen=True)
class ModelSpec:
    """A trunk to be measured.

    Attributes:
        trunk: Makes it.
        features: Size of its output.
        input: Shape of one sample.
        batch: Batch size.
        wide: Whether the bar of the exact Gram path applies.
    """

    trunk: Callable[[], nn.Module]
    features: int
    input: tuple[int, ...]
    batch: int
    wide: bool = False


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 10, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(10, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(320, 50),
        nn.ReLU(),
    )


def _perceptron(*sizes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for size, following in itertools.pairwise(sizes):
        layers += [nn.Linear(size, following), nn.ReLU()]
    return nn.Sequential(*layers)


def _convolutional() -> nn.Module:
    layers: list[nn.Module] = []
    for channels, following, stride in ((3, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [
            nn.Conv2d(channels, following, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(following),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


MODELS: dict[str, ModelSpec] = {
    "lenet": ModelSpec(_lenet, 50, (1, 28, 28), 128),
    "mlp": ModelSpec(lambda: _perceptron(784, 512, 512, 64), 64, (784,), 128),
    "conv": ModelSpec(_convolutional, 64, (3, 32, 32), 32),
    "wide": ModelSpec(lambda: _perceptron(2048, 2048, 2048, 2048), 2048, (2048,), 8, wide=True),
    "narrow": ModelSpec(lambda: _perceptron(512, 512, 512, 512), 512, (512,), 256),
}


class Case:
    """One model with K heads and a batch, and everything that a method may need of them."""

    def __init__(self, model: str, count: int, seed: int = 0) -> None:
        spec = MODELS[model]
        torch.manual_seed(seed)
        self.model, self.count, self.spec = model, count, spec
        self.tasks = tuple(f"task{k}" for k in range(count))
        self.module = nn.ModuleDict(
            {
                "trunk": spec.trunk(),
                "heads": nn.ModuleList(nn.Linear(spec.features, CLASSES) for _ in range(count)),
            }
        )
        self.shared = list(self.module["trunk"].parameters())
        self.heads = [list(head.parameters()) for head in self.module["heads"]]
        self.size = sum(parameter.numel() for parameter in self.shared)
        self.batch = self._draw()

    def _draw(self) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(self.spec.batch, *self.spec.input)
        return inputs, torch.randint(CLASSES, (self.count, self.spec.batch))

    def forward(self, batch: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, dict]:
        """Shared features and the losses by task."""
        inputs, targets = batch or self.batch
        features = self.module["trunk"](inputs)
        losses = {
            task: nn.functional.cross_entropy(head(features), target)
            for task, head, target in zip(self.tasks, self.module["heads"], targets, strict=True)
        }
        return features, losses

    def heads_by_task(self) -> dict[str, nn.Module]:
        """The head of each task."""
        return dict(zip(self.tasks, self.module["heads"], strict=True))

    def zero_grad(self) -> None:
        """Drops all gradients."""
        self.module.zero_grad(set_to_none=True)

    def fresh_losses(self, count: int) -> list[dict[str, Tensor]]:
        """Losses of further independent batches."""
        return [self.forward(self._draw())[1] for _ in range(count)]

    def closure(self, parameters: Mapping[str, Tensor], split: str) -> dict[str, Tensor]:
        """The losses with other parameters put in place, for the bilevel methods."""
        generator = torch.Generator().manual_seed(0 if split == "train" else 1)
        inputs = torch.randn(self.spec.batch, *self.spec.input, generator=generator)
        buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        losses = torch.func.functional_call(
            _Losses(self), {**_prefixed(parameters), **_prefixed(buffers)}, (inputs,)
        )
        return dict(losses)


class _Losses(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.module = case.module
        self._case = [case]

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        case = self._case[0]
        return case.forward((inputs, case.batch[1]))[1]


def _prefixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


def make_case(model: str, count: int) -> Case:
    return Case(model, count)


def sum_floor(case: Case, losses: Mapping[str, Tensor]) -> None:
    """LS: one backward pass of the summed losses."""
    torch.stack(list(losses.values())).sum().backward()


def backward_floor(case: Case, losses: Mapping[str, Tensor]) -> None:
    """The bare K-backward: each task differentiated by shared parameters and its head."""
    terms = list(losses.values())
    for k, (loss, head) in enumerate(zip(terms, case.heads, strict=True)):
        torch.autograd.grad(loss, [*case.shared, *head], retain_graph=k + 1 < len(terms))
