"""Significance of differences and confidence intervals of metrics: McNemar's test, bootstrap, Wilson, Student's t.

The tests and bootstrap intervals of one test set describe the variation between test sets of the same size; the
interval of a mean over seeds describes the variation between training runs. McNemar 1947, Note on the sampling error of
the difference between correlated proportions; Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 13;
Wilson 1927, Probable inference, the law of succession, and statistical inference.
"""

import math
import statistics

import numpy as np

SIGNIFICANCE_LEVEL = 0.05
PERCENTILES = 100 * SIGNIFICANCE_LEVEL / 2, 100 - 100 * SIGNIFICANCE_LEVEL / 2
RESAMPLES = 10_000
MIN_RESAMPLES = 1_000  # for test sets that are too large for RESAMPLES
MAX_DRAWS = 10**9  # over all resamples: about half a minute
DRAWS_IN_MEMORY = 2**22
REPORT_RESAMPLES, REPORT_DRAWS = 2_000, 2 * 10**7  # for the report after a run: about a second


def mcnemar(first, second):
    """Return the p-value (float) of McNemar's exact test: two-sided, by the binomial distribution with 1/2.

    Args:
        first, second: number of samples for which only the first, only the second was right.
    """
    count, fewer = first + second, min(first, second)
    if first == second:
        return 1.0
    numbers = np.arange(1, fewer + 1)
    # log of (count over k) for k = 0, 1, ...
    logs = np.concatenate([[0.0], np.cumsum(np.log((count - numbers + 1) / numbers))]) - count * np.log(2)
    return float(min(1.0, 2 * np.exp(logs - logs.max()).sum() * np.exp(logs.max())))


