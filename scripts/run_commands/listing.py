"""Show all runs as a table: what each was, how far it came, its best value, and in which options they differ."""

import csv
import json
import os
import re
import sys

from options import train_parser
from scripts.run_commands.finding import find_runs
from scripts.run_commands.results import invalid_lines, ledger_of, ledger_texts, result_files, result_test, tests_in
from scripts.run_commands.run import as_number
from scripts.run_commands.selecting import FACTS, check_names, condition, moment, ordered, selected
from utils.base.csv_text import escape_row
from utils.base.text_table import number_text, printable, span_text, table, terminal_width
from utils.options.arguments import number

# Options without a column of their own: those that do not define the experiment; epochs always have one.
ASIDE = {*train_parser().names(experiment=False), 'epochs'}
COLUMNS = 'name date epochs_done epochs metric best best_epoch test test_list seconds state commit note path'.split()
DATED = re.compile(r'\d{4}-\d\d-\d\d \d\d:\d\d ')  # how a line of note.txt begins
RIGHT = ('epochs', 'test', 'time')


# fmt: off
def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument('patterns', nargs='*', metavar='NAME', help='those whose names hold this, or fit it: lenet_*')
    parser.add_argument('--where', nargs='+', action='extend', type=condition, metavar='NAME=VALUE',
                        help=f"those with these options: lr=0.01 'epochs>=10' mixup=none; also {', '.join(FACTS)}")
    parser.add_argument('--since', type=moment, metavar='DATE', help='those begun since 2026-11-01, or 7d, 12h ago')
    parser.add_argument('--sort', default='date', choices=['name', 'date', 'best', 'test', 'epochs', 'time'],
                        help='the newest, best, longest first (default: date)')
    parser.add_argument('--reverse', action='store_true', help='turn the order round')
    parser.add_argument('--limit', type=number(int, low=1), metavar='N', help='the first N of them')
    parser.add_argument('--columns', nargs='+', metavar='NAME',
                        help='columns for these options, lr,batch_size, or for values of the best epoch, val/loss')
    parser.add_argument('--differing', action='store_true', help='a column for each option in which the runs differ')
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--csv', action='store_true', help='as comma-separated values, full precision')
    form.add_argument('--json', action='store_true', help='as JSON, with all options')


# fmt: on
def run(args):
    """Print the list."""
    runs, places, _ = find_runs(args.checkpoints_dir)
    columns = [name for word in args.columns or () for name in word.split(',') if name]
    check_names([name for name in columns if '/' not in name], runs, '--columns')
    tests = Tests(places)
    chosen = selected(runs, args.patterns, args.where or (), args.since)
    chosen = ordered(chosen, args.sort, lambda each: tests.newest(each)[1], args.reverse)
    shown = chosen[: args.limit]
    differing = differing_options(shown)
    if args.differing or (args.csv and not columns):
        columns += [name for name in differing if name not in columns]
    rows = [facts_of(each, tests) for each in shown]
    if args.json:
        print(json.dumps([{**row, 'options': options_of(each)} for row, each in zip(rows, shown, strict=True)],
                         indent=1, ensure_ascii=False, allow_nan=False))  # fmt: skip
    elif args.csv:
        write_csv(rows, shown, columns)
    elif not runs:
        print(f'no runs in {args.checkpoints_dir}')
    elif not shown:
        print(f'none of {len(runs)} runs in {args.checkpoints_dir} fits')
    else:
        print_table(rows, shown, columns, differing)
        if sets := different_sets(shown, tests):
            print(f'not to be compared, as the data are not the same: {sets}')
        if len(shown) < len(chosen) and terminal_width():
            print(f'... {len(chosen) - len(shown):,} more (--limit {args.limit})')
    for line in invalid_lines(tests.ledgers):
        print(printable(line), file=sys.stderr)


class Tests:
    """The tests of runs by the ledgers in `places` (list of Path), or by result.txt where those have none of a run."""

    def __init__(self, places):
        self.by_owner, self.ledgers = {}, ledger_texts(places)
        for test in tests_in(self.ledgers):
            self.by_owner.setdefault(test['owner'] and test['owner'].name, []).append(test)
        self.found = {}

    def newest(self, run):
        """Return (test, dict, and value, float) of the newest test of best.pth's main value, or (None, None)."""
        if run.name not in self.found:
            self.found[run.name] = self._newest(run)
        return self.found[run.name]

    def _newest(self, run):
        name = (run.monitor or '').partition('/')[2]
        tests = ledger_of(run, self.by_owner.get(os.path.basename(os.path.realpath(run.path)), []))
        if not tests and 'best' in run.files:
            tests = [result_test(path, run.path) for path in result_files(run.path / 'best')]
        found = [test for test in tests
                 if str(test.get('checkpoint', '')).endswith('best.pth') and name in test['values']]  # fmt: skip
        newest = max(found, key=lambda test: str(test['at'] or ''), default=None)
        return (newest, as_number(newest['values'][name])) if newest else (None, None)


