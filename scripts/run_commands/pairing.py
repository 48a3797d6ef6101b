"""Find two tests of one test set and read their predictions.csv side by side, sample by sample."""

import csv
import shlex
from array import array
from itertools import zip_longest
from pathlib import Path

import numpy as np

from utils.base.csv_text import unescape_cell
from utils.base.errors import DanluError
from utils.base.language import translate
from utils.base.regular_files import open_regular, resolved
from utils.base.text_table import printable
from utils.runs.results import ledger_tests, result_files, result_test
from utils.runs.run import Run
from utils.runs.run_index import find_run
from utils.statistics.bootstrap_metrics import target_column_names
from utils.tasks.tasks import task_named

BEST = 'best.pth'
RESULT, PREDICTIONS = 'result.txt', 'predictions.csv'
TEST_SET_KEYS = ('list', 'data_sha256', 'samples')  # of result.txt; a message names those that differ
MAX_REASON = 200  # characters of an error in a message


class InvalidPredictionsError(DanluError):
    """A predictions.csv is not as eval.py writes it: other columns, invalid CSV, or text in the place of numbers.

    Args:
        test: the Test.
        reason: str, or the exception that parsing the file raised.
    """

    def __init__(self, test, reason):
        if isinstance(reason, Exception):
            reason = f'{type(reason).__name__}: {reason}'
        reason = printable(reason[:MAX_REASON])
        super().__init__(f'{test.predictions} is damaged or was changed ({reason}); test again with eval.py')


