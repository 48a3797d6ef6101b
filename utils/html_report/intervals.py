"""Confidence intervals of metrics: from sums over samples, from a confusion matrix, and from rankings of scores."""

import numpy as np

from utils.base.language import deferred, joined, plural, translate
from utils.statistics.bootstrap_metrics import f1, sum_metric_intervals
from utils.statistics.ranking_bootstrap import MAX_RANKED_SCORES, ranking_intervals
from utils.statistics.significance import count_intervals, wilson_intervals

# The metrics that are proportions of samples, by the kind of target.
WILSON_NOTES = {
    'label': deferred(
        'Those of accuracy, recall and precision of a class, proportions of samples, are intervals of Wilson (1927).'
    ),
    'labels': deferred('Those of exact_match, proportions of samples, are intervals of Wilson (1927).'),
}


def find_intervals(page, measures, sums, seed):
    """Return the confidence intervals of the metrics in result.txt, and the numbers of resamples.

    Args:
        page: utils.html_report.page.Page with results and, for tasks with classes, matrix and class_names.
        measures: list of utils.statistics.bootstrap_metrics.SumMetric.
        sums: list of utils.html_report.predictions_table.GroupedSums, one per measure.
        seed: seed of the bootstrap.

    Returns:
        dict from a name to (low, high); (resamples of metrics from sums, of metrics from rankings), int or None.
    """
    bounds, resamples, rank_resamples = {}, None, None
    for measure, groups in zip(measures, sums, strict=True):
        found, drawn = sum_metric_intervals(measure, groups.rows(), seed)
        bounds |= dict(zip(measure.name.split('\n'), found, strict=True))
        resamples = drawn or resamples
    count = 0 if page.class_counts is None else page.class_counts[1].sum()
    if page.target_kind == 'label' and count:
        for name in ('acc', 'acc_top5'):
            bounds[name] = wilson_intervals(page.results.get(name, np.nan) * count, count)
        bounds |= class_intervals(*page.class_counts, page.class_names)
    if page.target_kind == 'label' and count and page.matrix is not None:
        found, resamples = matrix_intervals(page.matrix, page.class_names, seed)
        bounds |= found
    ranked = getattr(page.engine.metrics, 'ranked', None)
    # Check the number of scores first: collecting too many could exhaust the memory.
    both = ranked() if ranked and page.count * len(page.class_names) <= MAX_RANKED_SCORES else None
    found = both and ranking_intervals(*(tensor.cpu().numpy() for tensor in both), seed)
    if found:
        ap, auroc, rank_resamples = found
        for mean, per_class, each in (('map', 'ap', ap), ('auroc', 'auroc', auroc)):
            bounds |= dict(zip([*(f'{per_class}/{name}' for name in page.class_names), mean], each, strict=True))
    return bounds, (resamples, rank_resamples)


def class_intervals(hits, true_counts, predicted_counts, names):
    """Return the Wilson intervals of recall (acc_class) and precision of each class: dict from a name to (low, high).

    Args:
        hits, true_counts, predicted_counts: (K,) int, numbers of samples.
        names: of the classes (list of str).
    """
    return {
        f'{key}/{name}': bounds
        for key, counts in (('acc_class', true_counts), ('precision', predicted_counts))
        for name, bounds in zip(names, wilson_intervals(hits, counts), strict=True)
    }


def matrix_intervals(matrix, names, seed=0):
    """Return the confidence intervals of the metrics of a confusion matrix, and the number of resamples (int).

    Accuracy, recall and precision of single classes are proportions of samples: see wilson_intervals. F1 and the means
    over classes are bootstrapped.

    Args:
        matrix: (K, K) int: truth by prediction, counts of samples.
        names: names of the classes (list of str).
        seed: seed of the bootstrap.

    Returns:
        dict from a name to (low, high), nan if unknown; int.
    """
    known, value, counts = matrix_metrics(matrix, names)
    found, resamples = count_intervals(counts, value, seed)
    bounds = dict(zip(known, found, strict=True))
    bounds |= class_intervals(matrix.diagonal(), matrix.sum(1), matrix.sum(0), names)
    return bounds | {'acc': wilson_intervals(matrix.trace(), matrix.sum())}, resamples


def metrics_note(page):
    """Return the text below the table of metrics of a utils.html_report.page.Page (str)."""
    resamples, rank_resamples = page.resamples
    numbers = {'resamples': resamples, 'ranks': rank_resamples, 'count': page.count, 'seed': page.args.seed}
    bootstrap = plural(
        page.count,
        'Confidence intervals are percentiles of {resamples:,} bootstrap resamples of the {count:,} test sample, seed '
        '{seed}.',
        'Confidence intervals are percentiles of {resamples:,} bootstrap resamples of the {count:,} test samples, seed '
        '{seed}.',
    )
    ranking = deferred('Those of average precision and AUROC are percentiles of {ranks:,} resamples.')
    missing = deferred(
        'No interval is shown for metrics that are not computed per sample, or that rank too many scores to resample.'
    )
    of_intervals = [
        bootstrap,
        *([ranking] if rank_resamples else []),
        *([WILSON_NOTES[page.target_kind]] if page.target_kind in WILSON_NOTES else []),
        deferred('They cover the choice of test samples, not the variation between trainings.'),
        missing,
    ]
    notes = [
        deferred('↑: higher is better, ↓: lower is better.'),
        *(of_intervals if resamples else []),
        deferred('result.txt has the values in full precision.'),
    ]
    return joined([translate(note, **numbers) for note in notes])


def matrix_metrics(matrix, names):
    """Return the metrics of a confusion matrix in the form that count_intervals takes.

    Args:
        matrix: (K, K) int: truth by prediction.
        names: names of the classes (list of str).

    Returns:
        names of the M metrics (list of str), function of counts (R, D) -> (R, M), the D cells that are not 0 (int).
    """
    truth, predicted = matrix.nonzero()
    counts, classes = matrix[truth, predicted], len(matrix)
    by_prediction = np.argsort(predicted, kind='stable')
    right = truth == predicted

    def sum_by_class(draws, labels):
        found = np.zeros((len(draws), classes))
        present, starts = np.unique(labels, return_index=True)
        found[:, present] = np.add.reduceat(draws, starts, axis=1)
        return found

    def value(draws):
        hits = np.zeros((len(draws), classes))
        hits[:, truth[right]] = draws[:, right]
        true_counts = sum_by_class(draws, truth)
        predicted_counts = sum_by_class(draws[:, by_prediction], predicted[by_prediction])
        sizes = true_counts + predicted_counts
        ratios, occurs = [hits / true_counts, hits / predicted_counts, f1(hits, sizes)], sizes > 0
        means = [np.where(occurs, np.nan_to_num(ratio), 0).sum(1) / occurs.sum(1) for ratio in ratios]
        return np.concatenate([*ratios, np.stack([hits.sum(1) / draws.sum(1), *means], 1)], axis=1)

    per_class = [f'{key}/{name}' for key in ('acc_class', 'precision', 'f1') for name in names]
    return [*per_class, 'acc', 'recall_macro', 'precision_macro', 'f1_macro'], value, counts
