"""Summarise runs that differ only in the seed: mean, standard deviation, interval: runs.py seeds lenet_seed*."""

import csv
import json
import math
import sys

from options import train_parser
from scripts.run_commands.listing import cell
from scripts.run_commands.run_filters import selected
from utils.base.csv_text import escape_row
from utils.base.errors import DanluError
from utils.base.regular_files import resolved
from utils.base.text_table import number_text, table, terminal_width
from utils.runs.run import as_number
from utils.runs.run_index import find_run, find_runs
from utils.runs.run_table import NewestTests
from utils.statistics.significance import mean_interval
from utils.tasks.tasks import is_proportion

# Options that may differ within a group: those that do not define the experiment, and the seed.
NOT_COMPARED = {*train_parser().names(experiment=False), 'seed'}
WILDCARDS = set('*?[')
COMPLETE_STATES = ('finished', 'stopped')
COLUMNS = ('runs', 'mean', 'deviation', 'low', 'high', 'least', 'most')


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('runs', nargs='+', metavar='RUN', help='names of the runs, or patterns such as lenet_exp_seed*')
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--csv', action='store_true', help='print comma-separated values in full precision')
    form.add_argument('--json', action='store_true', help='print JSON with the value of each run')


def run(args):
    """Print a table for each group of runs that differ only in the seed, and warnings."""
    runs, directories = runs_of(args.runs, args.checkpoints_dir)
    kept, notes = usable(runs)
    groups = groups_of(kept)
    if len(groups) > 1:
        differing = ', '.join(differing_options([group[0] for group in groups]))
        notes.append(f'the runs differ in more than the seed and form {len(groups)} groups: {differing}')
    found = [(group, values_of(group, NewestTests(directories))) for group in groups]
    if args.json:
        print(json.dumps([as_plain(group, values) for group, values in found], indent=1, ensure_ascii=False))
    elif args.csv:
        write_csv(found)
    for group, values in [] if args.json or args.csv else found:
        print_group(group, values)
    for note in notes:
        print(f'warning: {note}', file=sys.stderr if args.json or args.csv else sys.stdout)


def runs_of(words, checkpoints_dir):
    """Return the Runs that names or patterns mean, without duplicates, and the directories (list) of their ledgers.

    Raises:
        DanluError: a name or pattern matches no run.
    """
    index, found = None, {}
    for word in words:
        if WILDCARDS & set(word):
            index = index or find_runs(checkpoints_dir)
            matching = selected(index.runs, [word])
            if not matching:
                raise DanluError(
                    f'no run in {checkpoints_dir} matches {word!r}; `python scripts/runs.py list` shows all'
                )
        else:
            matching = [find_run(word, checkpoints_dir)]
        found.update({resolved(run.path): run for run in matching})
    return list(found.values()), list(dict.fromkeys(path.parent for path in found))


def usable(runs):
    """Return the complete runs, only the newest of those with the same seed, and notes on the others.

    Raises:
        DanluError: no run is complete.
    """
    complete = [run for run in runs if run.state in COMPLETE_STATES and run.best]
    notes = [f'{run.name} is ignored: it is {run.state}' for run in runs if run not in complete]
    kept = {}
    for run in sorted(complete, key=lambda run: str(run.started or '')):
        key = group_key(run), run.options.get('seed')
        if key in kept:
            seed = run.options.get('seed')
            notes.append(f'{kept[key].name} is ignored: {run.name} is newer and has the same seed {seed} and options')
        kept[key] = run
    if not kept:
        raise DanluError('no run is complete: ' + '; '.join(notes))
    return sorted(kept.values(), key=lambda run: (as_number(run.options.get('seed')) or 0, run.name)), notes


def group_key(run):
    """Return the options (str) that all runs of a group share."""
    return repr(sorted((name, str(value)) for name, value in run.options.items() if name not in NOT_COMPARED))


def groups_of(runs):
    """Return lists of runs that differ only in the seed."""
    groups = {}
    for run in runs:
        groups.setdefault(group_key(run), []).append(run)
    return list(groups.values())


def differing_options(runs):
    """Return the names (list of str) of the options in which runs differ, apart from the seed."""
    names = dict.fromkeys(name for run in runs for name in run.options if name not in NOT_COMPARED)
    return [name for name in names if len({str(run.options.get(name)) for run in runs}) > 1]


