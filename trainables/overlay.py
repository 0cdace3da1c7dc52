"""Two images laid over each other on one canvas, as in the Multi-MNIST family."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["overlay", "resize_nearest"]

_Scalar = TypeVar("_Scalar", bound=np.generic)


def overlay(
    first: npt.NDArray[_Scalar], second: npt.NDArray[_Scalar], shift: int
) -> npt.NDArray[_Scalar]:
    """Lays image pairs over each other: the first top left, the second ``shift`` lower and righter.

    The canvas has height H + ``shift`` and width W + ``shift`` and is 0 where no image lies;
    where both lie, a pixel is their maximum.

    Args:
        first: The top left images, shape (n, H, W), values >= 0.
        second: The bottom right images, same shape and dtype.
        shift: How many pixels the second image lies below and to the right, >= 0.

    Returns:
        The canvases, shape (n, H + shift, W + shift), dtype of the images.

    Raises:
        ValueError: If the shapes or dtypes differ, are no stack of images, or ``shift`` < 0.

    Source: Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization", section 5.1;
        "Uniform Loss vs. Specialized Optimization", section 3.1.
    """
    if first.shape != second.shape or first.ndim != 3 or first.dtype != second.dtype:
        raise ValueError(
            "overlay needs two stacks of images of one shape (n, H, W) and one dtype, got "
            f"{first.shape} {first.dtype} and {second.shape} {second.dtype}"
        )
    if shift < 0:
        raise ValueError(f"overlay needs a shift >= 0, got {shift}")
    count, height, width = first.shape
    canvas = np.zeros((count, height + shift, width + shift), dtype=first.dtype)
    canvas[:, :height, :width] = first
    corner = canvas[:, shift:, shift:]
    np.maximum(corner, second, out=corner)
    return canvas


def resize_nearest(images: npt.NDArray[_Scalar], side: int) -> npt.NDArray[_Scalar]:
    """Resizes square images by taking, for each pixel, the one in which its centre lies.

    Row i of the result is row floor((i + 1/2) H / ``side``), columns alike.

    Args:
        images: A stack, shape (n, H, H).
        side: The new height and width, > 0.

    Returns:
        The stack, shape (n, side, side), same dtype.
    """
    size = images.shape[1]
    index = (2 * np.arange(side) + 1) * size // (2 * side)
    return np.ascontiguousarray(images[:, index[:, None], index])
