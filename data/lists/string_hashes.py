"""Hashes of many strings at once, by numpy."""

import numpy as np

FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, 2**64 over the golden ratio
HALF, WORD = np.uint64(32), 8


def hashes_of(content, ends):
    """Return a 64-bit hash of each of some strings: int64 array (N,). Equal ones have equal hashes.

    Among ten million strings two different ones have the same with a probability of a few millionths; against somebody
    who looks for such there is no protection.

    Args:
        content: bytes of all strings, one after the other, uint8 array.
        ends: where each one ends in it, int64 array (N + 1,) that begins with 0.
    """
    padded = np.concatenate([content, np.zeros(WORD, np.uint8)])
    words = np.ndarray(len(content) + 1, '<u8', padded, strides=(1,))  # eight bytes from each place on
    lengths = np.diff(ends)
    hashes, rows, done = lengths.astype(np.uint64) * FACTOR, np.arange(len(lengths)), 0
    while len(rows := rows[lengths[rows] > done]):
        left = np.minimum(lengths[rows] - done, WORD).astype(np.uint64)
        word = words[ends[rows] + done] & (np.uint64(2**64 - 1) >> (np.uint64(8) * (np.uint64(WORD) - left)))
        mixed = (hashes[rows] ^ word) * FACTOR
        hashes[rows] = mixed ^ (mixed >> HALF)
        done += WORD
    return hashes.view(np.int64)
