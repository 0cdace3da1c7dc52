"""Task gradients on shared features by one backward pass through all heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from mtl_methods.core.graph import reachable_leaves
from mtl_methods.core.head_gradient import HeadGradient
from mtl_methods.core.writing import one_root
from mtl_methods.errors import TaskError
from mtl_methods.exact_gram.linear_heads import HeadGraph, linear_heads
from mtl_methods.exact_gram.seeds import Seeds, head_pass, reading
from mtl_methods.exact_gram.trunk import Trunk, find_trunk

__all__ = ["backward_combining", "check_apart", "feature_gradients", "fill_rows"]


def feature_gradients(
    losses: Sequence[Tensor],
    features: Sequence[Tensor],
    heads: Sequence[Tensor] | None,
    *,
    scale: float = 1.0,
) -> tuple[list[list[Tensor | None]], list[HeadGradient]] | None:
    """Differentiates all losses at once by the features and by their heads.

    Args:
        losses: K scalar losses.
        features: The shared features.
        heads: The leaves that count as heads; ``None`` for every leaf before the features.
        scale: Factor on the losses.

    Returns:
        For each feature the gradient of each task, ``None`` where there is none, and the gradient
        of each task on its own leaves, all times ``scale``. ``None`` if heads meet before the
        features, so that each loss must be differentiated by itself.

    Raises:
        TaskError: If a loss reaches a leaf below the features by another way too.
    """
    if any(feature.grad_fn is None for feature in features):
        return None
    graph = _separate_heads(losses, features)
    trunk = None if graph is None else graph.trunk
    if trunk.edges if trunk is not None else _reaches(losses, features):
        _check_no_way_past(losses, features, trunk)
    if trunk is not None and heads is not None:
        wanted = {id(head) for head in heads}
        kept = [tuple(p for p in own if id(p) in wanted) for own in trunk.private_leaves]
        trunk = dataclasses.replace(trunk, private_leaves=tuple(kept))
    if trunk is None:
        found = find_trunk(losses, heads, features)
        if isinstance(found, str):
            return None
        trunk = found
    seeds, head_gradients = head_pass(losses, trunk, scale)
    position: dict[Any, int] = {
        (edge.node, edge.output_nr): i for i, edge in enumerate(trunk.edges)
    }
    nothing: list[Tensor | None] = [None] * len(losses)
    edges = [position.get((feature.grad_fn, feature.output_nr)) for feature in features]
    return [nothing if edge is None else seeds.by_edge[edge] for edge in edges], head_gradients


def _reaches(losses: Sequence[Tensor], features: Sequence[Tensor]) -> bool:
    """Whether any loss depends on any of the features."""
    wanted = {feature.grad_fn for feature in features}
    stack: list[Any] = [loss.grad_fn for loss in losses]
    seen: set[Any] = {None}
    while stack:
        node = stack.pop()
        if node in wanted:
            return True
        if node not in seen:
            seen.add(node)
            stack.extend(child for child, _ in node.next_functions)
    return False


def _check_no_way_past(
    losses: Sequence[Tensor], features: Sequence[Tensor], trunk: Trunk | None
) -> None:
    """Refuses heads that use what lies below the features, past them: a tied weight, a skip.

    What they send there is neither the heads' gradient nor one on the features.
    """
    found = reachable_leaves(losses, features) if trunk is None else trunk.private_leaves
    past = _first_below(features, found)
    if past is not None:
        raise TaskError(
            f"a head uses a parameter below the features, of shape {tuple(past.shape)}, past them "
            "(a tied weight or a skip connection); take gradients_on='parameters'"
        )


def _first_below(features: Sequence[Tensor], leaves: Iterable[Iterable[Tensor]]) -> Tensor | None:
    """The first leaf below the features that is one of these."""
    known = {id(leaf) for own in leaves for leaf in own}
    if not known:
        return None
    below = (leaf for own in reachable_leaves(features) for leaf in own)
    return next((leaf for leaf in below if id(leaf) in known), None)


def check_apart(features: Sequence[Tensor]) -> None:
    """Refuses features of which one is made from another: their gradients are not independent.

    Raises:
        TaskError: If there is such a pair.
    """
    made = [feature for feature in features if feature.grad_fn is not None]
    for feature in made:
        others = [other for other in made if other.grad_fn is not feature.grad_fn]
        if _reaches([feature], others):
            raise TaskError(
                f"a feature of shape {tuple(feature.shape)} is made from another one, and heads "
                "share layers, so that what each head hands to them cannot be told apart; give "
                "only one of these features, or take gradients_on='parameters'"
            )


def backward_combining(
    losses: Sequence[Tensor],
    feature: Tensor,
    heads: Sequence[Tensor] | None,
    memory: Callable[[], Tensor],
    combine: Callable[[bool], Tensor],
    head_factors: Callable[[], Sequence[float]] | None = None,
    *,
    scale: float = 1.0,
    joined: Tensor | None = None,
) -> bool:
    """One backward pass of all losses; where they meet, one gradient goes on in place of their sum.

    Heads receive the gradient of their own loss, times a factor. Linear layers on the feature take
    their products together. Other heads are passed through by autograd: the pass rests at the
    feature until ``combine`` has decided, so that nothing is differentiated, kept or copied twice.
    If it raises, heads have the gradients that they had before.

    Args:
        losses: K scalar losses.
        feature: The shared features.
        heads: The leaves that count as heads; ``None`` for every leaf before the features.
        memory: Gives what is to be filled with the gradient of each task on the feature, times
            ``scale``, shape (K, *feature.shape), float64 or float32.
        combine: Called when it is, and told whether any gradient arrived: gives the gradient that
            goes on, in the feature's shape and type.
        head_factors: Called after it: K factors, beside the scale; ``None`` if all are 1.
        scale: Factor on the losses.
        joined: The losses as one vector with its graph, if there is one.

    Raises:
        TaskError: With factors, if a head uses what lies below the features past them.

    Returns:
        ``False`` if nothing was done, since the pass would not have this result: heads have nodes
        in common, leaves that are not wanted, or hooks that act on gradients as they are written;
        the feature has hooks, which are to act on the combined gradient; or it
        lives where tasks may run on several streams.
    """
    if feature.grad_fn is None or feature.device.type != "cpu":
        return False
    if feature._backward_hooks or feature.retains_grad:
        return False
    graph = _separate_heads(losses, (feature,))
    if graph is None or len(graph.trunk.edges) != 1:
        return False
    trunk = graph.trunk
    if head_factors is not None:
        _check_no_way_past(losses, (feature,), trunk)
    above = [loss for loss in losses if loss.requires_grad]
    one = joined if len(above) == len(losses) else None
    wanted = None if heads is None else {id(head) for head in heads}
    layers = linear_heads(graph, feature, wanted)
    if layers is not None and _first_below((feature,), layers.others) is None:
        roots, root_seeds = one_root(above, [scale] * len(above), one)
        arrived = layers.differentiate(roots, root_seeds, memory())
        torch.autograd.backward([feature], [combine(arrived)])
        layers.write(None if head_factors is None else head_factors())
        return True
    leaves = [leaf for own in trunk.private_leaves for leaf in own]
    if any(
        leaf._post_accumulate_grad_hooks or (wanted is not None and id(leaf) not in wanted)
        for leaf in leaves
    ):
        return False
    roots, root_seeds = one_root(above, [scale] * len(above), one)
    seeds = Seeds(1, len(losses))

    def go_on(_: Tensor) -> Tensor:
        return combine(fill_rows(memory(), seeds.by_edge[0]))

    rest = feature.register_hook(go_on)  # type: ignore[no-untyped-call]
    with reading(trunk, seeds), rest, _set_aside(leaves):
        torch.autograd.backward(roots, root_seeds)
        if head_factors is not None:
            _multiply(trunk.private_leaves, head_factors())
    return True


@contextmanager
def _set_aside(leaves: Sequence[Tensor]) -> Iterator[None]:
    """Leaves have no gradient within, and the sum with the one before in the end; or only that."""
    before = [(leaf, gradient) for leaf in leaves if (gradient := leaf.grad) is not None]
    for leaf, _ in before:
        leaf.grad = None
    try:
        yield
    except BaseException:
        for leaf in leaves:
            leaf.grad = None
        for leaf, gradient in before:
            leaf.grad = gradient
        raise
    with torch.no_grad():
        for leaf, gradient in before:
            if leaf.grad is not None:
                gradient += leaf.grad
            leaf.grad = gradient


def fill_rows(memory: Tensor, gradients: Sequence[Tensor | None]) -> bool:
    """Copies gradients into rows.

    Args:
        memory: Shape (K, ...).
        gradients: For each row what to copy, of as many elements, ``None`` for zeros.

    Returns:
        Whether there was any gradient.
    """
    present = [i for i, gradient in enumerate(gradients) if gradient is not None]
    given = [gradient for gradient in gradients if gradient is not None]
    if len(present) < len(gradients):
        memory.zero_()
    whole = len(present) == len(memory) and memory.is_contiguous()
    if whole and given[0].dtype == memory.dtype:
        torch.stack(given, out=memory.view(len(given), *given[0].shape))
    elif given:
        rows = [memory[i] for i in present]
        torch._foreach_copy_(
            rows, [gradient.reshape(row.shape) for gradient, row in zip(given, rows, strict=True)]
        )
    return bool(given)


def _multiply(leaves: Sequence[Sequence[Tensor]], factors: Sequence[float]) -> None:
    """Multiplies the gradients of each task's leaves by its factor, in place."""
    gradients: list[Tensor] = []
    numbers: list[float] = []
    for own, factor in zip(leaves, factors, strict=True):
        if factor != 1.0:
            found = [gradient for leaf in own if (gradient := leaf.grad) is not None]
            gradients += found
            numbers += [factor] * len(found)
    if gradients:
        with torch.no_grad():
            torch._foreach_mul_(gradients, numbers)


