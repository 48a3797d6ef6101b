"""Opening files that may come from others: regular files only, so that no pipe or device is waited for. No torch."""

import errno
import os
import stat
from pathlib import Path

NOT_REGULAR = 'it is a pipe, a device or a socket, not a regular file'


def check_regular(path):
    """Raise OSError where a path is a pipe, a device, a socket, a directory or nothing; links are followed."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))


def open_regular(path, mode='rb', **options):
    """Open an existing regular file for reading, as `open` does; it returns at once, whatever is at the path.

    Raises:
        OSError: it is something else, with what it is as the `strerror`, or it cannot be opened.
    """
    check_regular(path)  # before the opening, which does something to some devices
    return open(path, mode, opener=_opener, **options)


def read_regular_bytes(path):
    """Return what is in a regular file (bytes); OSError as for `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def read_regular_text(path, encoding='utf-8', errors=None):
    """Return the text of a regular file (str), with one kind of line break; OSError as for `open_regular`."""
    with open_regular(path, 'r', encoding=encoding, errors=errors) as file:
        return file.read()


def _opener(path, flags):
    """Open by number, without waiting for the other end of a pipe that took the file's place meanwhile."""
    handle = os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, NOT_REGULAR, str(Path(path)))
    return handle
