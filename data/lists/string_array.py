"""Many strings in two flat arrays, which processes share.

As Python strings, a million names take 100 MB and are copied into every worker, as reference counts change. Here they
are one tensor of bytes and one of offsets, which forked workers share and spawned workers map.
"""

from array import array

import numpy as np
import torch

from data.lists.string_hashes import hashes_of

STRINGS_PER_BLOCK = 65536


class StringArrayBuilder:
    """Collects strings for a StringArray; a Python list would need twice the memory."""

    def __init__(self):
        self.bytes, self.ends = bytearray(), array('q', [0])

    def __len__(self):
        return len(self.ends) - 1

    def append(self, string):
        """Append a string."""
        self.bytes += string.encode('utf-8', 'surrogateescape')
        self.ends.append(len(self.bytes))

    def extend(self, content, lengths):
        """Append many strings: their bytes (uint8 array), and the number of bytes of each (int64 array)."""
        self.ends.frombytes((len(self.bytes) + np.cumsum(lengths)).astype(np.int64).tobytes())
        self.bytes += memoryview(content)


class StringArray:
    """A read-only sequence of strings in two tensors: their UTF-8 bytes and end offsets.

    Args:
        strings: any iterable of str, or a filled StringArrayBuilder.
    """

    def __init__(self, strings):
        if isinstance(strings, StringArrayBuilder):
            packer = strings
        else:
            packer = StringArrayBuilder()
            for string in strings:
                packer.append(string)
        self.packed = torch.frombuffer(packer.bytes or bytearray(1), dtype=torch.uint8)
        self.ends = torch.frombuffer(packer.ends, dtype=torch.int64)
        self._distinct = None

    def __len__(self):
        return len(self.ends) - 1

    def __getitem__(self, index):
        ends = self.ends.numpy()  # three times faster; not kept, as sharing a tensor moves its memory
        index = range(len(ends) - 1)[index]  # raises IndexError; supports negative indices
        return self.packed.numpy()[ends[index] : ends[index + 1]].tobytes().decode('utf-8', 'surrogateescape')

    def __iter__(self):
        for block in self.blocks():
            yield from decode_strings(*block)

    def blocks(self):
        """Yield blocks of strings: their bytes (uint8 array) and end offsets (int64 array, beginning with 0)."""
        packed, ends = self.packed.numpy(), self.ends.numpy()
        for first in range(0, len(self), STRINGS_PER_BLOCK):
            part = ends[first : first + STRINGS_PER_BLOCK + 1]
            yield packed[part[0] : part[-1]], part - part[0]

    def distinct(self):
        """Return the distinct strings (list of str, by first occurrence) and their index for each string, int32 (N,).

        Computed once, by hashes.
        """
        if self._distinct is None:
            texts, known, codes = [], {}, torch.empty(len(self), dtype=torch.int32)
            for number, block in enumerate(self.blocks()):
                start = number * STRINGS_PER_BLOCK
                keys, first, which = np.unique(hashes_of(*block), return_index=True, return_inverse=True)
                for place in np.sort(first).tolist():
                    key = int(keys[which[place]])
                    if key not in known:
                        known[key] = len(texts)
                        texts.append(self[start + place])
                found = np.array([known[key] for key in keys.tolist()], np.int32)
                codes[start : start + len(which)] = torch.from_numpy(found[which])
            self._distinct = texts, codes
        return self._distinct


def decode_strings(content, ends):
    """Yield the strings of a block from StringArray.blocks."""
    packed, start = memoryview(content), 0
    for end in ends[1:].tolist():
        yield str(packed[start:end], 'utf-8', 'surrogateescape')
        start = end
