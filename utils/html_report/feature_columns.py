"""The features of the samples of a table, as columns of a page."""

import numpy as np


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
    return [
        {'name': name, 'type': 'number', 'values': [float(f'{value:.5g}') for value in values[:, column]]}
        for column, name in enumerate(names)
    ]
