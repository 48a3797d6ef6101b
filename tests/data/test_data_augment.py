"""Augmentations: what they change, what they keep, and on what that depends."""

import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from data.augment import Affine, Augment, Erase, Flip, Jitter, RandomResizedCrop, Shift
from data.data_entry import select_eval_loader, select_train_loader
from data.lists.pictures import read_mask, read_picture
from utils.base.errors import DanluError
from utils.base.seeding import uniform_draws

CHANGING = ('flip', 'crop', 'affine', 'standard', 'strong', 'randaugment', 'trivialaugment')
SIZE = (40, 48)
IGNORED = 200
OUTSIDE = ('affine', 'crop', 'strong', 'randaugment', 'trivialaugment')  # what lies outside the picture comes in


def sample(index, size=SIZE):
    """Return a picture and its mask; the colour of every pixel tells its class: 0 is red, 1 green, 2 blue."""
    coarse = np.random.default_rng(index).integers(0, 3, (size[0] // 10, size[1] // 8), dtype=np.uint8)
    mask = torch.from_numpy(np.kron(coarse, np.ones((10, 8), dtype=np.uint8)))
    return (torch.eye(3, dtype=torch.uint8)[mask.int()] * 200).permute(2, 0, 1).contiguous(), mask


def batch_of(samples):
    return tuple(map(torch.stack, zip(*samples, strict=True)))


def changed(name, count=40, epoch=1, seed=0):
    """Return samples 0 .. count-1 after the augmentation, a list of (picture, mask)."""
    batch = batch_of(sample(index) for index in range(count))
    return list(zip(*Augment(name, IGNORED, seed)(*batch, epoch, np.arange(count)), strict=True))


@pytest.mark.parametrize('name', CHANGING)
def test_masks_move_with_their_pictures(name):
    decided, total = 0, 0
    for image, target in changed(name):
        mask, strongest = target.int(), image.int().topk(2, dim=0)
        lead = strongest.values[0] - strongest.values[1]
        # Where two colours were mixed, or none is left, the pixel tells nothing.
        tells = lead >= max(20, 0.6 * lead.max())
        known = tells & (mask != IGNORED)
        assert torch.equal(strongest.indices[0][known], mask[known])
        assert not (tells & (mask == IGNORED)).any()
        decided, total = decided + known.sum(), total + mask.numel()
    assert decided > 0.5 * total


@pytest.mark.parametrize('name', CHANGING)
def test_masks_hold_no_label_that_was_not_there(name):
    labels = torch.cat([mask.flatten() for _, mask in changed(name)]).unique().tolist()
    assert labels == ([0, 1, 2, IGNORED] if name in OUTSIDE else [0, 1, 2])


def test_what_lies_outside_is_black_and_ignored():
    seen = 0
    for image, mask in changed('crop'):
        outside = mask == IGNORED
        assert torch.equal(outside, image.sum(0) == 0)
        seen += outside.any()
    assert seen > 20


def test_large_pictures_are_mirrored_like_small_ones(monkeypatch):
    small = changed('flip', 50)
    monkeypatch.setattr('data.augment.LARGE_IMAGE_PIXELS', 0)
    for one, other in zip(small, changed('flip', 50), strict=True):
        assert all(map(torch.equal, one, other))


@pytest.mark.parametrize('name', CHANGING)
@pytest.mark.parametrize('channels', [1, 3])
def test_pictures_keep_their_type_and_size(name, channels):
    before = torch.randint(0, 256, (20, channels, *SIZE), dtype=torch.uint8)
    kept, labels = before.clone(), torch.arange(20)
    images, targets = Augment(name, None, 0)(before, labels, 1, np.arange(20))
    assert (images.dtype, images.shape) == (torch.uint8, before.shape)
    assert targets is labels
    assert torch.equal(before, kept)  # in memory it is the data set itself
    for image, mask in changed(name, 5):
        assert (mask.dtype, mask.shape, image.shape) == (torch.uint8, SIZE, (3, *SIZE))


@pytest.mark.parametrize('name', CHANGING)
def test_the_change_is_a_function_of_seed_epoch_and_index(name):
    def agreeing(first, second):
        return sum(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, second, strict=True))

    first = changed(name)
    torch.rand(17)
    assert agreeing(first, changed(name)) == 40
    for other in (changed(name, epoch=2), changed(name, seed=1)):
        assert agreeing(first, other) < (32 if name == 'flip' else 8)  # a coin falls on the same side half of the time
    augment = Augment(name, IGNORED, 0)
    same_picture = list(zip(*augment(*batch_of([sample(0)] * 40), 1, np.arange(40)), strict=True))
    assert agreeing(same_picture, same_picture[1:] + same_picture[:1]) < 32
    alone = [augment(*batch_of([sample(index)]), 1, np.array([index])) for index in range(40)]
    assert agreeing([(image[0], mask[0]) for image, mask in alone], first) == 40


def test_flip_mirrors_one_in_two():
    originals = [sample(index) for index in range(200)]
    mirrored = 0
    for (image, mask), (image_before, mask_before) in zip(changed('flip', 200), originals, strict=True):
        turned = torch.equal(image, image_before.flip(-1)) and torch.equal(mask, mask_before.flip(-1))
        assert turned or (torch.equal(image, image_before) and torch.equal(mask, mask_before))
        mirrored += turned
    assert 70 < mirrored < 130


def test_an_ignore_index_that_masks_cannot_hold():
    with pytest.raises(DanluError, match=r'--ignore_index 256: masks have 8 bits, so it takes 0..255'):
        Augment('crop', 256, 0)


@pytest.mark.parametrize('name', CHANGING)
def test_augmentations_can_be_sent_to_spawned_workers(name):
    augment = pickle.loads(pickle.dumps(Augment(name, IGNORED, 0)))
    images, masks = augment(*batch_of(sample(index) for index in range(3)), 1, np.arange(3))
    for index, (image, mask) in enumerate(changed(name, 3)):
        assert torch.equal(image, images[index])
        assert torch.equal(mask, masks[index])


def test_float_pictures_are_refused():
    with pytest.raises(DanluError, match=r'--augment takes uint8 images, 0..255, and the data set gives torch.float32'):
        Augment('flip', None, 0)(torch.rand(2, 3, 8, 8), torch.zeros(2), 1, np.arange(2))


def test_an_unknown_augmentation():
    with pytest.raises(DanluError, match="unknown augmentation 'flop'; did you mean flip"):
        Augment('flop', IGNORED, 0)


def batches_of(loader, epoch=1):
    """Return the batches as the network gets them: augmented where the loader asks for it."""
    loader.batch_sampler.set_epoch(epoch)
    augment = loader.dataset.augment
    return [augment(*batch[:2], *batch[2]) if len(batch) == 3 else tuple(batch) for batch in loader]


def equal(first, second):
    return all(torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
@pytest.mark.parametrize('name', CHANGING)
def test_loaders_augment_training_and_never_validation(masked, files, kind, name):
    args = masked('--augment', name, '--image_size', 20, 24, '--batch_size', 4, kind=kind, size=(36, 30))
    train, val = select_train_loader(args), select_eval_loader(args)
    first, second = batches_of(train, 1), batches_of(train, 2)
    for images, masks in (*first, *second):
        assert (images.dtype, images.shape[1:]) == (torch.uint8, (3, 20, 24))
        assert (masks.dtype, masks.shape[1:]) == (torch.uint8, (20, 24))
    assert not equal(first, second)
    assert equal(first, batches_of(train, 1))
    for epoch in (1, 2):
        images, masks = map(torch.cat, zip(*batches_of(val, epoch), strict=True))
        for index in range(6):
            assert torch.equal(images[index], read_picture(files / f'{index}.png', 3, (20, 24)))
            assert torch.equal(masks[index], read_mask(files / f'{index}_mask.png', (20, 24)))


def test_without_augmentation_training_pictures_are_the_files(masked, files):
    args = masked('--batch_size', 4)
    loader = select_train_loader(args)
    images, masks = map(torch.cat, zip(*batches_of(loader, 3), strict=True))
    for position, index in enumerate(loader.batch_sampler.order().tolist()):
        assert torch.equal(images[position], read_picture(files / f'{index}.png', 3))
        assert torch.equal(masks[position], read_mask(files / f'{index}_mask.png'))


def test_standard_and_strong_cut_out_of_the_whole_picture(save, list_args):
    fine = np.tile(np.array([[0, 255]], np.uint8), (60, 60))  # at half the size it would be grey
    save('a.png', np.stack([fine] * 3, -1))
    args = list_args('a.png 0\na.png 1', '--image_size', 30, 60, '--augment', 'standard')
    contrasts = [
        images.float().std() for epoch in range(1, 11) for images, _ in batches_of(select_train_loader(args), epoch)
    ]
    assert max(contrasts) > 60


@pytest.mark.parametrize('name', ['standard', 'strong'])
def test_the_number_of_workers_changes_nothing(masked, name):
    runs = []
    for workers in (0, 1, 2):
        loader = select_train_loader(masked('--augment', name, '--batch_size', 2, '--num_workers', workers))
        runs.append([batch for epoch in (1, 2) for batch in batches_of(loader, epoch)])
    assert len(runs[0]) == 6
    assert equal(runs[0], runs[1])
    assert equal(runs[0], runs[2])


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('name', ['none', 'strong'])
def test_the_models_generator_does_not_notice(masked, name, workers):
    args = masked('--augment', name, '--num_workers', workers)
    train, val = select_train_loader(args), select_eval_loader(args)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for loader in (train, val, train):
        assert len(list(loader)) == 1
        assert torch.equal(torch.get_rng_state(), before)


LIKE_TORCHVISION = {
    'flip': (Flip(), v2.RandomHorizontalFlip()),
    'shift': (Shift(1 / 8), v2.RandomCrop((24, 32), padding=[4, 3])),
    'part': (RandomResizedCrop(0.25, 1.0), v2.RandomResizedCrop((24, 32), scale=(0.25, 1.0))),
    'small part': (RandomResizedCrop(0.05, 0.1), v2.RandomResizedCrop((24, 32), scale=(0.05, 0.1))),
    'impossible part': (RandomResizedCrop(1.0, 1.0), v2.RandomResizedCrop((24, 32), scale=(1.0, 1.0))),
    'rotation': (Affine(30), v2.RandomAffine(30)),
    'translation': (Affine(0, (0.1, 0.2)), v2.RandomAffine(0, (0.1, 0.2))),
    'scaling': (Affine(0, scale=(0.9, 1.3)), v2.RandomAffine(0, scale=(0.9, 1.3))),
    'shear': (Affine(0, shear=(20, 10)), v2.RandomAffine(0, shear=(-20, 20, -10, 10))),
    'affine': (Affine(10, (0.1, 0.1), (0.9, 1.1), (5, 5)), v2.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), (-5, 5, -5, 5))),
    'brightness': (Jitter(0.4, 0, 0), v2.ColorJitter(brightness=0.4)),
    'contrast': (Jitter(0, 0.4, 0), v2.ColorJitter(contrast=0.4)),
    'saturation': (Jitter(0, 0, 0.4), v2.ColorJitter(saturation=0.4)),
    'jitter': (Jitter(0.6, 0.6, 0.6), v2.ColorJitter(0.6, 0.6, 0.6)),
    'erasing': (Erase(0.5), v2.RandomErasing(0.5)),
}


