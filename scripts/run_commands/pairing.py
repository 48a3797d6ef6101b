"""Two tests of one test set, sample by sample: finding them, and reading their predictions.csv side by side."""

import csv
import shlex
from array import array
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import numpy as np

from scripts.run_commands.finding import find_run
from scripts.run_commands.results import ledger_tests, result_files, result_test
from scripts.run_commands.run import Run
from utils.base.csv_text import unescape_cell
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular, resolved
from utils.base.text_table import printable
from utils.statistics.bootstrap_metrics import target_column_names

BEST = 'best.pth'
RESULT, PREDICTIONS = 'result.txt', 'predictions.csv'
SAME = ('list', 'data_sha256', 'samples')  # of result.txt, what messages show of a test set


class Test:
    """A test of a checkpoint: a directory with result.txt and predictions.csv.

    Attributes:
        directory: Path.
        head: what result.txt says was tested (dict of str); 'checkpoint', 'data_sha256', 'samples', ...
        values: the metrics (dict of str), as they are printed there.
        options: of the test's args.txt (dict): see Run.options.
        name: what it is called in a table (str).

    Raises:
        DanluError: there is no result.txt, or no predictions.csv.
    """

    __test__ = False  # pytest would take it for a test

    def __init__(self, directory):
        self.directory = Path(directory)
        self.head = result_test(self.directory / RESULT, None)
        self.values, self.options = self.head['values'], Run(self.directory).options
        checkpoint = Path(self.head.get('checkpoint', ''))
        self.name = str(Path(checkpoint.parent.name) / checkpoint.stem)
        if not self.predictions.is_file():
            again = shlex.quote(f'@{self.directory / "args.txt"}')
            raise DanluError(
                f'{self.directory} has no {PREDICTIONS}: it is of an older version, or of a task of your own. This '
                f'makes one, in a new directory: python eval.py {again}'
            )

    @property
    def predictions(self):
        """Return the Path of predictions.csv."""
        return self.directory / PREDICTIONS

    @property
    def task(self):
        """Return the task (str)."""
        return self.options.get('task') or 'classification'


def find_test(wanted, checkpoints_dir):
    """Return the Test that a person means: a directory of one, a checkpoint's newest, or that of a run's best.pth.

    Raises:
        DanluError: there is none.
    """
    for path in (Path(checkpoints_dir) / wanted, Path(wanted).expanduser()):
        if (path / RESULT).is_file():
            return Test(path)
        if path.name == RESULT and path.is_file():
            return Test(path.parent)
        if path.is_file() and path.suffix == '.pth':
            return newest_test(path)
    return newest_test(find_run(wanted, checkpoints_dir).path / BEST)


def newest_test(checkpoint):
    """Return the newest Test of a checkpoint (Path): of those beside it, and those that a ledger knows of.

    Raises:
        DanluError: there is none.
    """
    ledger = ledger_tests([checkpoint.parent.parent, checkpoint.parent])
    ours = [test for test in ledger if _is_of(test, checkpoint)]
    elsewhere = [Path(test['directory']) / test['result_dir'] / RESULT for test in ours]
    paths = {*result_files(checkpoint.with_suffix('')), *elsewhere}
    tests = [result_test(path, None) for path in paths if path.name == RESULT and path.is_file()]
    if not tests:
        hint = f'python eval.py --load_model_path {shlex.quote(str(checkpoint))}'
        raise DanluError(f'{checkpoint} was never tested; this does it: {hint}')
    newest = max(tests, key=lambda test: (str(test['at'] or ''), test['file'].stat().st_mtime))
    return Test(newest['file'].parent)


def _is_of(test, checkpoint):
    """Return whether a line of a ledger (dict) is of this checkpoint (bool)."""
    path, directory = test.get('checkpoint'), test.get('directory')
    if not (isinstance(path, str) and isinstance(directory, str) and isinstance(test.get('result_dir'), str)):
        return False
    return resolved(Path(directory) / path) == resolved(checkpoint)


