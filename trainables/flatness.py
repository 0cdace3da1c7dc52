"""How flat the loss is around trained parameters: Hessian eigenvalues and gradient variance.

Lin, Ye, Zhang and Tsang, "Reasonable Effectiveness of Random Weighting" (TMLR 2022), section 5.1,
measure the flatness of the minimum that a method has found by two numbers, both on training data
and both lower for a flatter minimum::

    lambda_max = the largest eigenvalue of the Hessian of L(theta) = sum_k w_k l_k(theta)
    V          = (1/B) sum_b ||g_b - mean_b g_b||^2     g_b: the gradient of L on mini-batch b

with w_k = 1/K. Both are computed here for any weights, so for single tasks too. The functions know
neither results folders nor commands: losses come from a :data:`LossPass`, which goes over the same
items every time it is called.

Units: a loss per squared parameter for eigenvalues and residuals, a squared loss per squared
parameter for the variance. Both change when a loss is rescaled, so compare models by them only
where losses, data and weights are the same; and neither is invariant to a reparametrisation that
leaves the model the same function (Dinh et al., "Sharp Minima Can Generalize", 2017).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mtl_methods.errors import ConfigurationError, FairsweepError, TaskError, UnknownNameError
from trainables.data import count_items
from trainables.lanczos import largest_eigenvalues
from trainables.model import MTLModel
from trainables.problem import Problem
from trainables.randomness import derive_seed

__all__ = [
    "PARAMETERS",
    "WEIGHTED_SUM",
    "Flatness",
    "LossPass",
    "choose_parameters",
    "fixed_losses",
    "gradient_variance",
    "hessian_vector_product",
    "measure_flatness",
]

LossPass: TypeAlias = Callable[[], Iterable[tuple[int, Mapping[str, Tensor]]]]
"""A pass over fixed items: yields the number of items of a batch and its task losses with graph."""

WEIGHTED_SUM = "weighted sum"
"""Stands for all tasks together where one would otherwise be named."""

PARAMETERS = ("all", "shared")
"""What the derivatives are taken by: all parameters of the model, or those that tasks share."""

# Memory grows with it, since a chunk's graph is kept for its second derivatives.
_CHUNK = 500


# ------------------------------------------------------------------ losses of fixed items


def fixed_losses(
    problem: Problem[Any],
    model: MTLModel,
    split: Mapping[str, Tensor],
    *,
    items: int,
    batch_size: int,
    seed: int = 0,
    drop_last: bool = False,
) -> LossPass:
    """The losses of a model on items that are drawn once, without replacement.

    The draw depends on the number of items of the split and the seed alone, so that different
    models are measured on the same items, in the same mini-batches. The model is used in the mode
    that it is in. A model with layers like ``nn.LSTM`` runs without cuDNN, which cannot derive
    these twice, nor once in evaluation mode; cells (``nn.LSTMCell``) need no such care.

    Args:
        problem: Gathers batches and gives losses.
        model: The model.
        split: The tensors of the split.
        items: How many items; all of the split if it has fewer.
        batch_size: Items of a batch.
        seed: Seed of the draw.
        drop_last: Whether a smaller last batch is left out.
    """
    count = count_items(split)
    generator = torch.Generator().manual_seed(derive_seed(seed, "flatness"))
    chosen = torch.randperm(count, generator=generator)[:items]
    if drop_last:
        chosen = chosen[: len(chosen) // batch_size * batch_size]
    chosen = chosen.to(next(iter(split.values())).device)

    def go_over() -> Iterator[tuple[int, Mapping[str, Tensor]]]:
        for index in torch.split(chosen, batch_size) if len(chosen) else ():
            batch = problem.make_batch(split, index)
            with _twice_differentiable(model):
                outputs = model(batch)[1]
            yield len(index), problem.losses(outputs, batch)

    return go_over


def choose_parameters(model: MTLModel, which: str) -> list[Tensor]:
    """The trainable parameters that derivatives are taken by, see :data:`PARAMETERS`.

    Raises:
        UnknownNameError: If ``which`` is not one of :data:`PARAMETERS`.
    """
    if which not in PARAMETERS:
        raise UnknownNameError(f"there are no parameters {which!r}; valid: {', '.join(PARAMETERS)}")
    found = model.parameters() if which == "all" else iter(model.shared_parameters())
    return [parameter for parameter in found if parameter.requires_grad]


# ------------------------------------------------------------------ second derivatives


def hessian_vector_product(
    losses: LossPass,
    weights: Mapping[str, float],
    parameters: Sequence[Tensor],
    vector: Tensor,
) -> Tensor:
    """H v for the Hessian H of a weighted sum of task losses, without forming H.

    With the mean loss over the N items of a pass, in batches of n_b items::

        L(theta) = sum_b (n_b / N) sum_k w_k l_k,b(theta)
        H v      = grad( <grad L(theta), v> )

    (Pearlmutter, "Fast Exact Multiplication by the Hessian", 1994), two backward passes a batch.
    Where L is not twice differentiable (a ReLU at 0) this is the Hessian of the smooth piece that
    the automatic derivative takes.

    Args:
        losses: The pass; each loss is a mean over the items of its batch.
        weights: w_k by task; tasks that are left out have weight 0.
        parameters: theta; those that no loss depends on have rows and columns of 0.
        vector: v, one axis, the parameters flattened one after the other.

    Returns:
        H v, of the shape and type of ``vector``.

    Raises:
        TaskError: If a weight belongs to no task of the losses, or there are no items.
        FairsweepError: If the product is not finite.
    """
    parts = _split(vector, parameters)
    total = torch.zeros_like(vector)
    count = 0
    with torch.enable_grad():
        for items, batch in losses():
            gradient = _gradient(_weighted(batch, weights), parameters, create_graph=True)
            product = torch.stack(
                [(g * v).sum() for g, v in zip(gradient, parts, strict=True)]
            ).sum()
            count += items
            if product.requires_grad:  # else the loss is linear in the parameters
                total += items * _flatten(_gradient(product, parameters)).to(total)
    if not count:
        raise TaskError("there are no items to take second derivatives of")
    total /= count
    if not bool(torch.isfinite(total).all()):
        raise FairsweepError(
            "a Hessian-vector product is not finite, so the loss has no second derivative at these "
            "parameters"
        )
    return total


# ------------------------------------------------------------------ noise of first derivatives


def gradient_variance(
    losses: LossPass, weights: Mapping[str, float], parameters: Sequence[Tensor]
) -> dict[str, float]:
    """How much gradients of mini-batches scatter around their mean.

    With the gradient g_b of mini-batch b, for a task or for the weighted sum of tasks::

        V = (1/B) sum_b ||g_b - gbar||^2,   gbar = (1/B) sum_b g_b

    the trace of the covariance of the gradients. It falls with the size of the mini-batches, about
    as its inverse. Source: Jiang et al., "Fantastic Generalization Measures and Where to Find
    Them" (2020), as used in section 5.1 of the random-weighting paper.

    Args:
        losses: The pass, at least two mini-batches of one size.
        weights: w_k by task; the tasks that are measured.
        parameters: What the gradients are taken by; a task's gradient is 0 where it does not
            depend on a parameter.

    Returns:
        V by task, and of sum_k w_k g_k under :data:`WEIGHTED_SUM`.

    Raises:
        TaskError: If a weight belongs to no task of the losses.
        ConfigurationError: If there are fewer than two mini-batches, or of unequal sizes.
        FairsweepError: If a gradient is not finite.
    """
    means: dict[str, Tensor] = {}
    squares = dict.fromkeys((*weights, WEIGHTED_SUM), 0.0)
    sizes: list[int] = []
    with torch.enable_grad():
        for items, batch in losses():
            _check_tasks(batch, weights)
            sizes.append(items)
            gradients = {
                task: _flatten(_gradient(batch[task], parameters, retain_graph=True)).double()
                for task in weights
            }
            gradients[WEIGHTED_SUM] = torch.stack(
                [weight * gradients[task] for task, weight in weights.items()]
            ).sum(0)
            # Welford's update: the gradients themselves need not be kept.
            for task, gradient in gradients.items():
                mean = means.setdefault(task, torch.zeros_like(gradient))
                difference = gradient - mean
                mean += difference / len(sizes)
                squares[task] += float(difference @ (gradient - mean))
    if len(sizes) < 2 or len(set(sizes)) > 1:
        raise ConfigurationError(
            "the variance of gradients needs at least two mini-batches of one size, not "
            + (f"{len(sizes)} of {sizes[0]} items" if len(set(sizes)) == 1 else f"sizes {sizes}")
        )
    for task, square in squares.items():
        if not math.isfinite(square):
            raise FairsweepError(f"the gradient of {task} is not finite at these parameters")
    return {task: square / len(sizes) for task, square in squares.items()}


# ------------------------------------------------------------------ both of a model


@dataclass(frozen=True)
class Flatness:
    """The flatness of a model's loss, for a task or the weighted sum of tasks.

    Attributes:
        task: The task, or :data:`WEIGHTED_SUM`.
        lambda_max: The largest eigenvalue of the Hessian.
        residual: An eigenvalue lies within this distance of it.
        converged: Whether it met the tolerance.
        iterations: Lanczos steps.
        gradient_variance: V.
        items: Items that the Hessian was taken over.
        batch_size: Items of a mini-batch of V.
        seconds: Wall-clock seconds, an equal share of those of V included.
    """

    task: str
    lambda_max: float
    residual: float
    converged: bool
    iterations: int
    gradient_variance: float
    items: int
    batch_size: int
    seconds: float


def measure_flatness(
    problem: Problem[Any],
    model: MTLModel,
    split: Mapping[str, Tensor],
    *,
    items: int,
    batch_size: int,
    tasks: Sequence[str] | None = None,
    weights: Mapping[str, float] | None = None,
    parameters: str = "all",
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    seed: int = 0,
) -> list[Flatness]:
    """Both measures of a model in evaluation mode: of the weighted sum, then of each task.

    Dropout is off and normalisation uses its running statistics, so that what is measured is the
    function that is evaluated and shipped.

    Args:
        problem: The problem.
        model: The model; its mode is restored, its parameters and ``.grad`` stay as they are.
        split: The tensors of the split to measure on; the paper takes all of the training split.
        items: How many items of it, drawn once; all if it has fewer.
        batch_size: Items of a mini-batch of the gradient variance.
        tasks: The tasks; all by default.
        weights: w_k by task for the weighted sum; equal and summing to 1 by default.
        parameters: See :data:`PARAMETERS`.
        tolerance: Of the eigenvalues, see :func:`trainables.lanczos.largest_eigenvalues`.
        max_iterations: The most Lanczos steps for each.
        seed: Draws the items and the start of Lanczos.

    Raises:
        UnknownNameError: If a task or ``parameters`` is not valid.
        TaskError: If a weight belongs to no task.
        ConfigurationError: If the items are fewer than two mini-batches.
        FairsweepError: If a derivative is not finite.
    """
    names = [task.name for task in problem.choose(tasks)]
    sums = dict(weights) if weights is not None else dict.fromkeys(names, 1.0 / len(names))
    theta = choose_parameters(model, parameters)
    used = min(items, count_items(split))
    if batch_size < 1 or used < 2 * batch_size:
        raise ConfigurationError(
            f"{used} items are fewer than the two mini-batches of {batch_size} items that the "
            "variance of gradients needs; take more items or smaller mini-batches"
        )
    training = model.training
    model.eval()
    try:
        started = time.perf_counter()
        batches = fixed_losses(
            problem, model, split, items=items, batch_size=batch_size, seed=seed, drop_last=True
        )
        every = {**dict.fromkeys(names, 0.0), **sums}
        variances = gradient_variance(batches, every, theta)
        share = (time.perf_counter() - started) / (1 + len(names))
        losses = fixed_losses(problem, model, split, items=items, batch_size=_CHUNK, seed=seed)
        found = []
        for task in (WEIGHTED_SUM, *names):
            started = time.perf_counter()
            of_task = sums if task == WEIGHTED_SUM else {task: 1.0}
            got = largest_eigenvalues(
                lambda vector, of_task=of_task: hessian_vector_product(  # type: ignore[misc]
                    losses, of_task, theta, vector
                ),
                sum(parameter.numel() for parameter in theta),
                seed=derive_seed(seed, "lanczos"),
                tolerance=tolerance,
                max_iterations=max_iterations,
                dtype=theta[0].dtype,
                device=theta[0].device,
            )
            found.append(
                Flatness(
                    task=task,
                    lambda_max=got.values[0],
                    residual=got.residuals[0],
                    converged=got.converged,
                    iterations=got.iterations,
                    gradient_variance=variances[task],
                    items=used,
                    batch_size=batch_size,
                    seconds=time.perf_counter() - started + share,
                )
            )
    finally:
        model.train(training)
    return found


# ------------------------------------------------------------------ helpers


def _check_tasks(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> None:
    unknown = [task for task in weights if task not in losses]
    if unknown or not weights:
        what = f"there is no loss of {unknown[0]!r}" if unknown else "no task has a weight"
        raise TaskError(f"{what}; the losses are those of {', '.join(losses)}")


def _twice_differentiable(model: MTLModel) -> contextlib.AbstractContextManager[None]:
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext()


def _weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    _check_tasks(losses, weights)
    return torch.stack([weight * losses[task] for task, weight in weights.items()]).sum()


def _gradient(
    value: Tensor,
    parameters: Sequence[Tensor],
    *,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        value,
        list(parameters),
        create_graph=create_graph,
        retain_graph=create_graph or retain_graph,
        materialize_grads=True,
    )


def _flatten(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.detach().reshape(-1) for part in parts])


def _split(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    parts = torch.split(vector, [parameter.numel() for parameter in parameters])
    return [
        part.reshape(parameter.shape).to(parameter)
        for part, parameter in zip(parts, parameters, strict=True)
    ]