def bootstrap_intervals(rows, value, seed=0):
    """Return the confidence intervals of functions of sums over samples: percentiles 2.5 and 97.5 of a bootstrap.

    Args:
        rows: (N, D) float64: the numbers of each sample, or of each of many random groups, that `value` needs summed.
        value: function of sums (R, D) -> (R, M).
        seed: of the resamples.

    Returns:
        (M, 2) float64, nan without a value, and the number of resamples (int).
    """
    resamples = int(np.clip(REPORT_DRAWS // max(1, len(rows)), MIN_RESAMPLES, REPORT_RESAMPLES))
    return _percentiles(value, _sums_of_draws(np.random.default_rng(seed), rows, resamples)), resamples


def count_intervals(counts, value, seed=0):
    """Return the intervals of `bootstrap_intervals` from counts of equal samples, such as those of a confusion matrix.

    Args:
        counts: (D,) int, above 0: the number of samples of each kind.
        value: function of counts (R, D) -> (R, M).
        seed: of the resamples.
    """
    random = np.random.default_rng(seed)
    resamples = int(np.clip(REPORT_DRAWS // len(counts), MIN_RESAMPLES, REPORT_RESAMPLES))
    shares, at_once, parts = counts / counts.sum(), max(1, DRAWS_IN_MEMORY // len(counts)), []
    for start in range(0, resamples, at_once):
        draws = random.multinomial(counts.sum(), shares, min(at_once, resamples - start))
        with np.errstate(divide='ignore', invalid='ignore'):
            parts.append(value(draws))
    return percentile_bounds(np.concatenate(parts)), resamples


def wilson_intervals(hits, counts):
    """Return Wilson's score intervals of proportions of independent samples (Wilson 1927), within 0..1.

    Unlike percentiles of a bootstrap, they have a width where all samples are right, or all are wrong: 30 of 30 gives
    0.886 to 1.

    Args:
        hits, counts: (...) numbers: how many of how many samples.

    Returns:
        (..., 2) float64: low, high; nan where the count is 0.
    """
    hits, counts = (np.asarray(numbers, dtype=float) for numbers in (hits, counts))
    z = statistics.NormalDist().inv_cdf(1 - SIGNIFICANCE_LEVEL / 2)
    with np.errstate(divide='ignore', invalid='ignore'):
        half = z * np.sqrt(hits * (counts - hits) / counts + z**2 / 4)
        ends = (hits + z**2 / 2 + np.stack([-half, half])) / (counts + z**2)
    # Exact at both ends, where rounding leaves about 1e-17.
    low, high = np.where(hits == 0, 0.0, ends[0]), np.where(hits == counts, 1.0, ends[1])
    return np.where(counts[..., None] > 0, np.stack([low, high], axis=-1), np.nan)


def _percentiles(value, sums):
    with np.errstate(divide='ignore', invalid='ignore'):
        return percentile_bounds(value(sums))


def percentile_bounds(values):
    """Return the percentiles 2.5 and 97.5 of values (R, M), (M, 2); nan where they are equal, or no value is finite.

    If all samples are equal, such as 0 hits of 40, all resamples are too, which says nothing about the precision.
    """
    values = np.asarray(values, dtype=float)
    found = np.full((values.shape[1], 2), np.nan)
    for index, column in enumerate(values.T):
        numbers = column[np.isfinite(column)]
        if len(numbers):
            found[index] = np.percentile(numbers, PERCENTILES)
    found[found[:, 0] == found[:, 1]] = np.nan
    return found


def paired_bootstrap(a, b, value, seed=0, resamples=RESAMPLES):
    """Return the difference value(b) - value(a) of two tests, its confidence interval and its p-value.

    Both tests use the same resamples, drawn with replacement. The interval is that of the percentiles 2.5 and 97.5; p
    is twice the share of the differences on the other side of 0, so p < 0.05 if the interval excludes 0.

    Args:
        a, b: (N, D) float64: the numbers of each sample that `value` needs summed.
        value: function of sums (..., D) -> (...): the metric.
        seed: of the resamples.
        resamples: their number; for very large test sets fewer, at least MIN_RESAMPLES.

    Returns:
        dict: gap, low, high, p (float; nan if the metric is nan), resamples (int).
    """
    random, both = np.random.default_rng(seed), np.concatenate([a, b], axis=1)
    count, split = len(both), a.shape[1]
    kinds, of_each = np.unique(both, axis=0, return_counts=True) if both.shape[1] <= 4 else (both, None)
    if of_each is None or len(kinds) > count / 10:
        resamples = min(resamples, max(MIN_RESAMPLES, MAX_DRAWS // count))
        sums = _sums_of_draws(random, both, resamples)
    else:  # only the counts of equal samples matter
        at_once = max(1, DRAWS_IN_MEMORY // len(kinds))
        sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
        sums = np.concatenate([random.multinomial(count, of_each / count, size) @ kinds for size in sizes])
    with np.errstate(divide='ignore', invalid='ignore'):
        gaps = value(sums[:, split:]) - value(sums[:, :split])
        gap = float(value(b.sum(0)) - value(a.sum(0)))
    gaps = gaps[~np.isnan(gaps)]
    if np.isnan(gap) or not len(gaps):
        return {'gap': gap, 'low': np.nan, 'high': np.nan, 'p': np.nan, 'resamples': resamples}
    low, high = np.percentile(gaps, PERCENTILES)
    beyond = min((gaps <= 0).sum(), (gaps >= 0).sum())
    p = min(1.0, 2 * (beyond + 1) / (len(gaps) + 1))
    return {'gap': gap, 'low': float(low), 'high': float(high), 'p': float(p), 'resamples': resamples}


def _sums_of_draws(random, rows, resamples):
    """Return the sums of `resamples` resamples of rows (N, D), (resamples, D)."""
    return np.concatenate([times @ rows for times in draw_counts(random, len(rows), resamples)])


def draw_counts(random, count, resamples, at_once=DRAWS_IN_MEMORY):
    """Yield how often each of `count` samples is drawn in resamples, (R, count) int, in blocks of about `at_once`."""
    together = max(1, at_once // count)
    for start in range(0, resamples, together):
        size = min(together, resamples - start)
        drawn = random.integers(0, count, (size, count), dtype=np.int32 if count * size < 2**31 else np.int64)
        drawn += (np.arange(size, dtype=drawn.dtype) * count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)


def t_quantile(level, freedom):
    """Return the value (float) that |t| stays below with the probability `level`, for Student's t: 2.776 for 0.95, 4.

    Bisection over the finite sums of the distribution for whole degrees of freedom (Abramowitz and Stegun 1964,
    Handbook of mathematical functions, 26.7.3 and 26.7.4), in the angle whose tangent is t / sqrt(freedom).

    Args:
        level: above 0 and below 1.
        freedom: degrees of freedom (int), 1 or more: for a mean the number of values minus one.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(100):  # each step halves the angle; the result is constant from about the 60th
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


def mean_interval(values):
    """Return mean, sample standard deviation (n - 1) and the confidence interval of the mean by Student's t.

    Args:
        values: numbers of independent runs (list of float).

    Returns:
        mean, deviation, low, high (floats); the last three nan for a single value, low and high nan for equal values,
        which say nothing about the precision.
    """
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return mean, math.nan, math.nan, math.nan
    deviation = statistics.stdev(values)
    if not deviation:
        return mean, deviation, math.nan, math.nan
    half = t_quantile(1 - SIGNIFICANCE_LEVEL, count - 1) * deviation / math.sqrt(count)
    return mean, deviation, mean - half, mean + half
