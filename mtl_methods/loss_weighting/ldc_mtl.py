"""LDC-MTL: a router weights the losses so that they stay close to each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.loss_weighting import LossWeighting
from mtl_methods.core.lower_level import LowerLevel
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.plain_numbers import add_own_gradient, exponential, read_own, softmax
from mtl_methods.core.writing import accumulate, without_autocast
from mtl_methods.errors import (
    ConfigurationError,
    MissingNeedError,
    NonFiniteLossError,
    TaskError,
)

__all__ = ["LDCMTL"]


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
            start = torch.zeros(count, dtype=dtype, device="cpu")
            if self.router == "sigmoid":
                start += 1.0
            elif self.router == "sigmoid_relu":
                drawn = torch.rand(count, generator=self.generator, dtype=dtype, device="cpu")
                start += 0.2 + 0.8 * drawn
            self.own.routing = nn.Parameter(start.to(device))
        self.state["initial"] = {}

    def _feature_dim_of(self, own: Mapping[str, Tensor]) -> int | None:
        weight = own.get("router.0.weight")
        return None if weight is None else weight.shape[1]

    def coefficients(self, inputs: StepInputs) -> list[float]:
        """The derivative of the objective by each loss, K numbers."""
        values, slopes = self._normalised(inputs)
        by = self._by_features if self.router == "features" else self._by_free_weights
        by_loss = by(inputs, values)
        return [d * slope for d, slope in zip(by_loss, slopes, strict=True)]

    def _by_free_weights(self, inputs: StepInputs, values: Sequence[float]) -> list[float]:
        """The derivative by normalised losses; that by the weights goes to their gradient."""
        own: nn.Parameter = self.own.routing  # type: ignore[assignment]
        scores = read_own(own, inputs)
        if self.router == "softmax":
            sigma = softmax(scores)
            by_loss, by_sigma = self._derivatives(inputs, sigma, values)
            mean = sum(s * d for s, d in zip(sigma, by_sigma, strict=True))
            by_scores = [s * (d - mean) for s, d in zip(sigma, by_sigma, strict=True)]
        else:
            cut = self.router == "sigmoid_relu"
            sigma = [_sigmoid(max(score, 0.0) if cut else score) for score in scores]
            by_loss, by_sigma = self._derivatives(inputs, sigma, values)
            by_scores = [s * (1.0 - s) * d for s, d in zip(sigma, by_sigma, strict=True)]
            if cut:
                pairs = zip(scores, by_scores, strict=True)
                by_scores = [slope if score > 0.0 else 0.0 for score, slope in pairs]
        add_own_gradient(own, inputs, by_scores)
        return by_loss

    def _by_features(self, inputs: StepInputs, values: Sequence[float]) -> list[float]:
        """The same with a network on the shared features: sigma is the mean of its softmax."""
        assert inputs.features is not None
        features = inputs.features[0]
        own = list(self.own.parameters())
        with torch.enable_grad(), without_autocast(own[0].device.type):
            features = features.detach().to(own[0].dtype)
            if features.dim() > 2:
                features = features.flatten(2).mean(2)
            scores: Tensor = self.own.router(features)  # type: ignore[operator]
            if inputs.tasks != self.tasks:
                scores = scores[:, inputs.index.to(scores.device)]
            shares = torch.softmax(scores.to(torch.float64), 1)
            sigma = shares.mean(0)
        by_loss, by_sigma = self._derivatives(inputs, sigma.tolist(), values)
        gradient = torch.tensor(by_sigma, dtype=sigma.dtype, device=sigma.device)
        accumulate(own, torch.autograd.grad(sigma, own, gradient), inputs.grad_scale)
        return by_loss

    def _derivatives(
        self, inputs: StepInputs, sigma: Sequence[float], values: Sequence[float]
    ) -> tuple[list[float], list[float]]:
        """Derivatives of ``discrepancy * f + penalty * g`` by normalised losses and by sigma.

        Args:
            inputs: The step.
            sigma: Routed weights, K numbers.
            values: Normalised losses, K numbers.

        Returns:
            Two lists of K numbers.
        """
        low = self.clamp
        kept = [min(max(s, low), 1.0 - low) for s in sigma] if low else sigma
        scaled = self.tau == "sigma"
        parts = [s * v for s, v in zip(kept, values, strict=True)] if scaled else values
        signs = [0, *((a > b) - (a < b) for a, b in itertools.pairwise(parts)), 0]
        by_parts = [self.discrepancy * (b - a) for a, b in itertools.pairwise(signs)]
        factor = self.penalty / self._divisor(kept)
        by_loss = [factor * s for s in kept]
        by_sigma = self._sum_by_sigma(kept, values)
        if self.loop == "double":
            optimum = self._optimum_term(inputs, kept)
            by_sigma = [d - o for d, o in zip(by_sigma, optimum, strict=True)]
        if scaled:
            by_sigma = [d + p * v for d, p, v in zip(by_sigma, by_parts, values, strict=True)]
            by_parts = [p * s for p, s in zip(by_parts, kept, strict=True)]
        if low:  # where sigma is cut it does not move
            by_sigma = [d if k == s else 0.0 for d, k, s in zip(by_sigma, kept, sigma, strict=True)]
        return [d + p for d, p in zip(by_loss, by_parts, strict=True)], by_sigma

    def _divisor(self, sigma: Sequence[float]) -> float:
        if self.divide_by_sum == "no":
            return 1.0
        total = sum(sigma)
        if total == 0.0:
            raise TaskError(
                "ldc_mtl: all routed weights have fallen to 0, so that divide_by_sum="
                f"{self.divide_by_sum!r} has nothing to divide by; lower the router's learning "
                "rate or take router='softmax'"
            )
        return total

    def _sum_by_sigma(self, sigma: Sequence[float], values: Sequence[float]) -> list[float]:
        """The derivative of ``penalty * g`` by sigma, K numbers."""
        divisor = self._divisor(sigma)
        shift = 0.0
        if self.divide_by_sum == "yes":
            shift = sum(s / divisor * v for s, v in zip(sigma, values, strict=True))
        factor = self.penalty / divisor
        return [factor * (value - shift) for value in values]

    def _optimum_term(self, inputs: StepInputs, sigma: Sequence[float]) -> list[float]:
        """The derivative of ``penalty * g*`` by sigma, K numbers; 0 if the look-ahead diverges."""
        level = LowerLevel.of_step(self, inputs, self.inner_lr)
        factor = self.penalty / self._divisor(sigma)
        factors = torch.tensor([factor * s for s in sigma], dtype=torch.float64)
        first = torch.tensor(self._initial(inputs), dtype=torch.float64)

        def normalised(losses: Tensor) -> Tensor:
            ratio = losses / first.to(losses)
            return torch.log(ratio) if self.normalisation == "log" else ratio

        def objective(losses: Tensor) -> Tensor:
            return (factors.to(losses) * normalised(losses)).sum()

        try:
            with torch.enable_grad(), without_autocast(inputs.losses[0].device.type):
                ahead = level.descend(objective, self.inner_steps)
                losses = level.training_losses(ahead)
            values: list[float] = normalised(losses.detach()).tolist()
        except NonFiniteLossError:
            values = [math.nan]
        if not all(map(math.isfinite, values)):
            self._event(
                "look_ahead_diverged",
                "the descent towards the lower-level optimum diverged; this step is a single loop",
            )
            return [0.0] * len(sigma)
        return self._sum_by_sigma(sigma, values)

    def _normalised(self, inputs: StepInputs) -> tuple[Sequence[float], list[float]]:
        """Normalised losses and their derivatives by the losses, K numbers each."""
        values = inputs.numbers
        if self.normalisation == "none":
            return values, [1.0] * len(values)
        known: dict[str, float] = self.state["initial"]
        for task, value in zip(inputs.tasks, values, strict=True):
            if value <= 0.0 and (task not in known or self.normalisation == "log"):
                raise TaskError(
                    f"ldc_mtl: the loss of task {task!r} is {value:g}, normalisation="
                    f"{self.normalisation!r} takes only losses > 0; use normalisation='none'"
                )
        for task, value in zip(inputs.tasks, values, strict=True):
            known.setdefault(task, value)
        first = self._initial(inputs)
        pairs = list(zip(values, first, strict=True))
        if self.normalisation == "log":
            logs = [math.log(value) - math.log(initial) for value, initial in pairs]
            return logs, [1.0 / value for value in values]
        return [value / initial for value, initial in pairs], [1.0 / initial for initial in first]

    def _initial(self, inputs: StepInputs) -> list[float]:
        """What the losses are divided by, K numbers."""
        if self.normalisation == "none":
            return [1.0] * len(inputs.tasks)
        known: dict[str, float] = self.state["initial"]
        least = min(known.values()) if self.normalisation == "rescaled_min" else 1.0
        return [known[task] / least for task in inputs.tasks]

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


def _sigmoid(score: float) -> float:
    return 1.0 / (1.0 + exponential(-score))
