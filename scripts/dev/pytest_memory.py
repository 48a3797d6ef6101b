"""A plugin of pytest that writes down what memory its processes hold after each file of tests. Linux with glibc.

    MEMORY_CSV=memory.csv python -m pytest -p scripts.dev.pytest_memory -n 2 -m ''

Each line of the file: worker, file of tests, resident memory, and of the heap what is in use and what is free but not
returned to the system, all in MiB; then the number of modules that are loaded. The lines of one worker, from top to
bottom, are its growth.
"""

import csv
import ctypes
import os
import sys
from pathlib import Path

import pytest

MIB = 2**20
FILE = Path(os.environ['MEMORY_CSV']).absolute()


class Mallinfo2(ctypes.Structure):
    """What glibc's mallinfo2 returns, in bytes; `man 3 mallinfo`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in 'arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost'.split()
    ]


def resident_mib():
    """Return the resident memory of this process in MiB (int)."""
    pages = int(Path('/proc/self/statm').read_text(encoding='utf-8').split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') // MIB


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Write a line after the last test of a file."""
    if nextitem is not None and nextitem.path == item.path:
        return
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo2
    heap = mallinfo()
    worker = os.environ.get('PYTEST_XDIST_WORKER', 'main')
    row = [worker, item.path.relative_to(item.config.rootpath), resident_mib(), (heap.uordblks + heap.hblkhd) // MIB,
           heap.fordblks // MIB, len(sys.modules)]  # fmt: skip
    with open(FILE, 'a', newline='', encoding='utf-8') as file:
        csv.writer(file).writerow(row)
