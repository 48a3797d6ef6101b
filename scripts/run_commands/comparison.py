"""What several runs have in common, in what they differ, and which samples they judge differently: for compare."""

import csv
import math
from itertools import islice
from string import ascii_uppercase
from typing import Any, NamedTuple

import numpy as np

from scripts.run_commands.diff import ASIDE, HASH, flat, option_text, past_options
from scripts.run_commands.finding import find_run
from scripts.run_commands.pairing import check_alike, find_test, read_pairs, shared_header
from scripts.run_commands.run import as_number
from scripts.run_commands.side_intervals import side_intervals
from utils.base.csv_text import unescape_cell
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular, resolved
from utils.base.text_table import number_text, span_text
from utils.drawing.curves import resumptions
from utils.statistics.bootstrap_metrics import BOOTSTRAP_METRICS, cell_to_float, lower_is_better, select_sum_metric
from utils.statistics.significance import REPORT_RESAMPLES, bootstrap_intervals, mcnemar, paired_bootstrap

MOST = 8  # runs, each of which has a letter, and a colour in the page
# What says of a sample how good it is, by task, and what decides where that is equal.
QUALITY = {
    'segmentation': ('miou', 'pixel_acc'),
    'restoration': ('psnr', 'ssim'),
    'multilabel': ('correct', 'loss'),
    'regression': ('mae', None),
}
USUAL = ('correct', 'target_probability')  # of classification and of a project's own tasks, if they are there


class Side(NamedTuple):
    """A run that is compared, and its test.

    Args:
        letter: what it is called: 'A'.
        run: scripts.run_commands.run.Run.
        test: scripts.run_commands.pairing.Test, or None.
        lacking: why there is none (str).
    """

    letter: str
    run: Any
    test: Any
    lacking: str = ''


class TestSet(NamedTuple):
    """A test set on which some of the runs were tested.

    Args:
        sides: list of Side, each with a test.
        names: of the values (list of str), that which counts first.
        values: dict from a name to one float for each side, nan where it has none.
        bounds: dict from a name to one (low, high) for each side, nan where there is none.
        gaps: dict from a name to one dict for each side but the first: of
            utils.statistics.significance.paired_bootstrap, to the first.
        quality: (N, sides) float, how good each sample is; None where nothing says so.
        order: of the samples (N,) int: those on which the sides disagree most first.
    """

    __test__ = False  # pytest would take it for a test

    sides: list
    names: list
    values: dict
    bounds: dict
    gaps: dict
    quality: Any
    order: Any

    @property
    def disagreed(self):
        """Return on how many samples the sides disagree (int)."""
        return 0 if self.quality is None else int((np.ptp(np.nan_to_num(self.quality), axis=1) > 0).sum())


def find_sides(words, checkpoints_dir):
    """Return the Sides that words (list of str) mean: runs, or checkpoints or tests of runs.

    Raises:
        DanluError: there is no such run, or one is there twice.
    """
    sides, seen = [], {}
    if not 1 < len(words) <= MOST:
        raise DanluError(f'compare takes 2 to {MOST} runs, not {len(words)}')
    for letter, word in zip(ascii_uppercase, words, strict=False):
        run = find_run(word, checkpoints_dir)
        try:
            side = Side(letter, run, find_test(word, checkpoints_dir))
        except DanluError as error:
            side = Side(letter, run, None, str(error))
        key = resolved(run.path), side.test and resolved(side.test.directory)
        if key in seen:
            raise DanluError(f'{seen[key]} and {letter} are the same: {run.name}')
        seen[key] = letter
        sides.append(side)
    return sides


def overview(sides):
    """Return a table's head (list of str) and a row for each side: how it went."""
    rows = []
    for side in sides:
        run, best = side.run, side.run.best or {}
        resumed = ' '.join(map(str, resumptions(run.text('log.txt'))))
        begun = f'{run.started:%Y-%m-%d %H:%M}' if run.started else ''
        rows.append([side.letter, run.name, run.state, str(run.done), run.monitor or '', number_text(best.get('value')),
                     str(best.get('epoch', '')), resumed, span_text(run.seconds), begun])  # fmt: skip
    head = ['', 'run', 'state', 'epochs', 'monitored', 'best', 'in epoch', 'resumed after', 'time', 'begun']
    kept = [place for place, name in enumerate(head) if name != 'resumed after' or any(row[place] for row in rows)]
    return [head[place] for place in kept], [[row[place] for place in kept] for row in rows]


def option_rows(sides):
    """Return the options that differ (list of rows: name, the text of each side)."""
    past = past_options()
    known = [{**past, **side.run.options} if side.run.options else None for side in sides]
    return _differing(known, option_text, lambda name: name not in ASIDE)


def other_rows(sides):
    """Return what else differs (list of rows): code, data, versions."""
    return _differing([_facts(side.run) for side in sides], lambda value: value or 'not recorded')


def _facts(run):
    """Return what a run's record says of what it is made of (dict of str or None)."""
    data = {f'{split} data': run.recorded('data', split, 'sha256') for split in ('train', 'val')}
    versions = {name: str(value) for name, value in flat({'': run.recorded('versions')}).items()}
    facts = {'git commit': run.commit, 'code': run.recorded('code'), **data}
    return {name: str(value)[:HASH] if value else None for name, value in facts.items()} | versions


def _differing(known, show, keep=lambda name: True):
    """Return [name, text of each] where those that are known (dicts, or None) differ."""
    rows = []
    for name in dict.fromkeys(name for each in known if each for name in each if keep(name)):
        texts = [None if each is None else show(each.get(name)) for each in known]
        if len({text for text in texts if text is not None}) > 1:
            rows.append([name, *('not known' if text is None else text for text in texts)])
    return rows


