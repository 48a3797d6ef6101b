"""Sum up runs that differ in their seed alone: mean, deviation, interval of each value: runs.py seeds lenet_seed*."""

import csv
import json
import math
import sys

from options import train_parser
from scripts.run_commands.finding import find_run, find_runs
from scripts.run_commands.listing import Tests, cell
from scripts.run_commands.run import as_number
from scripts.run_commands.selecting import selected
from utils.base.csv_text import escape_row
from utils.base.errors import DanluError
from utils.base.regular_files import resolved
from utils.base.text_table import number_text, table, terminal_width
from utils.statistics.significance import mean_interval

# Options in which runs of one group may differ: the seed, and those that do not define the experiment.
ASIDE = {*train_parser().names(experiment=False), 'seed'}
PATTERN = set('*?[')
OVER = ('finished', 'stopped')
COLUMNS = ('runs', 'mean', 'deviation', 'low', 'high', 'least', 'most')


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument('runs', nargs='+', metavar='RUN', help='names of the runs, or what fits them: lenet_exp_seed*')
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--csv', action='store_true', help='as comma-separated values, full precision')
    form.add_argument('--json', action='store_true', help='as JSON, with the value of each run')


def run(args):
    """Print a table for each group of runs that differ in nothing else, and what there is to be warned of."""
    runs, places = runs_of(args.runs, args.checkpoints_dir)
    kept, notes = usable(runs)
    groups = groups_of(kept)
    if len(groups) > 1:
        differing = ', '.join(differing_options([group[0] for group in groups]))
        notes.append(f'the runs differ in more than their seed, so they are {len(groups)} groups: {differing}')
    found = [(group, values_of(group, Tests(places))) for group in groups]
    if args.json:
        print(json.dumps([as_plain(group, values) for group, values in found], indent=1, ensure_ascii=False))
    elif args.csv:
        write_csv(found)
    for group, values in [] if args.json or args.csv else found:
        print_group(group, values)
    for note in notes:
        print(f'warning: {note}', file=sys.stderr if args.json or args.csv else sys.stdout)


def runs_of(words, checkpoints_dir):
    """Return the Runs that words mean, each once, and the directories (list) whose ledgers tell of their tests.

    Raises:
        DanluError: there is none for a word.
    """
    shelf, found = None, {}
    for word in words:
        if PATTERN & set(word):
            shelf = shelf or find_runs(checkpoints_dir)
            those = selected(shelf.runs, [word])
            if not those:
                raise DanluError(f'no run in {checkpoints_dir} fits {word!r}; `python scripts/runs.py list` shows all')
        else:
            those = [find_run(word, checkpoints_dir)]
        found.update({resolved(run.path): run for run in those})
    return list(found.values()), list(dict.fromkeys(path.parent for path in found))


def usable(runs):
    """Return the runs that have come to their end, of those with one seed the newest, and notes on the others.

    Raises:
        DanluError: there is none.
    """
    over = [run for run in runs if run.state in OVER and run.best]
    notes = [f'{run.name} is left out: it is {run.state}' for run in runs if run not in over]
    kept = {}
    for run in sorted(over, key=lambda run: str(run.started or '')):
        key = key_of(run), run.options.get('seed')
        if key in kept:
            notes.append(
                f'{kept[key].name} is left out: {run.name} has seed {run.options.get("seed")} too, and the same options'
            )
        kept[key] = run
    if not kept:
        raise DanluError('no run has come to its end: ' + '; '.join(notes))
    return sorted(kept.values(), key=lambda run: (as_number(run.options.get('seed')) or 0, run.name)), notes


def key_of(run):
    """Return the options (str) that runs of one group have in common."""
    return repr(sorted((name, str(value)) for name, value in run.options.items() if name not in ASIDE))


def groups_of(runs):
    """Return lists of runs that differ in their seed alone."""
    groups = {}
    for run in runs:
        groups.setdefault(key_of(run), []).append(run)
    return list(groups.values())


