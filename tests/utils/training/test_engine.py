"""Pictures of samples on one sheet."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from utils.drawing.colours import class_colours
from utils.training.engine import Engine


class Own(Engine):
    """Draws a dot at a place in the picture that its target names."""

    def draw_samples(self, images, predictions, targets):
        self.sizes = [tuple(image.shape) for image in images]
        return [np.zeros((50, 60, 3), np.uint8) for _ in images]


def engine(task, num_classes=None, kind=Engine):
    args = SimpleNamespace(task=task, num_classes=num_classes, class_names=None, palette=None, ignore_index=255)
    args.mean, args.std = [0.5] * 3, [0.25] * 3
    return kind(args, torch.nn.Identity(), torch.nn.Identity(), torch.device('cpu'))


def test_large_images_are_reduced_before_text_is_drawn():
    images, masks = torch.rand(4, 3, 600, 800), torch.full((4, 600, 800), 21)
    predictions = torch.zeros(4, 30, 600, 800)
    segmentation = engine('segmentation', 30)
    sheet = segmentation.draw_sample_grid(images, predictions, masks, 1)
    assert 0.7 * 2**20 < sheet.shape[0] * sheet.shape[1] < 1.2 * 2**20
    colours, legend = class_colours(30), sheet[-30:]
    assert [k for k in range(30) if (legend == colours[k]).all(-1).sum() > 100] == [0, 21]
    assert (sheet[100, -100:] == colours[21]).all()
    assert segmentation.draw_samples(images[:1], predictions[:1], masks[:1])[0].shape[1] == 3 * 800 + 8


@pytest.mark.parametrize('task', ['restoration', 'classification'])
def test_sample_grids_of_other_tasks_fit(task):
    images = torch.rand(4, 3, 900, 800)
    predictions, targets = (images, images) if task == 'restoration' else (torch.eye(4), torch.arange(4))
    sheet = engine(task, 4).draw_sample_grid(images, predictions, targets, 2)
    assert 0.6 * 2**20 < sheet.shape[0] * sheet.shape[1] <= 2**20


def test_an_overriding_draw_samples_gets_full_resolution():
    own = engine('classification', 4, Own)
    assert own.draw_sample_grid(torch.rand(4, 3, 900, 800), torch.eye(4), torch.arange(4), 2).shape == (104, 124, 3)
    assert own.sizes == [(3, 900, 800)] * 4


def test_known_names_are_drawn_below_the_samples_of_any_draw_samples():
    own, samples = engine('classification', 4, Own), (torch.rand(2, 3, 9, 8), torch.eye(4)[:2], torch.arange(2))
    without = own.draw_sample_grid(*samples, 2)
    own.drawn_names = ['a.png', 'b.png']
    named = own.draw_sample_grid(*samples, 2)
    assert named.shape[0] > without.shape[0]
    assert named[60:, :112].min() < 100, 'the first name'
    assert (named[60:, :112] != named[60:, -112:]).any(), 'the second name is another'
    own.drawn_names = ['a.png']
    assert np.array_equal(own.draw_sample_grid(*samples, 2), without), 'not the names of these samples'
