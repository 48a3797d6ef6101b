"""The files of a test, written atomically; files of earlier tests with the same options get numbers.

result.txt is always the newest; the previous one becomes result.1.txt, the next result.2.txt and so on, together with
args.1.txt, viz.1 and report.1.html, also if the new test writes no report. Imports no torch.
"""

import errno
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from utils.base.errors import MACHINE_ERRNOS, DanluError
from utils.base.regular_files import made_regular, open_regular, read_regular_text, regular
from utils.base.write_errors import error_reason, suppress_cleanup_errors, write_error
from utils.options.args_file import same_options
from utils.runs import ledger
from utils.runs.lock import LockedError, RunLock
from utils.runs.run_directory import make_new_directory

PARTIAL = 'partial'  # directory of the files until the test is complete
RESULT = 'result.txt'
REPORT = 'report.html'
OPTIONAL = (REPORT, 'confusion_matrix.svg', 'confusion_matrix.png')  # files that not every test writes
LEDGER_LINE = 'ledger_line.json'  # appended to the ledger once all files are in place


@contextmanager
def atomic_results(args, choose):
    """Yield the directory (str) of a test; in the body args.result_dir is a subdirectory whose files move up later.

    If the body fails, its files are removed and earlier files stay unchanged. After a kill, the next test removes the
    files, or moves them into place if they were complete. A ledger_line.json is appended to the ledger at the end.

    Args:
        args: options; result_dir is replaced if another test is writing into it.
        choose: function(args) -> directory (str) of a test, such as options.get_test_result_dir.

    Raises:
        DanluError: the directory is not writable.
    """
    lock = _lock(args, choose)
    directory = args.result_dir
    try:
        if lock.exclusive:
            recover_partial(args, Path(directory))
        args.result_dir = make_new_directory(Path(directory, PARTIAL))
        for name in OPTIONAL:
            if os.path.lexists(Path(directory, name)):
                made_regular(Path(args.result_dir, name))  # empty: no such file, unless the test writes it
        try:
            yield directory
            _check_exists(args.result_dir)
        except BaseException as error:
            with suppress_cleanup_errors(error):
                shutil.rmtree(args.result_dir)
            raise
        _move_into_place(Path(args.result_dir))
        link_report(Path(args.load_model_path), Path(directory))
        _append_to_ledger(args, Path(directory), known=False)
    finally:
        args.result_dir = directory
        lock.release()


def _check_exists(directory):
    """Raise FileNotFoundError if the files of a test were removed while it ran."""
    os.stat(Path(directory, 'args.txt'))


def _lock(args, choose):
    """Return the lock of args.result_dir; args.result_dir is replaced if another process holds its lock."""
    while True:
        os.makedirs(args.result_dir, exist_ok=True)
        try:
            return RunLock(args.result_dir)
        except LockedError:
            args.result_dir = choose(args)


def holds_same_test(directory, lines):
    """Return whether a directory holds a test with the same options and is not in use (bool).

    Args:
        directory: any directory.
        lines: args.txt of the new test (list of str).
    """
    if all(path.suffix == '.partial' for path in Path(directory).iterdir()):  # killed before it wrote anything
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
    """Remove the files of a killed test, or move them into place if result.txt, the last file, exists.

    Args:
        args: options of the test; load_model_path and checkpoints_dir determine the ledger.
        directory: directory of the test (Path); this process holds its lock.
    """
    for partial in directory.glob(f'{PARTIAL}*'):
        if (partial / RESULT).is_file():
            _move_into_place(partial)
            link_report(Path(args.load_model_path), directory)
        else:
            shutil.rmtree(partial)
    _append_to_ledger(args, directory, known=True)


def _append_to_ledger(args, directory, known):
    """Append ledger_line.json to the ledger and remove it.

    If this user may not write the ledger, a message is printed instead.

    Args:
        known: whether the ledger may hold the line already (bool), because a process was killed after adding it.

    Raises:
        WriteError: the ledger cannot be written now, for example on a full disk; the next test in this directory adds
            the line.
    """
    path = directory / LEDGER_LINE
    try:
        line = json.loads(read_regular_text(path))
    except (OSError, ValueError, RecursionError):
        return
    target = ledger.ledger_of(args.load_model_path, args.checkpoints_dir)
    try:
        if isinstance(line, dict) and not (known and line in ledger.read(target)[0]):
            ledger.append(target, line)
    except OSError as error:
        if error.errno in MACHINE_ERRNOS and error.errno != errno.EROFS:
            raise write_error(target, error) from error
        print(f'{target} cannot be written ({error_reason(error)}), so this test is recorded only in result.txt')
    path.unlink()


def is_tested(checkpoint):
    """Return whether a checkpoint (Path) has a complete test (bool): result.txt, report.html and ledger line."""
    with open_regular(checkpoint) as file:
        tested = f'# checkpoint sha256: {hashlib.file_digest(file, "sha256").hexdigest()}'
    for result in checkpoint.with_suffix('').glob(f'*/{RESULT}'):
        if (result.parent / LEDGER_LINE).exists() or not (result.parent / REPORT).is_file():
            continue
        if tested in read_regular_text(result, errors='replace').splitlines():
            return True
    return False


def _move_into_place(partial):
    """Move all files up by one directory and number existing files of the same names; result.txt is last."""
    directory = partial.parent
    names = sorted((path.name for path in partial.iterdir()), key=lambda name: (name == RESULT, name))
    earlier = {name for name in names if os.path.lexists(directory / name)}
    if not os.path.lexists(directory / RESULT):
        earlier.discard('args.txt')  # args.txt of this test, not of an earlier one
    number = 1 + max(map(_number_of, directory.glob('result.*.txt')), default=0)
    while any(os.path.lexists(directory / _numbered(name, number)) for name in earlier):
        number += 1
    for name in names:
        if name in earlier:
            os.rename(directory / name, directory / _numbered(name, number))
        if name in OPTIONAL and not (partial / name).stat().st_size:
            os.remove(partial / name)
        else:
            os.replace(partial / name, directory / name)
    partial.rmdir()


def link_report(checkpoint, directory):
    """Make report.html beside best.pth, in the run's directory, a link to the newest report of a test of best.pth.

    Predictions without targets (eval.py --predict), which have no result.txt, do not change it. Where links are not
    possible (Windows without that right), it is a copy.

    Args:
        checkpoint: Path of the tested checkpoint; only those named best.pth have the link.
        directory: directory of the test (Path), whose files are in place.
    """
    directory, run = directory.resolve(), checkpoint.resolve().parent
    reports = [path for path in directory.glob('report*.html') if path.name == REPORT or _number_of(path)]
    is_test = checkpoint.name == 'best.pth' and any(directory.glob('result*.txt'))
    if not is_test or not reports or not directory.is_relative_to(run):
        return
    newest = max(reports, key=lambda path: (path.name == REPORT, _number_of(path)))
    link, partial = run / REPORT, run / f'{REPORT}.partial'
    if newest.name != REPORT and link.exists():
        return  # the newest test of this directory has no report, and the link leads to that of another test
    partial.unlink(missing_ok=True)
    try:
        os.symlink(os.path.relpath(newest, run), partial)
    except OSError:
        shutil.copyfile(regular(newest), partial)
    os.replace(partial, link)


def _number_of(path):
    """Return the number (int) of result.<number>.txt, 0 for other names."""
    number = path.name.split('.')[1]
    return int(number) if number.isdecimal() else 0


def _numbered(name, number):
    """Return the name (str) of an earlier file: args.1.txt, viz.1."""
    stem, ending = os.path.splitext(name)
    return f'{stem}.{number}{ending}'
