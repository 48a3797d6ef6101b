"""What the page of a test shows for each task: ranking of samples, metrics with confidence intervals, sections.

A section is a dict for the template: `kind` (table, charts, matrix, gallery, legend, scale), `title`, `note`, and the
values of that kind. Each task names its TaskReport (see Task.report in utils/tasks/task.py).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from utils.base.registry import load_entry
from utils.html_report import class_sections, image_sections, regression_sections
from utils.statistics.bootstrap_metrics import (
    SumMetric,
    cell_to_float,
    f1,
    iou,
    select_sum_metric,
    target_column_names,
)
from utils.tasks.tasks import TASKS


class TaskReport(NamedTuple):
    """What is specific to the pages of one task.

    Args:
        badness: function(header) -> function(cells of a sample) -> float, larger for worse samples, -inf for ignored
            samples.
        columns: function(header) -> names of the columns that are kept for all samples.
        measures: function(header) -> list of SumMetric whose confidence intervals are bootstrapped. The name of one
            with several values (..., M) has the names of the values, separated by newlines.
        group_sizes: number of samples drawn: worst, best, others.
        use_median: whether the other samples are those around the median (True), or random samples (False).
        sections: function(page) -> list of sections.
    """

    badness: Any
    columns: Any
    measures: Any
    group_sizes: Any
    use_median: bool
    sections: Any


def _measures(task, header, skip=()):
    """Return the SumMetrics of a task without `skip`, and that of the loss if predictions.csv has the loss."""
    names = [*TASKS[task].sum_metrics, *(['loss'] if 'loss' in header else [])]
    return [select_sum_metric(name, task, header) for name in names if name not in skip]


def _classification_badness(cells):
    """Return the negative probability of the true class, plus 1 for wrong predictions, which come first."""
    if not cells['correct']:  # ignored
        return -math.inf
    return _nan_to_inf((cells['correct'] == '0') - cell_to_float(cells['target_probability']))


def _nan_to_inf(value):
    """Return a badness; inf, the worst, for nan."""
    return math.inf if math.isnan(value) else value


def _multilabel_badness(header):
    """Return the function that gives the loss of a sample, or its number of wrong labels if there is no loss column."""
    if 'loss' in header:
        return lambda cells: _nan_to_inf(cell_to_float(cells['loss']))

    def wrong_labels(cells):
        truth, predicted = (set(cells[column].split('|')) for column in ('target', 'prediction'))
        return float(len(truth ^ predicted))

    return wrong_labels


def _regression_badness(header):
    """Return the function that gives the absolute error of a sample; with several targets, its loss or the sum."""
    if len(target_column_names(header)) > 1 and 'loss' in header:
        return lambda cells: _nan_to_inf(cell_to_float(cells['loss']))
    errors = [name for name in header if name == 'error' or name.startswith('error/')]
    return lambda cells: _nan_to_inf(sum(abs(cell_to_float(cells[name])) for name in errors))


def _mask_metrics(header):
    """Return the SumMetric of iou/<class>, f1_macro, precision_macro and recall_macro."""
    classes = [name.partition('/')[2] for name in header if name.startswith('union/')]
    columns = [f'{column}/{name}' for column in ('intersection', 'union', 'truth') for name in classes]

    def value(sums):
        hits, unions, truth = np.split(sums, 3, axis=-1)
        occurs = unions > 0
        # Precision is 0 for classes that are never predicted, recall is 0 for classes without a true pixel.
        fractions = (2 * hits, hits + unions), (hits, hits + unions - truth), (hits, truth)
        ratios = [np.where(occurs, top / np.where(bottom > 0, bottom, 1), 0) for top, bottom in fractions]
        means = [ratio.sum(-1, keepdims=True) / occurs.sum(-1, keepdims=True) for ratio in ratios]
        return np.concatenate([iou(hits, hits + unions), *means], axis=-1)

    names = [*(f'iou/{name}' for name in classes), 'f1_macro', 'precision_macro', 'recall_macro']
    return SumMetric('\n'.join(names), lambda cells: [float(cells[c]) for c in columns], value)


def _class_f1(header):
    """Return the SumMetric of f1/<class>."""
    classes = [name.partition('/')[2] for name in header if name.startswith('score/')]
    row = select_sum_metric('f1_macro', 'multilabel', header).row

    def value(sums):
        hits, sizes = np.split(sums, 2, axis=-1)
        return f1(hits, sizes)

    return SumMetric('\n'.join(f'f1/{name}' for name in classes), row, value)


CLASSIFICATION = TaskReport(
    badness=lambda header: _classification_badness,
    columns=lambda header: ['confidence', 'correct'],
    measures=lambda header: _measures('classification', header, skip=('acc',)),
    group_sizes=(48, 24, 24),
    use_median=False,
    sections=class_sections.classification,
)

MULTILABEL = TaskReport(
    badness=_multilabel_badness,
    columns=lambda header: [],
    measures=lambda header: [*_measures('multilabel', header), _class_f1(header)],
    group_sizes=(36, 12, 24),
    use_median=False,
    sections=class_sections.multilabel,
)

SEGMENTATION = TaskReport(
    badness=lambda header: (
        lambda cells: _nan_to_inf(-cell_to_float(cells['miou'])) if cells['pixels'] != '0' else -math.inf
    ),
    columns=lambda header: ['miou'],
    measures=lambda header: [*_measures('segmentation', header), _mask_metrics(header)],
    group_sizes=(8, 6, 6),
    use_median=True,
    sections=image_sections.segmentation,
)

REGRESSION = TaskReport(
    badness=_regression_badness,
    columns=lambda header: [],
    measures=lambda header: _measures('regression', header),
    group_sizes=(36, 12, 24),
    use_median=False,
    sections=regression_sections.regression,
)

RESTORATION = TaskReport(
    badness=lambda header: lambda cells: _nan_to_inf(-cell_to_float(cells['psnr'])),
    columns=lambda header: ['psnr', 'ssim'],
    measures=lambda header: _measures('restoration', header),
    group_sizes=(8, 4, 4),  # four images per sample
    use_median=True,
    sections=image_sections.restoration,
)


def report_of(task):
    """Return the TaskReport of a task (str), or None: the page then has metrics and settings only."""
    if task not in TASKS or TASKS[task].report is None:
        return None
    return load_entry({task: TASKS[task].report}, task, 'report of task')
