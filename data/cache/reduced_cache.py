"""--cache_dir of list, pairs and folder: reduced images in a file that grows as they are decoded.

Two files per list: `<key>.reduced`, to which each process appends the pixels of samples, and `<key>.index` with one
record per sample, written after its pixels. A record holds size and time of the sample's files and a checksum of its
pixels: a changed file is decoded again, and a record without its pixels, left by a lost machine, is not used. The key
is a hash of the list, of everything else that determines the pixels, and of the code that decodes.
"""

import contextlib
import math
import mmap
import os
import struct
import threading
import zlib

import numpy as np
import torch

from utils.base.errors import DanluError
from utils.base.regular_files import open_handle
from utils.base.text_table import count_text
from utils.base.write_errors import error_reason, error_remedy

RECORD = np.dtype(
    [
        ('files', '<i8', 4),  # size and time of modification in nanoseconds, of the image and of the target
        ('start', '<i8'),  # position of the pixels
        ('hashes', '<u8', 2),  # of the bytes of both files
        ('checksum', '<u4'),  # CRC-32 of the pixels
        ('height', '<u4'),
        ('width', '<u4'),
        ('channels', '<u4'),  # 0: no record
    ]
)
RECORD_FIELDS = struct.Struct('<5q2Q4I')  # the same, read five times as fast


class ReducedCache:
    """The reduced images of a list, and their masks or target images; used by several processes and threads at once.

    Args:
        directory: --cache_dir.
        key: from data.cache.decode_cache_key.pixel_key, without files.
        files: size and time of the files of each sample, int64 array (N, 4), 0 for a target that is no file.
        target: 'mask', 'picture', or None for a target that is no file.

    Raises:
        DanluError: the directory cannot be written.
    """

    def __init__(self, directory, key, files, target):
        if not hasattr(os, 'pread'):
            raise DanluError('--cache_dir: needs the file access of Linux or macOS; leave it out')
        self.directory, self.files, self.target = str(directory), files, target
        path = os.path.join(directory, key[:32])
        self.pixels_path, self.index_path = f'{path}.reduced', f'{path}.index'
        # Shared with worker processes: whether the pixels of each sample were checked, and whether the disk is full.
        self.state = mmap.mmap(-1, len(files) + 1)
        self._begin()
        try:
            os.makedirs(directory, exist_ok=True)
            index = self._handle(self.index_path, os.O_RDWR | os.O_CREAT)
            if os.fstat(index).st_size != len(files) * RECORD.itemsize:
                os.ftruncate(index, len(files) * RECORD.itemsize)
            self._handle(self.pixels_path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            raise DanluError(self._cannot_write(error)) from error

    def _begin(self):
        self.handles, self.owner, self.lock = {}, os.getpid(), threading.Lock()

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name not in ('handles', 'owner', 'lock', 'state')}

    def __setstate__(self, state):
        vars(self).update(state)
        self.state = mmap.mmap(-1, len(self.files) + 1)
        self._begin()

    def __del__(self):
        if getattr(self, 'owner', None) == os.getpid():
            for handle in self.handles.values():
                with contextlib.suppress(OSError):
                    os.close(handle)

    def _handle(self, path, flags):
        """Return the descriptor (int) of a file; each process opens it, so that positions are not shared."""
        if self.owner != os.getpid():
            self._begin()
        if path not in self.handles:
            # Links are not followed: in a shared directory, a link could point to any file of this user.
            self.handles[path] = open_handle(path, flags | getattr(os, 'O_NOFOLLOW', 0))
        return self.handles[path]

    def note(self):
        """Return a line (str) for the log: how many images the cache holds."""
        index = self._handle(self.index_path, os.O_RDWR)
        records = np.frombuffer(os.pread(index, len(self.files) * RECORD.itemsize, 0), RECORD)
        count = int(((records['channels'] > 0) & (records['files'] == self.files).all(axis=1)).sum())
        rest = '' if count == len(self.files) else '; the others are added as they are decoded'
        return f'cache: {count:,} of {count_text(len(self.files), "image")} in {self.pixels_path}{rest}'

    def get(self, index):
        """Return a sample's image, uint8 (C, h, w), its target, uint8 tensor or None, and the hashes of both files.

        Returns None if the cache does not hold the sample.
        """
        data = os.pread(self._handle(self.index_path, os.O_RDWR), RECORD.itemsize, index * RECORD.itemsize)
        if len(data) < RECORD.itemsize:
            return None
        *files, start, image_hash, target_hash, checksum, height, width, channels = RECORD_FIELDS.unpack(data)
        if not channels or files != self.files[index].tolist():
            return None
        shapes = self._shapes(channels, height, width)
        image_size, target_size = map(math.prod, shapes)
        content = np.empty(image_size + target_size, np.uint8)
        pixels = self._handle(self.pixels_path, os.O_RDWR | os.O_APPEND)
        if os.preadv(pixels, [content], start) < len(content):
            return None
        if not self.state[index]:
            if zlib.crc32(content) != checksum:
                return None
            self.state[index] = 1
        image = torch.from_numpy(content[:image_size].reshape(shapes[0])).permute(2, 0, 1)
        if self.target is None:
            return image, None, [image_hash, target_hash]
        target = torch.from_numpy(content[image_size:].reshape(shapes[1]))
        return image, target if self.target == 'mask' else target.permute(2, 0, 1), [image_hash, target_hash]

    def _shapes(self, channels, height, width):
        """Return the shapes of an image and a target in the file, which has (height, width, channels)."""
        target = {'mask': (height, width), 'picture': (height, width, channels)}.get(self.target, (0,))
        return (height, width, channels), target

    def put(self, index, image, target, hashes):
        """Add a sample; arguments as returned by `get`. If the disk is full, say so once and add nothing any more."""
        if self.state[len(self.files)]:
            return
        parts = [image.permute(1, 2, 0), *([] if target is None else [target])]
        if self.target == 'picture':
            parts[1] = target.permute(1, 2, 0)
        content = b''.join(part.contiguous().numpy().tobytes() for part in parts)
        channels, height, width = image.shape
        record = np.zeros(1, RECORD)
        record[0] = tuple(self.files[index]), 0, tuple(hashes), zlib.crc32(content), height, width, channels
        try:
            handle = self._handle(self.pixels_path, os.O_RDWR | os.O_APPEND)
            with self.lock:  # of the threads; a write that appends is one operation among processes
                written = os.write(handle, content)
                if written < len(content):
                    os.write(handle, content[written:])  # raises why not all was written
                    return  # space is free again; another process may have appended in between
                record['start'] = os.lseek(handle, 0, os.SEEK_CUR) - len(content)
            os.pwrite(self._handle(self.index_path, os.O_RDWR), record.tobytes(), index * RECORD.itemsize)
            self.state[index] = 1
        except OSError as error:
            if not self.state[len(self.files)]:
                self.state[len(self.files)] = 1
                what = f'cache: {self.pixels_path}: {error_reason(error)}; nothing is added any more'
                print(f'{what}: {error_remedy(error, self.directory)}', flush=True)

    def _cannot_write(self, error):
        remedy = error_remedy(error, self.directory)
        return (
            f'--cache_dir {self.directory}: cannot write there: {error_reason(error)}; {remedy}, give another '
            'directory, or leave it out'
        )
