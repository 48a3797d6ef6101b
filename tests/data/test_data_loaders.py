"""From samples to batches: order, workers, the options that the data completes, and data sets of one's own."""

import sys
import threading
import time
import types

import numpy as np
import pytest
import torch

from data.data_entry import DATASETS, complete_args, select_eval_loader, select_train_loader
from data.list_dataset import ListDataset
from data.samplers import EpochBatches
from utils.base.errors import DanluError, message_of

SIZES = [(1, 1), (1, 4), (2, 1), (5, 1), (8, 4), (9, 4), (10, 4), (11, 4), (5, 4), (4, 5), (101, 10), (33, 32)]


@pytest.mark.parametrize(('length', 'batch_size'), SIZES)
@pytest.mark.parametrize('shuffle', [True, False])
def test_each_sample_comes_once_per_epoch(length, batch_size, shuffle):
    batches = EpochBatches(length, batch_size, shuffle, seed=0)
    for epoch in (1, 2, 3):
        batches.set_epoch(epoch)
        keys = list(batches)
        assert len(keys) == len(batches)
        assert {key[0] for key in keys} == {epoch}
        assert all(indices.dtype == np.int64 for _, indices in keys)
        assert sorted(np.concatenate([indices for _, indices in keys])) == list(range(length))


@pytest.mark.parametrize(
    ('length', 'batch_size', 'shuffle', 'sizes'),
    [
        (10, 4, True, [4, 4, 2]),
        (10, 4, False, [4, 4, 2]),
        (9, 4, True, [4, 5]),  # batch normalisation cannot train on one sample
        (9, 4, False, [4, 4, 1]),
        (5, 4, True, [5]),
        (8, 4, True, [4, 4]),
        (3, 1, True, [1, 1, 1]),
        (1, 4, True, [1]),
        (3, 100, True, [3]),
    ],
)
def test_the_last_batch(length, batch_size, shuffle, sizes):
    assert [len(indices) for _, indices in EpochBatches(length, batch_size, shuffle, seed=0)] == sizes


def order(seed, epoch, length=50):
    batches = EpochBatches(length, 8, True, seed)
    batches.set_epoch(epoch)
    return np.concatenate([indices for _, indices in batches]).tolist()


def test_the_order_is_a_function_of_seed_and_epoch():
    first = order(0, 1)
    torch.manual_seed(3)
    np.random.seed(3)
    assert order(0, 1) == first != list(range(50))
    others = [tuple(order(seed, epoch)) for seed in (0, 1, 2, 2**63 - 1) for epoch in (1, 2, 3)]
    assert len(set(others)) == 12


def test_the_order_does_not_depend_on_the_batch_size():
    small, large = EpochBatches(50, 3, True, 0), EpochBatches(50, 50, True, 0)
    assert np.array_equal(np.concatenate([indices for _, indices in small]), next(iter(large))[1])


def test_evaluation_keeps_the_lists_order(labelled):
    loader = select_eval_loader(labelled('--batch_size', 3))
    assert [labels.tolist() for _, labels in loader] == [[0, 1, 2], [0, 1, 2], [0]]
    loader.batch_sampler.set_epoch(5)
    assert torch.cat([labels for _, labels in loader]).tolist() == [0, 1, 2, 0, 1, 2, 0]


def images_of(loader, epoch):
    loader.batch_sampler.set_epoch(epoch)
    return torch.cat([images for images, *_ in loader])


@pytest.mark.parametrize('kind', ['list', 'mem_list'])
@pytest.mark.parametrize('workers', [0, 2])
def test_a_training_epoch_shows_each_picture_once_in_its_own_order(labelled, kind, workers):
    args = labelled('--batch_size', 3, '--num_workers', workers, kind=kind)
    train, val = select_train_loader(args), select_eval_loader(args)
    assert [len(loader) for loader in (train, val)] == [2, 3]  # 7 = 3 + 4 to train, 3 + 3 + 1 to evaluate
    in_order = images_of(val, 1)
    for epoch in (1, 2, 1):
        train.batch_sampler.set_epoch(epoch)
        assert torch.equal(images_of(train, epoch), in_order[train.batch_sampler.order()])
    assert not torch.equal(images_of(train, 1), images_of(train, 2))


