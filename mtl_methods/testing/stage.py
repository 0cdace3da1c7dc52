"""A small multi-task problem that serves every declared need, and steps of a method on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mtl_methods.core.method import Method, Need
from mtl_methods.errors import ConfigurationError

__all__ = ["Outcome", "Stage", "matrix_stage", "network_stage"]

_LEARNING_RATE = 0.05
_EPOCH = 2  # steps

Forward = Callable[[Mapping[str, Tensor], int], tuple[Tensor, dict[str, Tensor]]]


def _as_they_are(task: str, features: Tensor) -> Tensor:
    return features


class _Reading:
    """What heads read, set before every pass; copies of a stage share it, as they share forward."""

    def __init__(self) -> None:
        self.task_features: Callable[[str, Tensor], Tensor] = _as_they_are

    def __deepcopy__(self, memo: Any) -> _Reading:
        return self


@dataclass
class Outcome:
    """One step: what the losses' gradients were, and what the method wrote.

    Attributes:
        tasks: The K tasks, in the order of the losses.
        raw: Their gradients on the shared parameters, shape (K, m), float64.
        written: What the method added to the shared ``.grad``, shape (m,), float64.
        weights: ``method.weights``, float64, or ``None``.
        heads: For each task (the task's gradient on its head, what was written there), float64.
        own: What was written to the own parameters.
        scales: What heads of weight "unit" get: 1, or the coefficients of a loss weighting or
            transform, shape (K,), float64.
        events: Rare events of the step.
    """

    tasks: tuple[str, ...]
    raw: Tensor
    written: Tensor
    weights: Tensor | None
    heads: dict[str, tuple[Tensor, Tensor]]
    own: list[Tensor]
    scales: Tensor
    events: list[str] = field(default_factory=list)

    @property
    def finite(self) -> bool:
        """Whether everything that was written is finite."""
        heads = [written for _, written in self.heads.values()]
        return all(bool(torch.isfinite(t).all()) for t in (self.written, *heads, *self.own))


class Stage:
    """A model with shared parameters and one head per task, its batches, and its optimiser.

    Args:
        shared: Shared parameters by name (leaves).
        heads: For each task its head's parameters by name; names are unique over all.
        forward: ``forward(parameters, batch) -> (features, losses)``, a pure function of the named
            parameters and the number of the batch; features have shape (B, d), losses are scalar.
        reading: Where forward finds ``task_features``, if its heads read them.

    Example::

        stage = network_stage(tasks=3)
        method = make_method("cagrad", c=0.4)
        outcomes = stage.run(method, steps=4)
    """

    def __init__(
        self,
        shared: Mapping[str, Tensor],
        heads: Mapping[str, Mapping[str, Tensor]],
        forward: Forward,
        reading: _Reading | None = None,
    ) -> None:
        self.shared = dict(shared)
        self.heads = {task: dict(parameters) for task, parameters in heads.items()}
        self.forward = forward
        self.tasks = tuple(heads)
        self.steps = 0
        self.reading = _Reading() if reading is None else reading

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All parameters by name."""
        named = dict(self.shared)
        for parameters in self.heads.values():
            named.update(parameters)
        return named

    def feature_dim(self) -> int:
        """Size of dimension 1 of the features."""
        self.reading.task_features = _as_they_are
        features, _ = self.forward(self.parameters, 0)
        return features.shape[1]

    def setup(self, method: Method, tasks: Sequence[str] | None = None) -> None:
        """Sets a method up for the stage's tasks."""
        first = next(iter(self.shared.values()))
        method.setup(tuple(tasks or self.tasks), dtype=first.dtype, feature_dim=self.feature_dim())
        self.reading.task_features = method.task_features

    def served(
        self,
        method: Method,
        features: Tensor,
        tasks: Sequence[str],
        batch: int,
        factor: float = 1.0,
    ) -> dict[str, Any]:
        """The keyword arguments of ``backward`` that the method's needs ask for."""
        needs = method.needs
        extra: dict[str, Any] = {}
        if Need.FEATURES in needs:
            extra["features"] = features
        if Need.VALIDATION_BATCH in needs:

            def closure(parameters: Mapping[str, Tensor], split: str) -> dict[str, Tensor]:
                number = batch if split == "train" else 1000 + batch
                _, losses = self.forward({**self.parameters, **parameters}, number)
                return {task: losses[task] * factor for task in tasks}

            extra["closure"] = closure
            extra["named_parameters"] = {
                name: p for name, p in self.parameters.items() if p.requires_grad
            }
            extra["lr"] = _LEARNING_RATE
        if Need.EXTRA_BATCHES in needs:
            count: int = getattr(method, "extra_batches", 1)
            extra["extra_losses"] = [
                {
                    task: loss * factor
                    for task, loss in self.forward(self.parameters, 2000 + 10 * batch + i)[
                        1
                    ].items()
                    if task in tasks
                }
                for i in range(count)
            ]
        return extra

    def step(
        self,
        method: Method,
        *,
        batch: int | None = None,
        tasks: Sequence[str] | None = None,
        factor: float = 1.0,
        grad_scale: float = 1.0,
        update: bool = True,
        autocast: torch.dtype | None = None,
        name_heads: bool = False,
        before: float | None = None,
        prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
    ) -> Outcome:
        """One training step, all needs served.

        Args:
            method: The method.
            batch: Number of the batch; default: that of the step.
            tasks: The tasks of the batch, in this order; default all.
            factor: On all losses.
            grad_scale: As in ``Method.backward``.
            update: Whether the parameters move.
            autocast: Type of autocast on the CPU, if any.
            name_heads: Whether to pass ``heads``.
            before: What to fill ``.grad`` with beforehand; default: no gradient.
            prepare: Changes the losses just before they go to the method.

        Returns:
            What came of it.
        """
        batch = self.steps if batch is None else batch
        chosen = tuple(self.tasks if tasks is None else tasks)
        if Need.TASK_FEATURES in method.needs and not method.tasks:
            self.setup(method, chosen)
        self.reading.task_features = method.task_features
        parameters = self.parameters
        own = method.parameters() if method.tasks else []
        for parameter in (*parameters.values(), *own):
            parameter.grad = (
                None
                if before is None or not parameter.requires_grad
                else torch.full_like(parameter, before)
            )
        context = torch.autocast("cpu", autocast) if autocast else nullcontext()
        with context:
            features, every = self.forward(parameters, batch)
            losses = {task: every[task] * factor for task in chosen}
            extra = self.served(method, features, chosen, batch, factor)
        raw, raw_heads = self._raw(losses)
        passed = losses if prepare is None else prepare(losses)
        method.backward(
            passed,
            self.shared.values(),
            [p for head in self.heads.values() for p in head.values()] if name_heads else None,
            grad_scale=grad_scale,
            **extra,
        )
        base = 0.0 if before is None else before
        outcome = Outcome(
            tasks=chosen,
            raw=raw,
            written=_flat(self.shared.values(), base),
            weights=None if method.weights is None else method.weights.double().cpu(),
            heads={
                task: (raw_heads[task], _flat(self.heads[task].values(), base)) for task in chosen
            },
            own=[p.grad.clone() for p in method.parameters() if p.grad is not None],
            scales=torch.ones(len(chosen), dtype=torch.float64)
            if method.last_step.loss_scales is None
            else torch.as_tensor(method.last_step.loss_scales, dtype=torch.float64),
            events=list(method.last_step.events),
        )
        if update:
            self._update((*parameters.values(), *method.parameters()), grad_scale)
        self._tell(method, chosen, batch, factor, autocast)
        self.steps += 1
        return outcome

    def run(self, method: Method, steps: int, **options: Any) -> list[Outcome]:
        """Several steps; see :meth:`step` for the options."""
        return list(self.each_step(method, steps, **options))

    def each_step(self, method: Method, steps: int, **options: Any) -> Iterator[Outcome]:
        """As :meth:`run`, one step at a time, so that each can be looked at before the next."""
        for _ in range(steps):
            yield self.step(method, **options)

    def _raw(self, losses: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        rows, heads = [], {}
        for task, loss in losses.items():
            rows.append(_gradients(loss, self.shared.values()))
            heads[task] = _gradients(loss, self.heads[task].values())
        return torch.stack(rows), heads

    def _update(self, parameters: Iterable[Tensor], grad_scale: float) -> None:
        with torch.no_grad():
            for parameter in parameters:
                if parameter.grad is not None:
                    gradient = parameter.grad / grad_scale
                    parameter -= _LEARNING_RATE * gradient / (1.0 + gradient.norm())

    def _tell(
        self,
        method: Method,
        tasks: Sequence[str],
        batch: int,
        factor: float,
        autocast: torch.dtype | None,
    ) -> None:
        """Calls ``after_step`` and, at the end of an epoch, ``end_epoch``."""
        context = torch.autocast("cpu", autocast) if autocast else nullcontext()
        with torch.no_grad(), context:
            _, every = self.forward(self.parameters, batch)
        losses = {task: every[task] * factor for task in tasks}
        if Need.LOSSES_AFTER_STEP in method.needs:
            method.after_step(losses)
        if self.steps % _EPOCH == _EPOCH - 1:
            drops = {task: 3.0 * i - 2.0 for i, task in enumerate(sorted(method.tasks))}
            served = Need.PERFORMANCE_DROPS in method.needs
            means = {task: float(every[task]) * factor for task in method.tasks}
            method.end_epoch(
                epoch=self.steps // _EPOCH,
                train_losses=means,
                performance_drops=drops if served else None,
            )


def network_stage(
    tasks: int | Sequence[str] = 3, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Stage:
    """A two-layer trunk with linear heads and positive losses of different scale.

    Args:
        tasks: How many, or their names.
        seed: Of parameters and data; a task's head and targets depend on its name only.
        dtype: Of everything.
    """
    names = tuple(f"task_{i}" for i in range(tasks)) if isinstance(tasks, int) else tuple(tasks)
    if not names:
        raise ConfigurationError("a stage needs at least one task")
    shared = {
        "trunk.weight": _leaf((4, 6), seed, dtype),
        "trunk.bias": _leaf((6,), seed + 1, dtype),
    }
    heads = {
        task: {
            f"head.{task}.weight": _leaf((6, 2), seed + _number(task), dtype),
            f"head.{task}.bias": _leaf((2,), seed + _number(task) + 1, dtype),
        }
        for task in names
    }

    reading = _Reading()

    def forward(parameters: Mapping[str, Tensor], batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        inputs = _normal((5, 4), 7919 * (batch + 1) + seed, dtype)
        hidden = inputs @ parameters["trunk.weight"] + parameters["trunk.bias"]
        features = torch.tanh(hidden)
        losses = {}
        for task in names:
            read = reading.task_features(task, features)
            output = read @ parameters[f"head.{task}.weight"] + parameters[f"head.{task}.bias"]
            target = _normal((5, 2), 104729 * (batch + 1) + _number(task), dtype)
            size = 0.5 + _number(task) % 7 / 3.0
            losses[task] = size * ((output - target) ** 2).mean() + 0.05
        return features, losses

    return Stage(shared, heads, forward, reading)


def matrix_stage(
    gradients: Tensor | Sequence[Sequence[float]],
    values: Sequence[float] | None = None,
    *,
    dtype: torch.dtype = torch.float64,
) -> Stage:
    """Linear losses ``l_k = g_k . theta + h_k + value_k`` at ``theta = h = 0``.

    Args:
        gradients: Task gradients on the shared parameter, shape (K, m).
        values: The losses; default 1, 2, ... K.
        dtype: Of parameters and losses.
    """
    matrix = torch.as_tensor(gradients, dtype=dtype)
    count, size = matrix.shape
    values = [1.0 + k for k in range(count)] if values is None else list(values)
    names = [f"task_{k}" for k in range(count)]
    shared = {"theta": torch.zeros(size, dtype=dtype, requires_grad=True)}
    heads = {
        name: {f"head.{name}": torch.zeros(1, dtype=dtype, requires_grad=True)} for name in names
    }

    reading = _Reading()

    def forward(parameters: Mapping[str, Tensor], batch: int) -> tuple[Tensor, dict[str, Tensor]]:
        features = parameters["theta"].reshape(1, size) * 1.0
        read = torch.cat([reading.task_features(name, features) for name in names])
        rows = (matrix * read).sum(1)
        losses = {
            name: rows[k] + parameters[f"head.{name}"].sum() + values[k]
            for k, name in enumerate(names)
        }
        return features, losses

    return Stage(shared, heads, forward, reading)


def _number(task: str) -> int:
    """A small number that depends on a name only."""
    return 11 + sum((i + 1) * ord(letter) for i, letter in enumerate(task)) % 89


def _normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def _leaf(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return (0.5 * _normal(shape, seed, dtype)).requires_grad_()


def _gradients(loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """The gradient of a loss, 0 where it does not reach, flat and float64."""
    leaves = list(parameters)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    found: list[Tensor | None] = [None] * len(wanted)
    if loss.requires_grad and wanted:
        found = list(torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True))
    by_leaf = {id(leaf): gradient for leaf, gradient in zip(wanted, found, strict=True)}
    parts = []
    for leaf in leaves:
        gradient = by_leaf.get(id(leaf))
        parts.append(torch.zeros_like(leaf) if gradient is None else gradient)
    return torch.cat([part.detach().double().flatten() for part in parts])


def _flat(parameters: Iterable[Tensor], base: float) -> Tensor:
    """What lies in ``.grad`` beyond ``base``, 0 where there is none, flat and float64."""
    parts = [
        torch.zeros_like(p).double() if p.grad is None else p.grad.detach().double() - base
        for p in parameters
    ]
    return torch.cat([part.flatten() for part in parts])
