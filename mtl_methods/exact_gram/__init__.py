"""The Gram matrix of task gradients from layer inputs and output gradients, without the gradients.

Task gradients enter a shared trunk only through its output, so all K travel down it as one batch,
and each layer's inputs A and output gradients Δ_k give its part of the Gram matrix:
``<g_i, g_j> = sum((A Aᵀ) ∘ (Δ_i Δ_jᵀ))`` for a linear layer. The same Δ_k give any weighted sum
of the gradients by one product. Everything is read from the autograd graph of the step: nothing is
registered on the model and nothing is kept after it.
"""

from __future__ import annotations

from mtl_methods.exact_gram.factored import FactoredGradients, factored_gradients
from mtl_methods.exact_gram.features import (
    backward_combining,
    check_apart,
    feature_gradients,
    fill_rows,
)
from mtl_methods.exact_gram.plan import GramPlan, ParameterPlan
from mtl_methods.exact_gram.workspace import Workspace

__all__ = [
    "FactoredGradients",
    "GramPlan",
    "ParameterPlan",
    "Workspace",
    "backward_combining",
    "check_apart",
    "factored_gradients",
    "feature_gradients",
    "fill_rows",
]
