"""The Gram matrix of task gradients from layer inputs and output gradients, without the gradients.

Task gradients enter a shared trunk only through its output, so all K travel down it as one batch,
and each layer's inputs A and output gradients Δ_k give its part of the Gram matrix:
``<g_i, g_j> = sum((A Aᵀ) ∘ (Δ_i Δ_jᵀ))`` for a linear layer. The same Δ_k give any weighted sum
of the gradients by one product. Everything is read from the autograd graph of the step: nothing is
registered on the model. A step goes this way::

    listing   its graph as nodes and, in plain numbers, their structure
    layout    where losses meet, what each parameter enters           once for each structure
    rules     what the nodes that parameters enter have saved
    recipe    which way each parameter goes, what is to be kept       once for what looks alike
    factored  the passes; factors keep Δ or gradients; Gram matrix; weighted sum
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
from mtl_methods.exact_gram.recipe import Recipes
from mtl_methods.exact_gram.workspace import Workspace

__all__ = [
    "FactoredGradients",
    "GramPlan",
    "ParameterPlan",
    "Recipes",
    "Workspace",
    "backward_combining",
    "check_apart",
    "factored_gradients",
    "feature_gradients",
    "fill_rows",
]