class Test:
    """A test of a checkpoint: a directory with result.txt and predictions.csv.

    Attributes:
        directory: Path.
        head: the facts in result.txt (dict of str): 'checkpoint', 'data_sha256', 'samples', ...
        values: the metrics as printed in result.txt (dict of str).
        options: the options in args.txt of the test (dict): see Run.options.
        name: name in tables (str).

    Raises:
        DanluError: there is no result.txt or no predictions.csv.
    """

    __test__ = False  # not a pytest class

    def __init__(self, directory):
        self.directory = Path(directory)
        self.head = result_test(self.directory / RESULT, None)
        self.values, self.options = self.head['values'], Run(self.directory).options
        checkpoint = Path(self.head.get('checkpoint', ''))
        self.name = str(Path(checkpoint.parent.name) / checkpoint.stem)
        if not self.predictions.is_file():
            args_file = shlex.quote(f'@{self.directory / "args.txt"}')
            raise DanluError(
                translate(
                    '{directory} has no {file} (written by an older version, or a custom task). To make one, in a new '
                    'directory: {command}',
                    directory=self.directory,
                    file=PREDICTIONS,
                    command=f'python eval.py {args_file}',
                )
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
    """Return the Test in a directory, or the newest Test of a checkpoint or of a run's best.pth.

    Raises:
        DanluError: there is no such test.
    """
    for path in (Path(checkpoints_dir) / wanted, Path(wanted).expanduser()):
        if (path / RESULT).is_file():
            return Test(path)
        if path.name == RESULT and path.is_file():
            return Test(path.parent)
        if path.is_file() and path.suffix == '.pth':
            return newest_test(path)
    return newest_test(find_run(wanted, checkpoints_dir).path / BEST)


def newest_test(checkpoint, data_hash=None):
    """Return the newest Test of a checkpoint (Path), from the directories beside the checkpoint and from the ledgers.

    Args:
        checkpoint: Path.
        data_hash: SHA-256 of the test data (str): only tests on this data; None: any test.

    Raises:
        DanluError: the checkpoint was never tested.
    """
    ledger = ledger_tests([checkpoint.parent.parent, checkpoint.parent])
    own = [test for test in ledger if _is_test_of(test, checkpoint)]
    elsewhere = [Path(test['directory']) / test['result_dir'] / RESULT for test in own]
    paths = {*result_files(checkpoint.with_suffix('')), *elsewhere}
    tests = [result_test(path, None) for path in paths if path.name == RESULT and path.is_file()]
    tests = [test for test in tests if data_hash in (None, test.get('data_sha256'))]
    if not tests:
        values = {'checkpoint': checkpoint, 'command': _test_command(checkpoint)}
        if data_hash is None:
            raise DanluError(translate('{checkpoint} was never tested; to test it: {command}', **values))
        text = '{checkpoint} was never tested on its validation data; to test it: {command}'
        raise DanluError(text.format(**values))
    newest = max(tests, key=lambda test: (str(test['at'] or ''), test['file'].stat().st_mtime))
    return Test(newest['file'].parent)


def _test_command(checkpoint):
    """Return the command (str) that tests a checkpoint (Path or str)."""
    return f'python eval.py --load_model_path {shlex.quote(str(checkpoint))}'


def _is_test_of(test, checkpoint):
    """Return whether a ledger line (dict) is a test of this checkpoint (bool)."""
    path, directory = test.get('checkpoint'), test.get('directory')
    if not (isinstance(path, str) and isinstance(directory, str) and isinstance(test.get('result_dir'), str)):
        return False
    return resolved(Path(directory) / path) == resolved(checkpoint)


def check_same_test_set(a, b):
    """Raise a DanluError that names the differences if two Tests have different test sets or tasks."""
    differences = [
        f'{key.replace("data_sha256", "list sha256")}: {_short(a.head.get(key))} and {_short(b.head.get(key))}'
        for key in TEST_SET_KEYS
        if a.head.get(key) != b.head.get(key)
    ]
    if a.task != b.task:
        names = {'first': a.name, 'task': a.task, 'second': b.name, 'other_task': b.task}
        raise DanluError(
            translate('not comparable: {first} was tested for task {task} and {second} for {other_task}', **names)
        )
    if a.head.get('data_sha256') != b.head.get('data_sha256') or a.head.get('samples') != b.head.get('samples'):
        raise DanluError(
            translate(
                'the tests have different test sets, so their samples cannot be paired ({differences}). Test one '
                'checkpoint on the list of the other: {command}',
                differences='; '.join(differences),
                command=f'{_test_command(b.head.get("checkpoint", ""))} --val_list ...',
            )
        )


def _short(text):
    """Return the beginning of a hash, or another text (str) unchanged."""
    text = str(text)
    return f'{text[:12]}...' if len(text.partition(' ')[0]) == 64 else text


def read_rows(test):
    """Yield the cells (dict of str) of each sample in a Test's predictions.csv.

    Raises:
        InvalidPredictionsError: the file is not valid CSV in UTF-8, or a row has too few or too many cells.
    """
    try:
        with open_regular(test.predictions, 'r', newline='', encoding='utf-8-sig') as file:
            reader = csv.reader(file)  # four times as fast as csv.DictReader
            header = next(reader, [])
            for index, row in enumerate(reader):
                if len(row) != len(header):
                    raise InvalidPredictionsError(test, f'sample {index} has {len(row)} cells, not {len(header)}')
                yield dict(zip(header, map(unescape_cell, row), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidPredictionsError(test, error) from error


def parse_cells(test, function, cells):
    """Return `function(cells)` of the cells (dict of str) of a sample.

    Raises:
        InvalidPredictionsError: a column is missing, or a cell is not a number.
    """
    try:
        return function(cells)
    except (KeyError, ValueError, OverflowError) as error:
        raise InvalidPredictionsError(test, error) from error


def select_cells(test, indices):
    """Return the cells (dict of str) of some samples of a Test: dict from an index (int) to the cells."""
    wanted = set(indices)
    last = max(wanted, default=-1)
    found = {}
    for index, cells in enumerate(read_rows(test)):
        if index > last:
            break
        if index in wanted:
            found[index] = cells
    return found


def header_of(test):
    """Return the column names (list of str) of a Test's predictions.csv.

    Raises:
        InvalidPredictionsError: the file is invalid, or has no column 'name'.
    """
    try:
        with open_regular(test.predictions, 'r', newline='', encoding='utf-8-sig') as file:
            header = next(csv.reader(file), [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidPredictionsError(test, error) from error
    columns = ('name', 'target', 'prediction') if task_named(test.task).has_class_names else ('name',)
    if missing := [name for name in columns if name not in header]:
        raise InvalidPredictionsError(test, f'there is no column {missing[0]}')
    return header


def shared_header(a, b):
    """Return the columns (list of str) that the predictions.csv of two Tests have in common.

    Raises:
        DanluError: the columns differ, apart from those of the loss.
    """
    first, second = header_of(a), header_of(b)
    lone = [name for name in [*first, *second] if (name in first) != (name in second) and not name.startswith('loss')]
    if lone:
        raise DanluError(
            translate(
                '{first} and {second} have different columns ({columns}): the names of their classes or targets '
                'differ. Test one checkpoint with the names of the other: {option}',
                first=a.predictions,
                second=b.predictions,
                columns=', '.join(lone[:6]),
                option='--class_names',
            )
        )
    return [name for name in first if name in second]


def pairs(a, b):
    """Yield (index, cells of a, cells of b) of each sample of two Tests: int and dicts of str.

    Raises:
        DanluError: a sample's name or target differs, or one file has more rows than the other.
    """
    checked = ['name', *target_column_names(header_of(a))]
    for index, (of_a, of_b) in enumerate(zip_longest(read_rows(a), read_rows(b))):
        if of_a is None or of_b is None:
            longer, shorter = (b, a) if of_a is None else (a, b)
            raise DanluError(
                translate(
                    '{shorter} ends after {count} samples, {longer} has more',
                    shorter=shorter.predictions,
                    count=index,
                    longer=longer.predictions,
                )
            )
        for name in checked:
            if of_a[name] != of_b.get(name):
                raise DanluError(
                    translate(
                        'sample {index} ({name}) has the {what} {value} in {first} and {other_value} in {second}: the '
                        'test sets or the names of the classes differ',
                        index=index,
                        name=of_a['name'],
                        what=translate('name') if name == 'name' else translate('target'),
                        value=repr(of_a[name]),
                        first=a.predictions,
                        other_value=repr(of_b.get(name)),
                        second=b.predictions,
                    )
                )
        yield index, of_a, of_b


def read_pairs(a, b, functions):
    """Return the numbers that functions compute from the cells of each sample: list of ((N, D), (N, D)) float64.

    Args:
        a, b: Tests; each function gives an array for both.
        functions: list of function(cells, dict of str) -> list of D float.
    """
    numbers, widths = [(array('d'), array('d')) for _ in functions], [0] * len(functions)
    for _, *both in pairs(a, b):
        for position, function in enumerate(functions):
            for test, values, cells in zip((a, b), numbers[position], both, strict=True):
                row = parse_cells(test, function, cells)
                values.extend(row)
                widths[position] = len(row)
    if not all(widths):
        raise DanluError(f'{a.predictions} has no samples')
    return [
        tuple(np.frombuffer(values).reshape(-1, width) for values in both)
        for both, width in zip(numbers, widths, strict=True)
    ]
