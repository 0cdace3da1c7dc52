"""The LeNet-like network of the digit problems: one encoder, a small head per task.

Source: "Uniform Loss vs. Specialized Optimization", section 3.1, which adds dropout to the
multi-task LeNet of Nakamura et al.; the layer sizes are those of its published code. At 28 x 28
pixels and kernel size 5 this is conv 1-10, pool, conv 10-20, dropout, pool, linear 320-50.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["LeNetEncoder", "classification_head", "reconstruction_head"]


class LeNetEncoder(nn.Module):
    """Two convolutions and a linear layer, from images to feature vectors.

    conv, [pool], ReLU, conv, dropout, [pool], ReLU, linear, ReLU; pooling is the maximum over
    2 x 2 pixels, dropout is of single activations.

    Args:
        image_size: Height and width of the images in pixels.
        kernel_sizes: Kernel sizes of the two convolutions (no padding).
        pooled: Which of the two convolutions are followed by pooling.
        channels: Output channels of the two convolutions.
        feature_dim: Size of the feature vectors.
        dropout: Probability of dropping an activation.

    Shapes: (n, 1, H, W) to (n, ``feature_dim``).

    Raises:
        ValueError: If nothing is left of an image after both convolutions.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        *,
        kernel_sizes: tuple[int, int] = (5, 5),
        pooled: tuple[bool, bool] = (True, True),
        channels: tuple[int, int] = (10, 20),
        feature_dim: int = 50,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        rows, columns = (_size_after(size, kernel_sizes, pooled) for size in image_size)
        if rows < 1 or columns < 1:
            raise ValueError(
                f"images of {image_size[0]} x {image_size[1]} pixels are too small for two "
                f"convolutions with kernel sizes {kernel_sizes} and pooling {pooled}"
            )
        self.conv1 = nn.Conv2d(1, channels[0], kernel_sizes[0])
        self.pool1 = _pooling(pooled[0])
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel_sizes[1])
        self.dropout = nn.Dropout(dropout)
        self.pool2 = _pooling(pooled[1])
        self.linear = nn.Linear(channels[1] * rows * columns, feature_dim)

    def forward(self, image: Tensor) -> Tensor:
        """Maps images (n, 1, H, W) to features (n, ``feature_dim``), all >= 0."""
        # With channels last the CPU vectorises pooling (a fifth of a step); `contiguous` would keep
        # the strides of a single channel. Pooling and ReLU commute: ReLU comes second, on a
        # quarter of the activations.
        image = torch.empty_like(image, memory_format=torch.channels_last).copy_(image)
        hidden = torch.relu(self.pool1(self.conv1(image)))
        hidden = torch.relu(self.pool2(self.dropout(self.conv2(hidden))))
        features: Tensor = torch.relu(self.linear(hidden.flatten(1)))
        return features


def classification_head(
    feature_dim: int, classes: int, *, hidden: int = 50, dropout: float = 0.0
) -> nn.Sequential:
    """A head that classifies: linear, ReLU, dropout, linear; logits (n, ``classes``)."""
    return _head(feature_dim, hidden, classes, dropout)


def reconstruction_head(
    feature_dim: int, pixels: int, *, hidden: int = 256, dropout: float = 0.0
) -> nn.Sequential:
    """A head that draws an image: linear, ReLU, dropout, linear; pixels (n, ``pixels``)."""
    return _head(feature_dim, hidden, pixels, dropout)


def _head(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )


def _pooling(pooled: bool) -> nn.Module:
    return nn.MaxPool2d(2) if pooled else nn.Identity()


def _size_after(size: int, kernel_sizes: Sequence[int], pooled: Sequence[bool]) -> int:
    for kernel, pool in zip(kernel_sizes, pooled, strict=True):
        size = max(size - kernel + 1, 0) // (2 if pool else 1)
    return size
