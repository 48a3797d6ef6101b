"""Is the difference of two numbers from one test set more than chance, and how exact is one? McNemar's test, bootstrap.

For tests, chance is what another test set of the same size and kind would change; another training run is what the
interval of a mean over seeds is about. McNemar 1947, Note on the sampling error of the difference between correlated
proportions; Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 13.
"""

import math
import statistics

import numpy as np

RESAMPLES = 10_000
LEAST = 1_000  # resamples of a test set that is too large for that many
DRAWS = 10**9  # samples that are drawn for all of them: about half a minute
AT_ONCE = 2**22  # draws that are in memory
LEVEL = 0.05
QUICK, QUICK_DRAWS = 2_000, 2 * 10**7  # for a page that is made after every run: a second


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


def intervals(rows, value, seed=0):
    """Return the intervals of values that are made of sums over samples: the percentiles 2.5 and 97.5 of a bootstrap.

    Args:
        rows: (N, D) float64: of each sample, or of each of many groups drawn by chance, what `value` needs the sum of.
        value: function of sums (R, D) -> (R, M).
        seed: of the draws.

    Returns:
        (M, 2) float64, nan where a value is none, and how many resamples it was (int).
    """
    resamples = int(np.clip(QUICK_DRAWS // max(1, len(rows)), LEAST, QUICK))
    return _percentiles(value, _sums_of_draws(np.random.default_rng(seed), rows, resamples)), resamples


def intervals_of_kinds(counts, value, seed=0):
    """Return what `intervals` does where samples are of few kinds: those of a confusion matrix are its cells.

    Args:
        counts: (D,) int: how many samples are of each kind, more than 0.
        value: function of counts (R, D) -> (R, M).
        seed: of the draws.
    """
    random, resamples = np.random.default_rng(seed), int(np.clip(QUICK_DRAWS // len(counts), LEAST, QUICK))
    shares, at_once, parts = counts / counts.sum(), max(1, AT_ONCE // len(counts)), []
    for start in range(0, resamples, at_once):
        draws = random.multinomial(counts.sum(), shares, min(at_once, resamples - start))
        with np.errstate(divide='ignore', invalid='ignore'):
            parts.append(value(draws))
    return bounds_of(np.concatenate(parts)), resamples


def _percentiles(value, sums):
    with np.errstate(divide='ignore', invalid='ignore'):
        return bounds_of(value(sums))


def telling(bounds):
    """Return intervals, a dict from a name to (low, high), with nan for those in which low and high are the same.

    Where all samples are alike, such as 0 hits of 40, each draw of them is too: that is not how sure the value is.
    """
    return {name: pair if pair[0] != pair[1] else (math.nan, math.nan) for name, pair in bounds.items()}


def bounds_of(values):
    """Return the percentiles 2.5 and 97.5 of values (R, M), (M, 2); nan where none of them is a number."""
    values = np.asarray(values, dtype=float)
    found = np.full((values.shape[1], 2), np.nan)
    for index, column in enumerate(values.T):
        numbers = column[np.isfinite(column)]
        if len(numbers):
            found[index] = np.percentile(numbers, [100 * LEVEL / 2, 100 - 100 * LEVEL / 2])
    return found


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
    return np.concatenate([times @ rows for times in draws(random, len(rows), resamples)])


def draws(random, count, resamples, at_once=AT_ONCE):
    """Yield how often each of `count` samples is drawn in each of some resamples, (R, count) int; at_once: how many
    numbers at a time, about.
    """
    together = max(1, at_once // count)
    for start in range(0, resamples, together):
        size = min(together, resamples - start)
        drawn = random.integers(0, count, (size, count), dtype=np.int32 if count * size < 2**31 else np.int64)
        drawn += (np.arange(size, dtype=drawn.dtype) * count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)


def t_quantile(level, freedom):
    """Return the value (float) that Student's t stays below in size with the probability `level`: 2.776 of 0.95 and 4.

    By bisection over the finite sums that the distribution has for whole degrees of freedom: Abramowitz and Stegun
    1964, Handbook of mathematical functions, 26.7.3 and 26.7.4, in the angle whose tangent is t / sqrt(freedom).

    Args:
        level: of the interval, above 0 and below 1.
        freedom: degrees of freedom (int), 1 or more: of a mean one less than there are values.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(100):  # each halves the angle; from the 60th on nothing changes
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _t_within(angle, freedom):
    """Return the probability (float) that Student's t lies within the angle on both sides of 0."""
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    total *= math.sin(angle)
    return (angle + total) * 2 / math.pi if odd else total


def mean_interval(values, level=1 - LEVEL):
    """Return mean, standard deviation (that of a sample, n - 1) and the confidence interval of the mean by Student's t.

    Args:
        values: numbers of independent repetitions (list of float).
        level: of the interval.

    Returns:
        mean, deviation, low, high (floats); the last three nan for a single value.
    """
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return mean, math.nan, math.nan, math.nan
    deviation = statistics.stdev(values)
    half = t_quantile(level, count - 1) * deviation / math.sqrt(count)
    return mean, deviation, mean - half, mean + half