def differing_options(runs):
    """Return the names (list of str) of the options in which runs differ, the seed aside."""
    names = dict.fromkeys(name for run in runs for name in run.options if name not in ASIDE)
    return [name for name in names if len({str(run.options.get(name)) for run in runs}) > 1]


def differing_facts(runs):
    """Return what else is not the same in all of the runs (list of str): code, data, versions."""
    versions = [run.recorded('versions') or {} for run in runs]
    facts = {
        'the code': [run.recorded('code') for run in runs],
        **{f'the {split} data': [run.recorded('data', split, 'sha256') for run in runs] for split in ('train', 'val')},
        **{name: [each.get(name) for each in versions] for name in dict.fromkeys(n for each in versions for n in each)},
        'the monitored value': [run.monitor for run in runs],
    }
    return [name for name, values in facts.items() if len({str(value) for value in values if value}) > 1]


def values_of(runs, tests):
    """Return each value of the runs' best epochs and tests: dict from a name to a list of float, one of each run.

    Those that not all of them have are left out, and tests on the validation data, which the best epoch tells of.
    """
    names = [name for name in runs[0].history[0] if name.startswith('val/')]
    first = runs[0].monitor
    found = {name: [as_number(cell(run, name)) for run in runs] for name in sorted(names, key=lambda n: n != first)}
    for name in sorted({name for run in runs for name in _tested(run, tests)}):
        found[f'test {name}'] = [as_number(_tested(run, tests).get(name)) for run in runs]
    return {name: values for name, values in found.items() if all(map(_is_finite, values))}


def _tested(run, tests):
    """Return the values (dict of str) of the newest test of best.pth, but of single classes, {} if it is of val."""
    test, _ = tests.newest(run)
    if not test or test.get('data_sha256') == run.recorded('data', 'val', 'sha256'):
        return {}
    return {name: text for name, text in test['values'].items() if '/' not in name}


def _is_finite(value):
    return value is not None and math.isfinite(value)


def summed_up(values):
    """Return the numbers (dict, in the order of COLUMNS) that stand for some values; nan where there are too few."""
    numbers = [len(values), *mean_interval(values), min(values), max(values)]
    return dict(zip(COLUMNS, numbers, strict=True))


def print_group(runs, values):
    """Print the table of one group."""
    seeds = ', '.join(str(run.options.get('seed')) for run in runs)
    names = runs[0].name if len(runs) == 1 else f'{runs[0].name} ... {runs[-1].name}'
    print(f'{names}: {len(runs)} runs, seeds {seeds}; values of the best epoch by {runs[0].monitor}')
    rows = []
    for name, each in values.items():
        numbers = {column: number_text(number) for column, number in summed_up(each).items()}
        interval = f'{numbers["low"]} .. {numbers["high"]}' if len(each) > 1 else ''
        deviation = numbers['deviation'] if len(each) > 1 else ''
        rows.append([name, numbers['mean'], deviation, interval, numbers['least'], numbers['most']])
    head = ['value', 'mean', 'deviation', '95% interval', 'least', 'most']
    lines, _ = table(head, rows, width=terminal_width(), droppable=('most', 'least'))
    print('\n'.join(lines))
    if len(runs) == 1:
        print('one run has no deviation: give it other seeds, scripts/seeds.sh 5 <options of train.py>')
    if facts := differing_facts(runs):
        print(f'warning: not the same in all of them: {", ".join(facts)}')


def as_plain(runs, values):
    """Return a group as plain values (dict); null for what is no number."""
    return {
        'runs': [run.name for run in runs],
        'seeds': [run.options.get('seed') for run in runs],
        'differing': differing_facts(runs),
        'values': {
            name: {'each': each} | {key: n if _is_finite(n) else None for key, n in summed_up(each).items()}
            for name, each in values.items()
        },
    }


def write_csv(found):
    """Write a line for each value of each group."""
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow(['group', 'value', *COLUMNS])
    for group, values in found:
        for name, each in values.items():
            writer.writerow(escape_row([group[0].name, name, *summed_up(each).values()]))