@pytest.mark.slow_after(2, 'draws thousands of samples each')
@pytest.mark.parametrize('name', LIKE_TORCHVISION)
def test_steps_are_distributed_as_torchvisions(name):
    """Compare mean and deviation of each pixel, and the spread of whole pictures, with torchvision's, per sample."""
    step, reference = LIKE_TORCHVISION[name]
    generator = torch.Generator().manual_seed(1)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 5, generator=generator), size=(24, 32), mode='bicubic')
    picture, count = smooth[0].clamp(0.05, 0.95), 1500
    torch.manual_seed(2)
    theirs = 255 * torch.stack([reference(picture) for _ in range(count)])
    pixels = (255 * picture).round().to(torch.uint8).expand(count, -1, -1, -1)
    ours = step(pixels, None, uniform_draws((3, 4), np.arange(count), step.draws), None)[0].float()
    # Towards the edges torchvision's rotation mixes in the black from outside, and its parts repeat their last row.
    inner = slice(8, -8) if name == 'rotation' else slice(2, -2)
    theirs, ours = theirs[..., inner, inner], ours[..., inner, inner]
    error = (theirs.var(0) / count + ours.var(0) / count).sqrt() + 0.2
    assert ((ours.mean(0) - theirs.mean(0)).abs() / error).max() < 5.5
    assert (ours.std(0) - theirs.std(0)).abs().max() < 0.15 * theirs.std(0).max() + 1.5
    brightness = [pictures.mean((1, 2, 3)).sort().values for pictures in (ours, theirs)]
    assert (brightness[0] - brightness[1])[50:-50].abs().max() < 0.15 * brightness[1].std() + 2


