"""What a page shows of each task: how bad a sample is, which metrics have intervals, and the sections.

A section is a dict that the template draws: `kind` (table, charts, matrix, gallery, legend), `title`, `note`, and what
that kind takes. To show something of a task of your own: a Kind, and a line in KINDS.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from utils.html_report import of_classes, of_numbers, of_pictures
from utils.statistics.bootstrap_metrics import (
    BOOTSTRAP_METRICS,
    SumMetric,
    cell_to_float,
    select_sum_metric,
    target_column_names,
)


class TaskReport(NamedTuple):
    """What is particular about the pages of one task.

    Args:
        badness: function(header) -> function(cells of a sample) -> float, larger for worse samples.
        columns: function(header) -> names of columns that are kept of all samples.
        measures: function(header) -> list of Measure whose intervals are found by drawing samples, by their names in
            result.txt; a value (..., M) has the names joined by line breaks.
        groups: how many samples are drawn: worst, best, and others.
        middling: whether those others are in the middle (True), or drawn by chance (False).
        sections: function(page) -> list of sections.
    """

    badness: Any
    columns: Any
    measures: Any
    groups: Any
    middling: bool
    sections: Any


def _of(task, names, header):
    """Return the measures of a task that predictions.csv can give, with that of the loss."""
    found = [select_sum_metric(name, task, header) for name in names]
    return found + ([select_sum_metric('loss', task, header)] if 'loss' in header else [])


def _unsure(cells):
    """Return how little probability the true class had."""
    if not cells['correct']:
        return -math.inf
    return _known(-cell_to_float(cells['target_probability']))


def _known(value):
    """Return a badness; inf where the network gave no number."""
    return math.inf if math.isnan(value) else value


def _wrong_labels(header):
    """Return the function that gives how bad a sample of several labels is: its loss, or how many labels are wrong."""
    if 'loss' in header:
        return lambda cells: _known(cell_to_float(cells['loss']))

    def count(cells):
        truth, said = (set(cells[column].split('|')) for column in ('target', 'prediction'))
        return float(len(truth ^ said))

    return count


def _off(header):
    """Return the function that gives how far a sample's numbers are off, those of each target alike."""
    if len(target_column_names(header)) > 1 and 'loss' in header:
        return lambda cells: _known(cell_to_float(cells['loss']))
    errors = [name for name in header if name == 'error' or name.startswith('error/')]
    return lambda cells: _known(sum(abs(cell_to_float(cells[name])) for name in errors))


def _of_masks(header):
    """Return the measure of iou/<class>, f1_macro, precision_macro and recall_macro, beside miou."""
    classes = [name.partition('/')[2] for name in header if name.startswith('union/')]
    columns = [f'{part}/{name}' for part in ('intersection', 'union', 'truth') for name in classes]

    def value(sums):
        hits, unions, truth = np.split(sums, 3, axis=-1)
        there = unions > 0
        # A class that is never predicted has the precision 0, one that is not there the recall 0.
        parts = (2 * hits, hits + unions), (hits, hits + unions - truth), (hits, truth)
        ratios = [np.where(there, part / np.where(whole > 0, whole, 1), 0) for part, whole in parts]
        means = [ratio.sum(-1, keepdims=True) / there.sum(-1, keepdims=True) for ratio in ratios]
        return np.concatenate([np.where(there, hits / np.where(there, unions, 1), np.nan), *means], axis=-1)

    names = [*(f'iou/{name}' for name in classes), 'f1_macro', 'precision_macro', 'recall_macro']
    return SumMetric('\n'.join(names), lambda cells: [float(cells[c]) for c in columns], value)


def _f1(header):
    """Return the measure of f1/<class>, beside f1_macro."""
    classes = [name.partition('/')[2] for name in header if name.startswith('score/')]
    row = select_sum_metric('f1_macro', 'multilabel', header).row

    def value(sums):
        hits, sizes = np.split(sums, 2, axis=-1)
        return np.where(sizes > 0, 2 * hits / np.where(sizes > 0, sizes, 1), np.nan)

    return SumMetric('\n'.join(f'f1/{name}' for name in classes), row, value)


TASK_REPORTS = {
    'classification': TaskReport(
        badness=lambda header: _unsure,
        columns=lambda header: ['confidence', 'correct'],
        measures=lambda header: _of('classification', [], header),
        groups=(48, 24, 24),
        middling=False,
        sections=of_classes.classification,
    ),
    'multilabel': TaskReport(
        badness=_wrong_labels,
        columns=lambda header: [],
        measures=lambda header: [*_of('multilabel', BOOTSTRAP_METRICS['multilabel'], header), _f1(header)],
        groups=(36, 12, 24),
        middling=False,
        sections=of_classes.multilabel,
    ),
    'segmentation': TaskReport(
        badness=lambda header: (
            lambda cells: _known(-cell_to_float(cells['miou'])) if cells['pixels'] != '0' else -math.inf
        ),
        columns=lambda header: ['miou'],
        measures=lambda header: [*_of('segmentation', BOOTSTRAP_METRICS['segmentation'], header), _of_masks(header)],
        groups=(8, 6, 6),
        middling=True,
        sections=of_pictures.segmentation,
    ),
    'regression': TaskReport(
        badness=_off,
        columns=lambda header: [],
        measures=lambda header: _of('regression', BOOTSTRAP_METRICS['regression'], header),
        groups=(36, 12, 24),
        middling=False,
        sections=of_numbers.regression,
    ),
    'restoration': TaskReport(
        badness=lambda header: lambda cells: _known(-cell_to_float(cells['psnr'])),
        columns=lambda header: ['psnr', 'ssim'],
        measures=lambda header: _of('restoration', BOOTSTRAP_METRICS['restoration'], header),
        groups=(8, 4, 4),  # four pictures each
        middling=True,
        sections=of_pictures.restoration,
    ),
}
