"""Test-time augmentation against means by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from options import parse_test_args
from utils.base.errors import DanluError
from utils.evaluation.tta import AveragedViews, five_crop_views, multiscale_views, scaled_side, with_tta


class Corner(nn.Module):
    """Returns the first pixel of each channel: (B, C), which differs between views."""

    def forward(self, images):
        return images[..., 0, 0]


def options(tta, task='classification', **given):
    return SimpleNamespace(tta=tta, task=task, **{'num_classes': 3, 'num_targets': 3, 'channels': 3, **given})


IMAGES = torch.randn(4, 3, 8, 12, generator=torch.Generator().manual_seed(0))


def test_probabilities_of_an_image_and_its_mirror_image_are_averaged():
    outputs = AveragedViews(Corner(), options('flip'))(IMAGES)
    expected = (IMAGES[..., 0, 0].softmax(1) + IMAGES[..., 0, -1].softmax(1)) / 2
    torch.testing.assert_close(outputs.softmax(1), expected)


@pytest.mark.parametrize('shape', [(4, 1), (4,)])
def test_one_logit_is_averaged_as_a_probability(shape):
    class OneLogit(nn.Module):
        def forward(self, images):
            return images[:, 0, 0, 0].reshape(shape)

    outputs = AveragedViews(OneLogit(), options('flip', num_classes=2))(IMAGES)
    assert outputs.shape == shape
    expected = (IMAGES[:, 0, 0, 0].sigmoid() + IMAGES[:, 0, 0, -1].sigmoid()) / 2
    torch.testing.assert_close(outputs.sigmoid(), expected.reshape(shape))


def test_sets_of_labels_and_numbers():
    corners = IMAGES[..., 0, 0], IMAGES[..., 0, -1]
    outputs = AveragedViews(Corner(), options('flip', 'multilabel'))(IMAGES)
    torch.testing.assert_close(outputs.sigmoid(), sum(part.sigmoid() for part in corners) / 2)
    outputs = AveragedViews(Corner(), options('flip', 'regression'))(IMAGES)
    torch.testing.assert_close(outputs, sum(corners) / 2)


def test_masks_and_restored_images_are_flipped_back():
    net = nn.Conv2d(3, 3, 3, padding=1)
    with torch.no_grad():
        both = net(IMAGES), net(IMAGES.flip(-1)).flip(-1)
        masks = AveragedViews(net, options('flip', 'segmentation'))(IMAGES)
        restored = AveragedViews(net, options('flip', 'restoration'))(IMAGES)
    torch.testing.assert_close(masks.softmax(1), sum(part.softmax(1) for part in both) / 2)
    torch.testing.assert_close(restored, sum(both) / 2)


def test_confident_logits_do_not_overflow():
    outputs = AveragedViews(Corner(), options('flip', 'multilabel'))(IMAGES * 1000)
    assert outputs.isfinite().all()


def test_five_crops_are_the_corners_and_the_centre():
    images = torch.arange(16.0 * 16).view(1, 1, 16, 16)
    crops = [view for view, _ in five_crop_views(images)]
    assert len(crops) == 5 and {crop.shape for crop in crops} == {(1, 1, 16, 16)}
    assert [crop[0, 0, 0, 0].item() for crop in crops[:4]] == [0, 2, 32, 34]
    assert [crop[0, 0, -1, -1].item() for crop in crops[:4]] == [221, 223, 253, 255]
    torch.testing.assert_close(crops[4].mean(), images.mean())


def test_scales_keep_the_divisibility_of_the_sides_and_are_undone():
    assert [scaled_side(224, scale) for scale in (0.75, 1, 1.25)] == [160, 224, 288]
    assert [scaled_side(28, scale) for scale in (0.75, 1, 1.25)] == [20, 28, 36]
    assert [scaled_side(32, scale) for scale in (0.75, 1, 1.25)] == [24, 32, 40]
    assert [scaled_side(64, scale) for scale in (0.75, 1, 1.25)] == [48, 64, 80]
    assert [scaled_side(1, scale) for scale in (0.75, 1, 1.25)] == [1, 1, 1]
    views = multiscale_views(IMAGES)
    assert [tuple(view.shape[-2:]) for view, _ in views] == [(6, 8), (8, 12), (10, 16)]
    assert all(undo(view).shape == IMAGES.shape for view, undo in views)
    flat = torch.full((1, 3, 32, 32), 2.5)
    outputs = AveragedViews(nn.Identity(), options('multiscale', 'segmentation'))(flat)
    torch.testing.assert_close(outputs.softmax(1), torch.full_like(flat, 1 / 3))


def test_a_network_of_one_size_is_refused_with_the_way_out():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 12, 3))
    with pytest.raises(DanluError, match=r'no images of 8x6 besides those of 12x8 \(.*\): give --tta flip'):
        AveragedViews(net, options('multiscale'))(IMAGES)
    with pytest.raises(RuntimeError):  # a fault of the network itself
        AveragedViews(nn.Linear(5, 3), options('flip'))(IMAGES)
    with pytest.raises(DanluError, match='are not images'):
        AveragedViews(net, options('flip'))(torch.randn(2, 5))


def test_without_the_option_the_network_is_the_same():
    net = Corner()
    assert with_tta(net, options(None)) is net


@pytest.mark.parametrize('record, words, why', [
    ({'task': 'segmentation'}, '--tta five_crop', 'five_crop does not suit --task segmentation; choose from flip,'),
    ({'task': 'restoration', 'num_classes': None}, '--tta multiscale', 'multiscale does not suit --task restoration'),
    ({'data_type': 'array', 'image_size': []}, '--tta flip', 'the samples are feature vectors'),
    ({}, '--tta ten_crop', "invalid choice: 'ten_crop'"),
])  # fmt: skip
def test_what_is_refused(tmp_path, capsys, record, words, why):
    (tmp_path / 'model.pth').write_text('')
    (tmp_path / 'a.png').write_text('')
    trained = {'data_type': 'list', 'image_size': [8, 8], 'num_classes': 2, **record}
    with pytest.raises(SystemExit):
        argv = ['--load_model_path', tmp_path / 'model.pth', '--predict', tmp_path / 'a.png', *words.split()]
        parse_test_args(argv, trained)
    assert f'argument --tta: {why}' in capsys.readouterr().err
