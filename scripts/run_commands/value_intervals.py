"""Confidence intervals of one test's metrics, computed from its predictions.csv alone, for runs.py compare."""

from array import array

import numpy as np

from scripts.run_commands.pairing import header_of, parse_cells, read_rows
from utils.html_report.intervals import matrix_intervals
from utils.html_report.predictions_table import GroupedSums
from utils.statistics.bootstrap_metrics import cell_to_float, select_sum_metric, sum_metric_intervals
from utils.statistics.ranking_bootstrap import ranking_intervals
from utils.statistics.significance import wilson_intervals
from utils.tasks.tasks import TASKS

MAX_CLASSES = 1000  # of a confusion matrix


def value_intervals(test, seed):
    """Return the confidence intervals of a test's metrics: dict from a name of result.txt to (low, high).

    Args:
        test: scripts.run_commands.pairing.Test.
        seed: seed of the bootstrap (int).
    """
    header, found = header_of(test), {}
    estimators = []
    if 'loss' in header:
        estimators.append(_LossInterval(header, test.task, seed))
    target = TASKS[test.task].target if test.task in TASKS else None
    if target == 'label':
        estimators.append(_ClassificationIntervals(test))
    if target == 'labels':
        estimators.append(_RankingIntervals(header))
    for cells in read_rows(test):
        for estimator in estimators:
            parse_cells(test, estimator.add, cells)
    for estimator in estimators:
        found |= estimator.intervals(seed)
    return {name: tuple(map(float, bounds)) for name, bounds in found.items() if name in test.values}


class _LossInterval:
    """The mean loss."""

    def __init__(self, header, task, seed):
        self.measure, self.groups = select_sum_metric('loss', task, header), GroupedSums(2, seed)

    def add(self, cells):
        self.groups.add(self.measure.row(cells))

    def intervals(self, seed):
        bounds, _ = sum_metric_intervals(self.measure, self.groups.rows(), seed)
        return {'loss': bounds[0]}


class _ClassificationIntervals:
    """The metrics of the confusion matrix, and the top-5 accuracy."""

    def __init__(self, test):
        self.values, self.classes, self.targets, self.predictions = test.values, {}, array('l'), array('l')

    def add(self, cells):
        if cells['correct']:  # empty for ignored samples
            for name, labels in (('target', self.targets), ('prediction', self.predictions)):
                labels.append(self.classes.setdefault(cells[name], len(self.classes)))

    def intervals(self, seed):
        classes, count = len(self.classes), len(self.targets)
        top5 = cell_to_float(self.values.get('acc_top5', ''))
        found = {'acc_top5': wilson_intervals((top5 if 0 <= top5 <= 1 else np.nan) * count, count)}
        if not count or classes > MAX_CLASSES:
            return found
        cells = np.asarray(self.targets) * classes + np.asarray(self.predictions)
        matrix = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        bounds, _ = matrix_intervals(matrix, [str(index) for index in range(classes)], seed)
        return found | {name: each for name, each in bounds.items() if '/' not in name}


class _RankingIntervals:
    """The means over classes of average precision and AUROC."""

    def __init__(self, header):
        self.classes = [name.partition('/')[2] for name in header if name.startswith('score/')]
        self.scores, self.truth = array('d'), array('b')

    def add(self, cells):
        truth = set(cells['target'].split('|'))
        self.scores.extend(cell_to_float(cells[f'score/{name}']) for name in self.classes)
        self.truth.extend(name in truth for name in self.classes)

    def intervals(self, seed):
        if not self.classes:
            return {}
        shape = -1, len(self.classes)
        scores, truth = np.asarray(self.scores).reshape(shape), np.array(self.truth, bool).reshape(shape)
        found = ranking_intervals(scores, truth, seed)
        return {'map': found[0][-1], 'auroc': found[1][-1]} if found else {}
