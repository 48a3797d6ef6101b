"""Mixing of samples: as torchvision's MixUp and CutMix, and on what it depends."""

import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from data.data_entry import select_eval_loader, select_train_loader
from data.mixing import Mixing, cut_and_paste, mix_up, random_box, select_mixing
from utils.base.errors import DanluError

K, SIZE = 5, (24, 36)
EVERY_WAY = [(0.4, None), (None, 1.0), (0.4, 1.0)]
every_way = pytest.mark.parametrize(('mixup', 'cutmix'), EVERY_WAY, ids=['mixup', 'cutmix', 'either'])


def batch(count=6):
    """Return normalised pictures, float32 (count, 3, *SIZE), and labels."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, *SIZE, generator=generator), torch.arange(count) % K


def reference(kind, labels, images, **parameters):
    """Return what v2.MixUp or v2.CutMix makes of a batch with these parameters."""
    transform = kind(num_classes=K)
    parameters = {'labels': labels, 'batch_size': len(labels), **parameters}
    return transform.transform(images, parameters), transform.transform(labels, parameters)


def fixed(share):
    """Return a Mixing's way of mixing with this share in place of a random one."""

    class Fixed(Mixing):
        def __init__(self, way):
            super().__init__(1.0, None, K, 0)
            self.mixing_methods = [(lambda images, _, random: way(images, share, random), 1.0)]

    return Fixed


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.73, 1.0])
def test_mixup_of_a_share_is_torchvisions_to_the_bit(share):
    images, labels = batch()
    before = images.clone()
    mixed, targets = fixed(share)(mix_up)(images, labels, 1, np.arange(6))
    expected = reference(v2.MixUp, labels, images, lam=share)
    assert torch.equal(mixed, expected[0])
    assert torch.equal(targets, expected[1])
    assert torch.equal(images, before)
    assert (targets.dtype, targets.shape) == (torch.float32, (6, K))
    torch.testing.assert_close(targets.sum(1), torch.ones(6))


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.73, 1.0])
def test_cutmix_of_a_box_is_torchvisions_to_the_bit(share):
    images, labels = batch()
    before, corners = images.clone(), set()
    for seed in range(20):
        top, left, bottom, right = random_box(SIZE, share, np.random.default_rng(seed))
        assert 0 <= top <= bottom <= SIZE[0]
        assert 0 <= left <= right <= SIZE[1]
        mixed, kept = cut_and_paste(images, share, np.random.default_rng(seed))
        expected = reference(v2.CutMix, labels, images, box=(left, top, right, bottom), lam_adjusted=kept)
        assert kept == 1.0 - (right - left) * (bottom - top) / (SIZE[0] * SIZE[1])
        assert kept >= share - 1e-9
        assert torch.equal(mixed, expected[0])
        corners.add((top, left))
    assert torch.equal(images, before), 'the images in memory may be the data set itself'
    assert len(corners) > 5


def drawn(mixup, cutmix, epochs=3000):
    """Return what a batch of two pictures tells of each epoch's draw: kept share, top, left, height, width of the box.

    Of mixup the box is nothing.
    """
    mixing, labels = Mixing(mixup, cutmix, 2, 7), torch.tensor([0, 1])
    images = labels.view(2, 1, 1, 1).expand(2, 1, *SIZE).float()
    return np.array([described(*mixing(images, labels, epoch, np.array([5, 9]))) for epoch in range(epochs)])


def described(images, targets):
    pasted = images[0, 0] == 1
    rows, columns = pasted.any(1).nonzero().flatten(), pasted.any(0).nonzero().flatten()
    box = (rows[0], columns[0], len(rows), len(columns)) if len(rows) else (0, 0, 0, 0)
    return [targets[0, 0].item(), *map(int, box)]


def theirs(transform, epochs=3000):
    labels = torch.tensor([0, 1])
    images = labels.view(2, 1, 1, 1).expand(2, 1, *SIZE).float()
    torch.manual_seed(3)
    return np.array([described(*transform(images, labels)) for _ in range(epochs)])


def apart(first, second):
    """Return the largest distance of two distributions, by the statistic of Kolmogorov and Smirnov."""
    points = np.concatenate([first, second])
    shares = [np.searchsorted(np.sort(values), points, 'right') / len(values) for values in (first, second)]
    return np.abs(shares[0] - shares[1]).max()


@pytest.mark.slow('draws thousands of samples each')
@pytest.mark.parametrize('alpha', [0.2, 1.0, 5.0])
def test_mixup_is_distributed_as_torchvisions(alpha):
    ours = drawn(alpha, None)[:, 0]
    assert apart(ours, theirs(v2.MixUp(alpha=alpha, num_classes=2))[:, 0]) < 0.05
    assert len(np.unique(ours)) > 2000


