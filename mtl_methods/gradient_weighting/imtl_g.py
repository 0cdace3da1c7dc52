"""IMTL-G: the combined gradient has equal projections on all task gradients."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mtl_methods.core.gradient_weighting import Combination
from mtl_methods.core.gram_weighting import GramWeighting
from mtl_methods.core.method import StepInputs
from mtl_methods.gradient_weighting.common import pseudo_inverse, unit_gram

__all__ = ["IMTLG", "equal_projection_weights"]

_WELL_CONDITIONED = 1e4  # largest condition number at which an inverse will do


def equal_projection_weights(gram: NDArray[np.float64], epsilon: float) -> Combination:
    """Weights of sum 1 with equal projections of ``sum_k w_k g_k`` on all unit gradients.

    With cosines C and norms n, ``<u_i, d> = sum_j C_ij n_j w_j`` is the same for all i where
    ``n * w`` is along ``C^-1 1``. Where gradients depend linearly on each other, w is along
    ``(G G^T)^+ n``, the least-squares solution of least length.

    Args:
        gram: Gram matrix of non-zero gradients, shape (K, K).
        epsilon: Rounding unit of the gradients.

    Returns:
        The decision, with weights of shape (K,), some of which may be negative.
    """
    count = len(gram)
    norms, cosines = unit_gram(gram)
    if count == 2 and 1.0 - abs(cosines.item(1)) > 4.0 * epsilon:
        weights = 1.0 / norms  # C^-1 1 is along 1
    elif (solved := _along_inverse(cosines, count * epsilon)) is not None:
        weights = solved / norms
    else:
        largest = norms.max()
        inverse = pseudo_inverse(gram / largest**2, count * epsilon)
        weights = inverse @ (norms / largest)
    numbers = weights.tolist()
    total = math.fsum(numbers)
    if abs(total) <= 1e-9 * math.fsum(map(abs, numbers)):
        sentence = "no combination has equal projections (gradients oppose); equal weights taken"
        return Combination(
            weights=np.full(count, 1.0 / count), events=[("no_equal_projection", sentence)]
        )
    decision = Combination(weights=weights / total)
    projections = (cosines @ (weights * norms)).tolist()
    highest, lowest = max(projections), min(projections)
    decision.residual = (highest - lowest) / max(highest, -lowest, 1e-300)
    if total < 0.0:
        sentence = "the common projection is negative: the step raises all losses"
        decision.events.append(("negative_projection", sentence))
    return decision


def _along_inverse(cosines: NDArray[np.float64], tolerance: float) -> NDArray[np.float64] | None:
    """``C^-1 1``, shape (K,), or nothing where C is singular.

    Eigenvalues tell, which cost several times an inverse. Where C is far from singular the
    inverse is as accurate, and its norm tells: ``1 / |C^-1|`` is at most the smallest of them and K
    at least the largest.
    """
    try:
        inverse = np.linalg.inv(cosines)
    except np.linalg.LinAlgError:
        return None
    row: NDArray[np.float64]
    if float(np.linalg.norm(inverse)) * len(cosines) < min(_WELL_CONDITIONED, 0.1 / tolerance):
        row = inverse.sum(axis=1)
        return row
    values, vectors = np.linalg.eigh(cosines)
    if not values[0] > tolerance * values[-1]:
        return None
    row = (vectors / values) @ vectors.sum(axis=0)
    return row


class IMTLG(GramWeighting):
    """Weights of sum 1 under which the update projects equally on every unit gradient.

    ``<d, u_i> = <d, u_j>`` for all i, j with ``u_k = g_k / |g_k|``, ``d = sum_k w_k g_k`` and
    ``sum_k w_k = 1``. The closed form ``w_(2..K) = g_1 U^T (D U^T)^-1`` with rows
    ``u_1 - u_k`` of U and ``g_1 - g_k`` of D is the same as ``w`` proportional to
    ``(G G^T)^-1 |g|``, which is solved here on cosines, with a pseudo-inverse. Weights may be
    negative and are not bounded, as the paper leaves them. Heads get their own gradients.

    Source: Liu et al., "Towards Impartial Multi-Task Learning" (ICLR 2021), Equations 5 and 6.
    """

    name: ClassVar[str] = "imtl_g"
    summary: ClassVar[str] = "IMTL-G: equal projections on all task gradients."
    paper: ClassVar[str] = "Liu et al., ICLR 2021, Equation 6"
    equation: ClassVar[str] = "<d, u_i> equal for all i, d = sum w_k g_k, sum w_k = 1"
    scale_law: ClassVar[str] = "invariant"
    deviations: ClassVar[tuple[str, ...]] = (
        "The code of the uniform-loss paper lacks a transpose, so that with three and more tasks "
        "projections are not equal, and adds 1e-6 to a diagonal; neither is offered.",
        "LibMTL and the Nash-MTL family invert, and return NaN or weights of 1e5 for dependent or "
        "zero gradients; here a pseudo-inverse, and weight 0 for a zero gradient.",
        "The Nash-MTL family gives heads the weighted gradients (head_weighting='same').",
    )

    @property
    def scale_exponent(self) -> float | None:
        """0: weights do not depend on the scale of the losses."""
        return 0.0

    def solve(self, gram: NDArray[np.float64], inputs: StepInputs) -> Combination:
        """:func:`equal_projection_weights`."""
        return equal_projection_weights(gram, self.precision)
