"""The metrics of predictions.csv as sums over samples, as a bootstrap needs them.

A metric has a function from a sample to numbers, and a function from the sums of these numbers to the metric. Metrics
that rank the whole data set (map, auroc) have no such form.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from utils.base.errors import DanluError
from utils.statistics.significance import bootstrap_intervals, wilson_intervals
from utils.tasks.tasks import mode_of, task_named

SAMPLE_PROPORTIONS = ('acc', 'exact_match')  # metrics that are the proportion of right samples


class SumMetric(NamedTuple):
    """A metric that is a function of sums over samples.

    Args:
        name: of the metric.
        row: function(cells of a sample, dict of str) -> list of D float.
        value: function(sums, (..., D) float64) -> (...).
    """

    name: str
    row: Any
    value: Any


def select_sum_metric(name, task, header):
    """Return the SumMetric of a name, or the default of the task for None.

    Args:
        name: of one of Task.sum_metrics, or of a column of numbers, whose mean is taken.
        task: of the test (str).
        header: names of the columns of predictions.csv (list of str).

    Raises:
        DanluError: there is no metric or column of that name.
    """
    known = task_named(task).sum_metrics
    name = name or known[0]
    if name in METRIC_BUILDERS and name in known:
        return SumMetric(name, *METRIC_BUILDERS[name](header))
    numbers = [column for column in header if column not in ('name', 'target', 'prediction')]
    if name not in numbers:
        raise DanluError(
            f'--metric {name}: predictions.csv of task {task} has the columns for {", ".join(known)}, and for the '
            f'means of {", ".join(numbers[:20])}'
        )
    return SumMetric(name, *_mean(name, f'{name}_weight' if f'{name}_weight' in header else None))


def sum_metric_intervals(measure, rows, seed=0):
    """Return the confidence intervals of a SumMetric: by Wilson (1927) for a proportion of samples, else by bootstrap.

    Args:
        measure: SumMetric; its name may be several names, one per line, and `value` then returns (..., M).
        rows: (N, D) float64, the numbers of each sample, or of each of many random groups.
        seed: of the resamples.

    Returns:
        (M, 2) float64, nan if unknown, and the number of resamples (int), None for a proportion.
    """
    if measure.name in SAMPLE_PROPORTIONS:
        hits, count = rows.sum(0)
        return wilson_intervals(hits, count)[None], None

    def columns(sums):
        found = np.asarray(measure.value(sums))
        return found[:, None] if found.ndim == 1 else found

    return bootstrap_intervals(rows, columns, seed)


def sample_quality(task, header):
    """Return the function(cells) -> float that ranks the samples of a task (see Task.quality).

    Raises:
        DanluError: predictions.csv has no such column.
    """
    name = task_named(task).quality
    if name in header:
        return lambda cells: cell_to_float(cells[name])
    if name not in task_named(task).sum_metrics:
        raise DanluError(f'task {task}: predictions.csv has no column with the quality of a sample')
    measure = select_sum_metric(name, task, header)
    return lambda cells: float(measure.value(np.array(measure.row(cells))))


def f1(hits, sizes):
    """Return the F1 score of classes, nan for sizes of 0; `sizes`: number of targets plus number of predictions."""
    return np.where(sizes > 0, 2 * hits / np.where(sizes > 0, sizes, 1), np.nan)


def iou(hits, sizes):
    """Return the intersection over union of classes; arguments as for `f1`."""
    return np.where(sizes > 0, hits / np.where(sizes > 0, sizes - hits, 1), np.nan)


def target_column_names(header):
    """Return the columns of targets (list of str)."""
    return [name for name in header if name == 'target' or name.startswith('target/')]


def lower_is_better(name, task):
    """Return whether lower values of a metric or column of a task are better (bool)."""
    name = name.partition('/')[0]
    return name == 'error' or mode_of(name, task_named(task).values) == 'min'


def cell_to_float(text):
    """Return the number in a cell as a float, nan for an empty cell."""
    return float(text) if text else math.nan


def _ratio(sums):
    return sums[..., 0] / sums[..., 1]


def _mean(column, weights=None):
    """Return row and value (see SumMetric) of a column's mean; empty cells are left out."""

    def row(cells):
        weight = 0.0 if not cells[column] else float(cells[weights]) if weights else 1.0
        return [cell_to_float(cells[column]) * weight if weight else 0.0, weight]

    return row, _ratio


