"""Leakage: samples that two data sets share, usually training and test data.

Files are compared without decoding: first by device and inode, then by size, by a block from the middle, where
different compressed images rarely agree, and by all bytes. Data in memory is compared by the bytes of each sample. A
million files take about 3 seconds; reading MAX_OPENED_FILES takes 1 second. For longer lists, names are compared, and
a random sample of files.
"""

import hashlib
import os
from typing import NamedTuple

import numpy as np
import torch

from data.checks.duplicates import hashes_of_paths
from data.lists.file_stats import FILE_ID, FILE_SIZE, MISSING_FILE, stat_files
from data.lists.list_file import Listing, random_positions
from data.stream import Stream
from data.tensor_dataset import InMemory
from utils.base.regular_files import open_handle, open_regular
from utils.base.text_table import count_text

MAX_OPENED_FILES = 50_000
MAX_READ_BYTES = 2**28  # read of files with equal blocks
MAX_HASHED_BYTES = 2**30  # bytes of samples
MIDDLE_BLOCK_BYTES = 4096
ROWS_PER_BLOCK = 4096  # samples hashed together


class Shards(NamedTuple):
    """The shards of a stream."""

    path: str  # of their directory, for messages
    shards: list  # of data.lists.shards


def shared_samples(tested, trained, names=('the test set', 'the training set'), max_count=None):
    """Return a note (list of str, one or none) on the samples that two data sets share: their number and the first one.

    Args:
        tested, trained: data sets of the same kind: with `listing` (data.list_dataset), InMemory or Stream; or Listing,
            or Shards. Other data sets are not compared.
        names: of the two (str), for data without a name of its own.
        max_count: largest number of lines of a training list whose files are looked up; None: as in `Listing.sample`.
    """
    tested, trained = _comparable(tested), _comparable(trained)
    if isinstance(tested, InMemory) and isinstance(trained, InMemory):
        return _shared_in_memory(tested, trained, names)
    if type(tested) is Listing and type(trained) is Listing:
        return _shared_lines(tested, trained, max_count)
    return _shared_shards(tested, trained) if isinstance(tested, Shards) and isinstance(trained, Shards) else []


def _comparable(data):
    return Shards(data.path, data.shards) if isinstance(data, Stream) else getattr(data, 'listing', data)


def _shared_lines(tested, trained, max_count):
    (ours, left_out), (theirs, also_left_out) = _files_to_compare(tested, None), _files_to_compare(trained, max_count)
    by_name = _shared_names(tested, trained) if left_out or also_left_out else []
    return by_name or [line + left_out + also_left_out for line in _shared_files(ours, theirs)]


def _files_to_compare(listing, max_count):
    """Return the Listing of the files to look up, and which were left out (str, '' if none)."""
    few = max_count is not None and len(listing) > max_count
    part = listing.subset_of(torch.from_numpy(random_positions(len(listing), max_count))) if few else listing.sample()
    if part is listing:
        return part, ''
    left_out = f'of {len(listing):,} images in {listing.source} only {len(part):,}, drawn at random, were compared'
    return part, f'; {left_out}'


def _shared_names(tested, trained):
    """Return a note (list of str, one or none) on images that both lists name."""
    absolute = os.path.isabs(tested.images[0]) and os.path.isabs(trained.images[0])  # independent of the roots
    if not absolute and os.path.realpath(tested.root) != os.path.realpath(trained.root):
        return []
    pairs = _first_match(hashes_of_paths(tested.images), hashes_of_paths(trained.images))
    count = np.count_nonzero(pairs >= 0)
    if not count:
        return []
    index = int(np.argmax(pairs >= 0))
    first = _pair_text(_location(tested, index), _location(trained, int(pairs[index])), count)
    note = f'{tested.source}: {_share_text(count, len(tested), "image")} in {trained.source} too ({first})'
    return [f'{note}; there may be more, as only names were compared']


