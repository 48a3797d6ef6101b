"""One-line errors for files that cannot be written: no space, no permission, a removed directory.

    with wrap_write_errors(path):                            # names the file
        file.write(text)
    with explain_write_errors(args.model_dir, 'train.py'):   # adds a remedy, and how to resume
        trainer.train()

The line has the path and the reason of the system. The exit status is 1. Imports no torch.
"""

import contextlib
import errno
import os
import shlex
import zipfile
from contextlib import contextmanager
from pathlib import Path

from utils.base.errors import DanluError, is_machine_error
from utils.base.regular_files import NotRegularError, open_regular

# The remedy by error number; 'then ...' may follow it in a message.
REMEDIES = {
    'ENOSPC': 'free some space',
    'EDQUOT': 'free some space of your quota',
    'EFBIG': 'allow larger files (ulimit -f)',
    'EROFS': 'make the file system writable again (a faulty disk is often mounted read-only)',
    'EACCES': 'get the right to write there',
    'EPERM': 'get the right to write there (lsattr shows whether the file is immutable)',
    'EIO': 'look for a faulty disk or connection (dmesg)',
    'EMFILE': 'allow more open files (ulimit -n)',
    'ENFILE': 'end other programs, which have too many files open',
    'ESTALE': 'connect the network drive again',
}
WRONG_TYPE_ERRORS = (NotRegularError, IsADirectoryError, NotADirectoryError)  # the path is not a file
NO_INODES = 'remove some files (the file system has space left, but no inodes)'
MIN_FREE_INODES, MIN_FREE_BYTES = 16, 2**20
RESUMABLE_FILES = ('last.pth', 'last.prev.pth')


class WriteError(DanluError):
    """A file of a run or test cannot be written.

    Attributes:
        fault: the message without advice (str).
        remedy: the first thing to do (str).
    """

    status = 1
    fault, remedy = '', 'remove the cause'


@contextmanager
def wrap_write_errors(path):
    """Turn an OSError in the body of the `with` into a WriteError that names the file `path`."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path, error, verb='write'):
    """Return the WriteError for an exception raised by writing a file (or another `verb`, str)."""
    if isinstance(error, WRONG_TYPE_ERRORS) and error.filename:  # perhaps the file that is renamed to `path`
        path = next(filter(os.path.isdir, filter(None, (error.filename2, error.filename))), error.filename)
    fault = f'cannot {verb} {path}: {error_reason(error)}'
    told = WriteError(fault)
    told.fault, told.remedy = fault, error_remedy(error, os.path.dirname(path) or '.')
    return told


def error_reason(error):
    """Return the reason of the system (str) for an exception, or the first line of the exception."""
    return getattr(error, 'strerror', None) or (str(error).splitlines() or [type(error).__name__])[0]


def error_remedy(error, directory):
    """Return the first thing to do (str) about an exception raised by writing a file in `directory`."""
    number = getattr(error, 'errno', None)
    if isinstance(error, WRONG_TYPE_ERRORS):
        return 'remove what is in its place'
    if number == errno.ENOSPC and _lacks_inodes(directory):
        return NO_INODES
    return REMEDIES.get(errno.errorcode.get(number), WriteError.remedy if number else 'free some space')


@contextmanager
def explain_write_errors(directory, program='train.py', again=None):
    """Explain in one line why the body of the `with` could not write a file of a run or test, and how to continue.

    Args:
        directory: of the run or test; None (no directory yet) changes nothing.
        program: the program that resumes the run (str, quoted for a shell).
        again: what to do if the run cannot be resumed (str), or None: start it again.

    Raises:
        WriteError: for a WriteError, for an OSError of a file in the directory, and for failures of the machine.
    """
    try:
        yield
    except (WriteError, OSError) as error:
        told = as_write_error(error, directory)
        if told is None or not told.fault:
            raise
        advised = WriteError(f'{told.fault}; {_advice(told, directory, program, again)}')
        advised.fault, advised.remedy = told.fault, told.remedy
        raise advised from error


@contextmanager
def suppress_cleanup_errors(failure):
    """Add errors in the body of the `with`, which cleans up after `failure`, as notes to `failure`."""
    try:
        yield
    except (OSError, DanluError) as error:
        failure.add_note(f'and then: {error}')


@contextmanager
def close_afterwards(close):
    """Call `close()` after the body of the `with`; if both raise, the first exception is raised."""
    try:
        yield
    except BaseException as error:
        with suppress_cleanup_errors(error):
            close()
        raise
    close()


def can_be_resumed(directory):
    """Return whether a run's directory has an intact checkpoint to resume from (bool); nothing is loaded."""
    kept = [Path(directory, name) for name in RESUMABLE_FILES]
    with contextlib.suppress(OSError):
        kept += Path(directory).glob('epoch_*.pth')
    return any(map(_is_whole_archive, kept))


def as_write_error(error, directory):
    """Return the WriteError (without advice) for an exception, or None if it is not about writing."""
    if isinstance(error, WriteError) or directory is None:
        return error if isinstance(error, WriteError) else None
    name = error.filename if isinstance(error.filename, str | os.PathLike) else None
    within = name is not None and Path(os.path.abspath(name)).is_relative_to(os.path.abspath(directory))
    if not (within or is_machine_error(error)):
        return None
    if within or name is None:
        return write_error(directory if name is None else name, error)
    return write_error(name, error, 'open')  # perhaps for reading


def _advice(told, directory, program, again):
    if not os.path.isdir(directory):
        return f'the directory {directory} was removed or renamed, so {again or "start the run again"}'
    if can_be_resumed(directory):
        command = '--resume' if program == 'train.py' else f'python {program} --resume'
        return f'{told.remedy}, then {command} {shlex.quote(str(directory))}'
    return f'{told.remedy}, then {again or "start it again"}'


def _lacks_inodes(directory):
    """Return whether a file system has space but (almost) no inodes left (bool); a failed run may have freed some."""
    try:
        facts = os.statvfs(directory)
    except (OSError, AttributeError):  # Windows
        return False
    return facts.f_files > 0 and facts.f_favail < MIN_FREE_INODES and facts.f_bavail * facts.f_frsize > MIN_FREE_BYTES


def _is_whole_archive(path):
    """Return whether a file is a zip archive with valid checksums (bool), as torch.save writes it."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError):
        return False
