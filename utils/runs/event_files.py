"""TensorBoard event files of a resumed run: truncated to the time of the checkpoint, then continued. Imports no torch.

A checkpoint holds the size of each event file. A resumed run keeps that many bytes of each and merges them into one
file whose name sorts first, because TensorBoard reads files by name and expects increasing steps. Events after the
checkpoint and changes of the clock therefore do not matter.
"""

import os
import shutil
from pathlib import Path

from utils.base.atomic_write import atomic_writer, is_partial, remove_partial
from utils.base.regular_files import open_regular

EVENT_PATTERN = 'events.out.tfevents.*'
CONTINUED_FILE = 'events.out.tfevents.0000000000.continued'
EVENT_DIRECTORIES = ('', 'steps')  # below the run directory


def event_sizes(directory):
    """Return the size in bytes of each event file of a run (dict from a path relative to `directory` to int)."""
    files = [path for below in EVENT_DIRECTORIES for path in _files(Path(directory, below))]
    return {path.relative_to(directory).as_posix(): path.stat().st_size for path in files}


def continue_events(directory, sizes):
    """Truncate the event files of a run to the time of a checkpoint; return whether that was possible (bool).

    Args:
        directory: run directory.
        sizes: result of `event_sizes` at that time; with any other value the files are left unchanged.
    """
    for folder in (Path(directory, below) for below in EVENT_DIRECTORIES):
        if folder.is_dir():
            remove_partial(folder)
    if not isinstance(sizes, dict):
        return False
    kept = [_bytes_to_keep(Path(directory, below), below, sizes) for below in EVENT_DIRECTORIES]
    if None in kept:
        return False
    for below, pieces in zip(EVENT_DIRECTORIES, kept, strict=True):
        _merge(Path(directory, below), pieces)
    return True


def _files(folder):
    """Return the event files (list of Path) of a directory, in the order in which TensorBoard reads them."""
    found = (path for path in folder.glob(EVENT_PATTERN) if not is_partial(path))
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _bytes_to_keep(folder, below, sizes):
    """Return how many bytes to keep of each event file (list of (Path, int)), or None if `sizes` are of other files."""
    files = {(Path(below) / path.name).as_posix(): path for path in _files(folder)}
    own = {name: size for name, size in sizes.items() if Path(name).parent == Path(below)}
    first = (Path(below) / CONTINUED_FILE).as_posix()
    if own and set(own) - set(files) and first in files and files[first].stat().st_size == sum(own.values()):
        # A resumed run merged the files and ended before it saved: its own events are dropped.
        return [(path, sum(own.values()) if name == first else 0) for name, path in files.items()]
    whole = all(name in files and 0 <= size <= files[name].stat().st_size for name, size in own.items())
    return [(path, own.get(name, 0)) for name, path in files.items()] if whole else None


def _merge(folder, pieces):
    """Merge the first bytes of files (list of (Path, int)) into one file, in order, and remove the other files."""
    if not pieces:
        return
    target = folder / CONTINUED_FILE
    with atomic_writer(target, binary=True) as merged:
        for path, size in pieces:
            with open_regular(path) as file:
                _copy(file, merged, size)
        merged.flush()
        os.fsync(merged.fileno())
    for path, _ in pieces:
        if path != target:
            path.unlink()


def _copy(source, target, size):
    while size and (data := source.read(min(size, shutil.COPY_BUFSIZE))):
        target.write(data)
        size -= len(data)