def _shared_files(tested, trained):
    ours, theirs = tested.facts('images'), trained.facts('images')
    there = ours[:, FILE_SIZE] > 0  # pipes and devices have no bytes; they are not read
    same = np.where(there, _first_match(ours[:, FILE_ID], theirs[:, FILE_ID]), -1)
    equal, left_out = _equal_contents(tested, trained, np.flatnonzero(there & (same < 0)))
    parts = []
    for pairs, what in ((same, 'the same file'), (equal, 'the same content in another file')):
        count = np.count_nonzero(pairs >= 0)
        if count:
            index = int(np.argmax(pairs >= 0))
            first = _pair_text(_location(tested, index), _location(trained, int(pairs[index])), count)
            parts.append(f'{count:,} as {what} ({first})')
    count = np.count_nonzero((same >= 0) | (equal >= 0))
    if count:
        note = (
            f'{tested.source}: {_share_text(count, len(tested), "image")} in {trained.source} too: {", ".join(parts)}'
        )
        return [note + (f'; there may be more, as {left_out}' if left_out else '')]
    return [f'{tested.source}: no image was found in {trained.source}, though {left_out}'] if left_out else []


def _share_text(count, total, what):
    return f'{count:,} of {count_text(total, what)} {"is" if count == 1 else "are"}'


def _pair_text(one, other, count):
    """Return the locations of the first of `count` pairs (str)."""
    return ('the first: ' if count > 1 else '') + ' and '.join(dict.fromkeys((one, other)))


def _location(listing, index):
    where = listing.where(index)
    return where if listing.lines is None else f'{listing.images[index]}, {where}'