@pytest.mark.parametrize('start', [0, 1])
def test_names_are_those_of_the_samples_at_places(labelled, start):
    args = labelled('--batch_size', 3)
    train, val = select_train_loader(args), select_eval_loader(args)
    names = {
        images[0].numpy().tobytes(): val.samples.name(index) for index, images in enumerate(images_of(val, 1).split(1))
    }
    for epoch in (1, 2):
        train.batch_sampler.set_epoch(epoch, start)
        for number, (images, *_) in enumerate(train, start):
            known = [names[image.numpy().tobytes()] for image in images]
            places = [(number, position) for position in range(len(known))]
            assert train.names_at(places) == known, 'also while the epoch is being read'
            assert train.names_at(places[::-1]) == known[::-1]
    assert train.names_at([(2, 0)]) == train.names_at([(-1, 0)]) == [], 'no such batches'
    mixed = select_train_loader(labelled('--batch_size', 3, '--mixup', 0.2))
    assert mixed.names_at([(0, 0)]) == [], 'two in each image'


@pytest.mark.parametrize('augment', ['none', 'strong'])
@pytest.mark.parametrize('block', [1, 700, 2**20])
def test_blocks_of_batches_are_the_batches(labelled, monkeypatch, block, augment):
    """However many small batches are gathered and prepared as one, the loop gets each by itself."""
    monkeypatch.setattr('data.loader.BLOCK_PIXELS', block)
    args = labelled('--batch_size', 2, '--augment', augment, kind='mem_list')
    expected, loader = (
        list(select_train_loader(labelled('--batch_size', 2, kind='mem_list'))),
        select_train_loader(args),
    )
    batches = list(loader)
    assert [len(images) for images, *_ in batches] == [2, 2, 3]
    for (images, targets), (found, labels, *key), (epoch, indices) in zip(
        expected, batches, loader.batch_sampler, strict=True
    ):
        assert torch.equal(images, found)
        assert torch.equal(targets, labels)
        assert [(e, i.tolist()) for e, i in key] == ([] if augment == 'none' else [(epoch, indices.tolist())])

    asked = []

    def prepare(images, targets, key=None):
        asked.append(len(images))
        return images.float() + 1, targets

    loader.bind_transform(torch.device('cpu'), prepare)
    for (images, targets), (found, labels) in zip(expected, loader, strict=True):
        assert torch.equal(images.float() + 1, found)
        assert torch.equal(targets, labels)
    assert asked == ([2, 5] if block == 2**20 else [2, 2, 3])


def test_a_mapped_file_is_read_a_block_ahead(labelled, monkeypatch, tmp_path):
    monkeypatch.setattr('data.loader.BLOCK_PIXELS', 1)
    words = ['--batch_size', 2]
    loader = select_train_loader(labelled(*words, '--cache_dir', tmp_path / 'cache', count=20, kind='mem_list'))
    block, asked = loader.dataset.dataset.block, []
    gather = block.__getitems__
    block.__getitems__ = lambda indices: asked.append(threading.current_thread()) or gather(indices)
    expected = select_train_loader(labelled(*words, count=20, kind='mem_list'))
    for epoch in (1, 2):
        assert torch.equal(images_of(loader, epoch), images_of(expected, epoch))
    assert len(asked) == 20
    assert threading.main_thread() not in asked
    next(iter(loader))
    deadline = time.monotonic() + 300
    while len(asked) < 22 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(asked) == 22, 'one beside the one that was asked for'


@pytest.mark.parametrize('augment', ['none', 'standard'])
@pytest.mark.parametrize('worth', [0, 1000])
def test_threads_decode_what_worker_processes_decode(labelled, augment, worth, monkeypatch):
    monkeypatch.setattr('data.loader.MIN_DECODE_SECONDS', worth)
    loaders = [
        select_train_loader(labelled('--batch_size', 3, '--augment', augment, '--num_workers', n, count=31))
        for n in (0, 1)
    ]
    state = torch.get_rng_state()
    for epoch in (1, 2):
        here, there = (images_of(loader, epoch) for loader in loaders)
        assert torch.equal(here, there)
    assert torch.equal(state, torch.get_rng_state())


def test_threads_decode_ahead_but_not_the_whole_epoch(labelled, monkeypatch):
    monkeypatch.setattr('data.loader.PREFETCHED_BATCHES', 2)
    monkeypatch.setattr('data.loader.MIN_DECODE_SECONDS', 0)
    loader = select_train_loader(labelled('--batch_size', 2, count=40))
    loaded, load = [], loader.dataset.dataset.load
    loader.dataset.dataset.load = lambda *words: loaded.append(threading.current_thread()) or load(*words)
    batches = iter(loader)
    next(batches)
    assert loaded == [threading.main_thread()] * 2, 'the first batch tells whether threads are worth it'
    loaded.clear()
    next(batches)
    deadline = time.monotonic() + 300
    while len(loaded) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(loaded) == 6, 'two batches beside the one that was asked for'
    assert threading.main_thread() not in loaded
    batches.close()
    assert not any(thread.is_alive() for thread in loaded), 'a loop that is left keeps no threads'


