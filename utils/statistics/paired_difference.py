"""The difference between two tests of the same samples, and its significance."""

import numpy as np

from utils.statistics.bootstrap_metrics import lower_is_better
from utils.statistics.significance import REPORT_RESAMPLES, mcnemar, paired_bootstrap

COUNTED = ('acc', 'exact_match')  # shares of right samples, for which McNemar's test is exact


def paired_difference(measure, task, first, other, seed):
    """Return the difference of a metric: that of `other` minus that of `first`.

    Args:
        measure: utils.statistics.bootstrap_metrics.SumMetric.
        task: of the tests (str).
        first, other: (N, D) float64, the rows of the measure for the samples of both tests.
        seed: of the resamples.

    Returns:
        dict of significance.paired_bootstrap, with the p of McNemar's test for accuracy and exact match; `better`:
        whether `other` is better (bool).
    """
    found = paired_bootstrap(first, other, measure.value, seed, REPORT_RESAMPLES)
    if measure.name in COUNTED:
        changes = np.nan_to_num((other - first)[:, 0])
        found['p'] = mcnemar(int((changes < 0).sum()), int((changes > 0).sum()))
    better = found['gap'] < 0 if lower_is_better(measure.name, task) else found['gap'] > 0
    return found | {'better': bool(better)}
