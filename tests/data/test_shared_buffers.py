"""Shared memory of worker processes: allocated once, and never seen to change."""

import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data.data_entry import select_train_loader
from data.shared_buffers import BUFFERS, SharedBuffers
from utils.training.batch_transform import BatchTransform

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='worker processes are spawned, which takes seconds')
CPU = torch.device('cpu')


@pytest.fixture(params=['labels', 'masks', 'pictures'])
def options(request, labelled, masked, save, list_args):
    """Return a function: words -> options for 31 samples with labels, masks or target images."""

    def options(*words):
        words = ['--batch_size', 3, '--augment', 'flip', *words]
        if request.param == 'labels':
            return labelled(*words, count=31)
        if request.param == 'masks':
            return masked(*words, count=31)
        lines = [f'{save(f"{n}.png", seed=n).name} {save(f"t{n}.png", seed=50 + n).name}' for n in range(31)]
        return list_args('\n'.join(lines), '--task', 'restoration', *words, kind='pairs')

    return options


def loader_of(args, prepared):
    loader = select_train_loader(args)
    if prepared:
        prepare = BatchTransform(args, CPU)
        prepare.augment = loader.dataset.augment
        loader.bind_transform(CPU, prepare)
    return loader


def batches(loader, epochs=2):
    found = []
    for epoch in range(1, epochs + 1):
        loader.batch_sampler.set_epoch(epoch)
        found += [batch[:2] for batch in loader]  # kept, while the workers go on
    return found


def equal(first, second):
    pairs = [pair for both in zip(first, second, strict=True) for pair in zip(*both, strict=True)]
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.slow_after(4, 'starts data workers')
@pytest.mark.parametrize('prepared', [False, True])
@pytest.mark.parametrize('workers', [1, 3])
def test_batches_that_are_kept_do_not_change(options, prepared, workers):
    expected = batches(loader_of(options(), prepared))
    assert equal(expected, batches(loader_of(options('--num_workers', workers), prepared)))


def test_the_memory_is_allocated_once(options):
    loader = loader_of(options('--num_workers', 2), True)
    batches(loader)
    kept = dict(loader.dataset.shared.kept)
    assert 0 < len(kept) <= 2 * 2 * BUFFERS
    batches(loader, epochs=3)
    assert loader.dataset.shared.kept.keys() == kept.keys()


def test_an_epoch_that_is_left_early_does_not_disturb_the_next(options):
    expected = batches(loader_of(options(), True), epochs=1)
    loader = loader_of(options('--num_workers', 2), True)
    for left_at in (1, 2, 5):
        loader.batch_sampler.set_epoch(1)
        for number, _ in enumerate(loader):
            if number == left_at:
                break
    assert equal(expected, batches(loader, epochs=1))


def test_data_in_memory_and_other_samples_are_sent_as_before(labelled):
    loader = loader_of(labelled('--num_workers', 1, '--batch_size', 3, kind='mem_list'), True)
    batches(loader)
    assert loader.dataset.shared.kept == {}
    shared = SharedBuffers()
    images, targets = shared.collate([torch.zeros(3, 2, 2, dtype=torch.uint8)] * 4, [1.5] * 4)
    assert not shared.used  # in the main process
    assert images.shape == (4, 3, 2, 2)
    assert targets.tolist() == [1.5] * 4


def test_each_pass_sends_a_buffer_once_and_small_targets_as_arrays(monkeypatch):
    monkeypatch.setattr('data.shared_buffers.get_worker_info', lambda: SimpleNamespace(id=0))
    worker, trainer = SharedBuffers(), SharedBuffers()
    for pass_number in (1, 2):
        for number in range(2 * BUFFERS):
            images = [torch.full((3, 4, 5), number + each, dtype=torch.uint8) for each in range(6)]
            view, targets, key = worker.send((*worker.collate(images, list(range(6))), 'key'), pass_number)
            assert (view.buffer is not None) == (number < BUFFERS)
            assert isinstance(targets, np.ndarray)
            received = trainer.received((view, targets, key), copy=False)
            assert torch.equal(received[0], torch.stack(images))
            assert torch.equal(received[1], torch.arange(6))


def test_nothing_of_it_is_sent_to_a_spawned_process(options):
    loader = loader_of(options('--num_workers', 1), True)
    batches(loader, epochs=1)
    assert pickle.loads(pickle.dumps(loader.dataset.shared)).kept == {}
