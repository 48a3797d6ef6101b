"""The bytes of the samples of a run: 8 bytes of hashes per sample, and which samples differ between two data sets.

The hash of a sample (utils/base/content_hash.py) has the hash of its image in the upper 32 bits and that of its target
in the lower ones; 0: unknown. A sample is known by its index; of a stream that is shard * 2**32 + position. The
files contents_train.bin and contents_val.bin of a run and contents.bin of a test hold the hashes: a line of JSON, then
uint64 in little-endian order.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.base.atomic_write import atomic_writer
from utils.base.regular_files import open_regular
from utils.base.text_table import count_text

DATA_OF_SPLIT = {'train': 'training data', 'val': 'validation data'}
CONTENTS_FORMAT = 1
CONTENTS = 'contents.bin'  # of a test
MAX_NAMED_SAMPLES = 20
MAX_HEADER_BYTES = 2**24  # a line of 2**20 shards
MAX_SHARD = 2**31 - 1
HASH_BYTES = 8
SHARD_BITS, PART_BITS = np.int64(32), np.uint64(32)


def contents_file(directory, split):
    """Return the path (Path) of the hashes of a run's samples; split: 'train' or 'val'."""
    return Path(directory, f'contents_{split}.bin')


class SampleHashes:
    """The hashes of samples by index, as far as they were read.

    Args:
        hashes: uint64 array (N,), 0 where unknown, of the samples 0 .. N-1.

    Attributes:
        changed: hash before (dict of int by index) of the samples that were read again and had other bytes.
        has_news: whether a hash was added since the attribute was set to False (bool).
    """

    def __init__(self, hashes=()):
        self.shards = {0: np.array(hashes, np.uint64)} if len(hashes) else {}
        self.changed, self.has_news = {}, len(hashes) > 0

    def __len__(self):
        """Return the number of known samples."""
        return sum(int(np.count_nonzero(hashes)) for hashes in self.shards.values())

    def add(self, indices, hashes):
        """Add the hashes of samples that were just read; a new hash of a sample replaces the earlier one.

        Args:
            indices: int64 array (B,).
            hashes: uint64 array (B,); 0 is ignored.
        """
        shards, places = indices >> SHARD_BITS, indices & np.int64(2**32 - 1)
        for shard in np.unique(shards).tolist():
            chosen = (shards == shard) & (hashes != 0)
            if not chosen.any():
                continue
            known, at, new = self._room(shard, int(places[chosen].max())), places[chosen], hashes[chosen]
            other = known[at] != new
            self.has_news = self.has_news or bool(other.any())
            again = other & (known[at] != 0)
            for place, before in zip(at[again].tolist(), known[at[again]].tolist(), strict=True):
                self.changed.setdefault((shard << 32) + place, before)
            known[at] = new

    def _room(self, shard, place):
        """Return the hashes of a shard, with room for `place`; the room doubles, as it is touched only when used."""
        known = self.shards.get(shard, np.zeros(0, np.uint64))
        if place >= len(known):
            grown = np.zeros(max(place + 1, 2 * len(known)), np.uint64)
            grown[: len(known)] = known
            self.shards[shard] = known = grown
        return known

    def take_changes(self):
        """Return the ContentsDifference of `changed`, or None if there is none, and forget it."""
        before = SampleHashes()
        indices = np.array(sorted(self.changed), np.int64)
        before.add(indices, np.array([self.changed[index] for index in indices.tolist()], np.uint64))
        self.changed = {}
        difference = compare_contents(before, self, same_order=True)
        return difference and difference._replace(total=len(self))

    def items(self):
        """Return the known samples: indices, int64 (n,) in increasing order, and hashes, uint64 (n,)."""
        parts = [(shard, np.flatnonzero(self.shards[shard])) for shard in sorted(self.shards)]
        indices = [places + (np.int64(shard) << SHARD_BITS) for shard, places in parts]
        hashes = [self.shards[shard][places] for shard, places in parts]
        return np.concatenate([np.zeros(0, np.int64), *indices]), np.concatenate([np.zeros(0, np.uint64), *hashes])

    def record(self):
        """Return what a record holds (dict): sha256 (str) of the hashes in increasing order, and samples (int)."""
        _, hashes = self.items()
        hashes.sort()
        return {'sha256': hashlib.sha256(hashes.astype('<u8')).hexdigest(), 'samples': len(hashes)}

    def write(self, path):
        """Write the hashes to a file (Path); raises as `atomic_writer`."""
        used = {shard: int(np.max(np.flatnonzero(hashes), initial=-1)) + 1 for shard, hashes in self.shards.items()}
        header = {'danlu contents': CONTENTS_FORMAT, 'shards': sorted(used), 'samples': [used[s] for s in sorted(used)]}
        with atomic_writer(path, binary=True) as file:
            file.write(json.dumps(header).encode() + b'\n')
            for shard in sorted(used):
                file.write(self.shards[shard][: used[shard]].astype('<u8'))

    @classmethod
    def read(cls, path):
        """Return the SampleHashes in a file (Path), or None if it is missing or damaged."""
        hashes = cls()
        try:
            with open_regular(path) as file:
                header = json.loads(file.readline(MAX_HEADER_BYTES))
                shards, counts = list(map(int, header['shards'])), list(map(int, header['samples']))
                whole = file.tell() + HASH_BYTES * sum(counts) == os.fstat(file.fileno()).st_size
                if header['danlu contents'] != CONTENTS_FORMAT or not whole or min([0, *shards, *counts]) < 0:
                    return None
                if max([0, *shards]) > MAX_SHARD:
                    return None
                for shard, count in zip(shards, counts, strict=True):
                    hashes.shards[shard] = np.frombuffer(file.read(count * HASH_BYTES), '<u8').astype(np.uint64)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return hashes


