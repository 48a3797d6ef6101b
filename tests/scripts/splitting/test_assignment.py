"""Which samples go into which part: the shares of all samples and of each class, with and without groups."""

import numpy as np
import pytest

from scripts.splitting.assignment import assign_parts, merge_groups

SHARES = [0.7, 0.15, 0.15]


def table(parts, classes):
    """Return the number of samples by part and class (array)."""
    found = np.zeros((parts.max() + 1, classes.max() + 1), int)
    np.add.at(found, (parts, classes), 1)
    return found


@pytest.mark.parametrize('seed', range(3))
def test_single_samples_have_exactly_the_wanted_numbers(seed):
    classes = np.repeat([0, 1, 2], [100, 40, 20])
    found = table(assign_parts(np.arange(160), classes, SHARES, seed), classes)
    assert found.tolist() == [[70, 28, 14], [15, 6, 3], [15, 6, 3]]


def test_many_small_classes_add_up_to_the_wanted_total_and_each_is_trained():
    classes = np.repeat(np.arange(50), 3)
    found = table(assign_parts(np.arange(150), classes, SHARES, 0), classes)
    assert found.sum(1).tolist() == [105, 23, 22] or found.sum(1).tolist() == [105, 22, 23]
    assert (found[0] >= 1).all()
    single = np.append(classes, 50)
    assert table(assign_parts(np.arange(151), single, SHARES, 0), single)[:, 50].tolist() == [1, 0, 0]


@pytest.mark.parametrize('seed', range(3))
def test_groups_are_whole_and_the_shares_nearly_right(seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 12, 120)
    groups, classes = np.repeat(np.arange(120), sizes), np.repeat(random.integers(0, 2, 120), sizes)
    parts = assign_parts(groups, classes, SHARES, seed)
    assert all(len(set(parts[groups == group])) == 1 for group in range(120))
    found = table(parts, classes)
    np.testing.assert_allclose(found / found.sum(0), np.array(SHARES)[:, None] * [1, 1], atol=0.02)


def test_folds_are_of_equal_size():
    classes = np.repeat([0, 1], [33, 18])
    found = table(assign_parts(np.arange(51), classes, [0.2] * 5, 0, keep_in_first=False), classes)
    assert sorted(found.sum(1)) == [10, 10, 10, 10, 11]
    assert found.max(0).tolist() == [7, 4]
    assert found.min(0).tolist() == [6, 3]


def test_chains_of_pairs_become_one_group():
    assert merge_groups(np.array([5, 5, 3, 2, 9, 7]), [(1, 4), (3, 4)]).tolist() == [0, 0, 1, 0, 0, 2]
