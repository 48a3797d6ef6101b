"""One process at a time writes into a run's directory."""

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

MAX_OWNER_CHARACTERS = 4096  # characters of a lock that are read


class LockedError(DanluError):
    """Another process has the directory."""


class RunLock:
    """A file `lock` in the run's directory that names host and process, and on which the system holds a lock.

    The system lets go of it when the process ends, in whatever way: a file that is left has no meaning any more. Locks
    by fcntl also hold between machines that share a file system, and the worker processes of a run do not inherit them.

    Args:
        directory: of the run.

    Attributes:
        stale: what a process that is gone has left (str: 'process 123 on host'), or None.

        exclusive: whether the system really holds a lock (bool); Windows and some network drives have none.

    Raises:
        Held: another process has the run.
        DanluError: the directory cannot be written into.
    """

    def __init__(self, directory):
        self.path, self.file, self.stale_owner, self.exclusive = Path(directory) / 'lock', None, None, False
        while fcntl is not None and self.file is None:
            self._try_to_lock()

    def _try_to_lock(self):
        try:
            file = open_regular(self.path, 'a+', encoding='utf-8')  # open as long as the run goes on
        except OSError as error:  # no right to, a read-only file system, no space, a directory that is gone
            remedy = error_remedy(error, self.path.parent)
            raise DanluError(f'{self.path.parent}: cannot be written into ({error_reason(error)}); {remedy}') from None
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # what POSIX allows for a lock that another process holds
            owner = self._owner(file) or 'another process'
            file.close()
            raise LockedError(
                f'{self.path.parent}: {owner} goes on with this run; wait for it, end it, or give another run'
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCK_ERRORS:
                raise
            self.file = file  # a network drive without locks: it goes on without, as on Windows
            return
        if not self._is_current_file(file):
            file.close()  # whoever had it removed it between the opening and the locking
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
        """Return who has written the file (str), or None: nobody."""
        file.seek(0)
        try:
            owner = json.loads(file.read(MAX_OWNER_CHARACTERS))
            return f'process {owner["pid"]} on {owner["host"]}'
        except (ValueError, TypeError, KeyError, RecursionError):
            return None

    def release(self):
        """Remove the file and let go of it."""
        if self.file is not None:
            with contextlib.suppress(OSError):  # without a process it has no meaning: see above
                self.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # what there was no space for
                self.file.close()
            self.file = None


class NoLock:
    """Stands for a RunLock in a process that is not the one that writes."""

    stale_owner = None

    def __init__(self, directory):
        self.path = Path(directory) / 'lock'

    def release(self):
        """Do nothing: another process has it."""


def select_lock(directory):
    """Return the RunLock of a run's directory, or in all but the first of several processes a NoLock."""
    return NoLock(directory) if rank_env.rank_info().rank else RunLock(directory)


def lock_holder(directory):
    """Return which process has the run of a directory (str: 'process 123 on host'), or None: none has.

    Where the system has no locks, one that has left its file counts too. Not for the process that has the run itself:
    a process that closes a file lets go of all its locks on it.
    """
    owner = 'another process'
    try:
        with open_regular(Path(directory) / 'lock', 'r', encoding='utf-8') as file:
            owner = RunLock._owner(file) or owner
            if fcntl is not None:
                # Shared, as that needs no right to write; it is held for some microseconds.
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
    except (FileNotFoundError, IsADirectoryError, NotRegularError):
        return None
    except OSError as error:
        if not isinstance(error, BlockingIOError | PermissionError) and error.errno not in NO_LOCK_ERRORS:
            raise
    return owner
