"""RotoGrad: rotates the features of each task so that gradients agree, and equalises their size."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl_methods.configuration import hyperparameter
from mtl_methods.core.gradient_weighting import Combination, GradientCombination
from mtl_methods.core.method import Need, StepInputs
from mtl_methods.core.writing import accumulate
from mtl_methods.errors import MissingNeedError, TaskError

__all__ = ["RotoGrad"]

logger = logging.getLogger("mtl_methods")


class RotoGrad(GradientCombination):
    """Learned rotations of the shared features, one per task, and gradients of one size.

    Head k reads ``R_k z`` in place of the shared features z, with an orthogonal matrix R_k: call
    ``method.attach(model.heads)`` once, or pass features through :meth:`task_features` by hand, in
    training and in evaluation. With the gradients ``G_k = dl_k / dz`` of a batch (a row per
    example), ``U_k = G_k / |G_k|`` and ``V = (1/K) sum_k U_k``:

    - R_k descends ``-sum_n <R_k^T r_nk, v_n>`` where ``r_nk = R_k u_nk`` is the unit-scaled
      gradient on the rotated features, held fixed: it turns task gradients towards their mean;
    - the trunk gets ``C sum_k U_k`` with ``C = sum_k a_k |G_k|`` and a_k proportional to
      ``|G_k| / |G_k(0)|``, of sum 1: all tasks weigh the same, tasks that converge slowly set the
      size.

    ``R_k = exp(S_k - S_k^T)`` with a strictly lower triangular S_k, from 0 (the identity). They
    are own parameters, for the caller's optimiser. Heads get their own gradients. Dimension 1 of
    the features is rotated. No effective weights are told: the coefficients ``C / |G_k|`` belong
    to gradients of a model that has these rotations, and fixed weights without them would be
    another model. A missing task keeps its rotation and its initial norm.

    Source: Javaloy and Valera, "RotoGrad: Gradient Homogenization in Multitask Learning" (ICLR
    2022), sections 4.1 and 4.2, Algorithm 1.
    """

    name: ClassVar[str] = "rotograd"
    summary: ClassVar[str] = "RotoGrad: learned rotations of features, gradients of one size."
    paper: ClassVar[str] = "Javaloy and Valera, ICLR 2022, Algorithm 1"
    equation: ClassVar[str] = "min_R -<R_k^T r_k, V>; dz = C sum_k G_k/|G_k|, C = sum a_k |G_k|"
    needs: ClassVar[frozenset[Need]] = frozenset(
        {
            Need.LOSSES,
            Need.GRADIENTS,
            Need.FEATURES,
            Need.TASK_FEATURES,
            Need.OWN_PARAMETERS,
        }
    )
    backward_passes: ClassVar[str] = "K through the heads, 1 through the trunk"
    scale_law: ClassVar[str] = "no weights"
    deviations: ClassVar[tuple[str, ...]] = (
        "The code has R_k descend the mean over examples of |R_k v_n - r_nk|^2 with raw gradients "
        "r_nk and V scaled to the norm of the mean gradient (rotation_loss='squared'): the same "
        "direction for an orthogonal R_k, at another scale.",
        "The code takes the initial norms anew after 20 steps (burn_in=20, the default).",
        "The code parametrises rotations with geotorch (some versions start at a random one); "
        "here a matrix exponential, from the identity.",
        "The code can divide losses by their initial values; compose with a loss weighting.",
    )

    gradients_on: str = hyperparameter(
        "features",
        choices=("features",),
        source="section 4: the method lives on the shared features",
        description="Where task gradients are taken.",
    )
    size: int | None = hyperparameter(
        None,
        kind="int",
        low=1,
        source="section 4.2: all, or a part of a wide layer",
        description="How many of the features are rotated, the first ones; all if not given.",
    )
    burn_in: int = hyperparameter(
        20,
        low=0,
        source="code: 20",
        description="Steps of a task after which its initial norm is taken anew; 0 for never.",
    )
    rotation_loss: str = hyperparameter(
        "inner_product",
        choices=("inner_product", "squared"),
        source="inner_product: section 4.2; squared: code",
        description="What the rotations descend.",
    )

    def _initialise(
        self, device: torch.device, dtype: torch.dtype, feature_dim: int | None
    ) -> None:
        if feature_dim is None:
            raise MissingNeedError(
                "rotograd: setup needs feature_dim=, the size of dimension 1 of the features"
            )
        size = min(self.size or feature_dim, feature_dim)
        if self.size is not None and self.size > size:
            logger.warning(
                "%s: size = %d is more than the %d features: all are rotated",
                self.name,
                self.size,
                size,
            )
        start = torch.zeros(len(self.tasks), size, size, device=device, dtype=dtype)
        self.own.skew = nn.Parameter(start)
        self.state["initial_norms"] = {}
        self.state["steps"] = {}
        self._cached: dict[int, tuple[Tensor, Tensor]] = {}
        self._read: set[str] = set()

    def _feature_dim_of(self, own: Mapping[str, Tensor]) -> int | None:
        skew = own.get("skew")
        return None if skew is None else skew.shape[-1]

    def rotations(self) -> Tensor:
        """The current rotations, shape (K, size, size), detached."""
        return torch.stack([self._rotation(row) for row in range(len(self.tasks))])

    def _rotation(self, row: int) -> Tensor:
        """The rotation of one task, found anew where its parameters have another value.

        Fused optimisers change parameters without changing their version, so values are compared.
        """
        own: nn.Parameter = self.own.skew  # type: ignore[assignment]
        current = own.detach()[row]
        kept = self._cached.get(row)
        if kept is None or not torch.equal(kept[0], current):
            with torch.no_grad(), torch.autocast(own.device.type, enabled=False):
                kept = current.clone(), _exponential(current)
            self._cached[row] = kept
        return kept[1]

    def task_features(self, task: str, features: Tensor) -> Tensor:
        """The features that the head of a task is to read.

        Args:
            task: Its name.
            features: Shared features, shape (B, d) or (B, d, ...).

        Returns:
            The same shape, the first ``size`` of dimension 1 rotated.

        Raises:
            TaskError: If the task is unknown, or the method has not been set up.
        """
        if task not in self.tasks:
            raise TaskError(
                f"rotograd: task {task!r} is none of its tasks "
                f"({', '.join(self.tasks) or 'none yet; call setup first'})"
            )
        if torch.is_grad_enabled():
            self._read.add(task)
        rotation = self._rotation(self.tasks.index(task))
        last = features.movedim(1, -1)
        size = rotation.shape[0]
        turned = last[..., :size] @ rotation.T.to(last.dtype)
        if size < last.shape[-1]:
            turned = torch.cat([turned, last[..., size:]], dim=-1)
        return turned.movedim(-1, 1)

    def combine(self, matrix: Tensor, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """The gradient on the features, shape (m,); adds gradients of the rotations."""
        self._expect_rotated(inputs)
        assert inputs.features is not None
        feature = inputs.features[0]
        norms = np.sqrt(gram.diagonal())
        safe = torch.from_numpy(np.where(norms > 0.0, norms, 1.0)).to(matrix)
        mean = (1.0 / safe) @ matrix / len(norms)
        self._write_rotations(matrix, safe, mean, feature, inputs)
        common = self._common_norm(norms, inputs)
        return Combination(combined=mean * (common * len(norms)))

    def _expect_rotated(self, inputs: StepInputs) -> None:
        missing = [task for task in inputs.tasks if task not in self._read]
        self._read.clear()
        if missing:
            raise MissingNeedError(
                f"rotograd: the head of task {missing[0]!r} did not read rotated features; call "
                "method.attach(heads) after setup, or pass them through method.task_features"
            )
        if inputs.features is not None and len(inputs.features) != 1:
            raise TaskError(f"rotograd: features must be one tensor, got {len(inputs.features)}")

    def _common_norm(self, norms: NDArray[np.float64], inputs: StepInputs) -> float:
        """The C of the update; keeps the initial norms."""
        initial: dict[str, float] = self.state["initial_norms"]
        steps: dict[str, int] = self.state["steps"]
        ratios = np.zeros(len(norms))
        for row, (task, norm) in enumerate(zip(inputs.tasks, norms.tolist(), strict=True)):
            step = steps.get(task, 0)
            if norm > 0.0 and (task not in initial or (self.burn_in and step == self.burn_in)):
                initial[task] = norm
            steps[task] = step + 1
            if task in initial:
                ratios[row] = norm / initial[task]
        total = float(ratios.sum())
        return float(ratios @ norms) / total if total > 0.0 else 0.0

    def _write_rotations(
        self, matrix: Tensor, norms: Tensor, mean: Tensor, feature: Tensor, inputs: StepInputs
    ) -> None:
        """Adds to the gradients of the rotations of the present tasks."""
        own: nn.Parameter = self.own.skew  # type: ignore[assignment]
        size = own.shape[-1]
        wanted = _rows(mean, feature, size)
        rows = inputs.index.to(own.device)
        factors = 1.0 / norms
        if self.rotation_loss == "squared":
            length = matrix.mean(dim=0).norm()
            factors = torch.full_like(norms, 2.0 / feature.shape[0]) * length
        turned = []
        for gradient, factor, rotation in zip(matrix, factors, self.rotations()[rows], strict=True):
            agreement = _rows(gradient, feature, size).T @ wanted * factor
            turned.append(rotation @ agreement.to(rotation))
        with torch.enable_grad():
            skew = own.detach()[rows].requires_grad_()
            loss = -(_exponential(skew) * torch.stack(turned)).sum()
            (slope,) = torch.autograd.grad(loss, skew)
        gradients = torch.zeros_like(own)
        gradients[rows] = slope
        accumulate([own], [gradients], inputs.grad_scale, owned=True)


def _exponential(skew: Tensor) -> Tensor:
    """Orthogonal matrices from the strictly lower triangles of (n, n) or (K, n, n)."""
    lower = skew.tril(-1)
    result: Tensor = torch.linalg.matrix_exp(lower - lower.mT)
    return result


def _rows(flat: Tensor, feature: Tensor, size: int) -> Tensor:
    """A flat gradient on the features as rows of the first ``size`` of dimension 1."""
    last = flat.view(feature.shape).movedim(1, -1)
    return last.reshape(-1, last.shape[-1])[:, :size]
