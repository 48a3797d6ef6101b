"""Whether a run that was interrupted is what it would have been without: its files, values and samples."""

import csv
import math
from collections import Counter
from pathlib import Path

import torch

from faults.processes import steps_in

CLOCKS = ('images_per_second', 'data_wait', 'seconds')  # of an epoch that was interrupted they mean something else
COMPARED = ('model', 'optimizer', 'ema', 'scheduler', 'scaler', 'rng', 'best', 'epoch', 'step', 'diverged')


def differences(run, whole):
    """Return what differs (list of str) between the directory of a run and that of one that was never interrupted."""
    found = []
    states = [torch.load(Path(directory, 'last.pth'), weights_only=True) for directory in (run, whole)]
    found += [f'last.pth: {name}' for name in COMPARED if not same(*(state.get(name) for state in states))]
    best = [torch.load(Path(directory, 'best.pth'), weights_only=True)['model'] for directory in (run, whole)]
    found += [] if same(*best) else ['best.pth: model']
    found += [] if same(*map(history, (run, whole))) else ['history.csv']
    found += [
        f'TensorBoard: {below or "epochs"}'
        for below in ('', 'steps')
        if not same(*(scalars(Path(directory, below)) for directory in (run, whole)))
    ]
    return found + [f'left: {name}' for name in leftovers(run)]


def same(one, other):
    """Return whether nested dicts, lists, tensors and plain values are equal to the last bit (bool)."""
    if torch.is_tensor(one) and torch.is_tensor(other):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


def history(run):
    """Return the rows of history.csv (list of dict of str) without the clocks."""
    with open(Path(run, 'history.csv'), newline='', encoding='utf-8') as file:
        return [{name: text for name, text in row.items() if name not in CLOCKS} for row in csv.DictReader(file)]


def scalars(directory):
    """Return what TensorBoard shows of a directory: dict from a tag to (step, value) pairs, clocks without value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not Path(directory).is_dir():
        return {}
    reader = EventAccumulator(str(directory), size_guidance={'scalars': 0})
    reader.Reload()
    return {
        tag: [(event.step, None if tag in CLOCKS else event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()['scalars']
    }


def leftovers(run):
    """Return the names (list of str) of files that a finished run has no use for."""
    return [
        path.name for path in Path(run).iterdir() if path.name in ('lock', 'last.damaged.pth') or 'partial' in path.name
    ]


def sample_faults(samples, whole):
    """Return what is wrong (list of str) with the samples of a run: two files that `Run` wrote.

    Every step, however often it was done, must have had the samples of the run that was never interrupted.
    """
    expected = {(epoch, batch): Counter(sums) for epoch, batch, sums in steps_in(whole)}
    done = {}
    for epoch, batch, sums in steps_in(samples):
        done.setdefault((epoch, batch), []).append(Counter(sums))
    wrong = [place for place, times in done.items() if any(time != expected.get(place) for time in times)]
    missing = expected.keys() - done.keys()
    return [f'samples of {len(wrong)} steps differ'] * bool(wrong) + [f'{len(missing)} steps missing'] * bool(missing)
