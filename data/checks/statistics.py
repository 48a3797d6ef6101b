"""Statistics of the files of a data set: mean, standard deviation, sizes, modes, classes, unreadable files."""

import multiprocessing
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

import numpy as np
import torch

from data.lists.bit_depth import bits_for, refuse_above
from data.lists.list_file import ErrorCollector, read_folder, read_list, with_location
from data.lists.picture_extensions import IMAGE_EXTENSIONS
from data.lists.pictures import (
    STORED_VALUES,
    check_picture,
    open_picture,
    read_16_bit_grey,
    read_mask,
    read_picture,
    read_stored,
)
from data.lists.shards import find_shards
from data.stream import stream_samples
from utils.base.ending_signals import ignore_group_signals
from utils.base.errors import DanluError
from utils.base.file_names import to_nfc
from utils.base.machine import cpu_cores
from utils.base.parallel_map import can_fork

SAMPLES_PER_CHUNK = 32  # per task
QUEUED_CHUNKS_PER_PROCESS = 8


class ListSource:
    """The samples of a list file or of a directory with one sub-directory per class.

    Args:
        path: the list file or the directory.
        data_root: root of relative paths in the list file, or None.
        folder: whether `path` is a directory.

    Raises:
        DanluError: the file cannot be read or names no sample. Invalid lines are kept in `faults` (list of str).
    """

    def __init__(self, path, data_root=None, folder=False):
        faults = ErrorCollector(path)
        faults.MAX_ERRORS_SHOWN = float('inf')
        self.listing = read_folder(path, faults) if folder else read_list(path, data_root, faults)
        self.faults, self.notes = [line.strip() for line in faults.shown], self.listing.notes

    def __len__(self):
        return len(self.listing)

    def targets(self):
        """Return the detected kind of targets (str): 'masks' or 'labels'."""
        return 'masks' if self.listing.targets[0].lower().endswith(IMAGE_EXTENSIONS) else 'labels'

    def keys(self, masks):
        """Return the samples (iterable) as keys for `where`, `picture`, `mask` and `label`."""
        return range(len(self.listing))

    def where(self, index):
        """Return the location of a sample (str)."""
        return self.listing.where(index)

    def picture(self, index):
        """Return an image's name for messages (str) and its path (str)."""
        return (self.listing.image_path(index),) * 2

    def mask(self, index):
        """Return a mask's name for messages (str) and its path (str)."""
        return (self.listing.target_path(index),) * 2

    def label(self, index):
        """Return the label (str) as written in the list."""
        return self.listing.targets[index]


class ShardSource:
    """The samples of .tar, .csv or .jsonl shards; as ListSource, but without a length."""

    def __init__(self, path, data_root=None):
        self.path, self.shards, self.faults, self.notes = path, find_shards(path, data_root), [], []

    def targets(self):
        """Return the detected kind of targets (str): 'masks' or 'labels'."""
        for place in islice(self.keys(masks=True), 1):
            found = place.target
            masks = found.lower().endswith(IMAGE_EXTENSIONS) if isinstance(found, str) else found is not None
            return 'masks' if masks else 'labels'
        raise DanluError(f'{self.path}: it contains no sample')

    def keys(self, masks):
        """Yield the samples (data.stream.StreamSample)."""
        for number, shard in enumerate(self.shards):
            yield from stream_samples(shard, number, masks)

    def where(self, place):
        """Return the location of a sample (str)."""
        return self.shards[place.shard].where(place.name)

    def picture(self, place):
        """Return an image's name for messages (str) and its content (bytes)."""
        if place.fault is not None:
            raise DanluError(place.fault)
        return self.where(place), self.shards[place.shard].picture(place.picture)

    def mask(self, place):
        """Return a mask's name for messages (str) and its content (bytes)."""
        return f'{self.where(place)}: its mask', self.shards[place.shard].mask(place.target)

    def label(self, place):
        """Return the label (str) as written in the shard."""
        return self.shards[place.shard].label(place.target)


