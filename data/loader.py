"""Batches for the loop: gathered from memory, decoded ahead by threads, or decoded by worker processes."""

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from torch.utils.data import DataLoader

from data.samplers import join_batches
from utils.base.machine import cpu_cores
from utils.training.preemption import prepare_worker

BLOCK_PIXELS = 2**20  # pixels that are gathered from memory and prepared together: many small batches, or one large one
MAX_BATCHES_PER_BLOCK = 64  # in a block; of more, each costs as much as by itself
PREFETCHED_BATCHES = 3  # batches that threads decode ahead of the one that is asked for
IMAGES_PER_TASK = 4  # pictures that a thread decodes in one go
MIN_DECODE_SECONDS = 1e-3  # seconds to decode a picture; of less most is Python, which runs in one thread at a time


class Loader:
    """Iterates over the batches of a data set, once per epoch.

    Yields (images, targets) or, where the data set gives it, (images, targets, (epoch, indices)): images uint8
    (B, C, H, W), on the CPU. After `bind_transform` they are on a device, as its `prepare` returns them, and mixed if
    the data set asks for it.

    Args:
        dataset: data.data_entry.Batches.
        batch_sampler: data.samplers.EpochBatches.
        workers: number of processes that make batches. With 0 they are made here: gathered from memory in blocks, or
            decoded by threads where the data set allows it and the pictures take long enough.
        seed: of the worker processes' own generators.
    """

    def __init__(self, dataset, batch_sampler, workers, seed):
        self.dataset, self.batch_sampler, self.num_workers, self.seed = dataset, batch_sampler, workers, seed
        self.multiprocessing_context = None  # how worker processes are started; None: as the system does
        self.prepare = self.side_stream = self.processes = self.uses_threads = None

    def __len__(self):
        return len(self.batch_sampler)

    def bind_transform(self, device, prepare):
        """Yield batches on `device` (torch.device) from now on, and as `prepare` returns them.

        Args:
            device: a GPU takes pictures in memory as a whole, if a quarter of its free memory holds them; others are
                copied while it computes.
            prepare: function(images, targets[, key]) -> (images, targets), which is given several small batches as one:
                what it does to a sample must not depend on the others.
        """
        self.device, self.prepare = device, prepare
        if device.type == 'cuda':
            self.side_stream = torch.cuda.Stream(device)
            hold = getattr(self.dataset.dataset, 'move_if_fits', None)
            if self.num_workers == 0 and hold is not None:
                hold(device, at_most=torch.cuda.mem_get_info(device)[0] // 4)

    def __iter__(self):
        if self.num_workers > 0:
            batches = self._from_processes()
        elif getattr(self.dataset.dataset, 'in_memory', False):
            mapped = getattr(self.dataset.dataset, 'mapped', False)
            batches = _prefetch_one(self._from_memory()) if mapped else self._from_memory()
        else:
            batches = self._from_files() if self.dataset.cuts_parts else self._in_main_process(self.batch_sampler)
        for sizes, batch in batches:
            yield from self._transformed(sizes, batch)

    def is_padding(self, number):
        """Return whether a batch of this epoch, by its number from 0 on, stands in for an empty part (bool)."""
        return (self.batch_sampler.epoch, number) in self.batch_sampler.padding_batches

    def rebuild_batch(self, epoch, number):
        """Make one batch of an epoch once more, to look at.

        Args:
            epoch, number: both from 1.

        Returns:
            the batch as it was yielded, and the indices of its samples, as `EpochBatches` or `StreamBatches` has them.
        """
        sampler, start = self.batch_sampler, self.batch_sampler.start
        sampler.set_epoch(epoch, number - 1)
        key = next(iter(sampler))
        sampler.start = start
        [batch] = self._transformed([len(key[1])], self.dataset.__getitems__(key))
        return batch, key[1]

    def _from_processes(self):
        if self.processes is None:
            self.processes = DataLoader(
                self.dataset,
                batch_sampler=self.batch_sampler,
                collate_fn=_no_collate,
                num_workers=self.num_workers,
                persistent_workers=True,
                pin_memory=self.side_stream is not None,
                # Without its own generator each pass would draw a number from the model's.
                generator=torch.Generator().manual_seed(self.seed),
                worker_init_fn=prepare_worker,
                multiprocessing_context=self.multiprocessing_context,
            )
        for batch in self.processes:
            yield [len(batch[0])], batch

    def _in_main_process(self, keys):
        for key in keys:
            yield [len(key[1])], self.dataset.__getitems__(key)

    def _from_memory(self):
        """Yield (sizes, block): as many batches as make up BLOCK pixels, made as one."""
        keys, count = iter(self.batch_sampler), 1
        while block := list(islice(keys, count)):
            epoch, indices = block[0][0], [indices for _, indices in block]
            batch = self.dataset.__getitems__((epoch, join_batches(indices)))
            yield [len(part) for part in indices], batch
            count = min(max(1, BLOCK_PIXELS // (batch[0][0].numel() * len(indices[0]))), MAX_BATCHES_PER_BLOCK)

    def _from_files(self):
        """Yield (sizes, batch); by threads, if the very first batch shows that its pictures take long enough."""
        keys = iter(self.batch_sampler)
        if self.uses_threads is None:
            started = time.perf_counter()
            for sizes, batch in self._in_main_process(islice(keys, 1)):
                self.uses_threads = (time.perf_counter() - started) / sizes[0] > MIN_DECODE_SECONDS
                yield sizes, batch
        yield from self._from_threads(keys) if self.uses_threads else self._in_main_process(keys)

    def _from_threads(self, keys):
        """Yield (sizes, batch), the next ones being decoded by threads meanwhile."""
        with ThreadPoolExecutor(cpu_cores()) as pool:
            waiting = deque()
            try:
                while True:
                    for key in islice(keys, PREFETCHED_BATCHES + 1 - len(waiting)):
                        chunks = [
                            (key[0], key[1][start : start + IMAGES_PER_TASK])
                            for start in range(0, len(key[1]), IMAGES_PER_TASK)
                        ]
                        waiting.append((key, [pool.submit(self.dataset.load, chunk) for chunk in chunks]))
                    if not waiting:
                        return
                    key, futures = waiting.popleft()
                    samples = [sample for future in futures for sample in future.result()]
                    yield [len(samples)], self.dataset.collate_samples(samples, key)
            finally:
                pool.shutdown(cancel_futures=True)

    def _transformed(self, sizes, batch):
        """Yield the batches of a block, on the device, prepared and mixed if there is something to prepare them."""
        if self.side_stream is not None:
            batch = _to_device(batch, self.device, self.side_stream)
        images, targets, *key = batch if self.prepare is None else (*self.prepare(*batch), *batch[2:])
        parts = [images.split(sizes), targets.split(sizes)]
        if key:
            epoch, indices = key[0]
            parts.append([(epoch, part) for part in np.split(indices, np.cumsum(sizes)[:-1])])
        for part in zip(*parts, strict=True):
            yield part if self.prepare is None else self._mixed(*part)

    def _mixed(self, images, targets, key=None):
        """Return a batch that is prepared, mixed where it is to be."""
        mixing = self.dataset.mixing
        return (images, targets) if mixing is None else mixing(images, targets, *key)


def _prefetch_one(batches):
    """Yield what an iterator yields, a thread making the next one meanwhile: it may have to wait for a disk."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, batches, None)
        while (batch := future.result()) is not None:
            future = pool.submit(next, batches, None)
            yield batch


def _to_device(batch, device, stream):
    """Return a batch whose tensors are on their way to a GPU, while it goes on computing."""
    images, targets, *key = batch
    with torch.cuda.stream(stream):
        pinned = [t if t.is_cuda or t.is_pinned() else t.pin_memory() for t in (images, targets)]
        images, targets = (tensor.to(device, non_blocking=True) for tensor in pinned)
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(stream)
    for tensor in (images, targets):
        tensor.record_stream(computing)  # or their memory could be given away while it is still read
    return (images, targets, *key)


def _no_collate(batch):
    return batch