def different_sets(runs, tests):
    """Return what values of runs are of several sets of samples (str): 'best, of 2 sets; test, of 3 sets'; '' if none.

    Sets whose hash is not known do not count.
    """
    known = {
        'best': {run.recorded('data', 'val', 'sha256') for run in runs if run.best},
        'test': {test.get('data_sha256') for test in (tests.newest(run)[0] for run in runs) if test},
    }
    known = {name: {one for one in found if isinstance(one, str) and one != 'not known'}
             for name, found in known.items()}  # fmt: skip
    return '; '.join(f'{name}, of {len(found)} sets' for name, found in known.items() if len(found) > 1)


def differing_options(runs):
    """Return the names (list of str) of the options in which runs differ, in the order of args.txt; of one run all."""
    names = dict.fromkeys(name for run in runs for name in run.options if name not in ASIDE)
    found = []
    for name in names:
        values = {str(run.options.get(name)) for run in runs if run.options}
        if (len(values) > 1 or len(runs) == 1) and any(name in run.marked for run in runs):
            found.append(name)
    return found


def facts_of(run, tests):
    """Return what a list says of a run (dict of plain values; None where it is not known)."""
    test, value = tests.newest(run)
    return {
        'name': run.name,
        'date': run.started and run.started.isoformat(sep=' ', timespec='seconds'),
        'epochs_done': run.done,
        'epochs': run.epochs,
        'metric': run.monitor,
        'best': run.best and finite(run.best['value']),
        'best_epoch': run.best and run.best['epoch'],
        'test': finite(value),
        'test_list': test and test.get('list'),
        'seconds': finite(run.seconds),
        'state': run.state,
        'commit': run.commit,
        'note': run.notes[-1] if run.notes else None,
        'path': str(run.path),
    }


def finite(value):
    """Return a number, or None for what JSON has no word for."""
    return value if value is None or value - value == 0 else None


def options_of(run):
    """Return a run's options (dict) with numbers as numbers."""
    return {name: plain(value) for name, value in run.options.items()}


def plain(value):
    """Return what a text of args.txt stands for: the number that it is written as, or itself."""
    if isinstance(value, list):
        return [plain(part) for part in value]
    for kind in (int, float) if isinstance(value, str) else ():
        try:
            if str(kind(value)) == value and kind(value) - kind(value) == 0:
                return kind(value)
        except ValueError:
            continue
    return value


def cell(run, name):
    """Return what stands in a column for an option, or for a value of the best epoch (str)."""
    if '/' in name:
        rows = [row for row in run.history if run.best and row['epoch'] == str(run.best['epoch'])]
        return rows[0].get(name, '') if rows else ''
    value = FACTS[name](run) if name in FACTS and name not in run.options else run.options.get(name)
    if isinstance(value, bool):
        return 'on' if value else 'off'
    return ' '.join(value) if isinstance(value, list) else value or ''


def short(run, name):
    """Return what stands in a column of the table (str): as `cell` says, values in about four digits."""
    text = cell(run, name)
    value = as_number(text) if '/' in name else None
    return text if value is None else number_text(value)


def write_csv(rows, runs, columns):
    """Write rows (list of dict) and a column for each name in `columns` as CSV."""
    head = list(dict.fromkeys([*COLUMNS, *columns]))
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow(escape_row(head))
    for row, each in zip(rows, runs, strict=True):
        known = {**{name: cell(each, name) for name in columns}, **row}
        writer.writerow(escape_row(known.get(name, '') for name in head))


def print_table(rows, runs, columns, differing):
    """Print the table; without `columns`, one of the options that differ among the runs and are no defaults."""
    lines = []
    for row, each in zip(rows, runs, strict=True):
        best = '' if row['best'] is None else f'{row["metric"]} {number_text(row["best"])}'
        own = [f'{name}={cell(each, name)}' for name in differing if name in each.marked]
        commit = row['commit'] or ''
        lines.append({
            'name': row['name'],
            'date': (row['date'] or '')[:16],
            'epochs': f'{row["epochs_done"]}/{row["epochs"] or "?"}',
            'best': best,
            'test': number_text(row['test']),
            'time': span_text(row['seconds']),
            'state': row['state'],
            'commit': commit[:7] + '+' * commit.endswith('+'),
            **({name: short(each, name) for name in columns} or {'options': ' '.join(own)}),
            'note': DATED.sub('', row['note'] or ''),
        })  # fmt: skip
    optional = [name for name in ('test', 'commit', 'options', 'note') if not any(line.get(name) for line in lines)]
    head = [name for name in lines[0] if name not in optional]
    printed, dropped = table(
        head,
        [[line[name] for name in head] for line in lines],
        width=terminal_width(),
        flexible=('options', 'note', 'name'),
        droppable=('commit', 'time', 'date', 'epochs'),
        right=RIGHT,
        kept={'name': 40, 'options': 24},
    )
    print('\n'.join(printed))
    if dropped:
        print(f'(left out, as the terminal is narrow: {", ".join(dropped)}; --csv has them)')
