"""Compare an interrupted run with an uninterrupted run: files, values and samples."""

import csv
import json
import math
from collections import Counter
from pathlib import Path

import torch

from scripts.dev.fault_injection.events import CLOCKS, event_differences
from scripts.dev.fault_injection.processes import steps_in

# Of a checkpoint: options, dates and directories, sizes of files, and times are others in each run.
NOT_COMPARED = ('args', 'record', 'events', 'processes')
NOT_RESULTS = ('last.prev.pth', 'last.damaged.pth', 'diverged.pth')  # the first depends on the time of saving
# Of the head of result.txt: what does not depend on the place and the time of the test.
FACTS = ('epoch', 'list sha256', 'samples', 'batch size, device, threads', 'outputs for the probe')


def differences(run, whole):
    """Return the differences (list of str) between the directories of a run and of an uninterrupted run."""
    found = checkpoint_differences(run, whole)
    found += [] if same(*map(history, (run, whole))) else ['history.csv']
    found += event_differences(run, whole) + result_differences(run, whole)
    return found + [f'left: {name}' for name in leftovers(run)]


def checkpoint_differences(run, whole):
    """Return the differences (list of str) between the checkpoints of two runs: weights, optimizer, EMA, RNGs ..."""
    names = [
        {path.name for path in Path(directory).glob('*.pth') if path.name not in NOT_RESULTS}
        for directory in (run, whole)
    ]
    if names[0] != names[1]:
        return [f'checkpoints: {sorted(names[0])} instead of {sorted(names[1])}']
    found = []
    for name in sorted(names[0]):
        one, other = (without_clocks(torch.load(Path(path, name), weights_only=True)) for path in (run, whole))
        found += [f'{name}: {key}' for key in sorted(one.keys() | other.keys()) if not same_entry(key, one, other)]
    return found


def without_clocks(state):
    """Return a checkpoint (dict) without values that depend on the time and the directory of the run."""
    state = {key: value for key, value in state.items() if key not in NOT_COMPARED}
    state['metrics'] = _timeless(state['metrics'])
    if 'recorder' in state:
        state['recorder'] = [_timeless(row) for row in state['recorder']['history']]
    if 'loader' in state:
        state['loader'] = {name: value for name, value in state['loader'].items() if name != 'drawing'}
    return state


def _timeless(row):
    return {name: value for name, value in row.items() if name not in CLOCKS}


def same_entry(key, one, other):
    """Return whether two dicts have a key, and the same under it (bool)."""
    return key in one and key in other and same(one[key], other[key])


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
        return [_timeless(row) for row in csv.DictReader(file)]


def result_differences(run, whole):
    """Return the differences (list of str) between the tests of best.pth of two runs, and their lines in the ledger."""
    folders = [{path.name: path for path in Path(directory, 'best').glob('*')} for directory in (run, whole)]
    if folders[0].keys() != folders[1].keys():
        return [f'tests: {sorted(folders[0])} instead of {sorted(folders[1])}']
    found = []
    for name, folder in folders[0].items():
        other = folders[1][name]
        files = [{path.name for path in each.iterdir()} for each in (folder, other)]
        if files[0] != files[1]:
            found.append(f'{name}: files {sorted(files[0])} instead of {sorted(files[1])}')
            continue
        for path in folder.glob('*.csv'):
            found += [] if path.read_bytes() == (other / path.name).read_bytes() else [f'{name}: {path.name}']
        found += [] if result_of(folder) == result_of(other) else [f'{name}: result.txt']
        page = (folder / 'report.html').read_text(encoding='utf-8') if 'report.html' in files[1] else '</html>'
        found += [] if page.rstrip().endswith('</html>') else [f'{name}: report.html is not whole']
    return found + ledger_differences(run, whole)


def result_of(folder):
    """Return values and facts (dict of str) of a test's result.txt."""
    pairs = (line.partition(': ') for line in (folder / 'result.txt').read_text(encoding='utf-8').splitlines())
    values = {name: value for name, _, value in pairs}
    return {name: value for name, value in values.items() if name.removeprefix('# ') in FACTS or name[0] != '#'}


def ledger_differences(run, whole):
    """Return the differences (list of str) between the lines of two runs in the ledgers beside them."""
    lines = []
    for directory in map(Path, (run, whole)):
        path = directory.parent / 'ledger.jsonl'
        texts = path.read_text(encoding='utf-8').splitlines() if path.exists() else []
        lines.append([line['values'] for line in map(json.loads, texts) if line['run'] == directory.name])
    if len(lines[0]) != len(lines[1]):
        return [f'ledger: {len(lines[0])} lines instead of {len(lines[1])}']
    return [] if same(*lines) else ['ledger: other values']


def leftovers(run):
    """Return the paths (list of str), relative to a finished run, of temporary files that should be gone."""
    names = ('lock', 'last.damaged.pth', 'ledger_line.json')
    return [
        str(path.relative_to(run))
        for path in Path(run).rglob('*')
        if path.name in names or 'partial' in path.name or path.match('result.*.txt')
    ]


def sample_faults(samples, whole):
    """Return the differences (list of str) between the samples of two runs, from the files that `Run` wrote.

    Each step, also if it was repeated, must have the samples of the uninterrupted run.
    """
    expected = {(epoch, batch): Counter(sums) for epoch, batch, sums in steps_in(whole)}
    done = {}
    for epoch, batch, sums in steps_in(samples):
        done.setdefault((epoch, batch), []).append(Counter(sums))
    wrong = [place for place, times in done.items() if any(time != expected.get(place) for time in times)]
    missing = expected.keys() - done.keys()
    return [f'samples of {len(wrong)} steps differ'] * bool(wrong) + [f'{len(missing)} steps missing'] * bool(missing)
