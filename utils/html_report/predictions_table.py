"""Read predictions.csv for a page: sums for confidence intervals, and the rows that the page shows.

The file is read twice, row by row, in bounded memory: once over all samples, once for the cells of the samples shown.
"""

import csv
import math
from array import array

import numpy as np

from utils.base.csv_text import unescape_cell
from utils.base.language import deferred, translate
from utils.base.regular_files import open_regular
from utils.statistics.bootstrap_metrics import cell_to_float

MAX_SAMPLES = 20_000  # in the page's table, half of them the worst
MAX_NUMBERS = 2**22  # kept for the bootstrap
HIDDEN_PREFIXES = ('intersection/', 'union/', 'truth/', 'score/', 'loss_')  # columns that the page does not show
MAX_COLUMNS = 30
SIGNIFICANT_DIGITS = 6  # of a number in the page, of which four are shown
MAX_EXACT = 2**53  # JavaScript has integers up to this one
TRANSLATED_COLUMNS = (
    deferred('name'),
    deferred('target'),
    deferred('prediction'),
    deferred('error'),
    deferred('confidence'),
    deferred('target_probability'),
    deferred('correct'),
    deferred('pixels'),
)


def read_predictions(path):
    """Yield the cells (dict of str) of each row of predictions.csv."""
    with open_regular(path, 'r', newline='', encoding='utf-8-sig') as file:
        rows = csv.reader(file)
        header = next(rows, [])
        for row in rows:
            yield dict(zip(header, map(unescape_cell, row), strict=False))


def read_header(path):
    """Return the column names of predictions.csv (list of str)."""
    with open_regular(path, 'r', newline='', encoding='utf-8-sig') as file:
        return next(csv.reader(file), [])


class GroupedSums:
    """Sums of rows over groups of samples, for a bootstrap in bounded memory.

    Up to MAX_SAMPLES samples, each sample is a group; more samples are added to groups at random.

    Args:
        width: length of a row.
        seed: seed of the random groups.
    """

    def __init__(self, width, seed):
        self.sums = np.zeros((max(100, min(MAX_SAMPLES, MAX_NUMBERS // max(1, width))), width))
        self.random, self.count = np.random.default_rng(seed), 0

    def add(self, row):
        """Add the row (list of float) of the next sample."""
        group = self.count if self.count < len(self.sums) else self.random.integers(len(self.sums))
        self.sums[group] += row
        self.count += 1

    def rows(self):
        """Return the sums, (groups, width)."""
        return self.sums[: self.count]


def scan_predictions(path, badness, columns, measures, seed):
    """Read all rows of predictions.csv.

    Args:
        path: path of the file.
        badness: function(cells) -> float, larger for worse samples; inf: no number, -inf: ignored sample.
        columns: names of the numeric columns to return.
        measures: list of utils.statistics.bootstrap_metrics.SumMetric.
        seed: seed of GroupedSums.

    Returns:
        dict: badness (N,) float64, columns (dict of (N,) float64, nan for empty cells), sums (list of GroupedSums).
    """
    bad, kept, sums = array('d'), {name: array('d') for name in columns}, None
    for cells in read_predictions(path):
        bad.append(badness(cells))
        for name, values in kept.items():
            values.append(cell_to_float(cells[name]))
        rows = [measure.row(cells) for measure in measures]
        if sums is None:
            sums = [GroupedSums(len(row), seed) for row in rows]
        for grouped, row in zip(sums, rows, strict=True):
            grouped.add(row)
    return {
        'badness': np.frombuffer(bad) if bad else np.empty(0),
        'columns': {name: np.frombuffer(values) if values else np.empty(0) for name, values in kept.items()},
        'sums': sums or [],
    }


def select_rows(badness, seed):
    """Return the indices of the samples in the page's table (sorted int array): all, or the worst and random others."""
    if len(badness) <= MAX_SAMPLES:
        return np.arange(len(badness))
    worst = np.argpartition(-badness, MAX_SAMPLES // 2)[: MAX_SAMPLES // 2]
    others = np.setdiff1d(np.arange(len(badness)), worst, assume_unique=True)
    drawn = np.random.default_rng(seed).choice(others, MAX_SAMPLES // 2, replace=False)
    return np.sort(np.concatenate([worst, drawn]))


def table_columns(path, target_kind, shown, class_names):
    """Return the columns of the page's table of samples.

    Args:
        path: path of predictions.csv.
        target_kind: kind of the task's target (str).
        shown: sorted indices of the samples (int array).
        class_names: names of the classes in the file (list of str), or [].

    Returns:
        list of dict: name, title (name in the current language), type ('text', 'class', 'classes', 'number'), values;
        `names` for classes, `whole` for numbers (see `number_column`).
    """
    names = [n for n in read_header(path) if not n.startswith(HIDDEN_PREFIXES) and not n.endswith('_weight')]
    names = names[:MAX_COLUMNS]
    types = {name: _column_type(name, target_kind) for name in names}
    values, wanted = {name: [] for name in names}, iter(shown.tolist())
    next_index = next(wanted, None)
    for index, cells in enumerate(read_predictions(path)):
        if index != next_index:
            continue
        next_index = next(wanted, None)
        for name in names:
            values[name].append(cells[name] if types[name] != 'number' else cell_to_float(cells[name]))
    return [_column(name, types[name], values[name], class_names) for name in names]


def _column_type(name, target_kind):
    if name == 'name':
        return 'text'
    if name in ('target', 'prediction') and target_kind in ('label', 'labels'):
        return 'class' if target_kind == 'label' else 'classes'
    return 'number'


def number_column(name, title, values):
    """Return a column (dict) of numbers.

    Args:
        name, title: str.
        values: list of float; the page shows a dash for those that are not finite.

    Returns:
        dict: name, title, type, values (with SIGNIFICANT_DIGITS, or None), whole: whether all are integers, which
        are shown without decimals.
    """
    known = [value for value in values if math.isfinite(value)]
    whole = all(value.is_integer() and abs(value) < MAX_EXACT for value in known)
    convert = int if whole else lambda value: float(f'{value:.{SIGNIFICANT_DIGITS}g}')
    rounded = [convert(value) if math.isfinite(value) else None for value in values]
    return {'name': name, 'title': title, 'type': 'number', 'values': rounded, 'whole': whole}


def _column(name, column_type, values, class_names):
    """Return a column (dict) for the page; classes are indices into `names`, which ends with ignored labels."""
    kind, slash, of_target = name.partition('/')  # target/width of a regression with several targets
    title = translate(kind) if kind in TRANSLATED_COLUMNS else kind
    title += slash + of_target
    if column_type == 'number':
        return number_column(name, title, values)
    column = {'name': name, 'title': title, 'type': column_type, 'values': values}
    if column_type == 'class':
        names = list(dict.fromkeys([*class_names, *values]))
        index_of = {name: index for index, name in enumerate(names)}
        column |= {'values': [index_of[value] for value in values], 'names': names}
    if column_type == 'classes':
        column['names'] = class_names
    return column
