"""The files of a test: written beside those of an earlier test of the same thing, which keep their place under numbers.

result.txt is always the newest; what was there before is result.1.txt, then result.2.txt and so on, with args.1.txt,
viz.1 and whatever else belongs to it. Also its report.html, where this test writes none. Imports no torch.
"""

import errno
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from utils.base.errors import MACHINE_ERRNOS, DanluError
from utils.base.regular_files import open_regular, read_regular_text
from utils.base.write_errors import error_reason, suppress_cleanup_errors, write_error
from utils.options.args_file import same_options
from utils.runs import ledger
from utils.runs.lock import LockedError, RunLock
from utils.runs.run_directory import make_new_directory

PARTIAL = 'partial'  # where a test's files lie until it has its results
RESULT = 'result.txt'
REPORT = 'report.html'  # a test of the same options may do without it
LEDGER_LINE = 'ledger_line.json'  # what the ledger gets of a test once its files are in their places


@contextmanager
def atomic_results(args, choose):
    """Give the directory (str) of a test; in the body args.result_dir is one in it, whose files move up at the end.

    When the body fails they are removed, and an earlier test's files are as they were. Those of a process that was
    killed are removed by the next test, or take their places then, if they were about to. A ledger_line.json that the
    body has written is added to the ledger at the end.

    Args:
        args: options; result_dir counts, and is another one if another test is writing into that.
        choose: function(args) -> the directory (str) of a test, as options.get_test_result_dir.

    Raises:
        DanluError: it cannot be written into.
    """
    lock = _lock(args, choose)
    directory = args.result_dir
    try:
        if lock.exclusive:
            recover_partial(args, Path(directory))
        args.result_dir = make_new_directory(Path(directory, PARTIAL))
        if os.path.lexists(Path(directory, REPORT)):
            Path(args.result_dir, REPORT).touch()  # empty, it stands for none, until the test writes it
        try:
            yield directory
            _check_exists(args.result_dir)
        except BaseException as error:
            with suppress_cleanup_errors(error):
                shutil.rmtree(args.result_dir)
            raise
        _move_into_place(Path(args.result_dir))
        _append_to_ledger(args, Path(directory), known=False)
    finally:
        args.result_dir = directory
        lock.release()


def _check_exists(directory):
    """Raise FileNotFoundError if a test's files were removed while it ran: what was open then is lost."""
    os.stat(Path(directory, 'args.txt'))


def _lock(args, choose):
    """Return the lock of args.result_dir, which becomes another one where another process has that."""
    while True:
        os.makedirs(args.result_dir, exist_ok=True)
        try:
            return RunLock(args.result_dir)
        except LockedError:
            args.result_dir = choose(args)


def holds_same_test(directory, lines):
    """Return whether a directory holds a test with the same options that no other process is working on (bool).

    Args:
        directory: of a test, perhaps.
        lines: of the args.txt that the test would write (list of str).
    """
    if all(path.suffix == '.partial' for path in Path(directory).iterdir()):  # killed before it had written anything
        return True
    try:
        recorded = read_regular_text(Path(directory, 'args.txt')).splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    if not same_options(recorded, lines):
        return False
    try:
        RunLock(directory).release()
    except DanluError:
        return False
    return True


def recover_partial(args, directory):
    """Remove what a killed test has left in a directory, or finish it if its result.txt, the last file, was there.

    Args:
        args: options of the test; load_model_path and checkpoints_dir say which ledger it belongs to.
        directory: of the test (Path), whose lock this process holds.
    """
    for partial in directory.glob(f'{PARTIAL}*'):
        if (partial / RESULT).is_file():
            _move_into_place(partial)
        else:
            shutil.rmtree(partial)
    _append_to_ledger(args, directory, known=True)


def _append_to_ledger(args, directory, known):
    """Add a test's ledger_line.json to the ledger and remove it.

    A ledger that nobody can write, or not this user, as beside a run of somebody else, gets no line, which is said.

    Args:
        known: whether the ledger may hold the line already (bool), as the process that added it was killed then.

    Raises:
        WriteError: the ledger cannot be written now, for want of space for example; the next test in this directory
            adds the line.
    """
    path = directory / LEDGER_LINE
    try:
        line = json.loads(read_regular_text(path))
    except (OSError, ValueError, RecursionError):
        return  # there is none
    target = ledger.ledger_of(args.load_model_path, args.checkpoints_dir)
    try:
        if isinstance(line, dict) and not (known and line in ledger.read(target)[0]):
            ledger.append(target, line)
    except OSError as error:
        if error.errno in MACHINE_ERRNOS and error.errno != errno.EROFS:
            raise write_error(target, error) from error
        print(f'{target} cannot be written ({error_reason(error)}), so this test is in result.txt alone')
    path.unlink()


def is_tested(checkpoint):
    """Return whether a test of a checkpoint is complete (bool): result.txt, report.html and its line in the ledger.

    Args:
        checkpoint: path (Path) of the file, beside which its tests lie.
    """
    with open_regular(checkpoint) as file:
        tested = f'# checkpoint sha256: {hashlib.file_digest(file, "sha256").hexdigest()}'
    for result in checkpoint.with_suffix('').glob(f'*/{RESULT}'):
        if (result.parent / LEDGER_LINE).exists() or not (result.parent / REPORT).is_file():
            continue
        if tested in read_regular_text(result, errors='replace').splitlines():
            return True
    return False


def _move_into_place(partial):
    """Move everything up by one directory, what is there of the same name to its number; result.txt last."""
    directory = partial.parent
    names = sorted((path.name for path in partial.iterdir()), key=lambda name: (name == RESULT, name))
    earlier = {name for name in names if os.path.lexists(directory / name)}
    if not os.path.lexists(directory / RESULT):
        earlier.discard('args.txt')  # of no test that came to results: this one's own
    number = 1 + max(map(_number_of, directory.glob('result.*.txt')), default=0)
    while any(os.path.lexists(directory / _numbered(name, number)) for name in earlier):
        number += 1
    for name in names:
        if name in earlier:
            os.rename(directory / name, directory / _numbered(name, number))
        if name == REPORT and not (partial / name).stat().st_size:
            os.remove(partial / name)
        else:
            os.replace(partial / name, directory / name)
    partial.rmdir()


def _number_of(path):
    """Return the number (int) of result.<number>.txt; of other names 0."""
    number = path.name.split('.')[1]
    return int(number) if number.isdecimal() else 0


def _numbered(name, number):
    """Return the name (str) for an earlier file: args.1.txt, viz.1."""
    stem, ending = os.path.splitext(name)
    return f'{stem}.{number}{ending}'
