"""Streams: data too large to index or hold in memory, read from .tar, .csv or .jsonl shards in order.

The batches are a function of (seed, epoch). One process walks over the shards, shuffles references to samples in a
buffer and makes batches of them; worker processes or threads read and decode the samples. data/lists/shards.py
describes the shards.
"""

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from data.checks.preview import MIN_MASKS, find_mask_values
from data.checks.sample_facts import LabelsInMasks
from data.list_dataset import guessed_size
from data.lists.bit_depth import MAX_BITS
from data.lists.labels import label_or_fault
from data.lists.list_file import ErrorCollector
from data.lists.masks import MaskCoding
from data.lists.pictures import open_picture, read_mask, read_picture, upright_size
from data.lists.read_bytes import ReadHashes
from data.lists.shards import find_shards, notes_of_others
from data.samplers import shuffled
from utils.base.content_hash import hash_bytes
from utils.base.errors import DanluError
from utils.base.file_names import to_nfc
from utils.base.machine import cpu_cores
from utils.options.fit import Fit
from utils.tasks.tasks import task_of


class StreamSample(NamedTuple):
    """Reference to a sample."""

    index: int  # shard * 2**32 + position in it; key of the sample's randomness
    shard: int  # number of the shard, sorted by name
    name: Any = None  # name, image and target as in data/lists/shards.py
    picture: Any = None
    target: Any = None
    fault: str | None = None  # error at this position; the rest of the shard cannot be read
    repetition: int = 0  # number of earlier occurrences in the epoch


