"""The bytes of the samples of a run: 8 bytes of hashes per sample, and what differs between two data sets.

The hash of a sample (utils/base/content_hash.py) has the hash of its image in the upper 32 bits and that of its target
in the lower ones; 0: unknown. A sample is known by its index; of a stream that is shard * 2**32 + position.
"""

import hashlib

import numpy as np

SHARD_BITS = np.int64(32)


class SampleHashes:
    """The hashes of samples by index, as far as they were read.

    Args:
        hashes: uint64 array (N,), 0 where unknown, of the samples 0 .. N-1.
    """

    def __init__(self, hashes=()):
        self.shards = {0: np.array(hashes, np.uint64)} if len(hashes) else {}
        self.changed = {}

    def __len__(self):
        """Return the number of known samples."""
        return sum(int(np.count_nonzero(hashes)) for hashes in self.shards.values())

    def add(self, indices, hashes):
        """Add hashes of samples; a sample that had another hash goes to `changed` with the new one.

        Args:
            indices: int64 array (B,).
            hashes: uint64 array (B,); 0 is ignored.
        """
        shards, places = indices >> SHARD_BITS, indices & np.int64(2**32 - 1)
        for shard in np.unique(shards).tolist():
            chosen = (shards == shard) & (hashes != 0)
            if not chosen.any():
                continue
            known, at, new = self._room(shard, int(places[chosen].max())), places[chosen], hashes[chosen]
            other = (known[at] != 0) & (known[at] != new)
            for place, value in zip(at[other].tolist(), new[other].tolist(), strict=True):
                self.changed[(shard << 32) + place] = value
            known[at[~other]] = new[~other]

    def _room(self, shard, place):
        """Return the hashes of a shard, with room for `place`; the room doubles, as it is touched only when used."""
        known = self.shards.get(shard, np.zeros(0, np.uint64))
        if place >= len(known):
            grown = np.zeros(max(place + 1, 2 * len(known)), np.uint64)
            grown[: len(known)] = known
            self.shards[shard] = known = grown
        return known

    def items(self):
        """Return the known samples: indices, int64 (n,) in increasing order, and hashes, uint64 (n,)."""
        parts = [(shard, np.flatnonzero(self.shards[shard])) for shard in sorted(self.shards)]
        empty = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
        indices = [places + (np.int64(shard) << SHARD_BITS) for shard, places in parts]
        hashes = [self.shards[shard][places] for shard, places in parts]
        return np.concatenate(empty[0] + indices), np.concatenate(empty[1] + hashes)

    def record(self):
        """Return what a record holds (dict): sha256 (str) of the hashes in increasing order, and samples (int)."""
        _, hashes = self.items()
        hashes.sort()
        return {'sha256': hashlib.sha256(hashes.astype('<u8')).hexdigest(), 'samples': len(hashes)}
