"""Is the difference of two numbers from one test set more than chance? McNemar's test and the paired bootstrap.

Chance is what another test set of the same size and kind would change, not another training run. McNemar 1947, Note on
the sampling error of the difference between correlated proportions; Efron and Tibshirani 1993, An introduction to the
bootstrap, chapter 13.
"""

import numpy as np

RESAMPLES = 10_000
LEAST = 1_000  # resamples of a test set that is too large for that many
DRAWS = 10**9  # samples that are drawn for all of them: about half a minute
AT_ONCE = 2**22  # draws that are in memory
LEVEL = 0.05


def mcnemar(first, second):
    """Return the p-value (float) of McNemar's exact test: two-sided, by the binomial distribution with 1/2.

    Args:
        first, second: how many samples went one way and how many the other.
    """
    count, fewer = first + second, min(first, second)
    if first == second:
        return 1.0
    numbers = np.arange(1, fewer + 1)
    # log of count over k, for k from 0 on
    logs = np.concatenate([[0.0], np.cumsum(np.log((count - numbers + 1) / numbers))]) - count * np.log(2)
    return float(min(1.0, 2 * np.exp(logs - logs.max()).sum() * np.exp(logs.max())))


def paired_bootstrap(a, b, value, seed=0, resamples=RESAMPLES):
    """Return the gap value(b) - value(a) of two tests, its interval, and how likely chance makes one as large.

    Samples are drawn with replacement, the same ones for both. The interval is that of the percentiles 2.5 and 97.5; p
    is twice the share of the gaps on the other side of 0, so that it is below 0.05 where the interval leaves 0 out.

    Args:
        a, b: (N, D) float64: of each sample what `value` needs the sum of.
        value: function of sums (..., D) -> (...): the metric.
        seed: of the draws.
        resamples: how many; fewer, but LEAST, where the test set is very large.

    Returns:
        dict: gap, low, high, p (float; nan where the metric is), resamples (int).
    """
    random, both = np.random.default_rng(seed), np.concatenate([a, b], axis=1)
    count, split = len(both), a.shape[1]
    kinds, of_each = np.unique(both, axis=0, return_counts=True) if both.shape[1] <= 4 else (both, None)
    if of_each is None or len(kinds) > count / 10:
        resamples = min(resamples, max(LEAST, DRAWS // count))
        sums = _sums_of_draws(random, both, resamples)
    else:  # the number of draws of each kind of sample is all that matters
        at_once = max(1, AT_ONCE // len(kinds))
        sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
        sums = np.concatenate([random.multinomial(count, of_each / count, size) @ kinds for size in sizes])
    with np.errstate(divide='ignore', invalid='ignore'):
        gaps = value(sums[:, split:]) - value(sums[:, :split])
        gap = float(value(b.sum(0)) - value(a.sum(0)))
    gaps = gaps[~np.isnan(gaps)]
    if np.isnan(gap) or not len(gaps):
        return {'gap': gap, 'low': np.nan, 'high': np.nan, 'p': np.nan, 'resamples': resamples}
    low, high = np.percentile(gaps, [100 * LEVEL / 2, 100 - 100 * LEVEL / 2])
    beyond = min((gaps <= 0).sum(), (gaps >= 0).sum())
    p = min(1.0, 2 * (beyond + 1) / (len(gaps) + 1))
    return {'gap': gap, 'low': float(low), 'high': float(high), 'p': float(p), 'resamples': resamples}


def _sums_of_draws(random, rows, resamples):
    """Return the sums of `resamples` draws of as many rows (N, D) as there are, (resamples, D)."""
    count, parts = len(rows), []
    at_once = max(1, AT_ONCE // count)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = random.integers(0, count, (size, count), dtype=np.int32 if count * size < 2**31 else np.int64)
        drawn += (np.arange(size, dtype=drawn.dtype) * count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        parts.append(times @ rows)
    return np.concatenate(parts)
