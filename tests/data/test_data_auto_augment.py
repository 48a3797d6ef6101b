"""RandAugment and TrivialAugment: each operation against torchvision's, their frequencies, masks, and independence."""

from collections import Counter

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from data.augment import AUGMENTS, Augment, refuse_non_geometric
from data.auto_augment import (
    GEOMETRIC_OPERATIONS,
    MAGNITUDE_BINS,
    OPERATIONS,
    SIGNED_OPERATIONS,
    randaugment,
    trivialaugment,
)
from utils.base.errors import DanluError
from utils.base.seeding import uniform_draws

REFERENCES = {
    'randaugment': (randaugment, v2.RandAugment()),
    'trivialaugment': (trivialaugment, v2.TrivialAugmentWide()),
}
IGNORED = 255


def picture(channels=3, size=(20, 26), seed=0):
    """Return a smooth picture with noise, not over the whole range: uint8 (C, H, W)."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = [np.sin(rows / (4 + c) + c) + np.cos(columns / (5 + c)) for c in range(channels)]
    return torch.from_numpy((110 + 40 * np.array(waves) + random.normal(0, 8, (channels, *size))).astype(np.uint8))


def by_torchvision(reference, name, number, sign, image):
    """Return what torchvision makes of a picture by one operation, with the magnitude in bin `number`."""
    magnitudes, signed = reference._AUGMENTATION_SPACE[name]
    table = magnitudes(MAGNITUDE_BINS, *image.shape[-2:])
    magnitude = 0.0 if table is None else float(table[number]) * (sign if signed else 1)
    return reference._apply_image_or_video_transform(image, name, magnitude, 'nearest', reference._fill)


def draws_for(cases):
    """Return the draws (3, B) that choose (operation, bin, sign) of each sample."""
    columns = [((OPERATIONS.index(op) + 0.5) / 14, (number + 0.5) / MAGNITUDE_BINS, 0.25 if sign < 0 else 0.75)
               for op, number, sign in cases]  # fmt: skip
    return np.array(columns).T


@pytest.mark.parametrize('name', REFERENCES)
def test_the_operations_are_those_of_torchvision(name):
    _, reference = REFERENCES[name]
    assert set(OPERATIONS) == set(reference._AUGMENTATION_SPACE)
    assert set(SIGNED_OPERATIONS) == {op for op, (_, signed) in reference._AUGMENTATION_SPACE.items() if signed}


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('op', OPERATIONS)
@pytest.mark.parametrize('name', REFERENCES)
def test_each_operation_is_that_of_torchvision(name, op, channels):
    build, reference = REFERENCES[name]
    step = build()[0]
    numbers = range(MAGNITUDE_BINS) if step.magnitude is None else [step.magnitude]
    cases = [(op, number, sign) for number in numbers for sign in (-1, 1)]
    image = picture(channels)
    found, masks = step(image.repeat(len(cases), 1, 1, 1), None, draws_for(cases), None)
    assert found.dtype == torch.uint8 and masks is None
    for result, case in zip(found, cases, strict=True):
        expected = by_torchvision(reference, *case, image)
        apart = (result.int() - expected.int()).abs()
        assert (apart > 1).float().mean() <= 0.01, case  # pixels that lie halfway between two
        assert (apart > 0).float().mean() <= 0.03, case


@pytest.mark.parametrize('size', [(2, 9), (1, 1), (3, 3)])
def test_small_and_even_pictures_are_as_torchvision_has_them(size):
    build, reference = REFERENCES['trivialaugment']
    for image in (picture(3, size), torch.full((3, *size), 77, dtype=torch.uint8)):
        cases = [(op, 20, 1) for op in OPERATIONS if op not in GEOMETRIC_OPERATIONS]
        found, _ = build()[0](image.repeat(len(cases), 1, 1, 1), None, draws_for(cases), None)
        for result, case in zip(found, cases, strict=True):
            assert (result.int() - by_torchvision(reference, *case, image).int()).abs().max() <= 1, case


def test_operations_magnitudes_and_signs_come_as_often_as_in_torchvision():
    build, reference = REFERENCES['trivialaugment']
    image, count = picture(3, (13, 11)), 14 * MAGNITUDE_BINS * 2 * 20
    expected = Counter()
    for op in OPERATIONS:
        for number in range(MAGNITUDE_BINS):
            for sign in (-1, 1):
                expected[by_torchvision(reference, op, number, sign, image).numpy().tobytes()] += 1 / (
                    14 * MAGNITUDE_BINS * 2
                )
    draws = uniform_draws((3, 1, 0), np.arange(count), 3)
    found, _ = build()[0](image.expand(count, -1, -1, -1), None, draws, None)
    seen = Counter(result.numpy().tobytes() for result in found)
    assert sum(seen[result] for result in seen if result in expected) > 0.97 * count, 'the others are a level apart'
    for result, share in expected.items():
        if share > 0.01:  # identity, equalize and the like
            assert seen[result] / count == pytest.approx(share, abs=5 * (share / count) ** 0.5 + 0.003)
    rare = [result for result, share in expected.items() if share < 0.01 and result in seen]
    assert np.mean([seen[result] / expected[result] / count for result in rare]) == pytest.approx(1, abs=0.05)
    assert len(rare) > 0.9 * len([share for share in expected.values() if share < 0.01])


def test_two_operations_one_after_the_other_come_as_often_as_in_torchvision():
    _, reference = REFERENCES['randaugment']
    image, count = picture(3, (9, 12)), 28 * 28 * 20
    expected = Counter()
    cases = [(op, 9, sign) for op in OPERATIONS for sign in (-1, 1)]
    for first in cases:
        between = by_torchvision(reference, *first, image)
        for second in cases:
            expected[by_torchvision(reference, *second, between).numpy().tobytes()] += 1 / 28**2
    augment = Augment('randaugment', None, 3)
    found, _ = augment(image.repeat(count, 1, 1, 1), torch.zeros(count), 1, np.arange(count))
    seen = Counter(result.numpy().tobytes() for result in found)
    shared = [result for result in expected if result in seen]
    assert sum(seen[result] for result in shared) > 0.9 * count, 'the others are a level apart somewhere'
    apart = sum(abs(seen[result] / count - expected[result]) for result in expected) / 2
    assert apart < 0.12, 'as for two samples of this size of one distribution'


@pytest.mark.parametrize('name', REFERENCES)
def test_a_sample_is_changed_alone_and_by_its_key(name):
    images = torch.stack([picture(seed=seed) for seed in range(16)])
    augment, keys = Augment(name, None, 3), np.arange(16)
    whole, _ = augment(images, torch.zeros(16), 2, keys)
    for index in range(16):
        alone, _ = augment(images[index : index + 1], torch.zeros(1), 2, keys[index : index + 1])
        assert torch.equal(alone[0], whole[index])
    assert not torch.equal(augment(images, torch.zeros(16), 3, keys)[0], whole)
    assert torch.equal(images, torch.stack([picture(seed=seed) for seed in range(16)])), 'the input stays'


@pytest.mark.parametrize('name', REFERENCES)
def test_masks_move_with_their_pictures(name):
    step = REFERENCES[name][0]()[0]
    size = (20, 26)
    mask = (torch.arange(size[0] * size[1]).view(size) % 200 + 1).to(torch.uint8)
    cases = [(op, 9, sign) for op in OPERATIONS for sign in (-1, 1)]
    count = len(cases)
    images, masks = step(mask.expand(count, 1, -1, -1), mask.expand(count, -1, -1), draws_for(cases), IGNORED)
    for (op, _, _), image, moved in zip(cases, images, masks, strict=True):
        if op in GEOMETRIC_OPERATIONS:
            assert not torch.equal(moved, mask) and (moved == IGNORED).any()
            assert torch.equal(moved == IGNORED, image[0] == 0) and torch.equal(
                image[0][image[0] > 0], moved[moved != IGNORED]
            )
        else:
            assert torch.equal(moved, mask), 'colours do not change labels'


@pytest.mark.parametrize('name', REFERENCES)
def test_pictures_for_targets_are_refused(name):
    with pytest.raises(DanluError, match=f'--augment {name}: it changes colours'):
        refuse_non_geometric(name)


@pytest.mark.slow_after(1, 'a run each')
@pytest.mark.parametrize('name', REFERENCES)
def test_a_run_takes_them(name, train_here, tmp_path):
    assert name in AUGMENTS
    run = train_here('--epochs', 1, '--batch_size', 1000, '--augment', name, '--checkpoints_dir', tmp_path)
    assert 'best.pth' in run.files