@pytest.mark.slow('draws thousands of samples each')
@pytest.mark.parametrize('alpha', [0.2, 1.0, 5.0])
def test_cutmix_is_distributed_as_torchvisions(alpha):
    ours, others = drawn(None, alpha), theirs(v2.CutMix(alpha=alpha, num_classes=2))
    for column in range(5):
        assert apart(ours[:, column], others[:, column]) < 0.05
    assert ours[:, 0] == pytest.approx(1 - ours[:, 3] * ours[:, 4] / (SIZE[0] * SIZE[1]), abs=1e-6)


@pytest.mark.slow('mixes hundreds of batches')
def test_either_takes_each_for_half_of_the_batches():
    images, labels = batch()
    mixing, cut = Mixing(5.0, 5.0, K, 0), 0
    for epoch in range(1000):
        mixed, _ = mixing(images, labels, epoch, np.arange(6))
        cut += ((mixed == images) | (mixed == images.roll(1, 0))).all().item()
    assert 430 < cut < 570
    alone = [drawn(0.4, None)[:, 0], drawn(None, 1.0)[:, 0]]
    assert apart(drawn(0.4, 1.0, 6000)[:, 0], np.concatenate(alone)) < 0.04


@every_way
def test_it_is_a_function_of_seed_epoch_and_first_index(mixup, cutmix):
    images, labels = batch()

    def mixed(seed=0, epoch=1, first=3):
        return Mixing(mixup, cutmix, K, seed)(images, labels, epoch, np.array([first, 1, 2, 5, 8, 13]))

    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = mixed()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    torch.rand(17)
    np.random.rand(3)
    again = mixed()
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for other in (mixed(seed=1), mixed(epoch=2), mixed(first=4)):
        assert not torch.equal(first[1], other[1])


@every_way
def test_a_single_sample_stays_as_it_is(mixup, cutmix):
    images, labels = batch(1)
    for epoch in range(20):
        mixed, targets = Mixing(mixup, cutmix, K, 0)(images, labels, epoch, np.array([2]))
        torch.testing.assert_close(mixed, images)
        torch.testing.assert_close(targets, torch.eye(K)[labels])


def test_targets_that_are_no_labels_are_refused():
    images, labels = batch()
    mixing = Mixing(1.0, None, K, 0)
    for targets in (labels.float(), labels.unsqueeze(1)):
        with pytest.raises(DanluError, match=r'--mixup and --cutmix mix labels, torch.int64 of shape \(B,\), and the '):
            mixing(images, targets, 1, np.arange(6))


def test_extreme_alphas_give_shares():
    images, labels = batch()
    for alpha in (5e-324, 1e-9, 1e9, 1e308):
        mixed, targets = Mixing(alpha, None, K, 0)(images, labels, 1, np.arange(6))
        assert mixed.isfinite().all()
        torch.testing.assert_close(targets.sum(1), torch.ones(6))


def test_the_options_choose(labelled):
    assert select_mixing(labelled('--num_classes', 3)) is None
    mixing = select_train_loader(labelled('--mixup', 0.2, '--cutmix', 1, '--seed', 4)).dataset.mixing
    assert [(way, alpha) for way, alpha in mixing.mixing_methods] == [(mix_up, 0.2), (cut_and_paste, 1.0)]
    assert (mixing.num_classes, mixing.seed) == (3, 4)
    assert pickle.loads(pickle.dumps(mixing)).mixing_methods == mixing.mixing_methods  # for spawned workers


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
@pytest.mark.parametrize('augment', ['none', 'flip'])
def test_the_key_travels_with_training_batches_alone(labelled, kind, augment):
    args = labelled('--mixup', 0.2, '--augment', augment, '--batch_size', 3, kind=kind)
    train, val = select_train_loader(args), select_eval_loader(args)
    train.batch_sampler.set_epoch(2)
    for images, labels, (epoch, indices) in train:
        assert (images.dtype, labels.dtype, epoch) == (torch.uint8, torch.int64, 2)
        assert labels.tolist() == [index % 3 for index in indices]
    assert {len(batch) for batch in val} == {2}
    assert val.dataset.mixing is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU, and none is visible')
def test_a_gpu_mixes_as_the_cpu_and_nothing_waits_for_it():
    images, labels = batch()
    on_gpu = [tensor.cuda() for tensor in (images, labels)]
    mixing, mixed = Mixing(0.4, 1.0, K, 0), []
    mixing(*on_gpu, 0, np.arange(6))  # what is done once at the start may wait
    torch.cuda.set_sync_debug_mode('error')
    try:
        mixed = [mixing(*on_gpu, epoch, np.arange(6)) for epoch in range(20)]
    finally:
        torch.cuda.set_sync_debug_mode('default')
    for epoch, (pictures, targets) in enumerate(mixed):
        expected = mixing(images, labels, epoch, np.arange(6))
        torch.testing.assert_close(pictures.cpu(), expected[0])
        torch.testing.assert_close(targets.cpu(), expected[1])
