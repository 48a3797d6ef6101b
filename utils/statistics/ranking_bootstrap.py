"""Bootstrap intervals of average precision and AUROC, which are not functions of sums over samples.

A resample counts how often each sample is drawn. Both metrics need only cumulative sums of these counts in the order of
the scores, which is sorted once. Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 13.
"""

import numpy as np

from utils.statistics.significance import DRAWS_IN_MEMORY, REPORT_RESAMPLES, draw_counts, percentile_bounds

MAX_RANKED_SCORES = 5 * 10**6  # over all classes; more would take longer than half a minute
MAX_DRAWN_SCORES = 10**8  # over all resamples: about a second
MIN_RANKING_RESAMPLES = 200


def ranking_intervals(scores, truth, seed=0):
    """Return the confidence intervals of average precision and AUROC: percentiles 2.5 and 97.5 of a bootstrap.

    A sample is drawn with all its classes. The means of a resample leave out classes without a value.

    Args:
        scores: (N, K) floating point array, higher where a class is likelier, no nan.
        truth: (N, K) bool array.
        seed: of the resamples.

    Returns:
        ap, auroc: (K + 1, 2) float64, nan without a value, with the mean over the classes in the last row; and the
        number of resamples (int). None for more than MAX_RANKED_SCORES scores.
    """
    count, classes = scores.shape
    if scores.size > MAX_RANKED_SCORES:
        return None
    resamples = int(np.clip(MAX_DRAWN_SCORES // max(1, scores.size), MIN_RANKING_RESAMPLES, REPORT_RESAMPLES))
    ranked = [RankedScores(scores[:, k], truth[:, k]) for k in range(classes)]
    found = []
    for times in draw_counts(np.random.default_rng(seed), count, resamples, DRAWS_IN_MEMORY // 4):
        times = times.astype(np.int32)
        found.append(np.stack([one.values(times) for one in ranked], axis=1))
    values = np.concatenate(found, axis=2)  # (2, K, resamples)
    there = np.isfinite(values)
    with np.errstate(invalid='ignore'):
        means = np.where(there, values, 0).sum(1) / there.sum(1)
    ap, auroc = (percentile_bounds(np.vstack([*of_one, mean]).T) for of_one, mean in zip(values, means, strict=True))
    return ap, auroc, resamples


class RankedScores:
    """The scores of one class in sorted order.

    Args:
        scores: (N,) floating point array.
        truth: (N,) bool array.
    """

    def __init__(self, scores, truth):
        self.order = np.argsort(-scores, kind='stable')
        ordered, self.having = scores[self.order], np.flatnonzero(truth[self.order])
        new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        starts = np.flatnonzero(new)
        ends = np.append(starts[1:], len(ordered))
        tie = (np.cumsum(new) - 1)[self.having]
        # For each positive sample, the number of samples and of positive samples with a higher score (0), and with at
        # least the same score (1).
        self.places = starts[tie], ends[tie]
        self.among = tuple(np.searchsorted(self.having, places) for places in self.places)

    def values(self, times):
        """Return average precision and AUROC of resamples, (2, R) float64, nan without a value.

        Args:
            times: (R, N) int32 array, how often each sample was drawn.
        """
        times = times.take(self.order, axis=1)
        having = times.take(self.having, axis=1)
        said, true = _sums(times), _sums(having)
        before, with_it = (said.take(places, axis=1) for places in self.places)
        true_before, true_with = (true.take(places, axis=1) for places in self.among)
        count = true[:, -1].astype(float)
        others = said[:, -1] - count
        with np.errstate(divide='ignore', invalid='ignore'):
            precision = np.where(with_it > 0, true_with / with_it, 0.0)
            false = (before - true_before + with_it - true_with) / 2  # ties count half
            ap = np.einsum('rp,rp->r', having, precision) / count
            return np.stack([ap, 1 - np.einsum('rp,rp->r', having, false) / (count * others)])


def _sums(times):
    """Return the sums of the first 0, 1, ... N columns of an array (R, N), (R, N + 1)."""
    found = np.zeros((len(times), times.shape[1] + 1), times.dtype)
    np.cumsum(times, axis=1, dtype=times.dtype, out=found[:, 1:])
    return found
