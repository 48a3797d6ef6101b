"""Damage to files: bytes that are changed, cut off, put in, taken out or doubled."""

from hypothesis import strategies as st

BYTES = st.sampled_from([b'\0', b'\xff', b'\n', b'\t', b'"', b'0', b'\x7f', b'\x80'])


def damages(most=4):
    """Return the strategy of a list of (what, where as a part of the length, how many bytes, which)."""
    what = st.sampled_from(['change', 'flip', 'cut', 'insert', 'remove', 'double', 'zero'])
    where = st.one_of(st.floats(0, 1), st.floats(0, 0.1))  # more often in the header, where it matters more
    step = st.tuples(what, where, st.integers(1, 64), st.one_of(BYTES, st.binary(min_size=1, max_size=8)))
    return st.lists(step, max_size=most)


def damaged(data, steps):
    """Return the bytes `data` with the damage of `steps`."""
    for what, where, count, new in steps:
        at = int(where * len(data))
        head, part, tail = data[:at], data[at : at + count], data[at + count :]
        data = {
            'change': head + new + data[at + len(new) :],
            'flip': head + bytes([byte ^ 1 << count % 8 for byte in part[:1]]) + data[at + 1 :],
            'cut': head,
            'insert': head + new + data[at:],
            'remove': head + tail,
            'double': head + part + part + tail,
            'zero': head + bytes(len(part)) + tail,
        }[what]
    return data