AFFINE = {
    'nothing': Affine(0),
    'rotation': Affine(180),
    'translation': Affine(0, (0.3, 0.1)),
    'scaling': Affine(0, scale=(0.5, 2)),
    'shear': Affine(0, shear=(40, 25)),
    'all': Affine(30, (0.2, 0.3), (0.6, 1.5), (20, 30)),
}


@pytest.mark.parametrize('size', [(24, 32), (31, 17), (28, 28)])
@pytest.mark.parametrize('name', AFFINE)
def test_affine_is_torchvisions_pixel_by_pixel(name, size):
    step, count = AFFINE[name], 40
    images = torch.randint(1, 256, (count, 3, *size), dtype=torch.uint8)
    masks = images[:, 0].clamp(max=190)
    draws = uniform_draws((1, 2), np.arange(count), step.draws)
    ours, ours_masks = step(images, masks, draws, IGNORED)
    differing = 0
    for index, (angle, shifts, factor, slants) in enumerate(parameters(step, size, draws)):
        options = {'angle': angle, 'translate': shifts, 'scale': factor, 'shear': slants}
        theirs = v2.functional.affine(images[index], **options)
        theirs_mask = v2.functional.affine(masks[index : index + 1], **options, fill=[IGNORED])[0]
        # A pixel from exactly between two may be taken from either.
        differing += (ours[index] != theirs).any(0).sum() + (ours_masks[index] != theirs_mask).sum()
        assert torch.equal(ours_masks[index] == IGNORED, ours[index].sum(0) == 0)
    assert differing <= 0.001 * 2 * masks.numel()
    if name in ('nothing', 'translation'):
        assert differing == 0