def histories(sides):
    """Return the epochs of each side: list of rows (dicts of float and of 'epoch', int)."""
    found = []
    for side in sides:
        rows = [row for row in side.run.history if row['epoch'].isdecimal()]
        numbers = [{name: as_number(text) for name, text in row.items()} for row in rows]
        known = [{name: value for name, value in row.items() if value is not None} for row in numbers]
        found.append([row | {'epoch': int(row['epoch'])} for row in known])
    return found


def find_test_sets(sides, seed):
    """Return the TestSets of the sides that have tests, and notes (list of str): what cannot be compared, and why.

    Args:
        sides: list of Side.
        seed: of the bootstrap (int).
    """
    notes = [f'{side.letter} has no test: {side.lacking}' for side in sides if side.test is None]
    groups, left = [], [side for side in sides if side.test is not None]
    while left:
        first, rest, left = left[0], left[1:], []
        read, others = _Reading(first.test), []
        for side in rest:
            try:
                read.add(side.test)
                others.append(side)
            except DanluError as error:
                left.append(side)
                notes.append(f'{first.letter} and {side.letter}: {error}')
        groups.append(_compared([first, *others], read, seed))
    return groups, notes


class _Reading:
    """The rows of predictions.csv of several tests of one test set as numbers, and of each sample how good it is."""

    def __init__(self, first):
        self.first, self.header = first, shared_header(first, first)
        self.measures = [
            select_sum_metric(name, first.task, self.header)
            for name in BOOTSTRAP_METRICS.get(first.task, BOOTSTRAP_METRICS['classification'])
        ]
        self.judge = _judge(first.task, self.header)
        self.sums, self.quality = [], []
        self.add(first)

    def add(self, test):
        """Read a test as well; DanluError: it is of another test set."""
        check_alike(self.first, test)
        shared_header(self.first, test)
        *sums, quality = read_pairs(self.first, test, [*(m.row for m in self.measures), self.judge])
        self.sums.append([own for _, own in sums])
        self.quality.append(quality[1])


def _judge(task, header):
    """Return the function that makes of a sample's cells [how good it is, what decides where that is equal]."""
    names = [name if name in header else None for name in QUALITY.get(task, USUAL)]
    if task == 'regression':
        row = select_sum_metric('mae', task, header).row
        return lambda cells: [row(cells)[0], 0.0]
    return lambda cells: [math.nan if name is None else cell_to_float(cells[name]) for name in names]


def _compared(sides, read, seed):
    """Return the TestSet of sides whose tests were read."""
    values, bounds, gaps = {}, {}, {}
    for place, measure in enumerate(read.measures):
        each = [sums[place] for sums in read.sums]
        said = [as_number(side.test.values.get(measure.name)) for side in sides]
        values[measure.name] = [float(measure.value(sums.sum(0))) if text is None else text
                                for sums, text in zip(each, said, strict=True)]  # fmt: skip
        bounds[measure.name] = [tuple(_interval(sums, measure.value, seed)) for sums in each]
        gaps[measure.name] = [_gap(measure, each[0], other, seed) for other in each[1:]]
    each = [side_intervals(side.test, seed) for side in sides]
    for name in {name for of_side in each for name in of_side} - set(bounds):
        bounds[name] = [of_side.get(name, (math.nan, math.nan)) for of_side in each]
    names = dict.fromkeys([*values, *(n for side in sides for n in side.test.values if '/' not in n)])
    for name in names:
        if name not in values:
            values[name] = [as_number(side.test.values.get(name)) for side in sides]
    values = {name: [math.nan if v is None else v for v in each] for name, each in values.items()}
    quality = np.stack([of_one[:, 0] for of_one in read.quality], axis=1)
    second = np.stack([of_one[:, 1] for of_one in read.quality], axis=1)
    known = not np.isnan(quality).all()
    order = np.lexsort((-_spread(second), -_spread(quality)))
    return TestSet(sides, list(names), values, bounds, gaps, quality if known else None, order)


def _spread(quality):
    return np.ptp(np.nan_to_num(quality), axis=1)


def _interval(sums, value, seed):
    """Return the interval (low, high) of a measure."""
    bounds, _ = bootstrap_intervals(sums, lambda drawn: np.asarray(value(drawn))[:, None], seed)
    return bounds[0].tolist()


def _gap(measure, first, other, seed):
    """Return what significance.paired_bootstrap does; for a share of right samples with the p of McNemar's test."""
    found = paired_bootstrap(first, other, measure.value, seed, REPORT_RESAMPLES)
    if measure.name in ('acc', 'exact_match'):
        changes = np.nan_to_num((other - first)[:, 0])
        found['p'] = mcnemar(int((changes < 0).sum()), int((changes > 0).sum()))
    better = found['gap'] < 0 if lower_is_better(measure.name) else found['gap'] > 0
    return found | {'better': bool(better)}


def cells_of(test, wanted):
    """Return the cells (dict of str) of some samples of a Test: dict from an index (int) to them."""
    wanted = set(wanted)
    with open_regular(test.predictions, 'r', newline='', encoding='utf-8-sig') as file:
        reader = csv.reader(file)
        header = next(reader)
        until = enumerate(islice(reader, max(wanted, default=-1) + 1))
        return {
            index: dict(zip(header, map(unescape_cell, row), strict=False)) for index, row in until if index in wanted
        }
