"""The data of runs.py compare: the differences between runs, and the metrics and samples of their tests."""

import math
from string import ascii_uppercase
from typing import Any, NamedTuple

import numpy as np

from options import train_parser
from scripts.run_commands.diff import HASH_DIGITS, NOT_COMPARED, compared_options, flat, option_text
from scripts.run_commands.pairing import (
    InvalidPredictionsError,
    check_same_test_set,
    find_test,
    read_pairs,
    shared_header,
)
from scripts.run_commands.value_intervals import value_intervals
from utils.base.errors import DanluError
from utils.base.language import deferred, labelled, translate
from utils.base.regular_files import resolved
from utils.base.text_table import number_text, short_option, span_text
from utils.drawing.curves import resumptions
from utils.runs.results import warning_on
from utils.runs.run import as_number
from utils.runs.run_index import find_run
from utils.statistics.bootstrap_metrics import cell_to_float, sample_quality, select_sum_metric, sum_metric_intervals
from utils.statistics.paired_difference import paired_difference
from utils.tasks.tasks import task_named

MAX_RUNS = 8  # each has its own colour in the page
PARSER = train_parser()
NOT_SHOWN = {*NOT_COMPARED, *PARSER.names(experiment=False)}  # machine, files, output
LOSS_OPTIONS = PARSER.names(replaced_by=('loss',))
OVERVIEW_HEAD = (
    '',
    deferred('run'),
    deferred('state'),
    deferred('epochs'),
    deferred('monitor'),
    deferred('best'),
    deferred('best epoch'),
    deferred('resumed after'),
    deferred('time'),
    deferred('started'),
)


class Side(NamedTuple):
    """A run to compare, and its test.

    Args:
        letter: 'A' for the first run, 'B' for the second ...
        run: utils.runs.run.Run.
        test: scripts.run_commands.pairing.Test, or None.
        reason: why there is no test (str).
    """

    letter: str
    run: Any
    test: Any
    reason: str = ''


class TestSet(NamedTuple):
    """The results of the runs that were tested on one test set.

    Args:
        sides: list of Side, each with a test.
        names: names of the metrics (list of str), the main metric first.
        values: dict from a metric to a float for each side; nan if unknown.
        bounds: dict from a metric to the confidence interval (low, high) of each side; nan if unknown.
        gaps: dict from a metric to a dict for each side but the first: its difference to the first side, as
            utils.statistics.significance.paired_bootstrap returns it.
        quality: (N, sides) float, quality of each sample; None if unknown.
        order: (N,) int, the samples by disagreement between the sides, largest first.
    """

    __test__ = False  # not a pytest class

    sides: list
    names: list
    values: dict
    bounds: dict
    gaps: dict
    quality: Any
    order: Any

    @property
    def disagreements(self):
        """Return the number of samples on which the sides disagree (int)."""
        return 0 if self.quality is None else int((_spread(self.quality) > 0).sum())

    def bounds_of(self, name):
        """Return the confidence interval (low, high) of a metric for each side, or None for each side (list)."""
        return self.bounds.get(name) or [None] * len(self.sides)


def find_sides(words, checkpoints_dir):
    """Return the Sides (list) that words (list of str) name: runs, checkpoints, or directories of tests.

    Raises:
        DanluError: there is no such run, or the same run is named twice.
    """
    sides, seen = [], {}
    if not 1 < len(words) <= MAX_RUNS:
        raise DanluError(f'compare takes 2 to {MAX_RUNS} runs, not {len(words)}')
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
    """Return the head (list of str) and rows of a table: state, epochs, best value and duration of each side's run."""
    rows = []
    for side in sides:
        run, best = side.run, side.run.best or {}
        resumed = ' '.join(map(str, resumptions(run.text('log.txt'))))
        started = f'{run.started:%Y-%m-%d %H:%M}' if run.started else ''
        rows.append([side.letter, run.name, run.state, str(run.done), run.monitor or '', number_text(best.get('value')),
                     str(best.get('epoch', '')), resumed, span_text(run.seconds), started])  # fmt: skip
    columns = [i for i, name in enumerate(OVERVIEW_HEAD) if name != 'resumed after' or any(row[i] for row in rows)]
    head = list(map(translate, OVERVIEW_HEAD))
    return [head[i] for i in columns], [[row[i] for i in columns] for row in rows]


def option_rows(sides):
    """Return the options that differ (list of rows: name, text of each side)."""
    known = [compared_options(side.run.options) if side.run.options else None for side in sides]
    rows = _differing(known, option_text, lambda name: name not in NOT_SHOWN)
    return [[name, *_short_options(texts)] for name, *texts in rows]


def _short_options(texts):
    """Return values of an option (list of str) with four significant digits, unless different ones become equal."""
    short = list(map(short_option, texts))
    return short if len(set(short)) == len(set(texts)) else texts


def loss_note(sides):
    """Return a note (list of one str) if the losses of the runs are not comparable, else []."""
    names = [name for name, *_ in option_rows(sides) if name in LOSS_OPTIONS]
    told = ', '.join(f'--{name}' for name in names)
    text = translate('the losses are not comparable: the runs differ in {options}', options=told)
    return [text] if names else []


def difference_rows(sides):
    """Return the differences in code, data and versions (list of rows: name, text of each side)."""
    return _differing([_facts(side.run) for side in sides], lambda value: value or translate('not recorded'))


