"""Remove runs, after showing what goes and asking: runs.py rm RUN."""

import os
import shutil
import sys
from pathlib import Path

from scripts.run_commands.finding import find_run
from scripts.run_commands.results import result_files
from utils.base.errors import DanluError
from utils.base.registry import PROJECT
from utils.base.regular_files import resolved
from utils.base.text_table import number_text, printable, size_text
from utils.runs.lock import RunLock


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument('runs', nargs='+', metavar='RUN', help='names of the runs')
    parser.add_argument('--yes', action='store_true', help='do not ask')


def run(args):
    """Remove them; exit status 1: nothing was removed."""
    found = {resolved(each.path): each for each in (find_run(name, args.checkpoints_dir) for name in args.runs)}
    runs = list(found.values())
    for each in runs:
        check_removable(each, args.checkpoints_dir)
    for each in runs:
        print(printable(f'{each.name}: {contents(each)}'))
    if not args.yes and not agreed(len(runs)):
        print('nothing was removed')
        return 1
    for each in runs:
        remove(each)
    print(f'removed: {", ".join(printable(each.name) for each in runs)}; what ledger.jsonl says of them stays')
    return 0


def check_removable(run, checkpoints_dir):
    """Raise a DanluError where a run goes on, is a link, or holds the project or the directory of all runs."""
    if any(resolved(place).is_relative_to(resolved(run.path)) for place in (PROJECT, checkpoints_dir)):
        raise DanluError(f'{run.path} holds more than a run; nothing was removed')
    if run.holder:
        raise DanluError(f'{run.name}: {run.holder} goes on with this run; end that first')
    if run.path.is_symlink():
        raise DanluError(f'{run.path} is a link to {resolved(run.path)}; remove the link or name that directory')


def contents(run):
    """Return what a run holds (str): size, checkpoints, tests, the best value, the newest note."""
    files = [Path(folder, name) for folder, _, names in os.walk(run.path) for name in names]
    size = sum(path.lstat().st_size for path in files)
    checkpoints = sorted(path.name for path in files if path.suffix == '.pth' and path.parent == run.path)
    tests = result_files(run.path)
    parts = [run.state, f'{run.done} epochs', size_text(size), f'{len(files)} files']
    parts += [f'best {run.monitor} {number_text(run.best["value"])}'] if run.best else []
    parts += [f'checkpoints {" ".join(checkpoints)}'] if checkpoints else []
    parts += [f'{len(tests)} test{"s" * (len(tests) != 1)}'] if tests else []
    parts += [f'note "{run.notes[-1]}"'] if run.notes else []
    return ', '.join(parts)


def agreed(count):
    """Ask whether to go on and return the answer (bool).

    Raises:
        DanluError: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise DanluError('rm asks before it removes, and there is no terminal to ask: add --yes')
    try:
        return input(f'remove {"it" if count == 1 else f"these {count} runs"}? [y/N] ').strip().lower() in ('y', 'yes')
    except EOFError:
        print()
        return False


def remove(run):
    """Remove a run's directory; nobody can go on with it meanwhile, and no half of it is left under its name.

    Raises:
        DanluError: a process has begun to go on with it, or the system refuses.
    """
    lock = RunLock(run.path)
    gone = run.path.with_name(f'.removed_{run.path.name}_{os.getpid()}')
    try:
        run.path.rename(gone)
    except OSError as error:
        raise DanluError(f'{run.path} cannot be removed: {error.strerror}') from None
    finally:
        lock.release()
    try:
        shutil.rmtree(gone)
    except OSError as error:
        raise DanluError(f'{gone}, which was {run.name}, cannot be removed: {error.strerror}') from None