class Summary:
    """Exact integer sums and counts over samples.

    `values` counts the values 0..255 of each channel, int64 (C, 256). `sizes` (height, width), `modes` (Pillow's
    names), `labels` (str) and `mask_values` (values stored in masks; labels of colour-coded masks) are Counters.
    `values_16_bit` is a Counter of the values of grey 16-bit images, which `merge_16_bit_values` adds to `values`.
    `faults` is a list of str.
    """

    def __init__(self, channels):
        self.values, self.mask_values = np.zeros((channels, 256), np.int64), Counter()
        self.sizes, self.modes, self.labels, self.faults = Counter(), Counter(), Counter(), []
        self.values_16_bit = Counter()

    def __len__(self):
        return self.sizes.total()

    def add(self, other):
        """Add another Summary."""
        self.values += other.values
        for name in ('sizes', 'modes', 'labels', 'mask_values', 'values_16_bit'):
            getattr(self, name).update(getattr(other, name))
        self.faults += other.faults

    def add_sample(self, source, key, targets, coding):
        """Add one sample of a source; `targets` and `coding` are as for `measure`.

        Raises:
            DanluError: the sample cannot be read; nothing of it is counted.
        """
        name, content = source.picture(key)
        size, mode, pixels = _with_name(name, _read, content, len(self.values))
        if targets == 'masks':
            name, content = source.mask(key)
            mask = _with_name(name, _mask_values, content, coding)
            if tuple(mask.shape) != tuple(size):
                raise DanluError(f'{name}: {mask.shape[1]}x{mask.shape[0]}, its image {size[1]}x{size[0]}')
            self.mask_values.update(_value_counts(mask))
        elif targets == 'labels':
            self.labels[to_nfc(source.label(key))] += 1
        self.sizes[tuple(size)] += 1
        self.modes[mode] += 1
        if pixels.ndim == 3:
            self.values += np.stack([_bincount(channel) for channel in pixels])
        else:
            self.values_16_bit.update(_value_counts(pixels))

    def merge_16_bit_values(self, bits=None):
        """Add the values of 16-bit images to `values`, and return their number of bits (int), given or detected.

        Raises:
            DanluError: a value exceeds the given range.
        """
        bits = bits or bits_for(max(self.values_16_bit))
        refuse_above(max(self.values_16_bit), bits)
        for value, count in self.values_16_bit.items():
            self.values[:, value >> (bits - 8)] += count
        return bits

    def mean_and_std(self):
        """Return mean and standard deviation of each channel over all pixels, in 0..1 (two lists of float)."""
        means, deviations = [], []
        for counts in self.values.tolist():  # Python's integers do not overflow
            number = sum(counts)
            total = sum(value * count for value, count in enumerate(counts))
            squares = sum(value * value * count for value, count in enumerate(counts))
            means.append(total / number / 255)
            deviations.append((squares * number - total * total) ** 0.5 / number / 255)
        return means, deviations

    def min_median_max_sizes(self):
        """Return the smallest, median and largest size by area (three (height, width))."""
        ordered = sorted(self.sizes, key=lambda size: (size[0] * size[1], size))
        places = np.cumsum([self.sizes[size] for size in ordered])
        return ordered[0], ordered[np.searchsorted(places, (len(self) + 1) // 2)], ordered[-1]


def measure(source, channels, targets, report, coding=STORED_VALUES):
    """Return the Summary of all samples of a source, computed on all cores.

    Args:
        source: ListSource or ShardSource.
        channels: 1 or 3, number of channels to read images with.
        targets: 'labels', 'masks' or 'none': which targets to count.
        report: function(number of samples added), called repeatedly.
        coding: data.lists.masks.MaskCoding; only its colours are used.

    Raises:
        DanluError: a worker process was killed.
    """
    summary, waiting = Summary(channels), deque()
    summary.faults += source.faults
    context = multiprocessing.get_context('fork' if can_fork() else None)
    keys, state = iter(source.keys(targets == 'masks')), (source, channels, targets, coding)

    def add_next():
        count, future = waiting.popleft()
        summary.add(future.result())
        report(count)

    with ProcessPoolExecutor(cpu_cores(), context, initializer=_start_worker, initargs=state) as pool:
        try:
            for chunk in iter(lambda: list(islice(keys, SAMPLES_PER_CHUNK)), []):
                waiting.append((len(chunk), pool.submit(_measure_chunk, chunk)))
                if len(waiting) > QUEUED_CHUNKS_PER_PROCESS * cpu_cores():
                    add_next()
            while waiting:
                add_next()
        except BrokenProcessPool:
            raise DanluError('a process that decodes images was killed, possibly for lack of memory') from None
        finally:
            pool.shutdown(cancel_futures=True)
    return summary


WORKER_STATE = []  # of a worker: source, channels, targets, coding


def _start_worker(*state):
    ignore_group_signals()
    torch.set_num_threads(1)
    WORKER_STATE[:] = state


def _measure_chunk(keys):
    source, channels, targets, coding = WORKER_STATE
    summary = Summary(channels)
    for key in keys:
        try:
            summary.add_sample(source, key, targets, coding)
        except DanluError as error:
            fault = getattr(key, 'fault', None)
            summary.faults.append(fault or with_location(source.where(key), str(error)))
    return summary


def _read(content, channels):
    """Return an image's size, mode and pixels: uint8 (C, H, W), or int (H, W) for grey 16-bit images."""
    size, deep = check_picture(content), read_16_bit_grey(content)
    with open_picture(content) as picture:
        mode = picture.mode
    return size, mode, read_picture(content, channels) if deep is None else deep


def _value_counts(values):
    """Return how often each value occurs in an array of integers (dict of int)."""
    return dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True))


def _mask_values(content, coding):
    return read_stored(content) if coding.colours is None else read_mask(content, coding=coding).numpy()


def _bincount(values):
    return torch.bincount(values.flatten(), minlength=256).numpy()


def _with_name(name, function, *args):
    try:
        return function(*args)
    except DanluError as error:
        raise DanluError(f'{name}: {error}') from None
