"""A sample that is drawn several times in an epoch is random in another way each time; the first time as ever."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from data.data_entry import Batches, select_train_loader
from data.loader import Loader
from data.samplers import EpochBatches, RepeatedIndices, random_keys, repetitions
from data.tensor_dataset import InMemory
from utils.base.seeding import mixed

SAMPLES, RARE = 30, (27, 28, 29)
WEIGHTS = np.where(np.isin(np.arange(SAMPLES), RARE), 10.0, 1.0)  # each of the rare ones is drawn about ten times


class Drawing(Dataset):
    """Each picture is random, by torch's global generator; its first pixel tells which sample it is."""

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        picture = torch.randint(0, 256, (1, 4, 4)).to(torch.uint8)
        picture[0, 0, 0] = index
        return picture, index


def batches_of(dataset, weights=WEIGHTS, augment=None, workers=0, batch_size=7):
    sampler = EpochBatches(SAMPLES, batch_size, True, 3, weights)
    return Loader(Batches(dataset, augment, 3), sampler, workers, 3)


def drawn(loader, epoch=1, start=0):
    """Return the targets and the images of an epoch, in order (list of (int, bytes))."""
    loader.batch_sampler.set_epoch(epoch, start)
    return [
        (int(target), image.numpy().tobytes())
        for images, targets, *_ in loader
        for image, target in zip(images, targets, strict=True)
    ]


def all_differ(samples):
    """Return whether some sample came several times, and no image of a sample is twice the same."""
    return len({index for index, _ in samples}) < len(samples) == len(set(samples))


def test_repetitions_are_counted_in_the_order_of_the_epoch():
    assert repetitions(np.array([5, 2, 5, 5, 2, 9])).tolist() == [0, 0, 1, 2, 1, 0]
    assert repetitions(np.array([], dtype=np.int64)).tolist() == []


def test_the_first_draw_has_the_index_for_its_key_and_no_two_have_the_same():
    order = np.random.default_rng(0).integers(0, 1000, 100_000)
    draws = RepeatedIndices(order, repetitions(order))
    keys = random_keys(draws)
    first = draws.repetitions == 0
    assert keys.dtype == np.int64 and keys.min() >= 0
    assert (keys[first] == order[first]).all() and len(np.unique(keys)) == len(order)
    assert mixed(np.array([3]), np.array([1])) != mixed(np.array([1]), np.array([3]))


@pytest.mark.parametrize('workers', [0, 2])
def test_what_a_data_set_draws_itself_differs_from_draw_to_draw(workers):
    whole = drawn(batches_of(Drawing()))
    assert all_differ(whole)
    once = dict(drawn(batches_of(Drawing(), weights=None)))
    firsts = {}
    for index, picture in whole:
        firsts.setdefault(index, picture)
    assert all(once[index] == picture for index, picture in firsts.items()), 'the first draw is as ever'
    loader = batches_of(Drawing(), workers=workers)
    loader.multiprocessing_context = 'fork' if workers else None
    assert drawn(loader) == whole
    assert drawn(loader, start=2) == whole[14:], 'resumed within the epoch'
    assert drawn(loader, epoch=2) != whole


def test_parts_of_several_processes_are_those_of_one():
    whole = drawn(batches_of(Drawing(), batch_size=8))
    found = []
    for rank in range(2):
        loader = batches_of(Drawing(), batch_size=8)
        loader.batch_sampler.rank_and_count = (rank, 2)
        found.append(drawn(loader))
    assert sorted(found[0] + found[1]) == sorted(whole)


def augmented(loader, augment, epoch=1):
    """Return what an augmentation makes of the batches of an epoch: see `drawn`."""
    loader.batch_sampler.set_epoch(epoch)
    return [
        (int(target), image.numpy().tobytes())
        for images, targets, key in loader
        for image, target in zip(augment(images, targets, *key)[0], targets, strict=True)
    ]


def test_pictures_in_memory_are_augmented_otherwise_each_time(make_args):
    from data.augment import Augment

    pictures = torch.randint(0, 256, (SAMPLES, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    augment = Augment('strong', None, 3)
    dataset = InMemory(pictures, torch.arange(SAMPLES))
    whole = augmented(batches_of(dataset, augment=augment), augment)
    assert all_differ(whole)
    once = dict(augmented(batches_of(dataset, weights=None, augment=augment), augment))
    firsts = {}
    for index, picture in whole:
        firsts.setdefault(index, picture)
    assert all(once[index] == picture for index, picture in firsts.items())
    assert augmented(batches_of(dataset, augment=augment, batch_size=1), augment) == whole, 'gathered in blocks'


@pytest.mark.parametrize(('workers', 'threads'), [(0, False), (0, True), (2, False)])
def test_balanced_files_are_cut_and_augmented_otherwise_each_time(save, list_args, workers, threads):
    lines = [f'{save(f"{n}.png", size=(30, 24), seed=n).name} {int(n > 0)}' for n in range(16)]
    args = list_args(
        '\n'.join(lines), '--balance', '--augment', 'standard', '--batch_size', 3, '--num_workers', workers
    )
    loader = select_train_loader(args)
    loader.multiprocessing_context = 'fork' if workers else None
    loader.uses_threads = threads
    pictures = list(indexed(loader, loader.dataset.augment))
    assert all_differ(pictures) and [index for index, _ in pictures].count(0) > 3


def indexed(loader, augment):
    """Yield the index and the augmented picture of each sample of an epoch."""
    for (images, targets, key), (_, indices) in zip(loader, loader.batch_sampler, strict=True):
        for index, image in zip(indices.tolist(), augment(images, targets, *key)[0], strict=True):
            yield index, image.numpy().tobytes()


@pytest.mark.parametrize('workers', [0, 2])
def test_a_stream_that_comes_round_again_is_augmented_otherwise(tmp_path, make_args, workers):
    random = np.random.default_rng(0)
    with tarfile.open(tmp_path / 'a.tar', 'w') as archive:
        for number in range(5):
            file = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(file, 'PNG')
            for name, data in ((f'{number}.png', file.getvalue()), (f'{number}.cls', b'0')):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    words = ['--data_type', 'stream', '--train_list', tmp_path / 'a.tar', '--val_list', tmp_path / 'a.tar']
    words += ['--num_classes', 2, '--augment', 'standard', '--batch_size', 4, '--train_length', 17]
    loader = select_train_loader(make_args(*words, '--num_workers', workers))
    loader.multiprocessing_context = 'fork' if workers else None
    pictures = [(place.index, sample) for place, sample in indexed(loader, loader.dataset.augment)]
    assert len(pictures) == 17 and all_differ(pictures)
    shorter = select_train_loader(make_args(*words, '--train_length', 5))
    assert [(place.index, sample) for place, sample in indexed(shorter, shorter.dataset.augment)] == pictures[:5]


def test_a_batch_that_is_made_again_is_the_same(make_args):
    loader = batches_of(Drawing())
    whole = [images for images, _ in loader]
    batch, indices = loader.rebuild_batch(1, 2)
    assert torch.equal(batch[0], whole[1]) and np.asarray(indices).tolist() == batch[1].tolist()
