"""--save_outputs: a mask lies over its picture again, whatever --fit did to the picture."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from data.lists.pictures import read_mask
from utils.evaluation.saved_outputs import Outputs
from utils.options.fit import Fit

FULL, SIZE = (40, 120), (40, 60)  # height, width


@pytest.mark.parametrize('how', ['crop', 'stretch', 'pad'])
def test_a_mask_lies_over_its_picture(tmp_path, how):
    truth = np.kron(np.random.default_rng(0).integers(0, 3, (4, 12), dtype=np.uint8), np.ones((10, 10), np.uint8))
    Image.fromarray(truth).save(tmp_path / 'mask.png')
    seen = read_mask(tmp_path / 'mask.png', SIZE, None, Fit(how, label=0))
    args = SimpleNamespace(
        task='segmentation',
        num_classes=3,
        class_names=None,
        palette=None,
        fit=how,
        mean=[0],
        channels=3,
        ignore_index=255,
        crop_share=None,
        interpolation=None,
        decoder=None,
        cache_size=None,
    )
    outputs = Outputs(tmp_path, args, lambda index: 'a.png', lambda index: FULL)
    outputs.add(0, torch.nn.functional.one_hot(seen.long(), 3).permute(2, 0, 1)[None].float())
    written = np.asarray(Image.open(tmp_path / 'outputs/a.png'))
    assert written.shape == FULL
    if how == 'crop':
        assert np.array_equal(written[:, 30:90], truth[:, 30:90])
        assert (written[:, :30] == 255).all()
        assert (written[:, 90:] == 255).all()
    else:
        assert np.array_equal(written, truth)
