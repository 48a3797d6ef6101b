"""Size, modification time and identity of many files, without opening them."""

import os
from array import array

import numpy as np

FILE_SIZE, MODIFIED_NS, FILE_ID = range(3)  # columns of the result of stat_files
MISSING_FILE = (-1, -1, -1)
STAT_COLUMNS = len(MISSING_FILE)


def stat_files(root, names):
    """Return size (bytes), modification time (ns) and identity of files: int64 array (N, 3), -1 for missing files.

    Two names of the same file have the same identity, a hash of device and inode. A file on a local disk takes about
    2 microseconds.

    Args:
        root: directory (str) of relative names.
        names: iterable of str.
    """
    found = array('q')
    for name in names:
        try:
            facts = os.stat(os.path.join(root, name))
            found.extend((facts.st_size, facts.st_mtime_ns, hash((facts.st_dev, facts.st_ino))))
        except (OSError, ValueError):  # reported when the file is opened
            found.extend(MISSING_FILE)
    return np.frombuffer(found, np.int64).reshape(-1, STAT_COLUMNS) if found else np.empty((0, STAT_COLUMNS), np.int64)
