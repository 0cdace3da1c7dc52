"""LDC-MTL: a router weights the losses so that they stay close to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.lower_level import LowerLevel
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.writing import accumulate, without_autocast
from mtl_methods.errors import (
    ConfigurationError,
    MissingNeedError,
    NonFiniteLossError,
    TaskError,
)

__all__ = ["LDCMTL"]

Array = NDArray[np.float64]


class LDCMTL(LossWeighting):
    """Minimises loss discrepancy ``f`` and routed sum ``g`` together, in model and router.

    With routed weights ``sigma(W)`` and normalised losses ``l~`` the objective is::

        discrepancy * f + penalty * g
        f = sum_{k<K} |tau_k l~_k - tau_{k+1} l~_{k+1}|        (adjacent tasks, in task order)
        g = sum_k sigma_k(W) l~_k

    and its derivatives by the losses are the effective weights; they can be negative where the
    discrepancy wants a loss to grow. ``W`` are own parameters: add ``method.parameters()`` to the
    optimiser as a group of their own. They are free weights by default, so that any loop can use
    the method; ``router="features"`` is the paper's network on the (detached) shared features,
    averaged over space and its softmax over the batch.

    ``loop="double"`` is Algorithm 2: the router descends ``discrepancy * f + penalty * (g - g*)``,
    where ``g*`` is ``g`` after ``inner_steps`` descent steps on ``penalty * g`` from the current
    parameters, a stand-in for the lower-level optimum. It needs a closure of the training batch
    (``Need.VALIDATION_BATCH``) and 2 * ``inner_steps`` passes more per step; the model's update is
    the same.

    Source: Xiao et al., "LDC-MTL: Balancing Multi-Task Learning through Scalable Loss Discrepancy
    Control", equations 1 to 4, Algorithm 1 (single loop) and Algorithm 2 (double loop).
    """

    name: ClassVar[str] = "ldc_mtl"
    summary: ClassVar[str] = "LDC-MTL: learned weights that keep the losses close to each other."
    paper: ClassVar[str] = "Xiao et al., LDC-MTL"
    equation: ClassVar[str] = (
        "min_{x,W} f + lambda g; f = sum_k |tau_k l_k - tau_{k+1} l_{k+1}|, g = sum_k sigma_k l_k"
    )
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LOSSES, Need.OWN_PARAMETERS})
    scale_law: ClassVar[str] = "invariant; 1/s with normalisation 'rescaled' or 'log'"
    permutation_equivariant: ClassVar[bool] = False
    deviations: ClassVar[tuple[str, ...]] = (
        "The paper minimises f + lambda g (Algorithm 1; the default), the code g + lamb f; the "
        "constants 0.01 to 0.1 of the paper's Table 5 were run as lamb. Here penalty is lambda, "
        "discrepancy is lamb: the code is penalty=1, discrepancy=lamb; the default penalty=10 is "
        "lamb = 0.1.",
        "The paper's router is a small network with softmax on shared features; the code has it "
        "for two data sets, as one linear layer clamped to [0.2, 0.8] (router='features', "
        "clamp=0.2), and free weights for the others (router='sigmoid' on CelebA, 'sigmoid_relu' "
        "on QM9). Free weights with softmax are the default because they need no features.",
        "The code divides the routed sum by sum_k sigma_k on CelebA and QM9 (detached) and on "
        "NYUv2 (not detached): divide_by_sum; the paper does not.",
        "On NYUv2 the paper's Table 5 says tau = 1, the code has tau = sigma and divides by "
        "l'_k / min_j l'_j (normalisation='rescaled_min').",
        "The paper calls for a double loop (equations 3 and 4) and then drops its term; all code "
        "has the single loop (the default), loop='double' is Algorithm 2. With a router on "
        "features, the routed weights of the look-ahead are those of the current features.",
        "Initial losses are read once (rescaled) or in each epoch anew (log), as in the paper; "
        "renew_each_epoch says otherwise.",
    )

    penalty: float = hyperparameter(
        10.0,
        low=0.0,
        search=(10.0, 100.0),
        log=True,
        source="LDC-MTL equation 2; 1/lamb of its Table 5 (0.01 to 0.1) as run by its code",
        description="Coefficient of the routed sum of losses: lambda of the paper's equations.",
    )
    discrepancy: float = hyperparameter(
        1.0,
        low=0.0,
        source="LDC-MTL equation 2: 1; the code's lamb: 0.01 to 0.1, with penalty = 1",
        description="Coefficient of the loss discrepancy: lamb of the code.",
    )
    tau: str = hyperparameter(
        "sigma",
        choices=("sigma", "one"),
        search=("sigma", "one"),
        source="LDC-MTL section 4.2 and Table 5",
        description="Weights inside the discrepancy: the routed weights, or 1.",
    )
    normalisation: str = hyperparameter(
        "none",
        choices=("none", "rescaled", "rescaled_min", "log"),
        search=("none", "rescaled", "log"),
        source="LDC-MTL appendix A.1; rescaled_min: its NYUv2 code",
        description=(
            "Losses as they are, l/l', l/(l'/min l'), or log(l/l'), with initial losses l'."
        ),
    )
    renew_each_epoch: bool | None = hyperparameter(
        None,
        kind="bool",
        source="LDC-MTL appendix A.1: yes for log, no otherwise",
        description="Whether initial losses are read anew at the start of each epoch.",
    )
    router: str = hyperparameter(
        "softmax",
        choices=("softmax", "sigmoid", "sigmoid_relu", "features"),
        source="LDC-MTL section 4.2 (features); its code (free weights)",
        description="Free weights through softmax or sigmoid, or a network on shared features.",
    )
    hidden: int = hyperparameter(
        0,
        low=0,
        source="LDC-MTL code: one linear layer",
        description="Width of the network's hidden layer, 0 for none (router='features').",
    )
    clamp: float = hyperparameter(
        0.0,
        low=0.0,
        high=0.5,
        high_open=True,
        source="LDC-MTL code on NYUv2 and Cityscapes: 0.2",
        description="Routed weights are cut to [clamp, 1 - clamp]; 0 for none.",
    )
    divide_by_sum: str = hyperparameter(
        "no",
        choices=("no", "yes", "detached"),
        source="LDC-MTL: no; its code: yes (NYUv2), detached (CelebA, QM9)",
        description="Whether the routed sum is divided by the sum of routed weights.",
    )

    loop: str = hyperparameter(
        "single",
        choices=("single", "double"),
        source="single: Algorithm 1; double: Algorithm 2",
        description="Whether the router's gradient has the term of the lower-level optimum.",
    )
    inner_steps: int = hyperparameter(
        50,
        low=1,
        source="LDC-MTL section 4.3: N = 50",
        description="Descent steps towards the lower-level optimum (loop='double').",
    )
    inner_lr: float | None = hyperparameter(
        None,
        kind="float",
        low=0.0,
        low_open=True,
        source="beta of LDC-MTL equation 4; the paper gives no value",
        description="Length of these steps; default: the learning rate of the model.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty == 0.0 and self.discrepancy == 0.0:
            raise ConfigurationError("ldc_mtl: penalty and discrepancy must not both be 0")
        if self.router == "features":
            vars(self)["needs"] = self.needs | {Need.FEATURES}
        if self.loop == "double":
            vars(self)["needs"] = self.needs | {Need.VALIDATION_BATCH}

    @property
    def scale_exponent(self) -> float | None:
        """0, or -1 where initial losses divide the losses."""
        return -1.0 if self.normalisation in ("rescaled", "log") else 0.0

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        count = len(self.tasks)
        if self.router == "features":
            if feature_dim is None:
                raise MissingNeedError(
                    "ldc_mtl: router='features' needs features= in backward, or feature_dim= in "
                    "setup"
                )
            layers: list[nn.Module] = [nn.Linear(feature_dim, self.hidden or count)]
            if self.hidden:
                layers += [nn.ReLU(), nn.Linear(self.hidden, count)]
            self.own.router = nn.Sequential(*layers).to(device, dtype)
        else:
            start = torch.zeros(count, dtype=dtype)
            if self.router == "sigmoid":
                start += 1.0
            elif self.router == "sigmoid_relu":
                start += 0.2 + 0.8 * torch.rand(count, generator=self.generator, dtype=dtype)
            self.own.routing = nn.Parameter(start.to(device))
        self.state["initial"] = {}

    def _feature_dim_of(self, own: Mapping[str, Tensor]) -> int | None:
        weight = own.get("router.0.weight")
        return None if weight is None else weight.shape[1]

    def coefficients(self, inputs: StepInputs) -> Tensor:
        """The derivative of the objective by each loss, shape (K,)."""
        own = list(self.own.parameters())
        with torch.enable_grad(), without_autocast(own[0].device.type):
            scores = self._scores(inputs, own[0].dtype)
        raw = scores.detach().to("cpu", torch.float64).numpy()
        shares, sigma = self._routed(raw)
        kept = np.clip(sigma, self.clamp, 1.0 - self.clamp) if self.clamp else sigma
        values, slopes = self._normalised(inputs)
        by_loss, by_sigma = self._derivatives(kept, values)
        if self.loop == "double":
            by_sigma -= self._optimum_term(inputs, kept)
        if kept is not sigma:
            by_sigma = np.where(kept == sigma, by_sigma, 0.0)
        by_scores = self._through_router(raw, shares, by_sigma)
        gradient = torch.as_tensor(by_scores, dtype=own[0].dtype, device=own[0].device)
        if scores is not own[0]:
            gradients = torch.autograd.grad(scores, own, gradient)
        else:
            gradients = (gradient,)
        accumulate(own, gradients, inputs.grad_scale, owned=scores is own[0])
        return torch.from_numpy(by_loss * slopes)

    def _derivatives(self, sigma: Array, values: Array) -> tuple[Array, Array]:
        """Derivatives of ``discrepancy * f + penalty * g`` by normalised losses and by sigma.

        Args:
            sigma: Routed weights, shape (K,).
            values: Normalised losses, shape (K,).

        Returns:
            Two arrays of shape (K,).
        """
        parts = sigma * values if self.tau == "sigma" else values
        signs = np.zeros(len(parts) + 1)
        np.sign(parts[:-1] - parts[1:], out=signs[1:-1])
        by_parts = self.discrepancy * (signs[1:] - signs[:-1])
        by_loss = sigma * (self.penalty / self._divisor(sigma))
        by_sigma = self._sum_by_sigma(sigma, values)
        if self.tau == "one":
            return by_loss + by_parts, by_sigma
        return by_loss + by_parts * sigma, by_sigma + by_parts * values

    def _divisor(self, sigma: Array) -> float:
        return 1.0 if self.divide_by_sum == "no" else float(sigma.sum())

    def _sum_by_sigma(self, sigma: Array, values: Array) -> Array:
        """The derivative of ``penalty * g`` by sigma, shape (K,)."""
        divisor = self._divisor(sigma)
        if self.divide_by_sum == "yes":
            values = values - float(sigma @ values) / divisor
        return values * (self.penalty / divisor)

    def _optimum_term(self, inputs: StepInputs, sigma: Array) -> Array:
        """The derivative of ``penalty * g*`` by sigma, shape (K,); 0 if the look-ahead diverges."""
        level = LowerLevel.of_step(self, inputs, self.inner_lr)
        factors = torch.from_numpy(self.penalty * sigma / self._divisor(sigma))
        first = torch.from_numpy(self._initial(inputs))

        def normalised(losses: Tensor) -> Tensor:
            ratio = losses / first.to(losses)
            return torch.log(ratio) if self.normalisation == "log" else ratio

        def objective(losses: Tensor) -> Tensor:
            return (factors.to(losses) * normalised(losses)).sum()

        try:
            with torch.enable_grad(), without_autocast(inputs.losses[0].device.type):
                ahead = level.descend(objective, self.inner_steps)
                losses = level.training_losses(ahead)
            values: Array = normalised(losses.detach()).to("cpu", torch.float64).numpy()
        except NonFiniteLossError:
            values = np.full(len(sigma), np.nan)
        if not np.isfinite(values).all():
            self._event(
                "look_ahead_diverged",
                "the descent towards the lower-level optimum diverged; this step is a single loop",
            )
            return np.zeros(len(sigma))
        return self._sum_by_sigma(sigma, values)

    def _scores(self, inputs: StepInputs, dtype: torch.dtype) -> Tensor:
        """What goes into softmax or sigmoid for the present tasks: shape (K,) or (B, K)."""
        scores: Tensor
        if self.router == "features":
            features = self._require(inputs.features, "features= (router is 'features')")[0]
            features = features.detach().to(dtype)
            if features.dim() > 2:
                features = features.flatten(2).mean(2)
            scores = self.own.router(features)  # type: ignore[operator]
        else:
            scores = self.own.routing  # type: ignore[assignment]
        if inputs.tasks == self.tasks:
            return scores
        return scores[..., inputs.index.to(scores.device)]

    def _routed(self, scores: Array) -> tuple[Array, Array]:
        """Softmax or sigmoid of the scores, in their shape, and ``sigma``, shape (K,)."""
        if self.router in ("softmax", "features"):
            shares = _softmax(scores)
            return shares, shares.mean(0) if self.router == "features" else shares
        shares = _sigmoid(np.maximum(scores, 0.0) if self.router == "sigmoid_relu" else scores)
        return shares, shares

    def _through_router(self, scores: Array, shares: Array, by_sigma: Array) -> Array:
        """The derivative by the scores, in their shape."""
        if self.router in ("softmax", "features"):
            centred = by_sigma - (shares * by_sigma).sum(-1, keepdims=True)
            by_scores: Array = shares * centred
            return by_scores / len(scores) if self.router == "features" else by_scores
        slope: Array = by_sigma * shares * (1.0 - shares)
        return np.where(scores > 0.0, slope, 0.0) if self.router == "sigmoid_relu" else slope

    def _normalised(self, inputs: StepInputs) -> tuple[Array, Array | float]:
        """Normalised losses and their derivatives by the losses."""
        values: Array = np.array(inputs.numbers)
        if self.normalisation == "none":
            return values, 1.0
        known: dict[str, float] = self.state["initial"]
        for task, value in zip(inputs.tasks, inputs.numbers, strict=True):
            if value <= 0.0 and (task not in known or self.normalisation == "log"):
                raise TaskError(
                    f"ldc_mtl: the loss of task {task!r} is {value:g}, normalisation="
                    f"{self.normalisation!r} takes only losses > 0; use normalisation='none'"
                )
        for task, value in zip(inputs.tasks, inputs.numbers, strict=True):
            known.setdefault(task, value)
        first = self._initial(inputs)
        if self.normalisation == "log":
            return np.log(values / first), 1.0 / values
        return values / first, 1.0 / first

    def _initial(self, inputs: StepInputs) -> Array:
        """What the losses are divided by, shape (K,)."""
        if self.normalisation == "none":
            return np.ones(len(inputs.tasks))
        known: dict[str, float] = self.state["initial"]
        first = np.array([known[task] for task in inputs.tasks])
        return first / min(known.values()) if self.normalisation == "rescaled_min" else first

    def end_epoch(
        self,
        *,
        epoch: int,
        train_losses: Mapping[str, float],
        performance_drops: Mapping[str, float] | None = None,
    ) -> None:
        """Forgets the initial losses where they are to be read in each epoch."""
        renew = self.renew_each_epoch
        if (self.normalisation == "log") if renew is None else renew:
            self.state["initial"] = {}


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    shares: Array = powers / powers.sum(-1, keepdims=True)
    return shares


def _sigmoid(scores: Array) -> Array:
    result: Array = 0.5 * (1.0 + np.tanh(0.5 * scores))
    return result
