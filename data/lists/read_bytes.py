"""Reading the bytes of samples: each file once, with a hash of what was read."""

import os

import numpy as np

from utils.base.content_hash import join_hashes
from utils.base.errors import DanluError
from utils.base.file_names import unicode_form_hint
from utils.base.regular_files import NotRegularError, open_handle


def read_bytes(path):
    """Return the content (bytes) of a file of a sample.

    Raises:
        DanluError: the file cannot be read; the message does not contain the path.
    """
    try:
        return read_whole(path)
    except FileNotFoundError:
        raise DanluError(f'no such file{unicode_form_hint(path)}') from None
    except NotRegularError:
        raise DanluError('a pipe or a device, not a file') from None
    except (OSError, ValueError) as error:
        raise DanluError(f'cannot be opened: {error}') from None


def read_whole(path):
    """Return the content (bytes) of a regular file, as `read_regular_bytes` in two thirds of the time."""
    handle = open_handle(path, os.O_RDONLY | getattr(os, 'O_BINARY', 0))
    try:
        size = os.fstat(handle).st_size
        content = os.read(handle, size)
        while len(content) < size and (more := os.read(handle, size - len(content))):  # a read ends at 2 GiB
            content += more
        return content
    finally:
        os.close(handle)


class ReadHashes:
    """The hashes of the bytes that samples were read from, until the batch of the samples takes them; thread-safe.

    A data set that reads bytes has the attribute `read_hashes`, None or a ReadHashes, into which it puts the hash of
    each image and target that it reads.
    """

    PICTURE, TARGET = range(2)

    def __init__(self):
        self.waiting = {}

    def put(self, index, part, value):
        """Add the hash (int, utils.base.content_hash) of the sample `index` (int); part: PICTURE or TARGET."""
        self.waiting.setdefault(index, [None, None])[part] = value

    def pop(self, index):
        """Return and forget the hashes (list) of a sample's image and target: int, or None if unknown."""
        return self.waiting.pop(index, [None, None])

    def take(self, samples):
        """Return and forget the hashes of samples: int64 indices (B,) and uint64 (B,), 0 where unknown.

        Args:
            samples: the samples of a batch, as data.samplers yields them.
        """
        indices = np.array(samples, np.int64)
        known = [self.waiting.get(index, (None, None)) for index in indices.tolist()]
        for index in indices.tolist():
            self.waiting.pop(index, None)
        return indices, np.array([0 if None in hashes else join_hashes(*hashes) for hashes in known], np.uint64)