def parameters(step, size, draws):
    """Return what torchvision's `affine` wants to know, for each sample."""
    angles, shifts, factors, slants = step.choose(size, draws)
    return zip(angles.tolist(), shifts.T.astype(int).tolist(), factors.tolist(), slants.T.tolist(), strict=True)


def test_affine_draws_are_even_and_within_their_limits():
    step, size = Affine(10, (0.1, 0.2), (0.9, 1.1), (5, 7)), (50, 80)
    angles, shifts, factors, slants = step.choose(size, uniform_draws((0, 1), np.arange(20_000), step.draws))
    for values, limits in ((angles, (-10, 10)), (factors, (0.9, 1.1)), (slants[0], (-5, 5)), (slants[1], (-7, 7))):
        shares = np.histogram(values, 10, limits)[0] / 20_000
        assert shares.sum() == 1
        assert np.abs(shares - 0.1).max() < 0.01
    for values, most in zip(shifts, (8, 10), strict=True):
        assert set(values) == set(range(-most, most + 1))
        within = np.abs(values) < most  # the outermost come from half a pixel, as torchvision's
        counts = np.unique(values[within], return_counts=True)[1]
        assert np.abs(counts / counts.mean() - 1).max() < 0.15
    related = np.corrcoef([angles, *shifts, factors, *slants])
    assert np.abs(related - np.eye(6)).max() < 0.03


def test_draws_are_even_and_unrelated():
    draws = uniform_draws((0, 1), np.arange(100_000), 8)
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.stack([np.histogram(row, 10, (0, 1))[0] for row in draws])
    assert np.abs(counts / 10_000 - 1).max() < 0.06
    others = [uniform_draws(key, np.arange(100_000), 1)[0] for key in ((0, 2), (1, 1))]
    related = np.corrcoef([*draws, *others, draws[0, np.r_[1:100_000, 0]]])
    assert np.abs(related - np.eye(len(related))).max() < 0.02
