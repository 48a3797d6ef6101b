"""The features of the samples of a table, as columns of a page."""

import math

import numpy as np

from utils.html_report.predictions_table import number_column

FLOAT32_DIGITS = 7


def feature_columns(engine, names, indices):
    """Return a column (dict, see predictions_table.table_columns) for each feature.

    Args:
        engine: eval.Evaluator whose samples are standardised feature vectors.
        names: names of the first features (list of str).
        indices: samples of the column, (N,) int, ascending.
    """
    dataset, args = getattr(engine.loader, 'dataset', None), engine.args
    if not len(indices) or not hasattr(dataset, '__getitems__'):
        return []
    samples = np.asarray(dataset.__getitems__((1, indices))[0], dtype=float)
    if samples.ndim != 2 or samples.shape[1] < len(names):
        return []
    values = samples * np.array(args.std or [1.0]) + np.array(args.mean or [0.0])
    return [number_column(name, name, _without_noise(values[:, column]).tolist()) for column, name in enumerate(names)]


def _without_noise(values):
    """Return a feature (N,) without the rounding errors of its standardisation in float32, so that 3.0000002 is 3."""
    largest = np.abs(values).max()
    return values.round(FLOAT32_DIGITS - 1 - math.floor(math.log10(largest))) if 0 < largest < math.inf else values
