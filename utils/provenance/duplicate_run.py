"""Finds earlier runs with the same options, code and data. Imports no torch."""

import math
import os
import re
from pathlib import Path

from utils.base.regular_files import open_regular
from utils.runs.run import Run, as_number

RECORD_HEAD_BYTES = 512  # `experiment` lies in the first bytes of record.json


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


def run_summary(path, selection):
    """Return the state and best epoch of a run (str): 'finished after epoch 10, best val/acc 0.9912 in epoch 7'."""
    run = Run(path)
    if not run.history:
        return f'{run.state}, no epoch'
    best, at = math.nan, run.history[0]['epoch']
    for row in run.history:
        value = as_number(row.get(selection.monitor))
        if value is not None and selection.is_better(value, best):
            best, at = value, row['epoch']
    return f'{run.state} after epoch {run.done}, best {selection.monitor} {best:.6g} in epoch {at}'