def check_alike(a, b):
    """Raise DanluError where two Tests are not of one test set and task, saying in what they differ."""
    differing = [
        f'{key.replace("data_sha256", "list sha256")}: {_short(a.head.get(key))} and {_short(b.head.get(key))}'
        for key in SAME
        if a.head.get(key) != b.head.get(key)
    ]
    if a.task != b.task:
        raise DanluError(f'{a.name} was tested for task {a.task} and {b.name} for {b.task}: nothing can be compared')
    if a.head.get('data_sha256') != b.head.get('data_sha256') or a.head.get('samples') != b.head.get('samples'):
        raise DanluError(
            f'the tests are of different test sets, so their samples cannot be paired ({"; ".join(differing)}). Test '
            f'one of them on the list of the other: python eval.py --load_model_path '
            f'{shlex.quote(b.head.get("checkpoint", ""))} --val_list ...'
        )


def _short(text):
    """Return a hash's beginning, or another text (str) as it is."""
    text = str(text)
    return f'{text[:12]}...' if len(text.partition(' ')[0]) == 64 else text


def header_of(test):
    """Return the names of the columns (list of str) of a Test's predictions.csv."""
    with open_regular(test.predictions, 'r', newline='', encoding='utf-8-sig') as file:
        return next(csv.reader(file), [])


def shared_header(a, b):
    """Return the columns (list of str) that the predictions.csv of two Tests have in common.

    Raises:
        DanluError: one has columns that the other has not, but for those of the loss, which may differ.
    """
    first, second = header_of(a), header_of(b)
    lone = [name for name in [*first, *second] if (name in first) != (name in second) and not name.startswith('loss')]
    if lone:
        raise DanluError(
            f'{a.predictions} and {b.predictions} have other columns ({", ".join(lone[:6])}): their classes or targets '
            'have other names. Test one of them with the names of the other: --class_names'
        )
    return [name for name in first if name in second]


def pairs(a, b):
    """Yield (index, cells of a, cells of b) of each sample of two Tests: int and dicts of str.

    Raises:
        DanluError: a sample's name or truth differs, or one file has more rows than the other.
    """
    checked = ['name', *target_column_names(header_of(a))]
    files = [open_regular(test.predictions, 'r', newline='', encoding='utf-8-sig') for test in (a, b)]
    try:
        for index, (of_a, of_b) in enumerate(zip_longest(*map(_rows, files))):
            if of_a is None or of_b is None:
                longer, shorter = (b, a) if of_a is None else (a, b)
                raise DanluError(f'{shorter.predictions} ends after {index} samples, {longer.predictions} goes on')
            for name in checked:
                if of_a.get(name) != of_b.get(name):
                    what = 'called' if name == 'name' else 'truly'
                    raise DanluError(
                        f'sample {index} ({of_a["name"]}) is {what} {of_a[name]!r} in {a.predictions} and '
                        f'{of_b.get(name)!r} in {b.predictions}: they are not of one test set, or their classes have '
                        'other names'
                    )
            yield index, of_a, of_b
    finally:
        for file in files:
            file.close()


@contextmanager
def reading_predictions(tests):
    """Raise DanluError where a predictions.csv is not what a test writes: other columns, text in the place of numbers.

    Args:
        tests: Tests whose predictions.csv the body of the `with` reads.
    """
    try:
        yield
    except (LookupError, OverflowError, ValueError, csv.Error) as error:
        paths = ' or '.join(dict.fromkeys(str(test.predictions) for test in tests))
        reason = printable(f'{type(error).__name__}: {error}'[:200])
        raise DanluError(f'{paths} is damaged or was changed ({reason}); test again with eval.py') from error


def _rows(file):
    """Yield the cells (dict of str) of each row of an open .csv file; csv.DictReader takes four times as long."""
    reader = csv.reader(file)
    header = next(reader, [])
    for row in reader:
        yield dict(zip(header, map(unescape_cell, row), strict=False))


def read_pairs(a, b, functions):
    """Return what functions make of the cells of each sample, for each Test: list of ((N, D), (N, D)) float64.

    Args:
        a, b: Tests.
        functions: list of function(cells, dict of str) -> list of D float.
    """
    numbers, widths = [(array('d'), array('d')) for _ in functions], [0] * len(functions)
    for _, *both in pairs(a, b):
        for place, function in enumerate(functions):
            for of_one, cells in zip(numbers[place], both, strict=True):
                row = function(cells)
                of_one.extend(row)
                widths[place] = len(row)
    if not all(widths):
        raise DanluError(f'{a.predictions} has no sample')
    return [
        tuple(np.frombuffer(of_one).reshape(-1, width) for of_one in both)
        for both, width in zip(numbers, widths, strict=True)
    ]
