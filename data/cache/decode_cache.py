"""--cache_dir: a directory in which the images of each list are decoded once, even by several processes.

A cache file is written under a temporary name, locked, and renamed when it is complete. The lock ends with its process,
so a temporary file that can be locked is abandoned. (filelock would leave a second file beside each.) Some network
drives do not pass locks on to other machines; temporary names therefore contain the host name: each machine decodes on
its own, and the last file stays.
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
from utils.base.text_table import count_text, size_text
from utils.base.write_errors import error_reason, error_remedy

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

ABANDONED_SECONDS = 24 * 60 * 60  # without a write, then another machine's temporary file is removed


def find_or_make(file, fill):
    """Make sure that the cache file exists and is complete. Of several processes, one creates it and the others wait.

    Args:
        file: data.cache.decode_cache_file.PixelFile; its directory may not exist yet.
        fill: function(write) that calls write(index, image, target, hashes) for every sample and returns whether all
            samples are valid.

    Returns:
        A line for the log (str), or None if `fill` returned False: then no file is left.

    Raises:
        DanluError: the file cannot be written, for example because the disk is full; no file is left.
    """
    try:
        while (damage := _damage(file)) is not None:
            if fcntl is None:
                raise DanluError('--cache_dir: needs the file locks of Linux or macOS; leave it out')
            os.makedirs(os.path.dirname(file.path), exist_ok=True)
            with _locked(_partial_path(file.path)) as handle:
                # Another process may have created the file before this one got the lock.
                if handle is not None and _damage(file) is not None:
                    _remove_abandoned(os.path.dirname(file.path))
                    return _creation_note(file, damage) if _create(file, handle, fill) else None
    except OSError as error:
        raise DanluError(_cannot_write(file, error)) from error
    return f'cache: {_contents(file)} from {file.path}'


def _damage(file):
    """Return None if the file is complete, '' if there is none, otherwise what is wrong with it (str)."""
    try:
        return file.damage()
    except FileNotFoundError:
        return ''


def _contents(file):
    kinds = {0: '', 2: ' with masks', 3: ' with their targets'}
    return count_text(file.shape[0], 'image') + kinds[len(file.target or ())]


def _creation_note(file, damage):
    why = f'; the file there was damaged: {damage}' if damage else ''
    return f'cache: decoded {_contents(file)} into {file.path} ({size_text(file.size)}{why})'


def _cannot_write(file, error):
    directory, free = os.path.dirname(file.path), ''
    with contextlib.suppress(OSError):
        free = f', {size_text(shutil.disk_usage(directory).free)} are free there'
    return (
        f'--cache_dir {directory}: cannot write the pixels of {_contents(file)} ({size_text(file.size)}{free}): '
        f'{error_reason(error)}; {error_remedy(error, directory)}, give another directory, or leave it out'
    )


def _partial_path(path):
    return f'{path}.{platform.node()}.partial'


def _create(file, handle, fill):
    """Write the file through `handle`, open under its temporary name; return whether `fill` succeeded."""
    os.ftruncate(handle, 0)
    write_at(handle, str(os.getpid()).encode(), 0)  # shown by waiting processes; the header is written last
    _reserve(handle, file.size)
    if not fill(lambda *sample: file.write(handle, *sample)):
        return False
    write_at(handle, file.header(), 0)
    os.fsync(handle)
    os.replace(_partial_path(file.path), file.path)
    return True


def _reserve(handle, size):
    """Allocate the space, so that a full disk is noticed before any decoding."""
    if hasattr(os, 'posix_fallocate'):  # not on macOS
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not supported by this file system
                raise
    os.ftruncate(handle, size)


@contextlib.contextmanager
def _locked(path):
    """Open `path` and lock it for one process at a time; at the end, remove the file if it still has this name.

    Yields the handle (int), or None if another process renamed or removed the file meanwhile.
    """
    # Links are not followed: in a shared directory, a link could point to any file of this user.
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
    """Remove temporary files of other lists whose processes were killed."""
    for entry in os.scandir(directory):
        if '.pixels.' in entry.name and entry.name.endswith('.partial'):
            with contextlib.suppress(OSError):  # still being written, or just removed
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
