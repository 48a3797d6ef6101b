"""The ledger: one line of JSON for each test, in the directory of the runs; append only. Imports no torch."""

import errno
import json
import math
import os
from pathlib import Path

from utils.base.nested import map_nested
from utils.base.regular_files import open_handle, read_regular_bytes

LEDGER_FILE = 'ledger.jsonl'


def ledger_of(checkpoint, checkpoints_dir):
    """Return the ledger (Path) for a test: beside the run of the checkpoint, or else in `checkpoints_dir`.

    Args:
        checkpoint: path of the tested file.
        checkpoints_dir: directory of all runs.
    """
    run = run_of(checkpoint)
    return (Path(checkpoints_dir) if run is None else run.parent) / LEDGER_FILE


def run_of(checkpoint):
    """Return the run directory (Path) of a checkpoint, or None if it is not in a run directory."""
    folder = Path(checkpoint).absolute().parent
    return folder if (folder / 'args.txt').is_file() else None


def append(path, line):
    """Append a line (dict of plain values) to a ledger in one write, so that lines of several processes do not mix.

    Non-finite numbers become null. An incomplete last line, left by a crash, is terminated first.

    Args:
        path: path of the ledger; created if missing.

    Raises:
        OSError: the line could not be written completely.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(replace_nonfinite(line), ensure_ascii=False, allow_nan=False)
    data = (text + '\n').encode('utf-8', 'surrogateescape')  # paths may hold any bytes
    file = open_handle(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, 'O_BINARY', 0))
    try:
        if _is_cut_off(file):
            data = b'\n' + data
        if os.write(file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(file)


def read(path):
    """Return the valid lines (list of dict) of a ledger, and the number of invalid lines (int).

    A missing ledger is empty.

    Raises:
        OSError: the ledger cannot be read.
    """
    try:
        content = read_regular_bytes(path)
    except FileNotFoundError:
        return [], 0
    lines, broken = [], 0
    for data in content.split(b'\n'):
        if not data.strip():
            continue
        try:
            line = json.loads(data.decode('utf-8', 'surrogateescape'))
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict):
            lines.append(line)
        else:
            broken += 1
    return lines, broken


def replace_nonfinite(value):
    """Return nested dicts, lists and values with None for non-finite numbers and plain numbers for NumPy's."""

    def plain(leaf):
        leaf = leaf.item() if hasattr(leaf, 'item') else leaf  # NumPy or torch numbers of custom metrics
        return None if isinstance(leaf, float) and not math.isfinite(leaf) else leaf

    return map_nested(plain, value)


def _is_cut_off(file):
    """Return whether the last line of a file (descriptor) is incomplete."""
    if os.fstat(file).st_size == 0:
        return False
    os.lseek(file, -1, os.SEEK_END)
    return os.read(file, 1) != b'\n'
