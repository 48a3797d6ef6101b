"""List runs with state, epochs, best value, test result, and the options in which they differ: runs.py list."""

import csv
import json
import re
import sys

from options import train_parser
from scripts.run_commands.run_filters import FACTS, check_names, condition, ordered, selected, start_date
from utils.base.csv_text import escape_row
from utils.base.text_table import count_text, number_text, printable, short_option, span_text, table, terminal_width
from utils.options.arguments import number
from utils.runs.results import MARKS, invalid_lines, warning_on
from utils.runs.run import as_number
from utils.runs.run_index import find_runs
from utils.runs.run_table import NewestTests, differing_options, facts_of

COLUMNS = (
    'name date epochs_done epochs metric best best_epoch test test_list test_verdict seconds state commit note path'
).split()
NOTE_DATE = re.compile(r'\d{4}-\d\d-\d\d \d\d:\d\d ')  # at the beginning of a line of note.txt
RIGHT_ALIGNED = ('epochs', 'test', 'time')
MAX_OPTIONS_SHOWN = 6  # of a run, in the table; --differing, --csv and --json have all


# fmt: off
def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('patterns', nargs='*', metavar='NAME', help='only runs whose name contains or matches this')
    parser.add_argument('--where', nargs='+', action='extend', type=condition, metavar='NAME=VALUE',
                        help="only runs with these options: lr=0.01 'epochs>=10' mixup=none; also for "
                             f"{', '.join(FACTS)}")
    parser.add_argument('--since', type=start_date, metavar='DATE',
                        help='only runs started since this date (2026-11-01) or time ago (7d, 12h)')
    parser.add_argument('--sort', default='date', choices=['name', 'date', 'best', 'test', 'epochs', 'time'],
                        help='sort by this, the newest, best or longest first (default: date)')
    parser.add_argument('--reverse', action='store_true', help='reverse the order')
    parser.add_argument('--limit', type=number(int, low=1), metavar='N', help='show the first N runs')
    parser.add_argument('--columns', nargs='+', metavar='NAME',
                        help='show columns for options (lr,batch_size) or values of the best epoch (val/loss)')
    parser.add_argument('--differing', action='store_true', help='show a column for each option that differs')
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--csv', action='store_true', help='print comma-separated values in full precision')
    form.add_argument('--json', action='store_true', help='print JSON with all options')


# fmt: on
def run(args):
    """Print the list."""
    runs, directories, _ = find_runs(args.checkpoints_dir)
    columns = [name for word in args.columns or () for name in word.split(',') if name]
    check_names([name for name in columns if '/' not in name], runs, '--columns')
    tests = NewestTests(directories)
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
        print(f'none of {count_text(len(runs), "run")} in {args.checkpoints_dir} matches')
    else:
        print_table(rows, shown, columns, differing)
        for warning in [*test_warnings(shown, tests), *comparability_warnings(shown, tests)]:
            print(warning)
        if len(shown) < len(chosen) and terminal_width():
            print(f'... {len(chosen) - len(shown):,} more runs (--limit {args.limit})')
    for line in invalid_lines(tests.ledgers):
        print(printable(line), file=sys.stderr)


def test_warnings(runs, tests):
    """Return a line (str) for each run whose newest test may not compute what the run did (list)."""
    found = {each.name: warning_on(tests.newest(each)[0]) for each in runs}
    return [printable(f'{text[:1]} {name}: the test of best.pth {text[2:]}') for name, text in found.items() if text]


def comparability_warnings(runs, tests):
    """Return warnings (list of str) if runs were validated or tested on different data; unknown hashes are ignored."""
    hashes = {
        'validated': {run.recorded('data', 'val', 'sha256') for run in runs if run.best},
        'tested': {test.get('data_sha256') for test in (tests.newest(run)[0] for run in runs) if test},
    }
    known = {verb: {each for each in found if isinstance(each, str) and each != 'not known'}
             for verb, found in hashes.items()}  # fmt: skip
    return [f'not comparable: the runs were {verb} on {len(found)} different data sets'
            for verb, found in known.items() if len(found) > 1]  # fmt: skip


