"""Loader: batches from memory, decoded by threads in advance, or made by worker processes."""

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from data.lists.encoded import check_device_decoder
from data.samplers import EpochBatches, join_batches
from utils.base.machine import cpu_cores
from utils.provenance.contents import SampleHashes
from utils.training.preemption import prepare_worker

BLOCK_PIXELS = 2**20  # small batches from memory are made together, up to this size
MAX_BATCHES_PER_BLOCK = 64  # more batches per block bring no further speedup
PREFETCHED_BATCHES = 3  # batches decoded by threads in advance
IMAGES_PER_TASK = 4
FEATURE_DIMENSIONS = 2
MAX_NEW_HASHES = 64  # batches
MIN_DECODE_SECONDS = 1e-3  # per image; faster decoding is mostly Python code, which threads cannot run in parallel


class Loader:
    """Iterates over the batches of a data set, once per epoch.

    Yields (images, targets), and (epoch, indices) as third element where the data set has it: images uint8 (B, C, H, W)
    on the CPU. After `bind_transform`, batches are on the device, transformed by `prepare`, and mixed if the data set
    has a Mixing.

    Args:
        dataset: data.data_entry.Batches.
        batch_sampler: data.samplers.EpochBatches.
        workers: number of worker processes. With 0, batches are made in this process: from memory in blocks, or decoded
            by threads if the data set allows it and decoding is slow enough.
        seed: of the worker processes' own generators.
    """

    def __init__(self, dataset, batch_sampler, workers, seed):
        self.dataset, self.batch_sampler, self.num_workers, self.seed = dataset, batch_sampler, workers, seed
        self.multiprocessing_context = None  # start method of worker processes; None: the system's default
        self.prepare = self.side_stream = self.decoding_stream = self.processes = self.uses_threads = None
        self.hashes_read, self.new_hashes = SampleHashes(), []

    def __len__(self):
        return len(self.batch_sampler)

    @property
    def samples(self):
        """The data set of single samples, of which `dataset` makes batches."""
        return self.dataset.dataset

    def bind_transform(self, device, prepare):
        """Yield batches on `device` (torch.device), transformed by `prepare`, from now on.

        Args:
            device: images in memory are moved to a GPU at once if a quarter of its free memory holds them; otherwise
                batches are copied while the GPU computes.
            prepare: function(images, targets[, key]) -> (images, targets). It may get several small batches at once, so
                its result for a sample must not depend on the others, and share no memory with uint8 images or targets.
        """
        self.device, self.prepare = device, prepare
        if device.type == 'cuda':
            self.side_stream = torch.cuda.Stream(device)
            self.decoding_stream = torch.cuda.Stream(device) if self.decodes_on_device else None
            hold = getattr(self.samples, 'move_if_fits', None)
            if self.num_workers == 0 and hold is not None:
                hold(device, at_most=torch.cuda.mem_get_info(device)[0] // 4)
        if self.decodes_on_device:
            check_device_decoder(self.dataset.device_decoder, self._decoding_device)

    @property
    def decodes_on_device(self):
        """Whether batches arrive encoded here, and the device decodes them (bool)."""
        return self.prepare is not None and getattr(self.dataset, 'device_decoder', None) is not None

    @property
    def reads_all_at_start(self):
        """Whether the data is in memory, with the hashes of all samples (bool)."""
        return hasattr(self.samples, 'sample_hashes')

    def contents(self):
        """Return the SampleHashes of the samples that this process has read; of data in memory, of all samples."""
        if self.reads_all_at_start:
            return SampleHashes(self.samples.sample_hashes())
        self._add_new_hashes()
        return self.hashes_read

    def take_contents(self):
        """Return `contents`, and forget what was read."""
        contents, self.hashes_read = self.contents(), SampleHashes()
        return contents

    @property
    def input_kind(self):
        """What the inputs are (str): 'image' or 'feature vector'."""
        images = getattr(self.samples, 'images', None)
        return 'feature vector' if torch.is_tensor(images) and images.dim() == FEATURE_DIMENSIONS else 'image'

    def sample_name(self, index):
        """Return the name (str) of a sample of `contents`."""
        dataset = self.samples
        name = getattr(dataset, 'place', None) or getattr(dataset, 'name', str)
        return name(index)

    def names_at(self, places):
        """Return the names (list of str) of samples of this epoch.

        Args:
            places: (number of the batch, position in the batch) of each sample, both from 0 (list of pairs of int).

        Returns:
            [] if images are mixed, if names are not known without reading data, or if there is no such batch.
        """
        sampler, name_of = self.batch_sampler, getattr(self.samples, 'name', None)
        if name_of is None or self.dataset.mixing is not None or not isinstance(sampler, EpochBatches):
            return []
        wanted, found = {number for number, _ in places}, {}
        for number, (_, indices) in enumerate(sampler, sampler.start):
            if number in wanted:
                found[number] = indices.tolist()
            if len(found) == len(wanted):
                return [str(name_of(found[number][position])) for number, position in places]
        return []

    def __iter__(self):
        if self.num_workers > 0:
            batches = self._from_processes()
        elif getattr(self.samples, 'in_memory', False):
            mapped = getattr(self.samples, 'mapped', False)
            batches = _prefetch_one(self._from_memory()) if mapped else self._from_memory()
        else:
            batches = (
                self._from_files() if self.dataset.crops_while_decoding else self._in_main_process(self.batch_sampler)
            )
        for sizes, batch in self._decoded_ahead(batches) if self.decodes_on_device else batches:
            yield from self._transformed(sizes, batch)

    def is_padding(self, number):
        """Return whether a batch of this epoch (numbered from 0) is padding for an empty part (bool)."""
        return (self.batch_sampler.epoch, number) in self.batch_sampler.padding_batches

    def rebuild_batch(self, epoch, number):
        """Make one batch of an epoch again, for inspection.

        Args:
            epoch, number: both from 1.

        Returns:
            the batch as it was yielded, and the indices of its samples from `EpochBatches` or `StreamBatches`.
        """
        sampler, start = self.batch_sampler, self.batch_sampler.start
        sampler.set_epoch(epoch, number - 1)
        key = next(iter(sampler))
        sampler.start = start
        [batch] = self._transformed([len(key[1])], self._decoded(self._make(key)))
        return batch, key[1]

    def _make(self, key):
        """Return the batch of `key`, of EncodedBatches if the device decodes them."""
        return self.dataset.__getitems__(key, **({'encoded': True} if self.decodes_on_device else {}))

    def _decoded_ahead(self, batches):
        """Yield (sizes, batch) while a thread has the device decode the next batch."""
        with ThreadPoolExecutor(1) as pool:
            waiting = deque()
            for sizes, batch in batches:
                waiting.append((sizes, pool.submit(self._decoded, batch)))
                if len(waiting) > 1:
                    sizes, future = waiting.popleft()
                    yield sizes, future.result()
            for sizes, future in waiting:
                yield sizes, future.result()

    def _decoded(self, batch):
        """Return a batch whose images are decoded, on the device where that decodes."""
        if not self.decodes_on_device:
            return batch
        if self.decoding_stream is None:
            return self.dataset.decode(batch, self._decoding_device)
        # A stream of its own, as nvJPEG waits for all work of the stream that it is given.
        with torch.cuda.stream(self.decoding_stream):
            batch = self.dataset.decode(batch, self._decoding_device)
        self.decoding_stream.synchronize()
        return batch

    @property
    def _decoding_device(self):
        return self.device if self.decoding_stream is None else self.decoding_stream.device  # with its number

    def _from_processes(self):
        if self.processes is None:
            pinned = self.side_stream is not None  # a thread copies whole tensors to pinned memory
            self.processes = DataLoader(
                HashedBatches(self.dataset, pinned, self.decodes_on_device),
                batch_sampler=NumberedPasses(self.batch_sampler),
                collate_fn=_no_collate,
                num_workers=self.num_workers,
                persistent_workers=True,
                pin_memory=pinned,
                # otherwise each pass would draw from the model's generator
                generator=torch.Generator().manual_seed(self.seed),
                worker_init_fn=prepare_worker,
                multiprocessing_context=self.multiprocessing_context,
            )
        for batch, hashes, in_buffers in self.processes:
            self._note_hashes(hashes)
            if in_buffers:
                batch = self.dataset.shared.received(batch, copy=self.prepare is None)
            yield [len(batch[0])], batch

    def _in_main_process(self, keys):
        for key in keys:
            batch = self._make(key)
            self._note_hashes(self.dataset.take_hashes(key[1]))
            yield [len(key[1])], batch

    def _note_hashes(self, hashes):
        """Keep the result of Batches.take_hashes, and add those of many batches to `hashes_read` at once."""
        if hashes is not None:
            self.new_hashes.append(hashes)
            if len(self.new_hashes) == MAX_NEW_HASHES:
                self._add_new_hashes()

    def _add_new_hashes(self):
        if self.new_hashes:
            self.hashes_read.add(*map(np.concatenate, zip(*self.new_hashes, strict=True)))
            self.new_hashes = []

    def _from_memory(self):
        """Yield (sizes, block): as many batches as fit into BLOCK_PIXELS, made as one."""
        keys, count = iter(self.batch_sampler), 1
        while block := list(islice(keys, count)):
            epoch, indices = block[0][0], [indices for _, indices in block]
            batch = self.dataset.__getitems__((epoch, join_batches(indices)))
            yield [len(part) for part in indices], batch
            count = min(max(1, BLOCK_PIXELS // (batch[0][0].numel() * len(indices[0]))), MAX_BATCHES_PER_BLOCK)

    def _from_files(self):
        """Yield (sizes, batch); uses threads if decoding the first batch was slow enough."""
        keys = iter(self.batch_sampler)
        if self.uses_threads is None:
            started = time.perf_counter()
            for sizes, batch in self._in_main_process(islice(keys, 1)):
                self.uses_threads = (time.perf_counter() - started) / sizes[0] > MIN_DECODE_SECONDS
                yield sizes, batch
        yield from self._from_threads(keys) if self.uses_threads else self._in_main_process(keys)

    def _from_threads(self, keys):
        """Yield (sizes, batch) while threads decode the next batches."""
        with ThreadPoolExecutor(cpu_cores()) as pool:
            waiting = deque()
            try:
                while True:
                    for key in islice(keys, PREFETCHED_BATCHES + 1 - len(waiting)):
                        chunks = [
                            (key[0], key[1][start : start + IMAGES_PER_TASK])
                            for start in range(0, len(key[1]), IMAGES_PER_TASK)
                        ]
                        waiting.append(
                            (key, [pool.submit(self.dataset.load, chunk, self.decodes_on_device) for chunk in chunks])
                        )
                    if not waiting:
                        return
                    key, futures = waiting.popleft()
                    samples = [sample for future in futures for sample in future.result()]
                    self._note_hashes(self.dataset.take_hashes(key[1]))
                    yield [len(samples)], self.dataset.collate_samples(samples, key)
            finally:
                pool.shutdown(cancel_futures=True)

    def _transformed(self, sizes, batch):
        """Yield the batches of a block, on the device, prepared and mixed."""
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
        """Return a prepared batch, mixed if the data set has a Mixing."""
        mixing = self.dataset.mixing
        return (images, targets) if mixing is None else mixing(images, targets, *key)


class NumberedPasses(Sampler):
    """Yields (number of the pass, key) for the keys of a batch sampler."""

    def __init__(self, keys):
        self.keys, self.number = keys, 0

    def __len__(self):
        return len(self.keys)

    def __iter__(self):
        self.number += 1
        return zip(repeat(self.number), self.keys)


class HashedBatches(Dataset):
    """Makes batches as data.data_entry.Batches, in a worker process, each with its `take_hashes`.

    Args:
        batches: data.data_entry.Batches.
        whole: whether tensors are sent (bool), instead of the result of SharedBuffers.send.
        encoded: whether the process that trains decodes the images (bool).
    """

    def __init__(self, batches, whole, encoded):
        self.batches, self.whole, self.how = batches, whole, {'encoded': True} if encoded else {}

    def __getitems__(self, numbered):
        """Return the batch of a (pass, key), the hashes of the bytes that it was read from, and whether to receive it.

        Such a batch is the result of SharedBuffers.send.
        """
        (pass_number, key), shared = numbered, self.batches.shared
        shared.used = False
        batch = self.batches.__getitems__(key, **self.how)
        in_buffers = shared.used and not self.whole
        sent = shared.send(batch, pass_number) if in_buffers else batch
        return sent, self.batches.take_hashes(key[1]), in_buffers


def _prefetch_one(batches):
    """Yield from an iterator while a thread makes the next batch, which may wait for a disk."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(next, batches, None)
        while (batch := future.result()) is not None:
            future = pool.submit(next, batches, None)
            yield batch


def _to_device(batch, device, stream):
    """Return a batch whose tensors are copied to a GPU asynchronously."""
    images, targets, *key = batch
    with torch.cuda.stream(stream):
        pinned = [t if t.is_cuda or t.is_pinned() else t.pin_memory() for t in (images, targets)]
        images, targets = (tensor.to(device, non_blocking=True) for tensor in pinned)
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(stream)
    for tensor in (images, targets):
        tensor.record_stream(computing)  # otherwise their memory could be reused while it is still read
    return (images, targets, *key)


def _no_collate(batch):
    return batch
