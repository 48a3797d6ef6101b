"""Confidence intervals of proportions, and intervals that would say that a value is exact."""

import math

import numpy as np
import pytest

from utils.statistics.significance import count_intervals, mean_interval, percentile_bounds, wilson_intervals

# Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3.
PUBLISHED = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}


@pytest.mark.parametrize(('hits', 'count'), PUBLISHED)
def test_wilson_intervals_are_the_published_ones(hits, count):
    assert wilson_intervals(hits, count) == pytest.approx(PUBLISHED[hits, count], abs=5e-5)


def test_wilson_intervals_stay_within_0_and_1_and_contain_the_share():
    for count in range(1, 60):
        hits = np.arange(count + 1)
        low, high = wilson_intervals(hits, np.full(count + 1, count)).T
        assert (low >= 0).all() and (high <= 1).all() and (low < high).all()
        assert (low <= hits / count).all() and (hits / count <= high).all()
    assert wilson_intervals(30, 30).tolist() == pytest.approx([0.8865, 1], abs=5e-5)
    assert np.isnan(wilson_intervals([0, math.nan], [0, 5])).all(), 'no sample, or no known share'


def test_where_each_draw_is_the_same_there_is_no_interval():
    found, _ = count_intervals(np.array([40]), lambda draws: np.stack([0 * draws[:, 0], draws[:, 0]], 1) / 40)
    assert np.isnan(found).all()
    assert np.isfinite(percentile_bounds(np.arange(100.0)[:, None])).all()


def test_equal_values_of_several_seeds_have_no_interval():
    mean, deviation, low, high = mean_interval([1.0, 1.0, 1.0])
    assert (mean, deviation) == (1, 0) and math.isnan(low) and math.isnan(high)
