"""The intervals of one test's values that compare needs beside those of the gaps: from its predictions.csv alone."""

from array import array

import numpy as np

from utils.html_report.intervals import of_matrix, of_share
from utils.html_report.rows import Groups, header_of, read
from utils.statistics.bootstrap_metrics import cell_to_float, select_sum_metric
from utils.statistics.ranking_bootstrap import ranking_intervals
from utils.statistics.significance import bootstrap_intervals, count_intervals, without_zero_width

MOST_CLASSES = 1000  # of a table of them; of more, values by class have no interval


def side_intervals(test, seed):
    """Return the intervals of a test's values: dict from a name of result.txt to (low, high).

    Args:
        test: scripts.run_commands.pairing.Test.
        seed: of the draws (int).
    """
    header, found = header_of(test.predictions), {}
    takers = []
    if 'loss' in header:
        takers.append(_Loss(header, test.task, seed))
    if test.task == 'classification':
        takers.append(_Classes(test))
    if test.task == 'multilabel':
        takers.append(_Labels(header))
    for cells in read(test.predictions):
        for taker in takers:
            taker.add(cells)
    for taker in takers:
        found |= taker.intervals(seed)
    return without_zero_width(
        {name: tuple(map(float, bounds)) for name, bounds in found.items() if name in test.values}
    )


class _Loss:
    """The mean of the losses."""

    def __init__(self, header, task, seed):
        self.measure, self.groups = select_sum_metric('loss', task, header), Groups(2, seed)

    def add(self, cells):
        self.groups.add(self.measure.row(cells))

    def intervals(self, seed):
        found, _ = bootstrap_intervals(self.groups.rows(), lambda sums: self.measure.value(sums)[:, None], seed)
        return {'loss': found[0]}


class _Classes:
    """What the confusion matrix gives, and the share of the samples whose class is among the five likeliest."""

    def __init__(self, test):
        self.values, self.places, self.truth, self.said = test.values, {}, array('l'), array('l')

    def add(self, cells):
        if cells['correct']:  # an ignored sample has none
            for name, those in (('target', self.truth), ('prediction', self.said)):
                those.append(self.places.setdefault(cells[name], len(self.places)))

    def intervals(self, seed):
        classes, count = len(self.places), len(self.truth)
        found = {'acc_top5': of_share(cell_to_float(self.values.get('acc_top5', '')), count, seed)}
        if not count or classes > MOST_CLASSES:
            return found
        cells = np.asarray(self.truth) * classes + np.asarray(self.said)
        matrix = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        names, value, counts = of_matrix(matrix, [str(place) for place in range(classes)])
        bounds, _ = count_intervals(counts, value, seed)
        return found | {name: each for name, each in zip(names, bounds, strict=True) if '/' not in name}


class _Labels:
    """The means over classes of average precision and AUROC."""

    def __init__(self, header):
        self.classes = [name.partition('/')[2] for name in header if name.startswith('score/')]
        self.scores, self.truth = array('d'), array('b')

    def add(self, cells):
        truth = set(cells['target'].split('|'))
        self.scores.extend(cell_to_float(cells[f'score/{name}']) for name in self.classes)
        self.truth.extend(name in truth for name in self.classes)

    def intervals(self, seed):
        shape = -1, len(self.classes)
        found = ranking_intervals(
            np.asarray(self.scores).reshape(shape), np.array(self.truth, bool).reshape(shape), seed
        )
        return {'map': found[0][-1], 'auroc': found[1][-1]} if found else {}
