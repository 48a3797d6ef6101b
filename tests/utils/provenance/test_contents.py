"""The hashes of samples by index."""

import numpy as np

from utils.provenance.contents import SampleHashes


def hashes_of(*pairs):
    indices, hashes = np.array(pairs, np.int64).T
    return indices, hashes.astype(np.uint64)


def test_samples_are_added_in_any_order_and_the_combined_hash_does_not_depend_on_the_order():
    first, second = SampleHashes(), SampleHashes()
    first.add(*hashes_of((2, 30), (0, 10)))
    first.add(*hashes_of((1, 20), (4, 0)))
    second.add(*hashes_of((0, 20), (1, 30), (2, 10)))
    assert [part.tolist() for part in first.items()] == [[0, 1, 2], [10, 20, 30]]
    assert len(first) == 3
    assert first.record() == second.record() == SampleHashes([30, 0, 10, 20]).record()
    assert first.record()['samples'] == 3
    second.add(*hashes_of((3, 10)))
    assert first.record() != second.record(), 'a sample that is there twice counts twice'


def test_the_samples_of_shards_have_their_own_places():
    hashes = SampleHashes()
    hashes.add(*hashes_of((5 << 32 | 2, 7), (1, 8), (5 << 32, 9)))
    assert [part.tolist() for part in hashes.items()] == [[1, 5 << 32, 5 << 32 | 2], [8, 9, 7]]


def test_a_sample_that_has_other_bytes_later_keeps_its_hash_and_is_noted():
    hashes = SampleHashes()
    hashes.add(*hashes_of((0, 10), (1, 20)))
    hashes.add(*hashes_of((0, 10), (1, 21), (2, 30)))
    assert hashes.changed == {1: 21}
    assert hashes.items()[1].tolist() == [10, 20, 30]


def test_without_samples_there_is_nothing():
    assert len(SampleHashes()) == 0
    assert SampleHashes().record()['samples'] == 0
