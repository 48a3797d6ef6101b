"""Decoded pixels in a file that is mapped into memory: processes share its pages, and it may be larger than memory."""

import json
import math
import mmap
import os
import warnings

import torch

from data.tensor_dataset import InMemory
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular

CACHE_FORMAT = 2
HEADER_BYTES = 4096  # bytes; the pixels begin at a page


class PixelFile:
    """Where the pixels of a list lie in a file: a header that says what they are, all pictures, all targets.

    Args:
        path: of the file, which need not be there yet.
        key: what the pixels depend on (str), as data.cache.decode_cache_key.pixel_key makes it.
        shape: (N, C, H, W) of the pictures.
        target: the shape of one target that is pixels too, (H, W) of a mask or (C, H, W) of a picture, or None.
    """

    def __init__(self, path, key, shape, target):
        self.path, self.key, self.shape, self.target = str(path), key, tuple(shape), target
        self.picture_bytes, self.target_bytes = math.prod(shape[1:]), math.prod(target) if target else 0
        self.targets_start = HEADER_BYTES + shape[0] * self.picture_bytes
        self.size = self.targets_start + shape[0] * self.target_bytes

    def header(self):
        """Return the file's first bytes; one line of JSON, so that `head -n 1` shows it."""
        facts = {'danlu pixels': CACHE_FORMAT, 'key': self.key, 'pictures': self.shape, 'target': self.target}
        return (json.dumps(facts).encode() + b'\n').ljust(HEADER_BYTES, b'\0')

    def damage(self):
        """Return why the file cannot be used (str), or None: it is whole.

        Raises:
            OSError: it cannot be read, for example FileNotFoundError.
        """
        with open_regular(self.path) as file:
            found = os.fstat(file.fileno()).st_size
            if found != self.size:
                return f'{found:,} bytes instead of {self.size:,}'
            return None if file.read(HEADER_BYTES) == self.header() else 'another header'

    def write(self, handle, index, picture, target):
        """Write a sample, a picture and the pixels of its target or None, to its place in the file open as `handle`.

        Never through a map: where the disk is full that ends the process, without a word.
        """
        write_at(handle, picture.numpy(), HEADER_BYTES + index * self.picture_bytes)
        if target is not None:
            write_at(handle, target.numpy(), self.targets_start + index * self.target_bytes)

    def tensors(self):
        """Return pictures, uint8 (N, C, H, W), and targets that are pixels, or None; the map can only be read.

        Raises:
            DanluError: the file is gone or damaged.
        """
        try:
            damage = self.damage()
            with open_regular(self.path) as file:
                pixels = None if damage else mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ)
        except OSError as error:
            damage = error.strerror
        if damage:
            raise DanluError(f'{self.path} cannot be mapped: {damage}; start again, which decodes the pictures anew')
        count = self.shape[0]
        pictures = _tensor(pixels, HEADER_BYTES, count * self.picture_bytes).view(self.shape)
        if self.target is None:
            return pictures, None
        return pictures, _tensor(pixels, self.targets_start, count * self.target_bytes).view(count, *self.target)


class MappedPixels(InMemory):
    """InMemory over a PixelFile. Pickled it is the file's path, so that a spawned worker maps it too.

    Args:
        file: PixelFile.
        labels: tensor with a row per sample, or None where the targets are pixels.
    """

    def __init__(self, file, labels):
        self.file = file
        pictures, targets = file.tensors()
        super().__init__(pictures, labels if targets is None else targets)

    def __reduce__(self):
        return MappedPixels, (self.file, self.targets if self.file.target is None else None)

    def __getitem__(self, index):
        """Return one sample: copies, as writing to the map would end the process."""
        image, target = super().__getitem__(index)
        return image.clone(), target.clone()


def write_at(handle, data, start):
    """Write all of `data` (a buffer) at the position `start` of the file open as `handle`; OSError where it cannot."""
    rest = memoryview(data).cast('B')
    while rest:
        written = os.pwrite(handle, rest, start)  # on a full disk the part that still fits, then the error
        rest, start = rest[written:], start + written


def _tensor(pixels, start, count):
    with warnings.catch_warnings():  # torch warns that it cannot keep anybody from writing; the map does
        warnings.filterwarnings('ignore', message='The given buffer is not writable', category=UserWarning)
        return torch.frombuffer(pixels, dtype=torch.uint8, offset=start, count=count)
