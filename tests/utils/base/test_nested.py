"""Nested values of batches, states and checkpoints."""

from collections import Counter

from utils.base.nested import map_nested


def test_each_leaf_is_replaced_and_containers_become_plain():
    value = {'a': (1, [2, {'b': None}]), 'c': Counter({3: 4})}
    assert map_nested(lambda leaf: (leaf or 0) + 10, value) == {'a': [11, [12, {'b': 10}]], 'c': {3: 14}}
    assert type(map_nested(str, value)['c']) is dict


def test_a_value_alone_is_a_leaf():
    assert map_nested(str, 5) == '5'
