"""Intervals of metrics that are functions of sums over samples."""

import numpy as np
import pytest

from utils.statistics.bootstrap_metrics import select_sum_metric, sum_metric_intervals
from utils.statistics.significance import wilson_intervals


@pytest.mark.parametrize(('name', 'task'), [('acc', 'classification'), ('exact_match', 'multilabel')])
def test_a_proportion_of_samples_has_an_interval_also_if_all_are_right(name, task):
    measure = select_sum_metric(name, task, ['name', 'target', 'prediction', 'correct'])
    rows = np.array([measure.row({'correct': '1'})] * 30 + [measure.row({'correct': ''})])
    (found,), resamples = sum_metric_intervals(measure, rows)
    assert found.tolist() == wilson_intervals(30, 30).tolist() and resamples is None


def test_an_image_without_wrong_pixels_is_one_sample_so_that_there_is_no_interval_of_its_pixels():
    measure = select_sum_metric('pixel_acc', 'segmentation', ['name', 'pixel_acc', 'pixels'])
    rows = np.array([measure.row({'pixel_acc': '1.0', 'pixels': '100'})] * 30)
    (found,), _ = sum_metric_intervals(measure, rows)
    assert np.isnan(found).all()
