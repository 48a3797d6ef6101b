"""Where runs are: all of a directory, or the one that a name or a path means."""

import os
from pathlib import Path
from typing import NamedTuple

from scripts.run_commands.run import FILES, Run
from utils.base.errors import DanluError
from utils.base.registry import close_names
from utils.base.regular_files import resolved

DEPTH = 4  # directories of runs within directories of runs: --model_dir may lead into one
SHOWN = 8  # names in a message


class RunIndex(NamedTuple):
    """What lies in a directory of runs: the Runs, the directories that hold them, and those of tests beside them."""

    runs: list
    places: list
    tests: list


def find_runs(checkpoints_dir):
    """Return the RunIndex of a directory and of those in it; an empty one counts as a run, of which nothing came.

    Raises:
        DanluError: there is no such directory.
    """
    root = Path(checkpoints_dir)
    if not root.is_dir():
        raise DanluError(f'--checkpoints_dir: there is no directory {root}')
    shelf = RunIndex([], [root], [])
    _look_into(root, '', shelf, DEPTH)
    shelf.runs.sort(key=lambda run: run.name)
    return shelf


def _look_into(place, name, shelf, depth):
    """Add what lies below the directory `place`, which is called `name` ('' or 'group/'), to `shelf`."""
    try:
        with os.scandir(place) as entries:
            found = [entry for entry in entries if not entry.name.startswith('.') and entry.is_dir()]
    except OSError:
        return
    for entry in found:
        run = Run(entry.path, name + entry.name)
        if is_run(run):
            shelf.runs.append(run)
        elif run.is_test:
            shelf.tests.append(run.path)
        elif depth > 1:
            shelf.places.append(run.path)
            _look_into(entry.path, f'{run.name}/', shelf, depth - 1)


def is_run(run):
    """Return whether there is anything of a run in its directory, or nothing at all (bool)."""
    if not run.files:
        return True
    return any(name in run.files for name in FILES) and not run.is_test


def find_run(wanted, checkpoints_dir):
    """Return the Run that a name, the only beginning of one that there is, or a path to or into a run means.

    Raises:
        DanluError: there is none, or there are several.
    """
    for path in (Path(checkpoints_dir) / wanted, Path(wanted).expanduser()):
        if wanted and os.path.exists(path):
            for directory in (path, *list(resolved(path).parents)[:DEPTH]):  # of a checkpoint or of a test in the run
                if directory.is_dir() and _is_run_of(directory, checkpoints_dir):
                    return Run(directory, _name_of(directory, checkpoints_dir))
    runs = find_runs(checkpoints_dir).runs
    begun = [run for run in runs if wanted and run.name.startswith(wanted)]
    if len(begun) == 1:
        return begun[0]
    names = [run.name for run in begun or runs]
    if begun:
        more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
        raise DanluError(f'{wanted!r} begins the names of {len(names)} runs: {", ".join(names[:SHOWN])}{more}')
    close = [name for name in names if wanted and wanted in name][:3] or close_names(wanted, names)
    hint = f'; did you mean {" or ".join(close)}?' if close else '; `python scripts/runs.py list` shows all'
    raise DanluError(f'no run {wanted!r} in {checkpoints_dir}{hint}')


def _is_run_of(directory, checkpoints_dir):
    """Return whether a directory is that of a run (bool); one that lies elsewhere has to have a run's args.txt."""
    run, path, root = Run(directory), resolved(directory), resolved(checkpoints_dir)
    return path != root and (is_run(run) if path.is_relative_to(root) else run.has_args)


def _name_of(directory, checkpoints_dir):
    """Return what a run is called (str): its path relative to the directory of all runs, or the directory's name."""
    path, root = resolved(directory), resolved(checkpoints_dir)
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