def _facts(run):
    """Return the commit, hashes and versions in a run's record (dict of str or None)."""
    data = {translate('train data'): run.recorded('data', 'train', 'sha256')}
    data[translate('val data')] = run.recorded('data', 'val', 'sha256')
    versions = {name: str(value) for name, value in flat({'': run.recorded('versions')}).items()}
    facts = {translate('git commit'): run.commit, translate('code'): run.recorded('code'), **data}
    return {name: str(value)[:HASH_DIGITS] if value else None for name, value in facts.items()} | versions


def _differing(known, show, keep=lambda name: True):
    """Return rows [name, text of each side] of the values that differ in `known` (a dict or None for each side)."""
    rows = []
    for name in dict.fromkeys(name for each in known if each for name in each if keep(name)):
        texts = [None if each is None else show(each.get(name)) for each in known]
        if len({text for text in texts if text is not None}) > 1:
            rows.append([name, *(translate('not known') if text is None else text for text in texts)])
    return rows


def find_test_sets(sides, seed):
    """Return the TestSets (list) of the sides that have tests, and notes (list of str) on what is not comparable.

    Args:
        sides: list of Side.
        seed: seed of the bootstrap (int).

    Raises:
        InvalidPredictionsError: a predictions.csv is damaged.
    """
    notes = [
        translate('{letter} has no test: {reason}', letter=side.letter, reason=side.reason)
        for side in sides
        if side.test is None
    ]
    warnings = {side.letter: warning_on(side.test.head) for side in sides if side.test is not None}
    notes += [
        translate('the test of {letter} {warning}', letter=letter, warning=warning[2:])
        for letter, warning in warnings.items()
        if warning
    ]
    test_sets, remaining = [], [side for side in sides if side.test is not None]
    while remaining:
        first, rest, remaining = remaining[0], remaining[1:], []
        samples, others = _Samples(first.test), []
        for side in rest:
            try:
                samples.add(side.test)
                others.append(side)
            except InvalidPredictionsError:
                raise
            except DanluError as error:  # another test set
                remaining.append(side)
                letters = translate('{first} and {other}', first=first.letter, other=side.letter)
                notes.append(labelled(letters, error))
        test_sets.append(_compare([first, *others], samples, seed))
    return test_sets, loss_note(sides) + notes


class _Samples:
    """The numbers in predictions.csv of tests of one test set: the rows of each metric, and the quality of samples."""

    def __init__(self, first):
        self.first, self.header = first, shared_header(first, first)
        self.measures = [
            select_sum_metric(name, first.task, self.header) for name in task_named(first.task).sum_metrics
        ]
        self.quality_row = _quality_row(first.task, self.header)
        self.sums, self.quality = [], []
        self.add(first)

    def add(self, test):
        """Read a test; DanluError: it has another test set."""
        check_same_test_set(self.first, test)
        shared_header(self.first, test)
        *sums, quality = read_pairs(self.first, test, [*(m.row for m in self.measures), self.quality_row])
        self.sums.append([own for _, own in sums])
        self.quality.append(quality[1])


def _quality_row(task, header):
    """Return the function(cells) -> [quality, tie-break] of a sample (floats)."""
    own = task_named(task)
    quality = sample_quality(task, header) if own.quality in (*header, *own.sum_metrics) else lambda cells: math.nan
    missing = 0.0 if own.tie_break is None else math.nan
    return lambda cells: [quality(cells), cell_to_float(cells[own.tie_break]) if own.tie_break in header else missing]


def _compare(sides, samples, seed):
    """Return the TestSet of `sides`, whose tests are in `samples` (_Samples)."""
    values, bounds, gaps = {}, {}, {}
    for position, measure in enumerate(samples.measures):
        each = [sums[position] for sums in samples.sums]
        recorded = [as_number(side.test.values.get(measure.name)) for side in sides]
        values[measure.name] = [float(measure.value(sums.sum(0))) if value is None else value
                                for sums, value in zip(each, recorded, strict=True)]  # fmt: skip
        bounds[measure.name] = [tuple(sum_metric_intervals(measure, sums, seed)[0][0].tolist()) for sums in each]
        gaps[measure.name] = [
            paired_difference(measure, sides[0].test.task, each[0], other, seed) for other in each[1:]
        ]
    each = [value_intervals(side.test, seed) for side in sides]
    for name in {name for of_side in each for name in of_side} - set(bounds):
        bounds[name] = [of_side.get(name, (math.nan, math.nan)) for of_side in each]
    names = dict.fromkeys([*values, *(n for side in sides for n in side.test.values if '/' not in n)])
    for name in names:
        if name not in values:
            values[name] = [as_number(side.test.values.get(name)) for side in sides]
    values = {name: [math.nan if v is None else v for v in each] for name, each in values.items()}
    quality = np.stack([of_side[:, 0] for of_side in samples.quality], axis=1)
    tie_break = np.stack([of_side[:, 1] for of_side in samples.quality], axis=1)
    known = not np.isnan(quality).all()
    order = np.lexsort((-_spread(tie_break), -_spread(quality)))
    return TestSet(sides, list(names), values, bounds, gaps, quality if known else None, order)


def _spread(quality):
    return np.ptp(np.nan_to_num(quality), axis=1)
