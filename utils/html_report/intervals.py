"""The intervals of a page's values: made of sums over samples, of a confusion matrix, or of the order of scores."""

import numpy as np

from utils.statistics.ranking_bootstrap import MAX_RANKED_SCORES, ranking_intervals
from utils.statistics.significance import bootstrap_intervals, count_intervals, without_zero_width


def find_intervals(page, measures, sums, seed):
    """Return the intervals of values of result.txt, and how many resamples they are made of.

    Args:
        page: utils.html_report.page.Page, with its results and, where the task has classes, matrix and class_names.
        measures: list of utils.statistics.bootstrap_metrics.SumMetric.
        sums: list of utils.html_report.rows.Groups, of each measure.
        seed: of the draws.

    Returns:
        dict from a name to (low, high); how many resamples it was, of values made of sums and of those made of ranks
        (int, or None where there are none).
    """
    bounds, resamples, of_ranks = {}, None, None
    for measure, groups in zip(measures, sums, strict=True):
        found, resamples = bootstrap_intervals(groups.rows(), _as_columns(measure.value), seed)
        bounds |= dict(zip(measure.name.split('\n'), found, strict=True))
    count = 0 if page.class_counts is None else page.class_counts[1].sum()
    if page.kind == 'label' and count:
        for name in ('acc', 'acc_top5'):
            bounds[name] = of_share(page.results.get(name, np.nan), count, seed)
    if page.kind == 'label' and count and page.matrix is not None:
        names, value, counts = of_matrix(page.matrix, page.class_names)
        found, resamples = count_intervals(counts, value, seed)
        bounds |= dict(zip(names, found, strict=True))
    ranked = getattr(page.engine.metrics, 'ranked', None)
    # The number is asked before the scores: of more they may take more memory than there is.
    both = ranked() if ranked and page.count * len(page.class_names) <= MAX_RANKED_SCORES else None
    found = both and ranking_intervals(*(part.cpu().numpy() for part in both), seed)
    if found:
        ap, auroc, of_ranks = found
        for mean, each, those in (('map', 'ap', ap), ('auroc', 'auroc', auroc)):
            bounds |= dict(zip([*(f'{each}/{name}' for name in page.class_names), mean], those, strict=True))
    return without_zero_width(bounds), (resamples, of_ranks)


def of_share(share, count, seed):
    """Return the interval (2,) of a share of `count` samples, nan where it is none (nan)."""
    if np.isnan(share) or not count:
        return np.full(2, np.nan)
    hits = round(share * count)
    found, _ = count_intervals(np.array([hits, count - hits]), lambda draws: draws[:, :1] / count, seed)
    return found[0]


def _as_columns(value):
    """Return a function of sums that gives (R, M) even where `value` gives (R,)."""

    def columns(sums):
        found = np.asarray(value(sums))
        return found[:, None] if found.ndim == 1 else found

    return columns


def of_matrix(matrix, names):
    """Return the names of the values that are made of a confusion matrix, the function that makes them, and its cells.

    Args:
        matrix: (K, K) int.
        names: of the classes (list of str).

    Returns:
        names (list of M str), function of counts (R, D) -> (R, M), the D counts that are not 0.
    """
    truth, said = matrix.nonzero()
    counts, classes = matrix[truth, said], len(matrix)
    by_said = np.argsort(said, kind='stable')
    right = truth == said

    def by_class(draws, labels):
        found = np.zeros((len(draws), classes))
        there, starts = np.unique(labels, return_index=True)
        found[:, there] = np.add.reduceat(draws, starts, axis=1)
        return found

    def value(draws):
        hits = np.zeros((len(draws), classes))
        hits[:, truth[right]] = draws[:, right]
        of_truth, of_said = by_class(draws, truth), by_class(draws[:, by_said], said[by_said])
        ratios = [hits / of_truth, hits / of_said, 2 * hits / (of_truth + of_said)]
        occurs = of_truth + of_said > 0
        means = [np.where(occurs, np.nan_to_num(r), 0).sum(1) / occurs.sum(1) for r in ratios]
        return np.concatenate([*ratios, np.stack([hits.sum(1) / draws.sum(1), *means], 1)], axis=1)

    each = [f'{key}/{name}' for key in ('acc_class', 'precision', 'f1') for name in names]
    return [*each, 'acc', 'recall_macro', 'precision_macro', 'f1_macro'], value, counts
