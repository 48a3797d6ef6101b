"""Where runs are: all of a directory, or the one that a name or a path means."""

import os
from pathlib import Path

from scripts.records.run import FILES, Run
from utils.errors import DanluError
from utils.registry import close_names

DEPTH = 4  # directories of runs within directories of runs: --model_dir may lead into one
SHOWN = 8  # names in a message


def find_runs(checkpoints_dir):
    """Return the Runs of a directory and of those in it that hold runs, and those directories (list of Path).

    An empty directory counts as a run, of which nothing came.

    Raises:
        DanluError: there is no such directory.
    """
    root = Path(checkpoints_dir)
    if not root.is_dir():
        raise DanluError(f'--checkpoints_dir: there is no directory {root}')
    runs, places = [], [root]
    _look_into(root, '', runs, places, DEPTH)
    return sorted(runs, key=lambda run: run.name), places


def _look_into(place, name, runs, places, depth):
    """Add what lies below the directory `place`, which is called `name` ('' or 'group/'), to `runs` and `places`."""
    try:
        with os.scandir(place) as entries:
            found = [entry for entry in entries if not entry.name.startswith('.') and entry.is_dir()]
    except OSError:
        return
    for entry in found:
        run = Run(entry.path, name + entry.name)
        if is_run(run):
            runs.append(run)
        elif depth > 1 and 'result.txt' not in run.files:
            places.append(Path(entry.path))
            _look_into(entry.path, f'{run.name}/', runs, places, depth - 1)


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
        for directory in (path, path.parent):  # of a checkpoint or another file of the run
            if wanted and path.exists() and directory.is_dir() and _holds_run(directory, checkpoints_dir):
                return Run(directory, _name_of(directory, checkpoints_dir))
    runs, _ = find_runs(checkpoints_dir)
    begun = [run for run in runs if wanted and run.name.startswith(wanted)]
    if len(begun) == 1:
        return begun[0]
    names = [run.name for run in begun or runs]
    if begun:
        more = f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''
        raise DanluError(f'{wanted!r} begins the names of {len(names)} runs: {", ".join(names[:SHOWN])}{more}')
    close = close_names(wanted, names) if names else []
    hint = f'; did you mean {" or ".join(close)}?' if close else '; `python scripts/runs.py list` shows all'
    raise DanluError(f'no run {wanted!r} in {checkpoints_dir}{hint}')


def _holds_run(directory, checkpoints_dir):
    run = Run(directory)
    root = Path(checkpoints_dir).resolve()
    # An empty directory elsewhere is nobody's run; the directory of all runs is none.
    inside = run.path.resolve().is_relative_to(root) and run.path.resolve() != root
    return is_run(run) and (inside or bool(run.files)) and run.path.resolve() != root


def _name_of(directory, checkpoints_dir):
    """Return what a run is called (str): its path relative to the directory of all runs, or the directory's name."""
    path, root = Path(directory).resolve(), Path(checkpoints_dir).resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
