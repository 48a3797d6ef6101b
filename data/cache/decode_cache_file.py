"""Decoded pixels in a memory-mapped file: processes share its pages, and it may be larger than memory."""

import json
import math
import mmap
import os
import warnings

import numpy as np
import torch

from data.tensor_dataset import InMemory
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular

CACHE_FORMAT = 3
HEADER_BYTES = 4096  # the pixels begin at a page boundary
HASH_BYTES = 8  # of a sample: hashes of the files of its image and target, two uint32


class PixelFile:
    """Layout of a file of decoded pixels: a header, all images, all targets, and the hashes of their source files.

    Args:
        path: of the file, which may not exist yet.
        key: hash of everything that determines the pixels (str), from data.cache.decode_cache_key.pixel_key.
        shape: (N, C, H, W) of the images.
        target: shape of one target that consists of pixels, (H, W) of a mask or (C, H, W) of an image; otherwise None.
    """

    def __init__(self, path, key, shape, target):
        self.path, self.key, self.shape, self.target = str(path), key, tuple(shape), target
        self.picture_bytes, self.target_bytes = math.prod(shape[1:]), math.prod(target) if target else 0
        self.targets_start = HEADER_BYTES + shape[0] * self.picture_bytes
        self.hashes_start = self.targets_start + shape[0] * self.target_bytes
        self.size = self.hashes_start + shape[0] * HASH_BYTES

    def header(self):
        """Return the header (bytes): one line of JSON, readable with `head -n 1`, padded to HEADER_BYTES."""
        facts = {'danlu pixels': CACHE_FORMAT, 'key': self.key, 'pictures': self.shape, 'target': self.target}
        return (json.dumps(facts).encode() + b'\n').ljust(HEADER_BYTES, b'\0')

    def damage(self):
        """Return why the file cannot be used (str), or None if it is complete.

        Raises:
            OSError: the file cannot be read, for example FileNotFoundError.
        """
        with open_regular(self.path) as file:
            found = os.fstat(file.fileno()).st_size
            if found != self.size:
                return f'{found:,} bytes instead of {self.size:,}'
            return None if file.read(HEADER_BYTES) == self.header() else 'another header'

    def write(self, handle, index, picture, target, hashes):
        """Write the image of a sample, its target or None, and the hashes of both into the file open as `handle`.

        Writes do not go through a memory map, because a full disk would then kill the process without an error message.
        """
        write_at(handle, picture.numpy(), HEADER_BYTES + index * self.picture_bytes)
        if target is not None:
            write_at(handle, target.numpy(), self.targets_start + index * self.target_bytes)
        write_at(handle, np.array(hashes, '<u4'), self.hashes_start + index * HASH_BYTES)

    def hashes(self):
        """Return the hashes of the source files: uint32 array (N, 2), image and target; 0: none or unknown."""
        with open_regular(self.path) as file:
            file.seek(self.hashes_start)
            return np.fromfile(file, '<u4', 2 * self.shape[0]).reshape(-1, 2)

    def tensors(self):
        """Return images, uint8 (N, C, H, W), and targets or None; both are read-only.

        Raises:
            DanluError: the file is missing or damaged.
        """
        try:
            damage = self.damage()
            with open_regular(self.path) as file:
                pixels = None if damage else mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ)
        except OSError as error:
            damage = error.strerror
        if damage:
            raise DanluError(f'{self.path} cannot be mapped: {damage}; start again to decode the images again')
        count = self.shape[0]
        pictures = _tensor(pixels, HEADER_BYTES, count * self.picture_bytes).view(self.shape)
        if self.target is None:
            return pictures, None
        return pictures, _tensor(pixels, self.targets_start, count * self.target_bytes).view(count, *self.target)


class MappedPixels(InMemory):
    """InMemory data set over a PixelFile. Pickling stores only the path, so that spawned workers map the file too.

    Args:
        file: PixelFile.
        labels: tensor with one row per sample, or None where the targets are pixels.
    """

    def __init__(self, file, labels):
        self.file = file
        pictures, targets = file.tensors()
        super().__init__(pictures, labels if targets is None else targets)

    def __reduce__(self):
        return MappedPixels, (self.file, self.targets if self.file.target is None else None)

    def __getitem__(self, index):
        """Return copies of one sample, as writing to the memory map would kill the process."""
        image, target = super().__getitem__(index)
        return image.clone(), target.clone()


def write_at(handle, data, start):
    """Write all of `data` (a buffer) at position `start` of the file open as `handle`; raises OSError if that fails."""
    rest = memoryview(data).cast('B')
    while rest:
        written = os.pwrite(handle, rest, start)  # on a full disk writes what fits, then raises
        rest, start = rest[written:], start + written


def _tensor(pixels, start, count):
    with warnings.catch_warnings():  # torch cannot prevent writes, but the map does
        warnings.filterwarnings('ignore', message='The given buffer is not writable', category=UserWarning)
        return torch.frombuffer(pixels, dtype=torch.uint8, offset=start, count=count)
