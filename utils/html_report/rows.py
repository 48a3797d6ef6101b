"""What a page needs of predictions.csv: sums for intervals, and the rows that it shows. A million samples take little.

It is read twice, row by row: once for what concerns all samples, once for the cells of those that the page shows.
"""

import csv
import math
from array import array

import numpy as np

from utils.base.csv_text import unescape_cell
from utils.base.regular_files import open_regular
from utils.statistics.bootstrap_metrics import cell_to_float

MOST = 20_000  # samples whose rows are in the page: half of them the worst
NUMBERS = 2**22  # that are kept of all samples for the intervals
HIDDEN = (
    'intersection/',
    'union/',
    'truth/',
    'score/',
    'loss_',
)  # beginnings of columns that the page's table leaves out
MOST_COLUMNS = 30


def read(path):
    """Yield the cells (dict of str) of each row of predictions.csv."""
    with open_regular(path, 'r', newline='', encoding='utf-8-sig') as file:
        rows = csv.reader(file)
        header = next(rows, [])
        for row in rows:
            yield dict(zip(header, map(unescape_cell, row), strict=False))


def header_of(path):
    """Return the names of the columns (list of str)."""
    with open_regular(path, 'r', newline='', encoding='utf-8-sig') as file:
        return next(csv.reader(file), [])


class Groups:
    """Sums of rows over groups of samples that are drawn by chance; of not too many samples each is a group.

    Args:
        width: of a row.
        seed: of the draws.
    """

    def __init__(self, width, seed):
        self.sums = np.zeros((max(100, min(MOST, NUMBERS // max(1, width))), width))
        self.random, self.count = np.random.default_rng(seed), 0

    def add(self, row):
        """Add the row (list of float) of the next sample."""
        place = self.count if self.count < len(self.sums) else self.random.integers(len(self.sums))
        self.sums[place] += row
        self.count += 1

    def rows(self):
        """Return the sums, (how many there are, width)."""
        return self.sums[: self.count]


def scan(path, badness, columns, measures, seed):
    """Read all rows.

    Args:
        path: of predictions.csv.
        badness: function(cells) -> float, larger for worse samples; inf: no number, -inf: does not count.
        columns: names of columns of numbers to return as they are.
        measures: utils.statistics.bootstrap_metrics.SumMetric, list.
        seed: of Groups.

    Returns:
        dict: badness (N,) float64, columns (dict of (N,) float64, nan where a cell is empty), sums (list of Groups).
    """
    bad, kept, sums = array('d'), {name: array('d') for name in columns}, None
    for cells in read(path):
        bad.append(badness(cells))
        for name, values in kept.items():
            values.append(cell_to_float(cells[name]))
        rows = [measure.row(cells) for measure in measures]
        if sums is None:
            sums = [Groups(len(row), seed) for row in rows]
        for of_measure, row in zip(sums, rows, strict=True):
            of_measure.add(row)
    return {
        'badness': np.frombuffer(bad) if bad else np.empty(0),
        'columns': {name: np.frombuffer(values) if values else np.empty(0) for name, values in kept.items()},
        'sums': sums or [],
    }


def shown_rows(badness, seed):
    """Return the numbers of the samples that the page shows (sorted int array): all, or the worst and some others."""
    if len(badness) <= MOST:
        return np.arange(len(badness))
    worst = np.argpartition(-badness, MOST // 2)[: MOST // 2]
    left = np.setdiff1d(np.arange(len(badness)), worst, assume_unique=True)
    return np.sort(np.concatenate([worst, np.random.default_rng(seed).choice(left, MOST // 2, replace=False)]))


def columns_of(path, kind, shown, class_names):
    """Return the columns of the page's table of samples.

    Args:
        path: of predictions.csv.
        kind: of the task's target (str).
        shown: numbers of the samples, sorted.
        class_names: names of the classes as they stand there (list of str), or [].

    Returns:
        list of dict: name, type ('text', 'class', 'classes', 'number'), values; of classes `names`.
    """
    names = [name for name in header_of(path) if not name.startswith(HIDDEN) and not name.endswith('_weight')]
    names = names[:MOST_COLUMNS]
    types = {name: _type(name, kind) for name in names}
    values, wanted = {name: [] for name in names}, iter(shown.tolist())
    nth = next(wanted, None)
    for index, cells in enumerate(read(path)):
        if index != nth:
            continue
        nth = next(wanted, None)
        for name in names:
            values[name].append(cells[name] if types[name] != 'number' else _number(cells[name]))
    return [_column(name, types[name], values[name], class_names) for name in names]


def _type(name, kind):
    if name == 'name':
        return 'text'
    if name in ('target', 'prediction') and kind in ('label', 'labels'):
        return 'class' if kind == 'label' else 'classes'
    return 'number'


def _number(text):
    """Return a cell's number in as many digits as are looked at; None where there is none, or it is not finite."""
    value = cell_to_float(text)
    if not math.isfinite(value):
        return None
    rounded = float(f'{value:.5g}')
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded


def _column(name, kind, values, class_names):
    """Return a column for the page; classes as numbers, names that are none (an ignored label) behind the others."""
    column = {'name': name, 'type': kind, 'values': values}
    if kind == 'class':
        names = list(dict.fromkeys([*class_names, *values]))
        place = {name: index for index, name in enumerate(names)}
        column |= {'values': [place[value] for value in values], 'names': names}
    if kind == 'classes':
        column['names'] = class_names
    return column
