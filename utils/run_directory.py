"""Directories of runs and tests: always new, never written over, gone again where nothing ran. Imports no torch."""

from pathlib import Path


def make_new_directory(path):
    """Make and return (str) the directory `path`, or where that exists `path`_2, _3 and so on.

    Raises:
        OSError: it cannot be made.
    """
    candidate = path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        try:
            candidate.mkdir()  # fails where it exists, also when another process was a moment faster
            return str(candidate)
        except FileExistsError:
            number += 1
            candidate = path.with_name(f'{path.name}_{number}')


def remove_unstarted(directory):
    """Remove a directory that failed before its first step and holds nothing but args.txt: it would only confuse."""
    directory = Path(directory)
    if [path.name for path in directory.iterdir()] == ['args.txt']:
        (directory / 'args.txt').unlink()
        directory.rmdir()
