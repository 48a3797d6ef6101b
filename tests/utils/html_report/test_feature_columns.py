"""The features of a table on a page: as in the table, in spite of their standardisation in float32."""

import math
from types import SimpleNamespace

import numpy as np

from utils.html_report.feature_columns import feature_columns

MEAN, STD = [3.7, 0.25], [1.3, 0.1]


def shown(rows):
    """Return the values (two lists) that a page shows of features (N, 2)."""
    samples = ((np.array(rows) - MEAN) / STD).astype(np.float32)
    data = SimpleNamespace(__getitems__=lambda key: (samples[key[1]],))
    engine = SimpleNamespace(loader=SimpleNamespace(dataset=data), args=SimpleNamespace(mean=MEAN, std=STD))
    return [column['values'] for column in feature_columns(engine, ['rooms', 'size'], np.arange(len(rows)))]


def test_integers_stay_integers():
    assert shown([[3.0, 0.125], [120.0, 0.5]]) == [[3, 120], [0.125, 0.5]]


def test_an_infinite_feature_is_a_dash_and_the_others_are_shown():
    rooms, size = shown([[3.0, math.inf], [4.0, 0.5]])
    assert rooms == [3, 4]
    assert size[0] is None and math.isclose(size[1], 0.5, rel_tol=1e-5)