def options_of(run):
    """Return a run's options (dict) with numbers as numbers."""
    return {name: plain(value) for name, value in run.options.items()}


def plain(value):
    """Return the number that a text of args.txt is the printed form of, or the text unchanged."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    for kind in (int, float) if isinstance(value, str) else ():
        try:
            if str(kind(value)) == value and kind(value) - kind(value) == 0:
                return kind(value)
        except ValueError:
            continue
    return value


def cell(run, name):
    """Return the cell (str) of a run in the column of an option or of a value of the best epoch."""
    if '/' in name:
        rows = [row for row in run.history if run.best and row['epoch'] == str(run.best['epoch'])]
        return rows[0].get(name, '') if rows else ''
    value = FACTS[name](run) if name in FACTS and name not in run.options else run.options.get(name)
    if isinstance(value, bool):
        return 'on' if value else 'off'
    return ' '.join(value) if isinstance(value, list) else value or ''


def short_cell(run, name):
    """Return the cell (str) of a run, as `cell` does, with values in about four digits."""
    text = cell(run, name)
    value = as_number(text) if '/' in name else None
    return short_option(text) if value is None else number_text(value)


def write_csv(rows, runs, columns):
    """Print rows (list of dict), with a column for each name in `columns`, as CSV."""
    head = list(dict.fromkeys([*COLUMNS, *columns]))
    writer = csv.writer(sys.stdout, lineterminator='\n')
    writer.writerow(escape_row(head))
    for row, each in zip(rows, runs, strict=True):
        known = {**{name: cell(each, name) for name in columns}, **row}
        writer.writerow(escape_row(known.get(name, '') for name in head))


def usual_first(names):
    """Return names of options (list of str) with those first that `train.py --help` shows without `all`."""
    unusual = set(train_parser().names(brief=None))
    return sorted(names, key=unusual.__contains__)


def print_table(rows, runs, columns, differing):
    """Print the table. Without `columns`, the column 'options' shows the options that differ and are not defaults."""
    lines, differing = [], usual_first(differing)
    for row, each in zip(rows, runs, strict=True):
        best = '' if row['best'] is None else f'{row["metric"]} {number_text(row["best"])}'
        own = [f'{name}={short_cell(each, name)}' for name in differing if name in each.marked]
        if len(own) > MAX_OPTIONS_SHOWN:
            own[MAX_OPTIONS_SHOWN:] = [f'+{len(own) - MAX_OPTIONS_SHOWN} more']
        commit = row['commit'] or ''
        lines.append({
            'name': row['name'],
            'date': (row['date'] or '')[:16],
            'epochs': f'{row["epochs_done"]}/{row["epochs"] or "?"}',
            'best': best,
            'test': number_text(row['test']) + MARKS.get(row['test_verdict'], ''),
            'time': span_text(row['seconds']),
            'state': row['state'],
            'commit': commit[:7] + '+' * commit.endswith('+'),
            **({name: short_cell(each, name) for name in columns} or {'options': ' '.join(own)}),
            'note': NOTE_DATE.sub('', row['note'] or ''),
        })  # fmt: skip
    optional = [name for name in ('test', 'commit', 'options', 'note') if not any(line.get(name) for line in lines)]
    head = [name for name in lines[0] if name not in optional]
    printed, dropped = table(
        head,
        [[line[name] for name in head] for line in lines],
        width=terminal_width(),
        flexible=('options', 'note', 'name'),
        droppable=('commit', 'time', 'date', 'epochs', 'note'),
        right=RIGHT_ALIGNED,
        kept={'name': (40, 20), 'options': 24},
    )
    print('\n'.join(printed))
    if dropped:
        print(f'(no room for {", ".join(dropped)}; --csv shows all columns)')
