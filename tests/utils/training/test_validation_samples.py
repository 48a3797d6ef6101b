"""Samples of a validation for TensorBoard: evenly spread over its batches, with the names of the right samples."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from utils.training.validation_samples import ValidationSamples


def collected(batches, length):
    """Return the ValidationSamples of batches (list of images (B, 1, H, W)) whose pixels are the sample's index."""
    drawn = ValidationSamples([None] * length if length is not None else iter(()))
    for images in batches:
        drawn.add(images, images.flatten(1), images[:, 0, 0, 0].long())
    return drawn


def batches_of(count, size):
    """Return `count` images in batches of `size` (list of float32 (B, 1, 2, 2))."""
    return list(torch.arange(count).float()[:, None, None, None].expand(count, 1, 2, 2).split(size))


@pytest.mark.parametrize(
    ('count', 'size', 'expected'),
    [
        (1000, 1000, [62, 187, 312, 437, 562, 687, 812, 937]),
        (1000, 500, [62, 187, 312, 437, 562, 687, 812, 937]),
        (64, 8, [4, 12, 20, 28, 36, 44, 52, 60]),
        (16, 1, [1, 3, 5, 7, 9, 11, 13, 15]),
        (24, 10, [1, 5, 9, 13, 16, 20, 21, 23]),
        (3, 8, [0, 1, 2]),
    ],
)
def test_samples_are_spread_over_the_set_and_each_is_drawn_once(count, size, expected):
    batches = batches_of(count, size)
    drawn = collected(batches, len(batches))
    images, predictions, targets = drawn.samples()
    assert sorted(set(targets.tolist())) == targets.tolist()
    assert torch.equal(images[:, 0, 0, 0].long(), targets) and torch.equal(predictions[:, 0].long(), targets)
    assert [number * size + position for number, position in drawn.places] == targets.tolist()
    assert targets.tolist() == expected


def test_the_first_samples_are_drawn_where_the_length_is_unknown():
    drawn = collected(batches_of(40, 20), None)
    assert drawn.samples()[2].tolist() == list(range(8))
    assert drawn.places == [(0, position) for position in range(8)]


def test_images_of_other_sizes_than_the_first_are_left_out():
    batches = [torch.full((1, 1, side, 2), index) for index, side in enumerate([2, 3, 2, 3])]
    drawn = collected(batches, 4)
    assert drawn.samples()[2].tolist() == [0, 2] and drawn.places == [(0, 0), (2, 0)]


def test_features_and_predictions_without_samples_are_taken_from_the_first_batch():
    drawn = ValidationSamples([None] * 4)
    for index in range(4):
        drawn.add(torch.full((5, 3), index), torch.zeros(5), torch.full((5,), index))
    assert drawn.samples()[2].tolist() == [0] * 5
    drawn = ValidationSamples([None] * 4)
    for index in range(4):
        drawn.add(torch.full((9, 1, 2, 2), index), ['a'] * 9, torch.full((9,), index))
    images, predictions, targets = drawn.samples()
    assert (len(images), predictions, targets.tolist()) == (8, ['a'] * 8, [0] * 8)


def test_a_copy_is_kept_and_not_the_batch():
    images = torch.zeros(100, 1, 2, 2)
    drawn = collected([images], 1)
    images += 1
    assert drawn.samples()[0].sum() == 0


class Counted(IterableDataset):
    """Knows its length once it has been read."""

    def __iter__(self):
        return iter(torch.arange(8))

    def __len__(self):
        return 8


def test_of_a_stream_the_first_samples_are_drawn_whether_its_length_is_known_or_not():
    drawn = ValidationSamples(DataLoader(Counted(), 2))
    assert drawn.batches is None