def _separate_heads(losses: Sequence[Tensor], features: Sequence[Tensor]) -> HeadGraph | None:
    """What :func:`find_trunk` finds where heads have no node in common, in one look at each node.

    Returns:
        ``None`` where they have, or where a loss is a feature itself.
    """
    stops: dict[Any, list[int]] = {}
    for feature in features:
        stops.setdefault(feature.grad_fn, []).append(feature.output_nr)
    owner: dict[Any, int] = {}
    inputs: dict[Any, tuple[tuple[Any, int], ...]] = {}
    again: set[Any] = set()
    edges: dict[tuple[Any, int], int] = {}
    entries = []
    leaves: list[tuple[Tensor, ...]] = []
    for k, loss in enumerate(losses):
        own: list[Tensor] = []
        leaves.append(())
        if not loss.requires_grad:
            continue
        root = loss.grad_fn
        if root is None or root in stops or root in owner:
            return None
        owner[root] = k
        nodes = [root]
        for node in nodes:  # grows
            children = inputs[node] = node.next_functions
            if not children:
                variable = getattr(node, "variable", None)
                if variable is not None:
                    own.append(variable)
                continue
            slots = []
            for slot, (child, number) in enumerate(children):
                if child is None:
                    continue
                if child in stops:
                    if number not in stops[child]:
                        return None
                    slots.append((slot, edges.setdefault((child, number), len(edges))))
                elif child not in owner:
                    owner[child] = k
                    nodes.append(child)
                elif owner[child] != k:
                    return None
                else:
                    again.add(child)
            if slots:
                entries.append((node, tuple(slots), k))
        leaves[k] = tuple(own)
    trunk = Trunk(
        edges=tuple(GradientEdge(node, number) for node, number in edges),
        entries=tuple(entries),
        roots=(),
        private_leaves=tuple(leaves),
    )
    return HeadGraph(trunk, inputs, again)
