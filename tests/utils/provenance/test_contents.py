"""The hashes of samples by index."""

import numpy as np
import pytest

from utils.provenance.contents import SampleHashes, compare_contents


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


def test_samples_that_have_other_bytes_later_are_noted_once():
    hashes = SampleHashes()
    hashes.add(*hashes_of((0, 10), (1, 20)))
    hashes.add(*hashes_of((0, 10), (2, 30)))
    assert hashes.take_changes() is None
    hashes.add(*hashes_of((0, 10), (1, 21), (2, 31)))
    hashes.add(*hashes_of((2, 30)))
    difference = hashes.take_changes()
    assert (difference.indices, difference.count, difference.total) == ([1], 1, 3), 'sample 2 is as it was'
    assert hashes.items()[1].tolist() == [10, 21, 30]
    assert hashes.take_changes() is None


class Named:
    """A loader whose samples are called by their index."""

    input_kind = 'image'
    sample_name = 'n{}.png'.format


def sample(image, target):
    return image << 32 | target


def text_of(then, now, same_order):
    difference = compare_contents(SampleHashes(then), SampleHashes(now), same_order)
    return difference and difference.text(Named)


def test_the_samples_that_changed_are_named_with_what_changed():
    then = [sample(image, 1) for image in range(1, 51)]
    now = [*then]
    assert text_of(then, now, True) is text_of(then, now, False) is None
    now[3], now[7], now[9] = sample(99, 1), sample(8, 2), sample(98, 3)
    assert text_of(then, now, True) == '3 of 50 samples changed: n3.png, n7.png, n9.png (2 images, 1 target)'
    many = [value + 1 for value in then]
    text = text_of(then, many, True)
    assert text.startswith('50 of 50 samples changed: n0.png, n1.png')
    assert text.endswith(', n19.png and 30 more (50 targets)')
    assert text_of(then, [*now[:3], 0, *now[4:7]], True) is None, 'what was not read is not compared'


def test_exchanged_samples_changed_unless_the_order_is_another_one():
    then = [sample(1, 1), sample(2, 1), sample(3, 2)]
    now = [then[1], then[0], then[2]]
    assert text_of(then, now, True) == '2 of 3 samples changed: n0.png, n1.png (2 images)'
    assert text_of(then, now, False) is None


def test_in_another_order_equal_samples_are_paired():
    then = [sample(1, 1), sample(2, 1), sample(2, 1), sample(4, 1)]
    assert text_of(then, [*then[::-1], sample(5, 1)], False) == (
        '1 of 5 samples is not among the recorded: n4.png (1 image)'
    )
    assert text_of(then, then[1:3], False) == '2 of the 4 recorded samples are missing'
    assert text_of(then, [sample(2, 1)] * 3 + [sample(1, 7)], False) == (
        '2 of 4 samples are not among the recorded: n2.png, n3.png (1 target, 1 repetition); 2 of the 4 recorded '
        'samples are missing'
    )
    difference = compare_contents(SampleHashes(then), SampleHashes([sample(8, 8)]), False)
    assert not difference.shares_most_images
    half = compare_contents(SampleHashes(then[:2]), SampleHashes([then[0], sample(8, 8)]), False)
    assert half.shares_most_images


def test_a_file_holds_the_hashes(tmp_path):
    hashes, path = SampleHashes(), tmp_path / 'contents_val.bin'
    for pairs in ([(2, 2**64 - 1), (0, 10)], [(7 << 32 | 1, 5)]):
        indices, values = zip(*pairs, strict=True)
        hashes.add(np.array(indices, np.int64), np.array(values, np.uint64))
    hashes.write(path)
    assert path.stat().st_size < 200
    again = SampleHashes.read(path)
    assert [part.tolist() for part in again.items()] == [part.tolist() for part in hashes.items()]
    SampleHashes().write(path)
    assert len(SampleHashes.read(path)) == 0


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'{}\n',
        b'[]\n',
        b'\xff\xfe\n',
        b'{"danlu contents": 1, "shards": [0], "samples": [2]}\n12345678',
        b'{"danlu contents": 1, "shards": [0], "samples": [1000000000000]}\n',
        b'{"danlu contents": 1, "shards": [0, 1], "samples": [2, -1]}\n12345678',
        b'{"danlu contents": 1, "shards": [-1], "samples": [1]}\n12345678',
        b'{"danlu contents": 1, "shards": [9999999999999999999999], "samples": [1]}\n12345678',
        b'{"danlu contents": 2, "shards": [0], "samples": [1]}\n12345678',
        b'{"danlu contents": 1, "shards": "0", "samples": [[]]}\n12345678',
        b'[' * 100000,
    ],
)
def test_a_damaged_file_is_none(tmp_path, content):
    path = tmp_path / 'contents_val.bin'
    path.write_bytes(content)
    assert SampleHashes.read(path) is None
    assert SampleHashes.read(tmp_path) is SampleHashes.read(tmp_path / 'missing') is None


def test_without_samples_there_is_nothing():
    assert len(SampleHashes()) == 0
    assert SampleHashes().record()['samples'] == 0
