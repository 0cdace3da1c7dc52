from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.architectures.lenet import (
    LeNetEncoder,
    classification_head,
    reconstruction_head,
)


def test_paper_size():
    encoder = LeNetEncoder((28, 28))
    assert encoder.linear.in_features == 320
    assert encoder(torch.rand(3, 1, 28, 28)).shape == (3, 50)
    assert [p.shape for p in classification_head(50, 10).parameters()][-2] == (10, 50)
    assert [p.shape for p in reconstruction_head(50, 784).parameters()][::2] == [
        (256, 50),
        (784, 256),
    ]


def test_equals_the_plain_network():
    encoder = LeNetEncoder((12, 14), kernel_sizes=(3, 3), pooled=(True, False))
    plain = nn.Sequential(
        encoder.conv1,
        nn.ReLU(),
        nn.MaxPool2d(2),
        encoder.conv2,
        nn.ReLU(),
        nn.Flatten(),
        encoder.linear,
        nn.ReLU(),
    )
    image = torch.rand(5, 1, 12, 14)
    result = encoder(image)
    assert result.shape == (5, 50)
    torch.testing.assert_close(result, plain(image))
    result.sum().backward()
    gradients = [p.grad.clone() for p in encoder.parameters()]
    encoder.zero_grad()
    plain(image).sum().backward()
    for gradient, parameter in zip(gradients, encoder.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_too_small():
    with pytest.raises(ValueError, match="8 x 8 pixels are too small"):
        LeNetEncoder((8, 8))
