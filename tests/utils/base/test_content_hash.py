"""Hashes of the bytes of samples."""

import io

import numpy as np
import pytest
from PIL import Image

from utils.base.content_hash import hash_bytes, hash_rows, join_hashes


def stored_png(seed):
    """Return a PNG file (bytes) of noise whose size does not depend on the noise."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(pixels).save(file, 'PNG', compress_level=0)
    return file.getvalue()


def test_png_files_of_one_size_have_different_hashes():
    """A PNG holds the CRC-32 of each of its parts, but with the highest byte first, so that it does not cancel."""
    files = [stored_png(seed) for seed in range(50)]
    assert len({len(file) for file in files}) == 1
    assert len({*map(hash_bytes, files)}) == 50


@pytest.mark.parametrize('shape', [(50, 1), (50, 28, 28), (50, 3, 21, 7)])
def test_rows_have_the_hashes_of_their_bytes(shape):
    rows = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    hashes = hash_rows(rows)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [hash_bytes(row.tobytes()) for row in rows]
    assert hash_rows(rows[:, ::-1])[3] == hash_bytes(rows[3, ::-1].tobytes())
    assert hash_rows(np.array([[1.5], [2.5]]))[1] == hash_bytes(np.float64(2.5).tobytes())


def test_the_hash_of_a_sample_holds_both_and_is_never_0():
    assert join_hashes(3, 5) == 3 << 32 | 5
    assert join_hashes(0, 0) == 1
    joined = join_hashes(np.array([3, 0], np.uint64), np.array([5, 0], np.uint64))
    assert joined.tolist() == [3 << 32 | 5, 1]
