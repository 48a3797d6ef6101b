"""Files that are replaced whole or not at all. Imports no torch."""

import os
from contextlib import contextmanager
from pathlib import Path

from utils.base.regular_files import naming, open_regular
from utils.base.write_errors import suppress_cleanup_errors, wrap_write_errors


@contextmanager
def atomic_writer(path, binary=False):
    """Give a file to write in the body of the `with`, which takes the place of `path` (Path) when it is whole.

    Raises:
        WriteError: it cannot be opened, written to its end or renamed; the body raises what its own writing raises.
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
    """Return whether a file (Path) is one that a process that was killed has left half written (bool)."""
    return 'partial' in path.name.split('.')


def remove_partial(directory):
    """Remove what a process that was killed has left half written; for whoever holds the run's lock."""
    for path in Path(directory).iterdir():
        if is_partial(path):
            path.unlink()
