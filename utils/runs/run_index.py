"""Find runs: all runs of a directory, or the run that a name or path means."""

import os
from pathlib import Path
from typing import NamedTuple

from utils.base.errors import DanluError
from utils.base.registry import close_names
from utils.base.regular_files import resolved
from utils.runs.run import FILES, Run

MAX_DEPTH = 4  # nested directories of runs, as --model_dir may make them
MAX_NAMES = 8  # names in a message


class RunIndex(NamedTuple):
    """The contents of a directory of runs: the Runs, the directories that hold them, and the tests beside them."""

    runs: list
    directories: list
    tests: list


def find_runs(checkpoints_dir):
    """Return the RunIndex of a directory and its subdirectories; an empty subdirectory counts as a run without files.

    Raises:
        DanluError: there is no such directory.
    """
    root = Path(checkpoints_dir)
    if not root.is_dir():
        raise DanluError(f'--checkpoints_dir: there is no directory {root}')
    index = RunIndex([], [root], [])
    _add_entries(root, '', index, MAX_DEPTH)
    index.runs.sort(key=lambda run: run.name)
    return index


def _add_entries(directory, prefix, index, depth):
    """Add the runs and tests below `directory` to `index`; `prefix`: '' or 'group/', before the names of the runs."""
    try:
        with os.scandir(directory) as entries:
            folders = [entry for entry in entries if not entry.name.startswith('.') and entry.is_dir()]
    except OSError:
        return
    for entry in folders:
        run = Run(entry.path, prefix + entry.name)
        if is_run(run):
            index.runs.append(run)
        elif run.is_test:
            index.tests.append(run.path)
        elif depth > 1:
            index.directories.append(run.path)
            _add_entries(entry.path, f'{run.name}/', index, depth - 1)


def is_run(run):
    """Return whether the directory of a Run is empty or has a file of a run (bool)."""
    if not run.files:
        return True
    return any(name in run.files for name in FILES) and not run.is_test


def find_run(wanted, checkpoints_dir):
    """Return the Run that a name, an unambiguous beginning of a name, or a path to or into a run means.

    Raises:
        DanluError: no run or several runs match.
    """
    for path in (Path(checkpoints_dir) / wanted, Path(wanted).expanduser()):
        if wanted and os.path.exists(path):
            parents = list(resolved(path).parents)[:MAX_DEPTH]  # of a checkpoint or test in the run
            for directory in (path, *parents):
                if directory.is_dir() and _is_run_directory(directory, checkpoints_dir):
                    return Run(directory, _run_name(directory, checkpoints_dir))
    runs = find_runs(checkpoints_dir).runs
    matching = [run for run in runs if wanted and run.name.startswith(wanted)]
    if len(matching) == 1:
        return matching[0]
    names = [run.name for run in matching or runs]
    if matching:
        more = f' and {len(names) - MAX_NAMES} more' if len(names) > MAX_NAMES else ''
        raise DanluError(f'{wanted!r} is ambiguous; it matches {len(names)} runs: {", ".join(names[:MAX_NAMES])}{more}')
    close = [name for name in names if wanted and wanted in name][:3] or close_names(wanted, names)
    hint = f'; did you mean {" or ".join(close)}?' if close else '; `python scripts/runs.py list` shows all'
    raise DanluError(f'no run {wanted!r} in {checkpoints_dir}{hint}')


def _is_run_directory(directory, checkpoints_dir):
    """Return whether a directory is a run (bool); outside of checkpoints_dir, only with the args.txt of a run."""
    run, path, root = Run(directory), resolved(directory), resolved(checkpoints_dir)
    return path != root and (is_run(run) if path.is_relative_to(root) else run.has_args)


def _run_name(directory, checkpoints_dir):
    """Return the name of a run (str): its path relative to checkpoints_dir, or the directory's name outside of it."""
    path, root = resolved(directory), resolved(checkpoints_dir)
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
