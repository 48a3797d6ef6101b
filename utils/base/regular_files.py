"""Opening files without blocking on pipes, devices and sockets. Imports no torch.

All code of the project opens files here: `open_regular` replaces `open`, `open_handle` replaces `os.open`, `regular`
checks a path for a library that opens it. tests/utils/base/test_regular_files.py finds code that opens files otherwise.
"""

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path

LARGEST_HOLE = 2**30  # bytes of a sparse file that read as zeros and take no space
NOT_REGULAR = 'it is a pipe, a device or a socket, not a regular file'


class NotRegularError(OSError):
    """There is a pipe, a device, a socket, a link to itself or a hole of gigabytes in place of a file."""


def check_regular(path):
    """Raise OSError unless a path is a regular file; links are followed."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise NotRegularError(errno.ELOOP, 'it is a link that leads back to itself', str(path)) from None
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise NotRegularError(errno.EINVAL, NOT_REGULAR, str(path))


def regular(path):
    """Return the path of a regular file, for a library that opens it; raises as `check_regular`."""
    check_regular(path)
    return path


def made_regular(path):
    """Create or empty a regular file and return its path, for a library that writes it; raises as `open_regular`."""
    open_regular(path, 'wb').close()
    return path


def open_regular(path, mode='rb', **options):
    """Open a regular file as `open` does, for reading or writing, without blocking on any kind of file.

    Raises:
        OSError: the path is not a regular file (`strerror` says what it is), or the file cannot be opened.
    """
    return open(path, mode, opener=open_handle, **options)


def open_handle(path, flags, permissions=0o666):
    """Open a regular file as `os.open` does and return its descriptor (int); raises as `open_regular`.

    Args:
        path: of the file.
        flags: of os.open; O_NONBLOCK is added, which has no effect on regular files and prevents waiting for pipes.
        permissions: of a new file, before the umask.
    """
    try:
        check_regular(path)  # before opening, which has side effects on some devices
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    handle = os.open(path, flags | getattr(os, 'O_NONBLOCK', 0), permissions)
    facts = os.fstat(handle)
    fault = None if stat.S_ISREG(facts.st_mode) else NOT_REGULAR  # replaced since the check
    if fault is None and facts.st_size > LARGEST_HOLE and not flags & (os.O_WRONLY | os.O_RDWR):
        fault = _fault_of_hole(handle, facts.st_size)
    if fault is not None:
        os.close(handle)
        raise NotRegularError(errno.EINVAL, fault, str(path))
    return handle


def _fault_of_hole(handle, size):
    """Return why an open file of `size` bytes should not be read (str): a sparse file may fill all memory; or None."""
    if not hasattr(os, 'SEEK_HOLE'):  # Windows
        return None
    try:
        start = os.lseek(handle, 0, os.SEEK_HOLE)
        try:
            end = os.lseek(handle, start, os.SEEK_DATA) if start < size else size
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data after the hole
                raise
            end = size
    except OSError:  # not supported by the file system
        return None
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return f'it is a sparse file, of which {end - start:,} bytes are a hole' if end - start > LARGEST_HOLE else None


def resolved(path):
    """Return the target (Path) of a path with links, as Path.resolve; for a link to itself the link."""
    return Path(os.path.realpath(path))


@contextmanager
def naming(path):
    """Set the filename of an OSError without one that is raised in the body of the `with`, such as by a write."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def read_regular_bytes(path):
    """Return the contents of a regular file (bytes); raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def read_regular_text(path, encoding='utf-8', errors=None):
    """Return the text of a regular file (str) with universal newlines; raises as `open_regular`."""
    with open_regular(path, 'r', encoding=encoding, errors=errors) as file:
        return file.read()


def write_regular_text(path, text, errors=None):
    """Write a text (str) as UTF-8 to a regular file, new or replaced; raises as `open_regular`."""
    with naming(path), open_regular(path, 'w', encoding='utf-8', errors=errors) as file:
        file.write(text)