def _equal_contents(tested, trained, rest):
    """Return the first training sample with the same file content as each test sample (int64 array, -1: none).

    Args:
        tested, trained: Listings.
        rest: positions in `tested` to compare (int64 array).

    Returns:
        The array, and what was left out (str, '' if nothing).
    """
    ours, theirs = (listing.facts('images')[:, FILE_SIZE] for listing in (tested, trained))
    rest = rest[np.isin(ours[rest], theirs)]
    others = np.flatnonzero(np.isin(theirs, ours[rest]))
    count, left_out = len(rest) + len(others), ''
    if count > MAX_OPENED_FILES:
        rest = rest[random_positions(len(rest), max(MAX_OPENED_FILES // 2, MAX_OPENED_FILES - len(others)))]
        others = others[np.isin(theirs[others], ours[rest])]
        others = others[random_positions(len(others), MAX_OPENED_FILES - len(rest))]
        left_out = f'of {count:,} files of equal sizes only {len(rest) + len(others):,}, drawn at random, were compared'
    rest, others, keys, other_keys = _with_equal_keys(tested, trained, rest, others, _middle_block_hash)
    if (ours[rest] > MIDDLE_BLOCK_BYTES).any():
        kept, other_kept = (_count_within(sizes, MAX_READ_BYTES // 2) for sizes in (ours[rest], theirs[others]))
        if (kept < len(rest) or other_kept < len(others)) and not left_out:
            left_out = f'of {len(rest) + len(others):,} files that seem equal only {kept + other_kept:,} were read'
        rest, others, keys, other_keys = _with_equal_keys(tested, trained, rest[:kept], others[:other_kept], _file_hash)
    result = np.full(len(tested), -1)
    result[rest] = others[_first_match(keys, other_keys)]
    return result, left_out


def _with_equal_keys(tested, trained, rest, others, key_of):
    """Return the positions from two arrays whose files have a key that also occurs in the other, and their keys."""
    keys = np.array([key_of(tested.image_path(index)) for index in rest.tolist()], np.int64)
    other_keys = np.array([key_of(trained.image_path(index)) for index in others.tolist()], np.int64)
    ours, theirs = np.isin(keys, other_keys), np.isin(other_keys, keys)
    return rest[ours], others[theirs], keys[ours], other_keys[theirs]


def _count_within(sizes, max_count):
    """Return how many of the first files have at most `max_count` bytes in total (int)."""
    return int(np.searchsorted(np.cumsum(sizes), max_count, side='right'))


def _middle_block_hash(path):
    """Return a hash (int) of a file's size and its middle block; a hash of the path if the file cannot be read."""
    try:
        file = open_handle(path, os.O_RDONLY | getattr(os, 'O_BINARY', 0))  # faster than open()
        try:
            size = os.fstat(file).st_size
            os.lseek(file, max(0, (size - MIDDLE_BLOCK_BYTES) // 2), os.SEEK_SET)
            return hash((size, os.read(file, MIDDLE_BLOCK_BYTES)))
        finally:
            os.close(file)
    except OSError:
        return hash(path)


def _file_hash(path):
    """Return a hash (int) of a file's bytes; a hash of the path if the file cannot be read."""
    try:
        with open_regular(path) as file:
            return int.from_bytes(hashlib.file_digest(file, 'sha256').digest()[:8], signed=True)
    except OSError:
        return hash(path)


def _first_match(keys, others):
    """Return the position (int64 array) of the first element of `others` equal to each key, -1 if there is none."""
    kept = np.flatnonzero(_is_in(others, keys))
    others = others[kept]
    if not len(others):
        return np.full(len(keys), -1)
    unique, first = np.unique(others, return_index=True)
    places = np.minimum(np.searchsorted(unique, keys), len(unique) - 1)
    return np.where(unique[places] == keys, kept[first[places]], -1)


def _is_in(keys, others):
    """Return whether each key is in `others` (bool array); faster than np.isin for many keys and few others."""
    unique = np.unique(others)
    if not len(unique):
        return np.zeros(len(keys), bool)
    return unique[np.minimum(np.searchsorted(unique, keys), len(unique) - 1)] == keys


def _shared_shards(tested, trained):
    names = [[shard.path for shard in data.shards] for data in (tested, trained)]
    ours, theirs = (stat_files('', paths)[:, FILE_ID] for paths in names)
    pairs = _first_match(ours, theirs)
    places = np.flatnonzero((pairs >= 0) & (ours != MISSING_FILE[FILE_ID]))
    if not len(places):
        return []
    first = _pair_text(names[0][places[0]], names[1][pairs[places[0]]], len(places))
    return [f'{tested.path}: {_share_text(len(places), len(ours), "shard")} in {trained.path} too ({first})']


def _shared_in_memory(tested, trained, names):
    images, others = tested.images, trained.images
    if not len(images) or images.shape[1:] != others.shape[1:] or images.dtype != others.dtype:
        return []
    max_count = max(1, MAX_HASHED_BYTES // 2 // max(1, images[0].nbytes))
    ours, theirs = random_positions(len(images), max_count), random_positions(len(others), max_count)
    pairs = _first_match(_row_keys(images, ours), _row_keys(others, theirs))
    found = np.flatnonzero(pairs >= 0)
    ours, pairs = ours[found], theirs[pairs[found]]
    equal = [torch.equal(images[one], others[other]) for one, other in zip(ours, pairs, strict=True)]
    if not any(equal):  # equal hashes, different bytes
        return []
    count, index = sum(equal), equal.index(True)
    first = _pair_text(f'sample {tested.name(int(ours[index]))}', f'{trained.name(int(pairs[index]))} there', count)
    note = f'{names[0]}: {_share_text(count, len(images), "sample")} in {names[1]} too ({first})'
    parts = len(images) > max_count or len(others) > max_count
    return [
        note + (f'; there may be more, as only {max_count:,} of each, drawn at random, were compared' if parts else '')
    ]


def _row_keys(images, indices):
    """Return a hash of the bytes of each sample in `indices`: int64 array. Equal samples have equal hashes."""
    keys, width = [], -(-images[0].nbytes // 8)
    weights = np.random.default_rng(0).integers(2**63, size=width, dtype=np.uint64) * 2 + 1
    for part in torch.from_numpy(indices).split(ROWS_PER_BLOCK):
        rows = images[part.to(images.device)].cpu().contiguous().reshape(len(part), -1).numpy().view(np.uint8)
        words = np.zeros((len(rows), width * 8), np.uint8)
        words[:, : rows.shape[1]] = rows
        keys.append((words.view(np.uint64) * weights).sum(1, dtype=np.uint64).view(np.int64))
    return np.concatenate(keys)