def test_quick_pictures_are_decoded_without_threads(labelled, monkeypatch):
    monkeypatch.setattr('data.loader.MIN_DECODE_SECONDS', 1000)
    loader = select_train_loader(labelled('--batch_size', 2))
    loaded, load = [], loader.dataset.dataset.load
    loader.dataset.dataset.load = lambda *words: loaded.append(threading.current_thread()) or load(*words)
    assert len(list(loader)) == 3
    assert loaded == [threading.main_thread()] * 7


@pytest.mark.parametrize('batch_size', [2, 7])  # in a thread, and in the first batch
def test_a_fault_in_a_thread_reads_like_any_other(labelled, files, batch_size, monkeypatch):
    monkeypatch.setattr('data.loader.MIN_DECODE_SECONDS', 0)
    loader = select_train_loader(labelled('--batch_size', batch_size))
    (files / '4.png').unlink()
    with pytest.raises(DanluError) as error:
        list(loader)
    assert message_of(error.value) == f'{files}/train.txt:5: {files}/4.png: no such file; fix or remove it'


@pytest.mark.parametrize('augment', ['none', 'standard'])
def test_a_newer_getitem_is_not_passed_over(labelled, monkeypatch, augment):
    """Who derives a data set and overrides `__getitem__` alone gets his own pictures, cut or not."""

    class White(ListDataset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return torch.full_like(image, 255), label

    monkeypatch.setitem(sys.modules, 'mine', types.SimpleNamespace(White=White))
    monkeypatch.setitem(DATASETS, 'list', 'mine.White')
    loader = select_train_loader(labelled('--augment', augment))
    assert not loader.dataset.crops_while_decoding
    assert all((images == 255).all() for images, *_ in loader)


def test_pictures_in_memory_move_to_a_device_that_has_room(labelled):
    dataset = select_train_loader(labelled(kind='mem_list')).dataset.dataset
    held = dataset.block.images.nbytes + dataset.block.targets.nbytes
    for room, place in ((held - 1, 'cpu'), (held, 'meta')):
        dataset.move_if_fits(torch.device('meta'), at_most=room)
        images, targets = dataset.__getitems__(np.arange(3))
        assert {images.device.type, targets.device.type} == {place}
    assert images.shape == (3, 3, 10, 12)


def test_the_default_number_of_workers(labelled, make_args):
    def workers(args):
        args.num_workers = None
        return select_train_loader(args).num_workers

    assert workers(labelled()) >= 1
    assert workers(labelled(kind='mem_list')) == 0
    assert workers(make_args()) == 0


def test_a_fault_in_a_worker_reads_like_any_other(labelled, files):
    loader = select_train_loader(labelled('--num_workers', 1))
    (files / '4.png').unlink()
    with pytest.raises(DanluError) as error:
        list(loader)
    assert message_of(error.value) == f'{files}/train.txt:5: {files}/4.png: no such file; fix or remove it'


@pytest.mark.slow('two new interpreters')
def test_spawned_workers_give_the_same_batches(masked):
    # Windows and macOS start their workers so; whatever cannot be pickled fails there.
    args = masked('--augment', 'strong', '--image_size', 20, 24, size=(36, 30))
    here = list(select_train_loader(args))
    args.num_workers = 1
    loader = select_train_loader(args)
    loader.multiprocessing_context = 'spawn'
    ((images, masks, _),) = list(loader)
    assert torch.equal(images, here[0][0])
    assert torch.equal(masks, here[0][1])


@pytest.mark.parametrize(
    ('words', 'mean', 'std'),
    [
        ((), [0.1307], [0.3081]),
        (('--channels', 3), [0.1307] * 3, [0.3081] * 3),
        (('--mean', 0.5, '--std', 0.25), [0.5], [0.25]),
    ],
)
def test_mean_and_deviation_fit_the_channels(make_args, words, mean, std):
    args = make_args(*words)
    complete_args(args)
    assert (args.mean, args.std) == (mean, std)


def test_own_pictures_in_grey_are_normalised_by_the_mean_of_the_channels(labelled):
    args = labelled('--channels', 1)
    complete_args(args)
    assert (args.mean, args.std) == ([0.449], [0.226])


def test_what_the_command_line_gives_stays(labelled):
    args = labelled('--num_classes', 9, '--image_size', 5, '--channels', 1, '--mean', 0.1, '--std', 0.2)
    complete_args(args)
    found = (args.num_classes, args.image_size, args.channels, args.mean, args.std)
    assert found == (9, [5, 5], 1, [0.1], [0.2])


class Minimal:
    """Somebody's own data set: the three methods that it takes."""

    def __init__(self, args, split):
        self.length = 7 if split == 'train' else 3

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return torch.full((3, 4, 5), index, dtype=torch.uint8), index % 2


class Noisy(Minimal):
    """One that draws its images from torch's global generator."""

    def __getitem__(self, index):
        return torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8), 1.5


