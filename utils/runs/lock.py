"""Lock of a run directory: at most one process writes into it."""

import contextlib
import errno
import json
import os
import socket
from pathlib import Path

from utils.base import rank_env
from utils.base.errors import DanluError
from utils.base.regular_files import NotRegularError, open_regular
from utils.base.write_errors import error_reason, error_remedy, write_error

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None

NO_LOCK_ERRORS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # the file system has no locks
MAX_OWNER_CHARACTERS = 4096


class LockedError(DanluError):
    """Another process holds the lock of the directory."""


class RunLock:
    """A file `lock` in the run directory with the host and process id, locked by the operating system.

    The system releases the lock when the process ends in any way; a leftover file does not lock. fcntl locks also work
    between machines that share a file system, and worker processes do not inherit them. filelock uses flock, which
    workers inherit: a killed run would stay locked until its last worker has ended.

    Args:
        directory: run directory.

    Attributes:
        stale_owner: the ended process that left the file (str: 'process 123 on host'), or None.
        exclusive: whether the system supports the lock (bool); Windows and some network drives do not.

    Raises:
        LockedError: another process holds the lock.
        DanluError: the directory is not writable.
    """

    def __init__(self, directory):
        self.path, self.file, self.stale_owner, self.exclusive = Path(directory) / 'lock', None, None, False
        while fcntl is not None and self.file is None:
            self._try_to_lock()

    def _try_to_lock(self):
        try:
            file = open_regular(self.path, 'a+', encoding='utf-8')  # stays open during the run
        except OSError as error:  # no permission, read-only file system, full disk, directory removed
            remedy = error_remedy(error, self.path.parent)
            raise DanluError(f'{self.path.parent}: not writable ({error_reason(error)}); {remedy}') from None
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows both if another process holds the lock
            owner = self._owner(file) or 'another process'
            file.close()
            raise LockedError(
                f'{self.path.parent}: {owner} is using this run; wait for it, stop it, or choose another run'
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCK_ERRORS:
                raise
            self.file = file  # a network drive without locks: continue without, as on Windows
            return
        if not self._is_current_file(file):
            file.close()  # the owner removed it between open and lock
            return
        self.stale_owner = self._owner(file)
        self.file, self.exclusive = file, True
        try:
            file.truncate(0)
            json.dump({'pid': os.getpid(), 'host': socket.gethostname()}, file)
            file.flush()
        except OSError as error:
            self.release()
            raise write_error(self.path, error) from error

    def _is_current_file(self, file):
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    @staticmethod
    def _owner(file):
        """Return the process that wrote the file (str), or None."""
        file.seek(0)
        try:
            owner = json.loads(file.read(MAX_OWNER_CHARACTERS))
            return f'process {owner["pid"]} on {owner["host"]}'
        except (ValueError, TypeError, KeyError, RecursionError):
            return None

    def release(self):
        """Remove the file and release the lock."""
        if self.file is not None:
            with contextlib.suppress(OSError):  # a leftover file does no harm
                self.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # unwritten data on a full disk
                self.file.close()
            self.file = None


class NoLock:
    """Replaces RunLock on ranks above 0, which do not write."""

    stale_owner = None

    def __init__(self, directory):
        self.path = Path(directory) / 'lock'

    def release(self):
        """Do nothing."""


def select_lock(directory):
    """Return the RunLock of a run directory on rank 0, a NoLock on other ranks."""
    return NoLock(directory) if rank_env.rank_info().rank else RunLock(directory)


def lock_holder(directory):
    """Return the process that holds the lock of a directory (str: 'process 123 on host'), or None.

    Without system locks, a leftover file counts. Not for the owner itself: closing a file releases all locks of the
    process on it.
    """
    owner = 'another process'
    try:
        with open_regular(Path(directory) / 'lock', 'r', encoding='utf-8') as file:
            owner = RunLock._owner(file) or owner
            if fcntl is not None:
                # A shared lock needs no write permission; it is held for microseconds.
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
    except (FileNotFoundError, IsADirectoryError, NotRegularError):
        return None
    except OSError as error:
        if not isinstance(error, BlockingIOError | PermissionError) and error.errno not in NO_LOCK_ERRORS:
            raise
    return owner