def _pixel_acc(header):
    def row(cells):
        pixels = float(cells['pixels'])
        return [round(float(cells['pixel_acc']) * pixels) if pixels else 0.0, pixels]

    return row, _ratio


def _miou(header):
    classes = [column.partition('/')[2] for column in header if column.startswith('union/')]
    columns = [f'{part}/{name}' for part in ('intersection', 'union') for name in classes]

    def value(sums):
        hits, unions = np.split(sums, 2, axis=-1)
        return _mean_where(iou(hits, hits + unions), unions > 0)

    return lambda cells: [float(cells[column]) for column in columns], value


def _mean_where(values, there):
    """Return the means over the last axis of the values where `there` is True, nan if it never is."""
    return np.where(there, values, 0.0).sum(-1) / there.sum(-1)


def _f1(header):
    """Return the function that returns hits and sizes of each class of a multilabel sample."""
    classes = [column.partition('/')[2] for column in header if column.startswith('score/')]

    def row(cells):
        truth, said = (set(cells[column].split('|')) for column in ('target', 'prediction'))
        return [float(name in truth and name in said) for name in classes] + [
            float((name in truth) + (name in said)) for name in classes
        ]

    return row


def _f1_macro(header):
    def value(sums):
        hits, sizes = np.split(sums, 2, axis=-1)
        return _mean_where(f1(hits, sizes), sizes > 0)

    return _f1(header), value


def _f1_micro(header):
    def value(sums):
        hits, sizes = np.split(sums, 2, axis=-1)
        return f1(hits.sum(-1), sizes.sum(-1))

    return _f1(header), value


def _pairs(header):
    """Return the columns of target and prediction of each target of a regression (list of (str, str))."""
    ends = [column.removeprefix('target') for column in target_column_names(header)]
    return [(f'target{end}', f'prediction{end}') for end in ends]


def _errors(header, power):
    pairs = _pairs(header)

    def row(cells):
        return [sum(abs(float(cells[p]) - float(cells[t])) ** power for t, p in pairs) / len(pairs), 1.0]

    return row


def _rmse(header):
    return _errors(header, 2), lambda sums: np.sqrt(_ratio(sums))


def _r2(header):
    """Return row and value of r2; the first target is subtracted, as squares of large numbers lose precision."""
    pairs, origin = _pairs(header), {}

    def row(cells):
        found = []
        for target, prediction in pairs:
            truth = float(cells[target])
            from_origin = truth - origin.setdefault(target, truth)
            found += [(float(cells[prediction]) - truth) ** 2, from_origin, from_origin**2]
        return [*found, 1.0]

    def value(sums):
        means = (sums[..., :-1] / sums[..., -1:]).reshape(*sums.shape[:-1], len(pairs), 3)
        spread = means[..., 2] - means[..., 1] ** 2
        return _mean_where(1 - means[..., 0] / np.where(spread > 0, spread, 1), spread > 0)

    return row, value


# Functions of the header that return (row, value).
METRIC_BUILDERS = {
    'acc': lambda header: _mean('correct'),
    'exact_match': lambda header: _mean('correct'),
    'f1_macro': _f1_macro,
    'f1_micro': _f1_micro,
    'miou': _miou,
    'pixel_acc': _pixel_acc,
    'rmse': _rmse,
    'mae': lambda header: (_errors(header, 1), _ratio) if _pairs(header) else _mean('mae'),
    'r2': _r2,
    'psnr': lambda header: _mean('psnr'),
    'ssim': lambda header: _mean('ssim'),
}
