"""The ledger: a line of JSON for every test, beside the runs. Lines are only ever added. Imports no torch."""

import errno
import json
import math
import os
from pathlib import Path

from utils.base.regular_files import open_handle, read_regular_bytes

LEDGER_FILE = 'ledger.jsonl'


def ledger_of(checkpoint, checkpoints_dir):
    """Return the ledger (Path) that a test goes into: that beside the run of the checkpoint, else of checkpoints_dir.

    Args:
        checkpoint: path of the file that is tested.
        checkpoints_dir: directory of all runs.
    """
    run = run_of(checkpoint)
    return (Path(checkpoints_dir) if run is None else run.parent) / LEDGER_FILE


def run_of(checkpoint):
    """Return the directory (Path) of the run that a checkpoint belongs to, or None: it lies elsewhere."""
    folder = Path(checkpoint).absolute().parent
    return folder if (folder / 'args.txt').is_file() else None


def append(path, line):
    """Add a line (dict of plain values) to a ledger in one write, so that lines of several processes do not mix.

    Numbers that are not finite become null, which JSON has instead. What a crash has left of a line is closed.

    Args:
        path: of the ledger; it is made where it is not there yet.

    Raises:
        OSError: it cannot be written, or only a part of the line could be.
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
    """Return the lines (list of dict) of a ledger in their order, and how many are broken (int) and left out.

    Raises:
        OSError: it cannot be read, unless because there is none: that is an empty one.
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
    """Return nested dicts, lists and plain values with None for numbers that are not finite; numpy's become plain."""
    if isinstance(value, dict):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(item) for item in value]
    value = value.item() if hasattr(value, 'item') else value  # of a metric that gives numpy's or torch's
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_cut_off(file):
    """Return whether a file, open by its number, has something behind its last line break."""
    if os.fstat(file).st_size == 0:
        return False
    os.lseek(file, -1, os.SEEK_END)
    return os.read(file, 1) != b'\n'
