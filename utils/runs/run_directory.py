"""Directories of runs and tests: never written over, gone again where nothing ran. Imports no torch."""

import os
import shutil
from pathlib import Path

from utils.options.validation_options import SPLIT_DIRECTORY

START_FILES = ('args.txt', 'env.txt', 'source.zip', 'record.json')  # that a run writes before it does anything


def make_new_directory(path, fits=None):
    """Make and return (str) the directory `path`, or where that exists `path`_2, _3 and so on.

    Args:
        path: wanted.
        fits: function(path) -> whether this one that exists is to be taken (bool), or None: none is.

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
            if fits is not None and fits(candidate):
                return str(candidate)
            number += 1
            candidate = path.with_name(f'{path.name}_{number}')


def make_directory_below(roots, path, parser, option, fits=None):
    """Make and return (str) the directory `path`, or `path`_2 and so on, which has to lie below one of `roots` (Paths).

    Args:
        fits: as for `make_new_directory`.
        parser: whose `error` says in one line, naming `option`, why that is not possible.
    """
    # The directory itself is made anew, so a link of its name leads nowhere; those above it are followed.
    resolved = path.parent.resolve() / path.name
    if not any(resolved.is_relative_to(root.resolve()) and resolved != root.resolve() for root in roots):
        places = ' or '.join(map(str, dict.fromkeys(roots)))
        parser.error(f'argument {option}: {path} is not below {places}; for another place give --checkpoints_dir')
    try:
        return make_new_directory(path, fits)
    except OSError as error:
        place = '--result_dir' if parser.prog == 'eval.py' else '--checkpoints_dir'
        parser.error(f'cannot make the directory {path}: {error.strerror or error}; {place} gives another place')


def remove_unstarted(directory):
    """Remove a directory that failed before its first step and holds nothing but what starts do: it would confuse."""
    paths = list(Path(directory).iterdir())
    if all(path.name in (*START_FILES, SPLIT_DIRECTORY) or path.name.startswith('log.rank') for path in paths):
        for path in paths:
            if path.name == SPLIT_DIRECTORY:
                shutil.rmtree(path)
            else:
                path.unlink()
        os.rmdir(directory)
