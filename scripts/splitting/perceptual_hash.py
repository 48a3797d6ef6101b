"""Equal and similar images: copies, and the same picture at another size, quality or brightness.

Equal files have the same SHA-256. Similar images are found in two steps: by a perceptual hash of 64 bits, the signs of
the lowest frequencies of the grey image relative to their median (as pHash: Zauner 2010, Implementation and
benchmarking of perceptual image hash functions), and by the correlation of grey thumbnails, because simple images such
as digits often have close hashes. Cropped, mirrored and turned copies are not found. A million thumbnails take 256 MB.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from data.lists.pictures import read_picture
from utils.base.errors import DanluError
from utils.base.machine import cpu_cores
from utils.base.regular_files import read_regular_bytes

GREY_SIDE = 32  # pixels of the image that is hashed
THUMBNAIL_SIDE = 16  # pixels
FREQUENCIES = 8  # per axis: 64 bits
MAX_DISTANCE_BITS = 6
MIN_CORRELATION = 0.985
MIN_DEVIATION = 4.0  # grey levels; divides the thumbnails of nearly uniform images
IMAGES_PER_TASK = 64
ROWS_AT_ONCE = 1024


class Looks(NamedTuple):
    """What is compared of N images.

    `contents` bytes (list of N; b'' if unreadable), `hashes` uint64 (N,), `thumbnails` uint8 (N, 256), and `faults`:
    dict from the index of an unreadable image to the reason (str).
    """

    contents: list
    hashes: np.ndarray
    thumbnails: np.ndarray
    faults: dict


def look_at(paths, report):
    """Return the Looks of images, decoded in threads on all cores.

    Args:
        paths: paths of the files (list of str).
        report: function(number of images done), called repeatedly.
    """
    contents, hashes = [b''] * len(paths), np.zeros(len(paths), np.uint64)
    thumbnails, faults = np.zeros((len(paths), THUMBNAIL_SIDE**2), np.uint8), {}

    def look(first):
        indices = range(first, min(first + IMAGES_PER_TASK, len(paths)))
        for index in indices:
            try:
                contents[index], hashes[index], thumbnails[index] = look_of(paths[index])
            except DanluError as error:
                faults[index] = str(error)
            except OSError as error:
                faults[index] = f'cannot be read: {error.strerror}'
        return len(indices)

    with ThreadPoolExecutor(cpu_cores()) as pool:
        for count in pool.map(look, range(0, len(paths), IMAGES_PER_TASK)):
            report(count)
    return Looks(contents, hashes, thumbnails, faults)


def look_of(path):
    """Return SHA-256 (bytes), perceptual hash (uint64) and thumbnail (uint8 (256,)) of an image file.

    Raises:
        DanluError: the file is not a complete image. OSError: the file cannot be read.
    """
    content = read_regular_bytes(path)
    grey = read_picture(content, 1, (GREY_SIDE, GREY_SIDE)).numpy()[0].astype(np.float32)
    side = GREY_SIDE // THUMBNAIL_SIDE
    thumbnail = grey.reshape(THUMBNAIL_SIDE, side, THUMBNAIL_SIDE, side).mean((1, 3)).round().astype(np.uint8)
    return hashlib.sha256(content).digest(), hash_of(grey), thumbnail.ravel()


def hash_of(grey):
    """Return the perceptual hash (uint64) of a grey image, float (32, 32)."""
    low = COSINES @ grey @ COSINES.T
    low[0, 0] = 0  # the brightness
    bits = (low > np.median(low)).ravel()
    return np.packbits(bits).view('>u8')[0].astype(np.uint64)


def _cosines():
    """Return the first rows of the DCT-II matrix: (8, 32)."""
    places = np.arange(GREY_SIDE) + 0.5
    return np.cos(np.pi / GREY_SIDE * places * np.arange(FREQUENCIES)[:, None]).astype(np.float32)


COSINES = _cosines()


def equal_pairs(contents):
    """Return the pairs (first index, later index) of equal contents (list of bytes); b'' is equal to nothing."""
    first, pairs = {}, []
    for index, content in enumerate(contents):
        if content and first.setdefault(content, index) != index:
            pairs.append((first[content], index))
    return pairs


def similar_pairs(hashes, thumbnails, indices):
    """Return the pairs (index, index) of similar images.

    Of images with the same hash, each is compared with the first of them only.

    Args:
        hashes: uint64 (N,).
        thumbnails: uint8 (N, 256).
        indices: images to compare (int64 array).
    """
    unique, first, inverse = np.unique(hashes[indices], return_index=True, return_inverse=True)
    same_hash = np.stack([indices[first[inverse]], indices], 1)
    candidates = [same_hash[same_hash[:, 0] != same_hash[:, 1]]]
    candidates += [indices[first[pairs]] for pairs in _close_hashes(unique)]
    found = np.unique(np.sort(np.concatenate(candidates), 1), axis=0)
    return [tuple(pair) for pair in found[_are_similar(thumbnails, found)].tolist()]


def _close_hashes(hashes):
    """Yield pairs of positions, int64 (P, 2), of hashes that differ in at most MAX_DISTANCE_BITS bits.

    Two such hashes are equal in at least one of MAX_DISTANCE_BITS + 1 groups of bits, so that only hashes with an equal
    group are compared. A pair may be yielded several times.
    """
    edges = np.linspace(0, 64, MAX_DISTANCE_BITS + 2).round().astype(np.uint64)
    for low, high in pairwise(edges):
        keys = (hashes >> low) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(keys, kind='stable')
        starts = np.flatnonzero(np.diff(keys[order], prepend=np.uint64(2**64 - 1)))
        for bucket in np.split(order, starts[1:]):
            for start in range(0, len(bucket) if len(bucket) > 1 else 0, ROWS_AT_ONCE):
                rows = bucket[start : start + ROWS_AT_ONCE]
                distances = np.bitwise_count(hashes[rows][:, None] ^ hashes[bucket[start:]][None])
                one, other = np.nonzero(np.triu(distances <= MAX_DISTANCE_BITS, 1))
                if len(one):
                    yield np.stack([rows[one], bucket[start:][other]], 1)


def _are_similar(thumbnails, pairs):
    """Return whether the thumbnails of each pair, int64 (P, 2), show the same picture: bool (P,)."""
    verdicts = [np.empty(0, bool)]
    for start in range(0, len(pairs), ROWS_AT_ONCE):
        one, other = (_standardised(thumbnails[column]) for column in pairs[start : start + ROWS_AT_ONCE].T)
        verdicts.append((one * other).mean(1) >= MIN_CORRELATION)
    return np.concatenate(verdicts)


def _standardised(thumbnails):
    """Return thumbnails, uint8 (P, 256), minus their mean and divided by their deviation: float32."""
    values = thumbnails.astype(np.float32)
    values -= values.mean(1, keepdims=True)
    return values / np.maximum(values.std(1, keepdims=True), MIN_DEVIATION)
