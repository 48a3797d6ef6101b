"""Decoded pixels in a file that is mapped into memory: processes share its pages, and it may be larger than memory."""

import json
import mmap
import os
import warnings

import torch

from data.in_memory import InMemory
from utils.errors import DanluError

FORMAT = 1
HEADER = 4096  # bytes; the pixels begin at a page


class PixelFile:
    """Where the pixels of a list lie in a file: a header that says what they are, all pictures, all masks.

    Args:
        path: of the file, which need not be there yet.
        key: what the pixels depend on (str), as data.pixel_key.pixel_key makes it.
        shape: (N, C, H, W) of the pictures.
        masks: whether masks (N, H, W) follow.
    """

    def __init__(self, path, key, shape, masks):
        self.path, self.key, self.shape, self.masks = str(path), key, tuple(shape), masks
        count, channels, height, width = shape
        self.picture_bytes, self.mask_bytes = channels * height * width, height * width if masks else 0
        self.masks_start = HEADER + count * self.picture_bytes
        self.size = self.masks_start + count * self.mask_bytes

    def header(self):
        """Return the file's first bytes; one line of JSON, so that `head -n 1` shows it."""
        facts = {'danlu pixels': FORMAT, 'key': self.key, 'pictures': self.shape, 'masks': self.masks}
        return (json.dumps(facts).encode() + b'\n').ljust(HEADER, b'\0')

    def damage(self):
        """Return why the file cannot be used (str), or None: it is whole.

        Raises:
            OSError: it cannot be read, for example FileNotFoundError.
        """
        with open(self.path, 'rb') as file:
            found = os.fstat(file.fileno()).st_size
            if found != self.size:
                return f'{found:,} bytes instead of {self.size:,}'
            return None if file.read(HEADER) == self.header() else 'another header'

    def write(self, handle, index, picture, mask):
        """Write a sample, uint8 (C, H, W) and (H, W) or None, to its place in the file open as `handle` (int).

        Never through a map: where the disk is full that ends the process, without a word.
        """
        write_at(handle, picture.numpy(), HEADER + index * self.picture_bytes)
        if mask is not None:
            write_at(handle, mask.numpy(), self.masks_start + index * self.mask_bytes)

    def tensors(self):
        """Return pictures, uint8 (N, C, H, W), and masks, uint8 (N, H, W), or None; the map can only be read.

        Raises:
            DanluError: the file is gone or damaged.
        """
        try:
            damage = self.damage()
            with open(self.path, 'rb') as file:
                pixels = None if damage else mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_READ)
        except OSError as error:
            damage = error.strerror
        if damage:
            raise DanluError(f'{self.path} cannot be mapped: {damage}; start again, which decodes the pictures anew')
        count, _, height, width = self.shape
        pictures = _tensor(pixels, HEADER, count * self.picture_bytes).view(self.shape)
        masks = _tensor(pixels, self.masks_start, count * self.mask_bytes) if self.masks else None
        return pictures, None if masks is None else masks.view(count, height, width)


class MappedPixels(InMemory):
    """InMemory over a PixelFile. Pickled it is the file's path, so that a spawned worker maps it too.

    Args:
        file: PixelFile.
        labels: int64 tensor (N,), or None where the masks are the targets.
    """

    def __init__(self, file, labels):
        self.file = file
        pictures, masks = file.tensors()
        super().__init__(pictures, labels if masks is None else masks)

    def __reduce__(self):
        return MappedPixels, (self.file, None if self.file.masks else self.targets)

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