@pytest.fixture
def own(make_args, monkeypatch):
    """Return a function: class of a data set, more words -> options that choose it."""

    def own(kind, *words):
        module = types.ModuleType('mine')
        module.Mine = kind
        monkeypatch.setitem(sys.modules, 'mine', module)
        monkeypatch.setitem(DATASETS, 'mine', 'mine.Mine')
        return make_args('--data_type', 'mine', *words)

    return own


TOLD = ('--num_classes', 2, '--image_size', 4, 5, '--channels', 3, '--batch_size', 3)


@pytest.mark.parametrize('workers', [0, 2])
def test_an_own_data_set_works(own, workers):
    args = own(Minimal, *TOLD, '--num_workers', workers)
    train, val = select_train_loader(args), select_eval_loader(args)
    train.multiprocessing_context = val.multiprocessing_context = 'fork' if workers else None
    ((images, labels),) = val
    assert (images.shape, images.dtype, labels.tolist()) == ((3, 3, 4, 5), torch.uint8, [0, 1, 0])
    images, labels = map(torch.cat, zip(*train, strict=True))
    assert sorted(images[:, 0, 0, 0].tolist()) == list(range(7))
    assert torch.equal(images[:, 0, 0, 0] % 2, labels)
    args.augment = 'crop'
    assert next(iter(select_train_loader(args)))[0].shape == (3, 3, 4, 5)


@pytest.mark.parametrize('missing', ['num_classes', 'image_size', 'channels'])
def test_what_an_own_data_set_does_not_tell_must_be_given(own, missing):
    args = own(Minimal, *TOLD)
    setattr(args, missing, None)
    with pytest.raises(DanluError, match=f'mine does not determine {missing}: give --{missing}'):
        select_train_loader(args)


@pytest.mark.parametrize('augment', ['none', 'flip'])
def test_randomness_of_an_own_data_set_is_a_function_of_seed_epoch_and_index(own, augment):
    def batches(workers, epoch, seed=0):
        args = own(Noisy, *TOLD, '--num_workers', workers, '--seed', seed, '--augment', augment)
        loader = select_train_loader(args)
        loader.multiprocessing_context = 'fork' if workers else None
        return images_of(loader, epoch)

    torch.manual_seed(1)
    before = torch.get_rng_state()
    here = batches(0, 1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(here, batches(0, 1))
    assert torch.equal(here, batches(2, 1))
    assert len(torch.cat([here, batches(0, 2), batches(0, 1, seed=1)]).flatten(1).unique(dim=0)) == 21


def test_an_own_data_set_may_give_whole_batches_and_describe_itself(own):
    class Whole(Minimal):
        in_memory = True

        @staticmethod
        def describe(args):
            return {'num_classes': 2, 'image_size': [4, 5], 'channels': 3, 'class_names': ['even', 'odd']}

        def __getitem__(self, index):
            raise AssertionError('a sample was asked for by itself')

        def __getitems__(self, indices):
            images = torch.as_tensor(indices, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 5)
            return images, torch.as_tensor(indices % 2)

    args = own(Whole, '--batch_size', 3)
    args.num_workers = None
    loader = select_train_loader(args)
    assert (loader.num_workers, args.num_classes, args.class_names) == (0, 2, ['even', 'odd'])
    assert sum(len(images) for images, _ in loader) == 7


def test_an_own_data_set_that_cannot_be_found(own, monkeypatch):
    args = own(Minimal, *TOLD)
    monkeypatch.setitem(DATASETS, 'mine', 'mine.Yours')
    with pytest.raises(DanluError, match=r"kind of data 'mine' is registered as mine\.Yours: mine has no Yours"):
        select_train_loader(args)
