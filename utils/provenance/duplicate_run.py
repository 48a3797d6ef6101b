"""Finds earlier runs with the same options, code and data. Imports no torch."""

import math
import os
import re
from pathlib import Path

from utils.base.regular_files import open_regular
from utils.base.text_table import number_text
from utils.provenance.contents import DATA_OF_SPLIT, SampleHashes, compare_contents, contents_file
from utils.runs.run import Run, as_number

RECORD_HEAD_BYTES = 512  # `experiment` lies in the first bytes of record.json


class DuplicateCheck:
    """Compares a new run with earlier ones of the same options, code and data, by the bytes of the samples as well.

    Of data in memory the bytes are known at the start. Those of files are known after the first epoch.

    Args:
        args: options; checkpoints_dir and model_dir are used.
        record: record of the new run (dict).
        selection: utils.training.checkpoint_selector.CheckpointSelector, which compares epochs.
    """

    def __init__(self, args, record, selection):
        self.directory, self.data, self.selection = Path(args.model_dir), record.get('data') or {}, selection
        experiment, own = record['experiment'], os.path.realpath(args.model_dir)
        runs = [] if experiment is None else runs_of_experiment(args.checkpoints_dir, experiment)
        self.runs = [run for run in reversed(runs) if os.path.realpath(run) != own]  # the newest first
        self.waiting = []  # runs that cannot be compared yet

    def start(self, loaders):
        """Return a line (list of str) about the newest earlier run, or [].

        Args:
            loaders: data.loader.Loader by split (dict), for the names of samples.
        """
        found = {run: self._difference(run, loaders) for run in self.runs}
        same = [run for run in found if found[run] == '']
        if same:
            more = f'; {len(same) - 1} more' if len(same) > 1 else ''
            return [f'same options, code and data as an earlier run: {self._described(same[0])}{more}']
        self.waiting = [run for run in found if found[run] is None and has_contents(run, self.data)]
        unknown = next((run for run, text in found.items() if text is None), None)
        if unknown is not None:
            how = 'not compared, as that run has no record of them'
            how = 'compared after the first epoch' if unknown in self.waiting else how
            what = f'same options, code and files (names and sizes) as an earlier run: {self._described(unknown)}'
            return [f'{what}; the bytes of the samples are {how}']
        return [
            f'same options and code as an earlier run, {self._described(run)}, but other data: {text}'
            for run, text in list(found.items())[:1]
        ]

    def finish(self, loaders):
        """Return a line (list of str) on runs that `start` could not compare, as soon as they can be; else []."""
        if not self.waiting or not self._own_contents_are_known():
            return []
        found = {run: self._difference(run, loaders) for run in self.waiting}
        self.waiting = []
        unreadable = [run for run in found if found[run] is None]
        found = {run: text for run, text in found.items() if text is not None}
        if not found:
            return [
                f'the data is not compared with the earlier run {unreadable[0]}: its record of the samples is damaged'
            ]
        same = [run for run in found if found[run] == '']
        if same:
            return [f'the data has the same bytes as in the earlier run {same[0]}']
        run, text = next(iter(found.items()))
        return [f'the data is not that of the earlier run {run}: {text}']

    def _own_contents_are_known(self):
        """Return whether this run has recorded the bytes of its samples (bool)."""
        splits = [split for split, data in self.data.items() if has_bytes_outside_of_hash(data)]
        return None not in [SampleHashes.read(contents_file(self.directory, split)) for split in splits]

    def _described(self, run):
        return f'{run}, {run_summary(run, self.selection)}'

    def _difference(self, run, loaders):
        """Return which samples differ from those of an earlier run (str), '' if none does; None: not known."""
        texts = []
        for split, data in self.data.items():
            if not has_bytes_outside_of_hash(data):
                continue
            own, theirs = (SampleHashes.read(contents_file(each, split)) for each in (self.directory, run))
            if own is None or theirs is None:
                return None
            if difference := compare_contents(theirs, own, same_order=True):
                texts.append(f'the {DATA_OF_SPLIT[split]}: {difference.text(loaders[split])}')
        return '; '.join(texts)


def has_bytes_outside_of_hash(data):
    """Return whether the samples of a fingerprint (dict) have bytes that its sha256 does not cover (bool)."""
    return data.get('samples') != 0 and not {'pictures', 'features'} & {*(data.get('parts') or {})}


def has_contents(run, data):
    """Return whether a run (Path) has recorded the bytes of its samples (bool); data: its fingerprints by split."""
    splits = [split for split in data if has_bytes_outside_of_hash(data[split])]
    return all(contents_file(run, split).is_file() for split in splits)


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
    return f'{run.state} after epoch {run.done}, best {selection.monitor} {number_text(best)} in epoch {at}'
