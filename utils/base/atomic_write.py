"""Atomic replacement of files. Imports no torch."""

import os
from contextlib import contextmanager
from pathlib import Path

from utils.base.regular_files import naming, open_regular
from utils.base.write_errors import suppress_cleanup_errors, wrap_write_errors


@contextmanager
def atomic_writer(path, binary=False):
    """Yield a file to write, which replaces `path` (Path) after the body of the `with` ends without an error.

    Raises:
        WriteError: the file cannot be opened, flushed or renamed. Errors of writes in the body are raised unchanged.
    """
    partial = path.with_name(f'{path.name}.partial')
    text = {} if binary else {'newline': '', 'encoding': 'utf-8'}
    try:
        with wrap_write_errors(path):
            file = open_regular(partial, 'wb' if binary else 'w', **text)
        try:
            with naming(path):
                yield file
        except BaseException as error:
            with suppress_cleanup_errors(error):
                file.close()
            raise
        with wrap_write_errors(path):
            file.close()
            os.replace(partial, path)
    except BaseException as error:
        with suppress_cleanup_errors(error):
            partial.unlink(missing_ok=True)
        raise


def is_partial(path):
    """Return whether a file (Path) was left incomplete by a killed process (bool)."""
    return 'partial' in path.name.split('.')


def remove_partial(directory):
    """Remove the incomplete files of killed processes; the caller must hold the run's lock."""
    for path in Path(directory).iterdir():
        if is_partial(path):
            path.unlink()
