"""Remove runs after confirmation: runs.py rm RUN."""

import os
import shutil
import sys
from pathlib import Path

from utils.base.errors import DanluError
from utils.base.registry import PROJECT
from utils.base.regular_files import resolved
from utils.base.text_table import count_text, number_text, printable, size_text
from utils.runs.lock import RunLock
from utils.runs.results import result_files
from utils.runs.run_index import find_run


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('runs', nargs='+', metavar='RUN', help='names of the runs')
    parser.add_argument('--yes', action='store_true', help='do not ask for confirmation')


def run(args):
    """Remove the runs; exit status 1 if nothing was removed."""
    found = {resolved(each.path): each for each in (find_run(name, args.checkpoints_dir) for name in args.runs)}
    runs = list(found.values())
    for each in runs:
        check_removable(each, args.checkpoints_dir)
    for each in runs:
        print(printable(f'{each.name}: {contents(each)}'))
    if not args.yes and not confirmed(len(runs)):
        print('nothing was removed')
        return 1
    for each in runs:
        remove(each)
    print(f'removed: {", ".join(printable(each.name) for each in runs)} (their lines in ledger.jsonl are kept)')
    return 0


def check_removable(run, checkpoints_dir):
    """Raise a DanluError if a run is in use, is a link, or contains the project or the directory of all runs."""
    if any(resolved(path).is_relative_to(resolved(run.path)) for path in (PROJECT, checkpoints_dir)):
        raise DanluError(f'{run.path} contains more than a run; nothing was removed')
    if run.holder:
        raise DanluError(f'{run.name} is in use by {run.holder}; end that process first')
    if run.path.is_symlink():
        raise DanluError(f'{run.path} is a link to {resolved(run.path)}; remove the link, or name the directory')


def contents(run):
    """Return a summary of a run's directory (str): size, checkpoints, tests, best value, newest note."""
    files = [Path(folder, name) for folder, _, names in os.walk(run.path) for name in names]
    size = sum(path.lstat().st_size for path in files)
    checkpoints = sorted(path.name for path in files if path.suffix == '.pth' and path.parent == run.path)
    tests = result_files(run.path)
    parts = [run.state, count_text(run.done, 'epoch'), size_text(size), count_text(len(files), 'file')]
    parts += [f'best {run.monitor} {number_text(run.best["value"])}'] if run.best else []
    parts += [f'checkpoints {" ".join(checkpoints)}'] if checkpoints else []
    parts += [count_text(len(tests), 'test')] if tests else []
    parts += [f'note "{run.notes[-1]}"'] if run.notes else []
    return ', '.join(parts)


def confirmed(count):
    """Ask for confirmation and return the answer (bool).

    Raises:
        DanluError: stdin is not a terminal.
    """
    if not sys.stdin.isatty():
        raise DanluError('rm asks for confirmation, and stdin is not a terminal: add --yes')
    try:
        return input(f'remove {"it" if count == 1 else f"these {count} runs"}? [y/N] ').strip().lower() in ('y', 'yes')
    except EOFError:
        print()
        return False


def remove(run):
    """Remove a run's directory. It is locked and renamed first, so that no process resumes a half-removed run.

    Raises:
        DanluError: a process uses the run, or the system refuses.
    """
    lock = RunLock(run.path)
    removed = run.path.with_name(f'.removed_{run.path.name}_{os.getpid()}')
    try:
        run.path.rename(removed)
    except OSError as error:
        raise DanluError(f'{run.path} cannot be removed: {error.strerror}') from None
    finally:
        lock.release()
    try:
        shutil.rmtree(removed)
    except OSError as error:
        raise DanluError(f'{removed} (renamed from {run.name}) cannot be removed: {error.strerror}') from None
