"""What the file system tells of many files without opening them."""

import os
from array import array

import numpy as np

SIZE, MODIFIED_NS, FILE_ID = range(3)  # columns of what `look_up` returns
MISSING_FILE = (-1, -1, -1)
STAT_COLUMNS = len(MISSING_FILE)


def stat_files(root, names):
    """Return size (bytes), time of modification (ns) and identity of files: int64 array (N, 3), -1 where none is.

    Two names of one file, by a link or written otherwise, have the same identity: a hash of its number and that of its
    device. A file takes about two microseconds from a local disk.

    Args:
        root: directory (str) that relative names are relative to.
        names: iterable of str.
    """
    found = array('q')
    for name in names:
        try:
            facts = os.stat(os.path.join(root, name))
            found.extend((facts.st_size, facts.st_mtime_ns, hash((facts.st_dev, facts.st_ino))))
        except (OSError, ValueError):  # whoever opens it will say what is wrong with it
            found.extend(MISSING_FILE)
    return np.frombuffer(found, np.int64).reshape(-1, STAT_COLUMNS) if found else np.empty((0, STAT_COLUMNS), np.int64)
