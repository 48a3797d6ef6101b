"""The way of samples to the network: types, normalisation, memory formats."""

from types import SimpleNamespace

import pytest
import torch

from utils.training.batch_transform import BatchTransform

CPU = torch.device('cpu')


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('memory_format', [torch.preserve_format, torch.channels_last])
@pytest.mark.parametrize('known', [True, False])
def test_pictures_are_normalised_in_either_memory_format(channels, memory_format, known):
    mean, std = ([0.1, 0.5, 0.9][:channels], [0.2, 0.3, 0.4][:channels]) if known else (None, None)
    prepare = BatchTransform(SimpleNamespace(task='classification', mean=mean, std=std), CPU)
    prepare.memory_format = memory_format
    pixels = torch.randint(0, 256, (4, channels, 5, 7), dtype=torch.uint8)
    before = pixels.clone()
    images, targets = prepare(pixels, torch.arange(4))
    assert images.dtype == torch.float32
    shift, scale = (torch.tensor(v or [d]).view(1, -1, 1, 1) for v, d in ((mean, 0.0), (std, 1.0)))
    assert torch.allclose(images, (before / 255 - shift) / scale, atol=1e-6)
    assert torch.equal(pixels, before)
    wanted = torch.contiguous_format if memory_format is torch.preserve_format else memory_format
    assert images.is_contiguous(memory_format=wanted)
    assert torch.equal(targets, torch.arange(4))


@pytest.mark.parametrize('memory_format', [torch.preserve_format, torch.channels_last])
def test_target_images_are_scaled_to_0_to_1(memory_format):
    prepare = BatchTransform(SimpleNamespace(task='classification', mean=[0.0], std=[1.0]), CPU)
    prepare.memory_format = memory_format
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    before = pixels.clone()
    images, targets = prepare(pixels, pixels)
    assert targets.dtype == torch.float32
    assert torch.equal(targets, before / 255)
    assert torch.allclose(images, targets)
    assert torch.equal(pixels, before)


def test_vectors_of_features_and_numbers_stay_as_they_are():
    prepare = BatchTransform(SimpleNamespace(task='classification', mean=[5.0] * 7, std=[2.0] * 7), CPU)
    features, numbers = torch.rand(4, 7), torch.rand(4, 2)
    assert all(a is b for a, b in zip(prepare(features, numbers), (features, numbers), strict=True))


def test_float_images_are_unchanged_and_masks_become_int64():
    prepare = BatchTransform(SimpleNamespace(task='classification', mean=[0.5], std=[0.5]), CPU)
    ready, masks = torch.rand(2, 3, 4, 4), torch.randint(0, 256, (2, 4, 4), dtype=torch.uint8)
    images, targets = prepare(ready, masks)
    assert images is ready
    assert targets.dtype == torch.int64
    assert torch.equal(targets, masks.long())