class ContentsDifference(NamedTuple):
    """How the samples of a data set differ from recorded ones, by the bytes that were read.

    Attributes:
        indices: the first MAX_NAMED_SAMPLES samples (list of int) that changed, or that are not among the recorded.
        count: number of these samples, in all.
        images: how many of them have another image (int).
        repeats: how many are recorded but occur more often now (int); the others have another target only.
        total: number of samples that were compared (int).
        missing: number of recorded samples that are not in the data set, -1 if samples were compared by their index.
        recorded: number of recorded samples (int).
    """

    indices: list
    count: int
    images: int
    repeats: int
    total: int
    missing: int
    recorded: int

    @property
    def shares_most_images(self):
        """Return whether at least half of the samples have a recorded image, with any target (bool)."""
        return self.images <= self.total / 2

    def text(self, loader):
        """Return the difference as text (str): '3 of 500 samples changed: a.png, b.png, c.png (2 images, 1 target)'.

        Args:
            loader: data.loader.Loader of the data set, which names its samples.
        """
        names = ', '.join(map(loader.sample_name, self.indices))
        names += f' and {self.count - len(self.indices):,} more' if self.count > len(self.indices) else ''
        targets = self.count - self.images - self.repeats
        kinds = [(self.images, loader.input_kind), (targets, 'target'), (self.repeats, 'repetition')]
        parts = ', '.join(f'{number:,} {kind}{"s" * (number > 1)}' for number, kind in kinds if number)
        share = f'{self.count:,} of {count_text(self.total, "sample")}'
        if self.missing < 0:
            return f'{share} changed: {names} ({parts})'
        missing = f'{self.missing:,} of the {self.recorded:,} recorded samples {_are(self.missing)} missing'
        if not self.count:
            return missing
        other = f'{share} {_are(self.count)} not among the recorded: {names} ({parts})'
        return f'{other}; {missing}' if self.missing else other


def compare_contents(then, now, same_order):
    """Return the ContentsDifference between recorded and present samples, or None if there is none.

    Args:
        then, now: SampleHashes.
        same_order: whether an index means the same sample in both (bool); otherwise equal hashes are paired, so that
            a list may have been sorted, shortened or extended.
    """
    indices, *counts, missing = (_changed_places if same_order else _unpaired_samples)(then, now)
    if not len(indices) and missing <= 0:
        return None
    return ContentsDifference(indices[:MAX_NAMED_SAMPLES].tolist(), len(indices), *counts, missing, len(then))


def _changed_places(then, now):
    """Compare samples by their index.

    Returns:
        indices of the samples with another hash (int64 array), how many of them have another image, 0, the number of
        samples that both know, and -1.
    """
    changed, images, total = [np.zeros(0, np.int64)], 0, 0
    for shard in sorted({*then.shards} & {*now.shards}):
        count = min(len(then.shards[shard]), len(now.shards[shard]))
        before, after = then.shards[shard][:count], now.shards[shard][:count]
        known = (before != 0) & (after != 0)
        places = np.flatnonzero(known & (before != after))
        changed.append(places + (np.int64(shard) << SHARD_BITS))
        images += int(np.count_nonzero(before[places] >> PART_BITS != after[places] >> PART_BITS))
        total += int(np.count_nonzero(known))
    return np.concatenate(changed), images, 0, total, -1


def _unpaired_samples(then, now):
    """Compare samples by pairs of equal hashes.

    Returns:
        indices of the samples without a recorded partner (int64 array), how many of them have an image that is not
        recorded, how many are recorded but less often, the number of samples, and how many recorded samples are without
        a partner.
    """
    (indices, hashes), (_, recorded) = now.items(), then.items()
    chosen = _unpaired(hashes, np.sort(recorded))
    images = int(np.count_nonzero(~np.isin(hashes[chosen] >> PART_BITS, recorded >> PART_BITS)))
    repeats = int(np.count_nonzero(np.isin(hashes[chosen], recorded)))
    return indices[chosen], images, repeats, len(hashes), len(recorded) - (len(hashes) - len(chosen))


def _unpaired(hashes, recorded):
    """Return the positions (int64 array, sorted) of the hashes that are not among the recorded, which are sorted.

    A hash that occurs more often than among the recorded counts as often as it is more.
    """
    order = np.argsort(hashes, kind='stable')
    ordered = hashes[order]
    repetition = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    available = np.searchsorted(recorded, ordered, side='right') - np.searchsorted(recorded, ordered)
    return np.sort(order[repetition >= available])


def _are(count):
    return 'is' if count == 1 else 'are'
