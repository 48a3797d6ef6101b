"""The resizing within exported files: that of the loaders, but for rounding."""

import numpy as np
import pytest
import torch

from data.lists.pictures import picture_from
from scripts.exporting.deployed import Resize
from utils.options.fit import Fit

SIZES = [(100, 133), (37, 20), (64, 64), (151, 77), (5, 9)]


@pytest.mark.parametrize(('how', 'share'), [('crop', 1.0), ('crop', 0.875), ('stretch', 1.0), ('pad', 1.0)])
@pytest.mark.parametrize(('interpolation', 'levels'), [('bilinear', 1), ('bicubic', 2), ('lanczos', 3)])
def test_photos_are_resized_as_the_loaders_do(how, share, interpolation, levels):
    fit, random = Fit(how, (124, 116, 104), 255, interpolation, share), np.random.default_rng(0)
    for height, width in SIZES:
        rows, columns = np.mgrid[:height, :width]
        waves = [np.sin(rows / height * a + columns / width * b) for a, b in ((5, 3), (2, 7), (9, 1))]
        pixels = (np.stack(waves, 2) * 90 + 128 + random.integers(-9, 10, (height, width, 3))).astype(np.uint8)
        expected = picture_from(pixels, 3, (32, 48), fit).float()
        found = Resize(fit, (32, 48))(torch.from_numpy(pixels)[None])[0]
        assert (found - expected).abs().max() <= levels
        assert (found - expected).abs().mean() < 0.3


def test_an_image_of_the_right_size_stays_as_it_is():
    pixels = torch.randint(0, 256, (2, 20, 30, 1), dtype=torch.uint8)
    found = Resize(Fit('crop', (0,), 255, 'bilinear', 1.0), (20, 30))(pixels)
    assert torch.equal(found, pixels.movedim(-1, 1).float())


def test_enlarging_by_nearest_repeats_pixels():
    pixels = torch.arange(6, dtype=torch.uint8).view(1, 2, 3, 1)
    found = Resize(Fit('stretch', (0,), 255, 'nearest', 1.0), (4, 6))(pixels)
    assert torch.equal(found[0, 0], pixels[0, ..., 0].repeat_interleave(2, 0).repeat_interleave(2, 1).float())