def differing_facts(runs):
    """Return what else differs between the runs (list of str): code, data, versions."""
    versions = [run.recorded('versions') or {} for run in runs]
    facts = {
        'the code': [run.recorded('code') for run in runs],
        **{f'the {split} data': [run.recorded('data', split, 'sha256') for run in runs] for split in ('train', 'val')},
        **{name: [each.get(name) for each in versions] for name in dict.fromkeys(n for each in versions for n in each)},
        'the monitored metric': [run.monitor for run in runs],
    }
    return [name for name, values in facts.items() if len({str(value) for value in values if value}) > 1]


def values_of(runs, tests):
    """Return the values of the runs' best epochs and tests: dict from a name to a list of float, one per run.

    Values that some runs lack are left out, and tests on the validation data, which repeat the best epoch.
    """
    names = [name for name in runs[0].history[0] if name.startswith('val/')]
    first = runs[0].monitor
    found = {name: [as_number(cell(run, name)) for run in runs] for name in sorted(names, key=lambda n: n != first)}
    for name in sorted({name for run in runs for name in _tested(run, tests)}):
        found[f'test {name}'] = [as_number(_tested(run, tests).get(name)) for run in runs]
    return {name: values for name, values in found.items() if all(map(_is_finite, values))}


def _tested(run, tests):
    """Return the values (dict of str) over all classes of the newest test of best.pth; {} if tested on val."""
    test, _ = tests.newest(run)
    if not test or test.get('data_sha256') == run.recorded('data', 'val', 'sha256'):
        return {}
    return {name: text for name, text in test['values'].items() if '/' not in name}


def _is_finite(value):
    return value is not None and math.isfinite(value)


def summary(values, name):
    """Return the statistics (dict, in the order of COLUMNS) of some values; nan if there are too few values.

    The interval of a proportion, such as val/acc, is cut off at 0 and 1; `name` is that of the value.
    """
    mean, deviation, low, high = mean_interval(values)
    if is_proportion(name):
        low, high = (min(max(end, 0.0), 1.0) if _is_finite(end) else end for end in (low, high))
    numbers = [len(values), mean, deviation, low, high, min(values), max(values)]
    return dict(zip(COLUMNS, numbers, strict=True))


def print_group(runs, values):
    """Print the table of one group."""
    seeds = ', '.join(str(run.options.get('seed')) for run in runs)
    names = runs[0].name if len(runs) == 1 else f'{runs[0].name} ... {runs[-1].name}'
    print(f'{names}: {len(runs)} runs, seeds {seeds}; values of the best epoch by {runs[0].monitor}')
    print('\n'.join(value_table(values)))
    if len(runs) == 1:
        print('one run has no standard deviation; to train with more seeds: scripts/seeds.sh 5 <options of train.py>')
    if facts := differing_facts(runs):
        print(f'warning: not the same in all runs: {", ".join(facts)}')


def value_table(values):
    """Return the table (list of lines) of values of some runs: dict from a name to a list of float, one per run."""
    rows = []
    for name, each in values.items():
        numbers = {column: number_text(number) for column, number in summary(each, name).items()}
        interval = f'{numbers["low"]} .. {numbers["high"]}' if len(each) > 1 else ''
        deviation = numbers['deviation'] if len(each) > 1 else ''
        rows.append([name, numbers['mean'], deviation, interval, numbers['least'], numbers['most']])
    head = ['value', 'mean', 'std', '95% interval', 'min', 'max']
    return table(head, rows, width=terminal_width(), droppable=('max', 'min'))[0]


def as_plain(runs, values):
    """Return a group as plain values (dict); None for values that are not finite."""
    return {
        'runs': [run.name for run in runs],
        'seeds': [run.options.get('seed') for run in runs],
        'differing': differing_facts(runs),
        'values': {
            name: {'each': each} | {key: n if _is_finite(n) else None for key, n in summary(each, name).items()}
            for name, each in values.items()
        },
    }


def write_csv(found):
    """Print a row for each value of each group."""
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow(['group', 'value', *COLUMNS])
    for group, values in found:
        for name, each in values.items():
            writer.writerow(escape_row([group[0].name, name, *summary(each, name).values()]))
