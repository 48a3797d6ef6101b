"""Confidence intervals of metrics: from sums over samples, from a confusion matrix, and from rankings of scores."""

import numpy as np

from utils.statistics.bootstrap_metrics import f1
from utils.statistics.ranking_bootstrap import MAX_RANKED_SCORES, ranking_intervals
from utils.statistics.significance import bootstrap_intervals, count_intervals, without_zero_width


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
        found, resamples = bootstrap_intervals(groups.rows(), _as_columns(measure.value), seed)
        bounds |= dict(zip(measure.name.split('\n'), found, strict=True))
    count = 0 if page.class_counts is None else page.class_counts[1].sum()
    if page.target_kind == 'label' and count:
        for name in ('acc', 'acc_top5'):
            bounds[name] = share_interval(page.results.get(name, np.nan), count, seed)
    if page.target_kind == 'label' and count and page.matrix is not None:
        names, value, counts = matrix_metrics(page.matrix, page.class_names)
        found, resamples = count_intervals(counts, value, seed)
        bounds |= dict(zip(names, found, strict=True))
    ranked = getattr(page.engine.metrics, 'ranked', None)
    # Check the number of scores first: collecting too many could exhaust the memory.
    both = ranked() if ranked and page.count * len(page.class_names) <= MAX_RANKED_SCORES else None
    found = both and ranking_intervals(*(tensor.cpu().numpy() for tensor in both), seed)
    if found:
        ap, auroc, rank_resamples = found
        for mean, per_class, each in (('map', 'ap', ap), ('auroc', 'auroc', auroc)):
            bounds |= dict(zip([*(f'{per_class}/{name}' for name in page.class_names), mean], each, strict=True))
    return without_zero_width(bounds), (resamples, rank_resamples)


def share_interval(share, count, seed):
    """Return the confidence interval (2,) of a share of `count` samples; nan if the share is nan."""
    if np.isnan(share) or not count:
        return np.full(2, np.nan)
    hits = round(share * count)
    found, _ = count_intervals(np.array([hits, count - hits]), lambda draws: draws[:, :1] / count, seed)
    return found[0]


def _as_columns(value):
    """Return a function of sums that returns (R, M), also if `value` returns (R,)."""

    def columns(sums):
        found = np.asarray(value(sums))
        return found[:, None] if found.ndim == 1 else found

    return columns


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
