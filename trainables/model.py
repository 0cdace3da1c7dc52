"""A multi-task model: one shared part, one head per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

__all__ = ["MTLModel"]


class MTLModel(nn.Module):
    """Hard parameter sharing: features z = shared(x), prediction of task k = head_k(z).

    Which parameters are shared is a fact of construction, never guessed from names.

    Args:
        shared: Maps the input of a batch to the features.
        heads: One module per task, from the features to the prediction of the task.
        feature_dim: Size of the last axis of the features.
        input_key: The entry of a batch that the shared part reads, or several that are its
            arguments.
    """

    def __init__(
        self,
        shared: nn.Module,
        heads: Mapping[str, nn.Module],
        *,
        feature_dim: int,
        input_key: str | Sequence[str] = "image",
    ) -> None:
        super().__init__()
        self.shared = shared
        self.heads = nn.ModuleDict(heads)
        self.feature_dim = feature_dim
        self.input_keys = (input_key,) if isinstance(input_key, str) else tuple(input_key)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Predicts every task of a batch.

        Args:
            batch: Tensors by name; those of ``input_key`` are the input.

        Returns:
            The shared features, and the prediction of each task by its name.
        """
        features = self.shared(*(batch[key] for key in self.input_keys))
        return features, {task: head(features) for task, head in self.heads.items()}

    def shared_parameters(self) -> list[nn.Parameter]:
        """The parameters that every task uses, in order of registration."""
        return list(self.shared.parameters())

    def head_parameters(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each task's own head."""
        return {task: list(head.parameters()) for task, head in self.heads.items()}