class Stream(IterableDataset):
    """The samples of a shard or a directory of shards, for classification or segmentation.

    When the stream is built, each shard is opened and its first sample decoded; other errors stop the run when their
    sample is reached. train.py and eval.py use `order` and `load`. As a plain IterableDataset, the stream splits its
    samples between the worker processes of a DataLoader.

    Args:
        args: options; uses data_root, task, num_classes, class_names, image_size, fit, channels, mean, ignore_index,
            seed, and for training shuffle_buffer and train_length.
        split: 'train' (train_list), shuffled anew each epoch, or 'val' (val_list), in order.

    Raises:
        DanluError: shards cannot be read, or their first sample is invalid; they are named.
    """

    in_memory = False
    read_hashes = None

    @classmethod
    def describe(cls, args):
        """Return the options that the data determines (dict): image_size of the first image, and mask_values."""
        facts, masks = {'channels': 3}, task_of(args).target == 'mask'
        path = getattr(args, 'train_list', None) or args.val_list
        if masks and args.mask_values is None:
            facts['mask_values'] = find_mask_values(_first_masks(find_shards(path, args.data_root)), args.num_classes)
        if args.image_size is None:
            for shard in find_shards(path, args.data_root):
                for name, picture, _ in islice(shard.walk(masks), 1):
                    try:
                        with open_picture(shard.picture(picture)) as opened:
                            size = upright_size(opened)
                    except DanluError as error:
                        raise DanluError(f'{shard.where(name)}: {error}') from None
                    return facts | {'image_size': guessed_size(size, shard.where(name))}
            raise DanluError(f'{path}: it contains no sample')
        return facts

    def __init__(self, args, split):
        self.training = split == 'train'
        self.path = args.train_list if self.training else args.val_list
        self.shards = find_shards(self.path, args.data_root)
        self.masks, self.channels, self.size = task_of(args).target == 'mask', args.channels, tuple(args.image_size)
        self.fit = Fit.of(args)
        self.num_classes, self.class_names = args.num_classes, args.class_names or []
        self.bits, self.ignore_index = args.bits, args.ignore_index
        self.coding, self.seed, self.epoch = MaskCoding.of(args) if self.masks else None, args.seed, 1
        self.labels_of = {to_nfc(name): label for label, name in enumerate(self.class_names)}
        self.buffer, self.length = (args.shuffle_buffer, args.train_length) if self.training else (1, None)
        self.epoch_length, self.open_walks = None, {}
        empty = self.check()
        count = len(self.shards)
        shards = f'{count:,} shard' + 's' * (count > 1) + (f', {empty:,} of them empty' if empty else '')
        self.notes = [f'{self.path}: {shards}; of each the first sample was checked', *notes_of_others(self.path)]
        if self.backslashes:
            having = f'{self.backslashes:,} shard' + 's' * (self.backslashes > 1)
            how = f'paths are written with backslashes, in {having}: read with slashes where only those name files'
            self.notes.append(f'{self.path}: {how}')
        if self.masks:
            self.notes += self.coding.notes(self.path)
            self.labels_in_masks = self.count_labels()
        if self.bits not in (None, MAX_BITS):
            how = f'values 0..{2**self.bits - 1} become 0..255 (--bits {self.bits})'
            self.notes.append(f'{self.path}: of images of 16 bits {how}')

    def check(self):
        """Open every shard and decode its first sample, on all cores; return the number of empty shards (int)."""
        faults, empty, self.backslashes = ErrorCollector(self.path), 0, 0

        def decode_first(number):
            try:
                places = list(islice(self.shard_samples([number]), 1))
                for place in places:
                    self.sample(place)
                    if isinstance(place.picture, str) and '\\' in place.picture:
                        self.backslashes += 1
                return not places
            except DanluError as error:
                return str(error)

        with ThreadPoolExecutor(cpu_cores()) as pool:
            for found in pool.map(decode_first, range(len(self.shards))):
                if isinstance(found, str):
                    where, _, what = found.partition(': ')
                    faults.add(where, what)
                else:
                    empty += found
        faults.stop_if_any()
        if empty == len(self.shards):
            raise DanluError(f'{self.path}: it contains no sample')
        return empty

    def count_labels(self):
        """Return the LabelsInMasks of the first masks of the shards, at training size."""
        labels = []
        for content in _first_masks(self.shards):
            with contextlib.suppress(DanluError):  # the error is raised when the run reaches the sample
                labels.append(read_mask(content, self.size, coding=self.coding))
        masks = torch.stack(labels) if labels else torch.empty(0, *self.size, dtype=torch.uint8)
        return LabelsInMasks.in_tensor(masks, self.coding.ignore_index, None)

    def __len__(self):
        """Return the number of samples of an epoch: train_length, or the number found by the last complete walk.

        Raises:
            TypeError: neither is known.
        """
        if self.length is None and self.epoch_length is None:
            raise TypeError('the length of a stream is unknown before its first complete pass: give --train_length')
        return self.length or self.epoch_length

    def shard_samples(self, numbers):
        """Yield the StreamSamples of shards by their numbers (ints); see stream_samples."""
        for number in numbers:
            yield from stream_samples(self.shards[number], number, self.masks)

    def order(self, epoch):
        """Yield the StreamSamples of an epoch (from 1): all samples, or train_length samples in repeated rounds."""
        random = np.random.default_rng([self.seed, epoch])
        if self.length is not None:
            yield from islice(self._endless(random), self.length)
            return
        count = 0
        for place in self._walk(random):
            yield place
            count += 1
        self.epoch_length = count

    def _walk(self, random):
        if not self.training:
            return self.shard_samples(range(len(self.shards)))
        return shuffled(self.shard_samples(random.permutation(len(self.shards)).tolist()), self.buffer, random)

    def _endless(self, random):
        repetition = -1
        while True:
            place, repetition = None, repetition + 1
            for place in self._walk(random):
                yield place._replace(repetition=repetition) if repetition else place
            if place is None:
                raise DanluError(f'{self.path}: the samples are gone')

    def set_epoch(self, epoch):
        """Set the epoch (from 1) for iterating over the stream itself."""
        self.epoch = epoch

    def __iter__(self):
        """Yield the samples of the epoch, as `load` returns them; each of n worker processes yields every n-th."""
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for place in islice(self.order(self.epoch), first, None, step):
            yield self.load(place)

    def load(self, place, part=None, read=read_picture):
        """Return a sample: image uint8 (C, H, W), and a label (0-d int64) or a mask uint8 (H, W).

        Args:
            place: StreamSample.
            part: random crop, see data.augment.Augment.random_crops.
            read: function that reads the image, as `read_picture`.

        Raises:
            DanluError: the sample is invalid; the message names shard and sample.
        """
        try:
            return self.sample(place, part, read)
        except DanluError as error:
            raise DanluError(f'{error}; fix or remove it') from None

    def sample(self, place, part=None, read=read_picture):
        """Return a sample, as `load`."""
        if place.fault is not None:
            raise DanluError(place.fault)
        shard = self.shards[place.shard]
        try:
            content = self.noted(place, ReadHashes.PICTURE, shard.picture(place.picture))
            image = read(content, self.channels, self.size, self.fit, part, self.bits, checked=False)
            return image, self._mask(shard, place, content, part) if self.masks else self._label(shard, place)
        except DanluError as error:
            raise DanluError(f'{shard.where(place.name)}: {error}') from None

    def noted(self, place, part, content):
        """Return a sample's content (bytes) and put its hash into `read_hashes`; see ReadHashes.put."""
        if self.read_hashes is not None:
            self.read_hashes.put(place.index, part, hash_bytes(content))
        return content

    def _label(self, shard, place):
        text = to_nfc(shard.label(place.target))
        if text not in self.labels_of:
            found = label_or_fault(text, self.num_classes, self.class_names, self.ignore_index)
            if isinstance(found, str):
                raise DanluError(found)
            self.labels_of[text] = found
        label = torch.tensor(self.labels_of[text])
        self.noted(place, ReadHashes.TARGET, label.numpy().tobytes())
        return label

    def _mask(self, shard, place, content, part):
        data = self.noted(place, ReadHashes.TARGET, shard.mask(place.target))
        with open_picture(content) as picture, open_picture(data) as mask:
            (height, width), (rows, columns) = upright_size(picture), upright_size(mask)
        if (rows, columns) != (height, width):
            raise DanluError(f'the mask is {columns}x{rows}, its image {width}x{height} (width x height)')
        labels = read_mask(data, self.size, part, self.fit, self.coding)
        self.coding.check(labels)
        return labels

    def name(self, index):
        """Return the key or image path (str) of sample number `index`; fast for increasing indices."""
        place = self._locate(index, 'name')
        return place.picture if isinstance(place.picture, str) else place.name

    def place(self, index):
        """Return shard and name (str) of the StreamSample with this `index`."""
        shard, position = index >> 32, index & (2**32 - 1)
        found = next(islice(self.shard_samples([shard]), position, None), None)
        return self.shards[shard].where(position if found is None else found.name)

    def full_size(self, index):
        """Return the upright (height, width) of a sample's image in its file; fast for increasing indices."""
        place = self._locate(index, 'size')
        with open_picture(self.shards[place.shard].picture(place.picture)) as picture:
            return upright_size(picture)

    def _locate(self, index, what):
        """Return the StreamSample number `index`; each purpose `what` (str) has its own walk."""
        reached, places = self.open_walks.get(what, (index + 1, None))
        if index < reached:
            reached, places = 0, self.shard_samples(range(len(self.shards)))
        place = next(islice(places, index - reached, None))
        self.open_walks[what] = index + 1, places
        return place

    def content_hash(self):
        """Return a SHA-256 and what it covers (str), as archives are too large to hash."""
        digest = hashlib.sha256()
        for shard in self.shards:
            shard.update_digest(digest)
        return f'{digest.hexdigest()} (of {self.shards[0].identity})'


def _first_masks(shards):
    """Yield the contents (bytes) of the first masks of each shard, MIN_MASKS in total."""
    for shard in shards:
        try:
            for _, _, target in islice(shard.walk(masks=True), -(-MIN_MASKS // len(shards))):
                yield shard.mask(target)
        except DanluError:
            continue  # reported when the data set is built


def stream_samples(shard, number, masks):
    """Yield the StreamSamples of a shard in order.

    An error that stops the walk becomes a StreamSample, so that it is raised when its turn comes, in any process.

    Args:
        shard: of data.lists.shards.
        number: of the shard (int).
        masks: whether the targets are masks; otherwise labels.
    """
    position = -1
    try:
        for position, found in enumerate(shard.walk(masks)):
            yield StreamSample((number << 32) + position, number, *found)
    except DanluError as error:
        yield StreamSample((number << 32) + position + 1, number, fault=str(error))
