"""Creates directories of runs and tests, never over existing ones, and removes those of failed starts. No torch."""

import os
import shutil
from pathlib import Path

from utils.options.validation_options import SPLIT_DIRECTORY

START_FILES = ('args.txt', 'env.txt', 'source.zip', 'record.json')  # written before the first step


def make_new_directory(path, fits=None):
    """Create the directory `path`, or `path`_2, _3 and so on if it exists, and return its path (str).

    Args:
        path: preferred path.
        fits: function(path) -> whether to use this existing directory (bool), or None.

    Raises:
        OSError: the directory cannot be created.
    """
    candidate = path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        try:
            candidate.mkdir()  # fails if it exists, also if another process was faster
            return str(candidate)
        except FileExistsError:
            if fits is not None and fits(candidate):
                return str(candidate)
            number += 1
            candidate = path.with_name(f'{path.name}_{number}')


def make_directory_below(roots, path, parser, option, fits=None):
    """Create a directory as `make_new_directory` does, below one of `roots` (list of Path), and return its path (str).

    Args:
        parser: argparse parser; its `error` reports problems, naming `option`.
        fits: see `make_new_directory`.
    """
    # The directory itself is new, so only links above it are followed.
    resolved = path.parent.resolve() / path.name
    if not any(resolved.is_relative_to(root.resolve()) and resolved != root.resolve() for root in roots):
        places = ' or '.join(map(str, dict.fromkeys(roots)))
        parser.error(f'argument {option}: {path} is not below {places}; choose another directory by --checkpoints_dir')
    try:
        return make_new_directory(path, fits)
    except OSError as error:
        place = '--result_dir' if parser.prog == 'eval.py' else '--checkpoints_dir'
        parser.error(f'cannot create the directory {path}: {error.strerror or error}; choose another by {place}')


def remove_unstarted(directory):
    """Remove the directory of a run that failed before its first step, if it holds only START_FILES and rank logs."""
    paths = list(Path(directory).iterdir())
    if all(path.name in (*START_FILES, SPLIT_DIRECTORY) or path.name.startswith('log.rank') for path in paths):
        for path in paths:
            if path.name == SPLIT_DIRECTORY:
                shutil.rmtree(path)
            else:
                path.unlink()
        os.rmdir(directory)
