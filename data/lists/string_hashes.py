"""Hashes of many strings at once, by numpy."""

import numpy as np

HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, 2**64 / golden ratio
HALF_BITS, WORD_BYTES = np.uint64(32), 8


def hashes_of(content, ends):
    """Return a 64-bit hash of each string: int64 array (N,). Equal strings have equal hashes.

    Among ten million strings, a collision has a probability of a few millionths. Not secure against deliberate
    collisions.

    Args:
        content: bytes of all strings, concatenated, uint8 array.
        ends: end offset of each string, int64 array (N + 1,) beginning with 0.
    """
    padded = np.concatenate([content, np.zeros(WORD_BYTES, np.uint8)])
    words = np.ndarray(len(content) + 1, '<u8', padded, strides=(1,))  # eight bytes from each position
    lengths = np.diff(ends)
    hashes, rows, done = lengths.astype(np.uint64) * HASH_MULTIPLIER, np.arange(len(lengths)), 0
    while len(rows := rows[lengths[rows] > done]):
        left = np.minimum(lengths[rows] - done, WORD_BYTES).astype(np.uint64)
        word = words[ends[rows] + done] & (np.uint64(2**64 - 1) >> (np.uint64(8) * (np.uint64(WORD_BYTES) - left)))
        mixed = (hashes[rows] ^ word) * HASH_MULTIPLIER
        hashes[rows] = mixed ^ (mixed >> HALF_BITS)
        done += WORD_BYTES
    return hashes.view(np.int64)
