"""Finds earlier runs with the same options, code and data. Imports no torch."""

import csv
import math
import os
import re
from pathlib import Path

from utils.base.regular_files import open_regular
from utils.runs.lock import lock_holder

RECORD_HEAD_BYTES = 512  # `experiment` lies in the first bytes of record.json
LOG_TAIL_BYTES = 4096


def identical_run(args, experiment, selection):
    """Return a line (list of str) about the newest run with the same options, code and data, or [].

    Args:
        args: options; checkpoints_dir and model_dir are used.
        experiment: hash in the record of the new run (str), or None.
        selection: utils.training.checkpoint_selector.CheckpointSelector, which compares epochs.
    """
    if experiment is None:
        return []
    own = os.path.realpath(args.model_dir)
    runs = [run for run in runs_of_experiment(args.checkpoints_dir, experiment) if os.path.realpath(run) != own]
    if not runs:
        return []
    more = f'; {len(runs) - 1} more' if len(runs) > 1 else ''
    return [f'same options, code and data as an earlier run: {runs[-1]}, {run_summary(runs[-1], selection)}{more}']


def runs_of_experiment(directory, experiment):
    """Return the run directories (list of Path) in a directory with this `experiment` hash, newest last."""
    needle, found = f'"experiment": "{experiment}"'.encode(), []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if (date := _date_of(entry.path, needle)) is not None:
                    found.append((date, Path(entry.path)))
    except OSError:  # missing or unreadable
        return []
    return [path for _, path in sorted(found)]


def _date_of(run, needle):
    """Return the date (str) of a run if its record holds `needle` (bytes) and it never changed on resume, else None."""
    try:
        with open_regular(os.path.join(run, 'record.json')) as file:
            head = file.read(RECORD_HEAD_BYTES)
    except OSError:  # no record: an older version, or no run
        return None
    if needle not in head or os.path.exists(os.path.join(run, 'record_2.json')):
        return None
    date = re.search(rb'"date": "([^"]*)"', head)
    return date[1].decode(errors='replace') if date else ''


def run_summary(run, selection):
    """Return the state and best epoch of a run (str): 'finished after epoch 10, best val/acc 0.9912 in epoch 7'."""
    rows = _history_values(run / 'history.csv', selection.monitor)
    state = 'finished' if _has_ended(run / 'log.txt') else _unfinished_state(run)
    if not rows:
        return f'{state}, no epoch'
    best, at = math.nan, rows[0][0]
    for epoch, value in rows:
        if selection.is_better(value, best):
            best, at = value, epoch
    return f'{state} after epoch {rows[-1][0]}, best {selection.monitor} {best:.6g} in epoch {at}'


def _unfinished_state(run):
    try:
        return 'running' if lock_holder(run) else 'interrupted'
    except OSError:  # unreadable lock
        return 'interrupted'


def _history_values(path, monitor):
    """Return (epoch, value) of each valid row of a history.csv (list)."""
    rows = []
    try:
        with open_regular(path, 'r', newline='', encoding='utf-8', errors='replace') as file:
            for row in csv.DictReader(file):
                rows.append((int(row['epoch']), float(row[monitor])))
    except (OSError, csv.Error, KeyError, TypeError, ValueError):  # missing, half written, or another file
        return rows
    return rows


def _has_ended(path):
    """Return whether a log ends as the log of a finished run (bool)."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return False
    return any(line.startswith(b'best: ') for line in lines[-2:])
