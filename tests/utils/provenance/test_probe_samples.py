"""Inputs of the validation as a probe."""

import pytest
import torch

from utils.provenance.probe_samples import MAX_SAMPLE_BYTES, restore_samples, select_samples


@pytest.mark.parametrize('shape', [(64, 1, 28, 28), (3, 3, 17, 23), (1, 4), (9, 30)])
def test_samples_come_back_within_half_a_level(shape):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 5
    stored = select_samples(inputs)
    assert stored['pixels'].dtype == torch.uint8
    samples = restore_samples(stored)
    count = min(4, shape[0])
    assert samples.shape == (count, *shape[1:])
    chosen = inputs[[index * (shape[0] - 1) // max(count - 1, 1) for index in range(count)]]
    largest = (stored['high'] - stored['low']).max() / 255
    assert (samples - chosen).abs().max() <= 0.51 * largest
    assert torch.isclose(samples.max(), chosen.max(), rtol=1e-5), 'large values excite what small ones do not'


def test_large_images_are_stored_with_fewer_rows_and_columns():
    ramp = torch.linspace(0, 1, 224).expand(8, 3, 224, 224)
    stored = select_samples(ramp)
    assert stored['pixels'].numel() <= MAX_SAMPLE_BYTES
    samples = restore_samples(stored)
    assert samples.shape == (4, 3, 224, 224)
    assert (samples - ramp[:4]).abs().max() < 0.03


@pytest.mark.parametrize(
    'inputs', [torch.zeros(2, 3, dtype=torch.int64), torch.full((2, 3), torch.nan), torch.zeros(2, 10**6), 'text', []]
)
def test_other_inputs_give_no_samples(inputs):
    assert select_samples(inputs) is None


def test_constant_inputs_stay_what_they_are():
    stored = select_samples(torch.full((2, 3, 4, 4), 0.3))
    assert torch.equal(restore_samples(stored), torch.full((2, 3, 4, 4), 0.3))
