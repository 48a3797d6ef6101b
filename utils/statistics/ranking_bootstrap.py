"""How exact average precision and AUROC are: by drawing samples, as they are no function of sums over them.

A draw gives each sample a number of times, and both metrics need only sums of these along the order of the scores,
which is found once. Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 13.
"""

import numpy as np

from utils.statistics.significance import AT_ONCE, QUICK, bounds_of, draws

MOST = 5 * 10**6  # scores, of all classes: of more it would take longer than half a minute
DRAWS = 10**8  # scores that are drawn for all resamples: about a second
LEAST = 200  # resamples


def intervals_of_ranks(scores, truth, seed=0):
    """Return the intervals of average precision and AUROC: the percentiles 2.5 and 97.5 of a bootstrap.

    A sample is drawn with all its classes. A class that a draw leaves no sample of does not count in its means.

    Args:
        scores: (N, K) floating point array, higher where a class is likelier, no nan.
        truth: (N, K) bool array.
        seed: of the draws.

    Returns:
        ap, auroc: (K + 1, 2) float64, the last row of the mean over classes, nan where a value is none; and how many
        resamples it was (int). None where there are more than MOST scores.
    """
    count, classes = scores.shape
    if scores.size > MOST:
        return None
    resamples = int(np.clip(DRAWS // max(1, scores.size), LEAST, QUICK))
    ranked = [Ranked(scores[:, k], truth[:, k]) for k in range(classes)]
    found = []
    for times in draws(np.random.default_rng(seed), count, resamples, AT_ONCE // 4):
        times = times.astype(np.int32)
        found.append(np.stack([one.values(times) for one in ranked], axis=1))
    values = np.concatenate(found, axis=2)  # (2, K, resamples)
    there = np.isfinite(values)
    with np.errstate(invalid='ignore'):
        means = np.where(there, values, 0).sum(1) / there.sum(1)
    ap, auroc = (bounds_of(np.vstack([*of_one, mean]).T) for of_one, mean in zip(values, means, strict=True))
    return ap, auroc, resamples


class Ranked:
    """The order of one class's scores.

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
        # Of each sample that has the class: how many of all samples, and of those that have it, are ranked before it
        # and its equals, and how many with them.
        self.places = starts[tie], ends[tie]
        self.among = tuple(np.searchsorted(self.having, places) for places in self.places)

    def values(self, times):
        """Return average precision and AUROC of draws, (2, R) float64, nan where one is none.

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
            false = (before - true_before + with_it - true_with) / 2  # of what is equal half
            ap = np.einsum('rp,rp->r', having, precision) / count
            return np.stack([ap, 1 - np.einsum('rp,rp->r', having, false) / (count * others)])


def _sums(times):
    """Return the sums of the first 0, 1, ... N columns of (R, N), (R, N + 1)."""
    found = np.zeros((len(times), times.shape[1] + 1), times.dtype)
    np.cumsum(times, axis=1, dtype=times.dtype, out=found[:, 1:])
    return found
