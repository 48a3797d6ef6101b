"""Opening files: regular files only, so that no pipe, device or socket in a file's place is waited for. No torch.

All code of the project opens files here: `open_regular` stands for `open`, `open_handle` for `os.open`, and `regular`
checks a path for a library that opens files by their paths. tests/utils/base/test_regular_files.py looks for code that
opens a path in another way.
"""

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path

LARGEST_HOLE = 2**30  # bytes that read as zeros and take no space, in a file that is read
NOT_REGULAR = 'it is a pipe, a device or a socket, not a regular file'


class NotRegularError(OSError):
    """A pipe, a device, a socket, a link to itself or a hole of gigabytes is in the place of a file."""


def check_regular(path):
    """Raise OSError where a path is a pipe, a device, a socket, a directory or nothing; links are followed."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise NotRegularError(errno.ELOOP, 'it is a link that leads back to itself', str(path)) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise NotRegularError(errno.EINVAL, NOT_REGULAR, str(path))


def regular(path):
    """Return a path of a regular file as it is, for a library that opens it; OSError as for `check_regular`."""
    check_regular(path)
    return path


def made_regular(path):
    """Make or empty a regular file and return its path, for a library that writes it; OSError as for `open_regular`."""
    open_regular(path, 'wb').close()
    return path


def open_regular(path, mode='rb', **options):
    """Open a regular file as `open` does, for reading or writing; return at once, whatever is at the path.

    Raises:
        OSError: something else is there, with what it is as the `strerror`, or the file cannot be opened.
    """
    return open(path, mode, opener=open_handle, **options)


def open_handle(path, flags, permissions=0o666):
    """Open a regular file as `os.open` does and return its number (int); arguments and errors as for `open_regular`.

    Args:
        path: of the file.
        flags: of os.open; O_NONBLOCK is added, which a regular file ignores and a pipe does not wait with.
        permissions: of a new file, before the umask.
    """
    try:
        check_regular(path)  # before the opening, which does something to some devices
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    handle = os.open(path, flags | getattr(os, 'O_NONBLOCK', 0), permissions)
    fault = None if stat.S_ISREG(os.fstat(handle).st_mode) else NOT_REGULAR  # it took the file's place meanwhile
    if fault is None and not flags & (os.O_WRONLY | os.O_RDWR):
        fault = _fault_of_hole(handle)
    if fault is not None:
        os.close(handle)
        raise NotRegularError(errno.EINVAL, fault, str(path))
    return handle


def _fault_of_hole(handle):
    """Return why an open file is not to be read (str): it takes no space, but all memory once it is read; or None."""
    size = os.fstat(handle).st_size
    if size <= LARGEST_HOLE or not hasattr(os, 'SEEK_HOLE'):  # Windows
        return None
    try:
        start = os.lseek(handle, 0, os.SEEK_HOLE)
        try:
            end = os.lseek(handle, start, os.SEEK_DATA) if start < size else size
        except OSError as error:
            if error.errno != errno.ENXIO:  # behind it there is nothing
                raise
            end = size
    except OSError:  # a file system that does not tell
        return None
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return f'it is a sparse file, of which {end - start:,} bytes are a hole' if end - start > LARGEST_HOLE else None


def resolved(path):
    """Return where links of a path lead to (Path), as Path.resolve does; of one that leads back to itself, the link."""
    return Path(os.path.realpath(path))


@contextmanager
def naming(path):
    """Give the name of a file to an OSError that writing into it raises in the body of the `with`, if it has none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def read_regular_bytes(path):
    """Return what is in a regular file (bytes); OSError as for `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def read_regular_text(path, encoding='utf-8', errors=None):
    """Return the text of a regular file (str), with one kind of line break; OSError as for `open_regular`."""
    with open_regular(path, 'r', encoding=encoding, errors=errors) as file:
        return file.read()


def write_regular_text(path, text, errors=None):
    """Write a text (str) as UTF-8 into a regular file, new or replaced; OSError as for `open_regular`."""
    with naming(path), open_regular(path, 'w', encoding='utf-8', errors=errors) as file:
        file.write(text)
