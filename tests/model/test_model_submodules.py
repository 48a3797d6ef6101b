"""The blocks that several models share."""

import itertools
import math

import pytest
import torch
from torch import nn

from model.submodules import ConvBnRelu, DoubleConv, Stem, UpConv


@pytest.mark.parametrize('kernel_size', [1, 2, 3, 4, 7])
def test_conv_keeps_the_size_for_any_kernel_and_dilation(kernel_size):
    for dilation, stride in itertools.product((1, 2, 3), repeat=2):
        block = ConvBnRelu(2, 4, kernel_size, stride=stride, dilation=dilation)
        shape = (2, 4, math.ceil(13 / stride), math.ceil(22 / stride))
        assert block(torch.rand(2, 2, 13, 22)).shape == shape, (dilation, stride)


@pytest.mark.parametrize('bias', [False, True])
def test_conv_honours_bias(bias):
    assert (ConvBnRelu(2, 4, bias=bias).conv.bias is not None) is bias


def test_conv_normalises_and_cuts_at_zero():
    torch.manual_seed(0)
    block = ConvBnRelu(2, 4)
    activations = block(torch.randn(8, 2, 16, 16) * 100 + 50)
    assert activations.min() == 0
    # The mean of max(0, z) for a standard normal z.
    assert activations.mean().item() == pytest.approx(1 / math.sqrt(2 * math.pi), abs=0.05)


def test_double_conv_keeps_the_size():
    assert DoubleConv(3, 6)(torch.rand(2, 3, 9, 7)).shape == (2, 6, 9, 7)


@pytest.mark.parametrize('size', [(1, 1), (9, 7), (10, 8)])
def test_upconv_meets_the_skip_connection(size):
    small = torch.rand(2, 6, math.ceil(size[0] / 2), math.ceil(size[1] / 2))
    assert UpConv(6, 3)(small, torch.rand(2, 5, *size)).shape == (2, 3, *size)


def test_upconv_before_and_after_the_upsampling_are_the_same():
    torch.manual_seed(0)
    up, features = UpConv(6, 3), torch.rand(2, 6, 5, 4)
    after = up.conv(nn.functional.interpolate(features, size=(10, 8)))
    torch.testing.assert_close(up(features, torch.rand(2, 1, 10, 8)), after)


def test_stem_with_three_channels_is_the_identity_at_first():
    images = torch.randn(2, 3, 9, 7)
    assert torch.equal(Stem(3)(images), images)


def test_stem_with_one_channel_repeats_it_at_first():
    images = torch.randn(2, 1, 9, 7)
    assert torch.equal(Stem(1)(images), images.expand(2, 3, 9, 7))


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_stem_learns(channels):
    torch.manual_seed(0)
    stem, images = Stem(channels), torch.rand(2, channels, 9, 7)
    optimizer = torch.optim.SGD(stem.parameters(), lr=0.1)
    for _ in range(2):  # before the first step the gradient stops at the layer of zeros
        optimizer.zero_grad()
        stem(images).square().mean().backward()
        optimizer.step()
    assert all(p.grad.abs().sum() > 0 for p in stem.parameters())
