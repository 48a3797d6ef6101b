"""The directory of --cache_dir: each list's pixels are decoded into it once, by however many processes start.

A file is made under another name, locked, and renamed when it is whole. The lock ends with its process, in whatever way
that ends, so a partial file that can be locked belongs to nobody. Not all network drives pass locks on to other
machines, so the name of a partial file holds the machine's: of several machines each decodes, and the last file stays.
"""

import contextlib
import errno
import os
import platform
import shutil
import time

from data.cache.decode_cache_file import write_at
from utils.base.errors import DanluError
from utils.base.regular_files import open_handle
from utils.base.write_errors import error_reason, error_remedy

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ABANDONED_SECONDS = 24 * 60 * 60  # seconds without a write, after which another machine's partial file is removed


def find_or_make(file, fill):
    """See to it that `file` is there and whole; where several processes want it, one makes it and the others wait.

    Args:
        file: data.cache.decode_cache_file.PixelFile; its directory need not exist.
        fill: function(write) that calls write(index, picture, target) for every sample and returns whether all went
            well.

    Returns:
        A line (str) that says what was done, or None where `fill` returned False: then nothing is left.

    Raises:
        DanluError: it cannot be written, for example for want of space; nothing is left of it.
    """
    try:
        while (damage := _damage(file)) is not None:
            if fcntl is None:
                raise DanluError('--cache_dir: needs the file locks of Linux or macOS; leave it out')
            os.makedirs(os.path.dirname(file.path), exist_ok=True)
            with _locked(_partial_path(file.path)) as handle:
                # Another process may have made it before this one opened the partial file, or while this one waited.
                if handle is not None and _damage(file) is not None:
                    _remove_abandoned(os.path.dirname(file.path))
                    return _creation_note(file, damage) if _create(file, handle, fill) else None
    except OSError as error:
        raise DanluError(_cannot_write(file, error)) from error
    return f'cache: {_contents(file)} from {file.path}'


def _damage(file):
    """Return None where the file is whole, '' where there is none, else what is wrong with it (str)."""
    try:
        return file.damage()
    except FileNotFoundError:
        return ''


def _contents(file):
    kinds = {0: '', 2: ' with masks', 3: ' with their targets'}
    return f'{file.shape[0]:,} pictures' + kinds[len(file.target or ())]


def _creation_note(file, damage):
    why = f'; the file there was damaged: {damage}' if damage else ''
    return f'cache: decoded {_contents(file)} into {file.path} ({file.size / 1e6:,.1f} MB{why})'


def _cannot_write(file, error):
    directory, free = os.path.dirname(file.path), ''
    with contextlib.suppress(OSError):
        free = f', {shutil.disk_usage(directory).free:,} are free there'
    return (
        f'--cache_dir {directory}: cannot write the pixels of {_contents(file)} ({file.size:,} bytes{free}): '
        f'{error_reason(error)}; {error_remedy(error, directory)}, give another directory, or leave it out'
    )


def _partial_path(path):
    return f'{path}.{platform.node()}.partial'


def _create(file, handle, fill):
    """Write the file, open as `handle` under its partial name; return whether `fill` did."""
    os.ftruncate(handle, 0)
    write_at(handle, str(os.getpid()).encode(), 0)  # for those who wait; the header comes last
    _reserve(handle, file.size)
    if not fill(lambda *sample: file.write(handle, *sample)):
        return False
    write_at(handle, file.header(), 0)
    os.fsync(handle)
    os.replace(_partial_path(file.path), file.path)
    return True


def _reserve(handle, size):
    """Take the space, so that too small a disk is found out before anything is decoded."""
    if hasattr(os, 'posix_fallocate'):  # not on macOS
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # this file system cannot
                raise
    os.ftruncate(handle, size)


@contextlib.contextmanager
def _locked(path):
    """Open `path` as a handle (int) that one process has at a time, and remove what still has the name in the end.

    The handle is None where somebody else has renamed or removed the file meanwhile.
    """
    # No link is followed: in a directory that others write to it could lead to any file of this user.
    handle = open_handle(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        _lock(handle, path)
        try:
            yield handle if _is_same_file(handle, path) else None
        finally:
            if _is_same_file(handle, path):
                os.unlink(path)
    finally:
        os.close(handle)


def _lock(handle, path):
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(handle, 20, 0).partition(b'\0')[0].decode()
        process = f'process {owner}' if owner.isdigit() else 'another process'
        whole = path.removesuffix(_partial_path(''))
        print(f'cache: waiting for {process}, which is decoding into {whole}', flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)


def _is_same_file(handle, path):
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _remove_abandoned(directory):
    """Remove the partial files of other lists whose makers were killed."""
    for entry in os.scandir(directory):
        if '.pixels.' in entry.name and entry.name.endswith('.partial'):
            with contextlib.suppress(OSError):  # somebody's who still writes it, or who has just removed it
                if entry.name.endswith(_partial_path('')):
                    _remove_unlocked(entry.path)
                elif time.time() - entry.stat().st_mtime > ABANDONED_SECONDS:
                    os.unlink(entry.path)


def _remove_unlocked(path):
    handle = open_handle(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_same_file(handle, path):
            os.unlink(path)
    finally:
        os.close(handle)
