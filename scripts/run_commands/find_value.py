"""Find the run, checkpoint, list and command that gave a value: runs.py find-value 0.7431.

A table lists the matches, tests before epochs of training, and all facts on the first match follow; --long prints them
for each match.
"""

import heapq
import shlex
import sys
from pathlib import Path

from scripts.run_commands.number_patterns import number_patterns
from scripts.run_commands.run_code import code_line, code_today, kept_archive_of
from utils.base.errors import DanluError
from utils.base.text_table import join_known, printable, table, terminal_width
from utils.options.arguments import number
from utils.runs.results import invalid_lines, ledger_texts, new_values, result_files, result_test, tests_in
from utils.runs.run import as_number, read_text
from utils.runs.run_index import find_runs

MAX_NEAREST, MAX_NAMES = 5, 4  # nearest values, and metric names of one value, that are printed


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('number', metavar='NUMBER', help='leading digits of the value: 0.7431, or 74.31%%')
    parser.add_argument('--limit', type=number(int, low=1), default=10, metavar='N', help='maximum number of matches')
    parser.add_argument('--long', action='store_true', help='print all facts on each match')


def run(args):
    """Print the sources of the value; exit status 1 if there is none."""
    try:
        patterns = number_patterns(args.number)
    except ValueError:
        raise DanluError(f'find-value: {args.number!r} is not a number such as 0.7431, 74.31% or 2.5e-05') from None
    index = ValueIndex(find_runs(args.checkpoints_dir))
    matches = index.matches(patterns)
    if not matches:
        print(f'no value in {args.checkpoints_dir} begins with {args.number} or rounds to it')
        print('\n'.join(map(printable, index.nearest(patterns))))
        for line in invalid_lines(index.ledgers):
            print(printable(line), file=sys.stderr)
        return 1
    shown = matches[: args.limit]
    if len(matches) > 1:
        print_table(shown)
        if len(matches) > args.limit:
            hidden = len(matches) - args.limit
            print(f'... {hidden:,} more (--limit {len(matches)} shows all; give more digits to narrow the search)')
        print()
    for match in shown if args.long else shown[:1]:
        print('\n'.join(map(printable, match.lines())), end='\n\n')
    return 0


def print_table(matches):
    """Print a line for each Match."""
    rows = [
        [match.text, match.name, match.source.kind, match.source.run_name, match.source.list_name,
         f'{match.source.date:%Y-%m-%d %H:%M}' if match.source.date else '', code_line(match.source.code),
         match.source.verdict]
        for match in matches
    ]  # fmt: skip
    head = ['value', 'metric', 'source', 'run', 'list', 'date', 'code', 'verdict']
    head, rows = _without_empty(head, rows)
    flexible, droppable = ('list', 'metric', 'run', 'value'), ('date', 'list', 'code')
    lines, _ = table(head, rows, terminal_width(), flexible, droppable, kept={'run': 30, 'metric': 20, 'list': 20})
    print('\n'.join(lines))


def _without_empty(head, rows):
    """Return the head and the rows (lists) without columns in which every cell is empty."""
    used = [index for index in range(len(head)) if any(row[index] for row in rows)]
    return [head[index] for index in used], [[row[index] for index in used] for row in rows]


class ValueIndex:
    """All recorded values: of tests (ledger.jsonl, result.txt) and of epochs (history.csv).

    Args:
        run_index: the RunIndex that find_runs returned.
    """

    def __init__(self, run_index):
        self.root = run_index.directories[0]
        self.runs = {each.path: each for each in run_index.runs}
        self.ledgers = ledger_texts(run_index.directories)
        owners = [(directory, None) for directory in run_index.tests] + [(path, path) for path in self.runs]
        self.results = [(path, owner, read_text(path)) for folder, owner in owners for path in result_files(folder)]

    def sources(self, needles):
        """Return the tests and epochs (list of TestValues and EpochValues) whose text contains one of `needles`."""

        def matches(text):
            return any(needle in text for needle in needles)

        tests = tests_in(self.ledgers, matches)
        files = [result_test(path, owner, text) for path, owner, text in self.results if matches(text)]
        sources = [
            TestValues(test, self.runs.get(test['owner']), self.root) for test in tests + new_values(files, tests)
        ]
        for each in self.runs.values():
            if matches(each.text('history.csv')):
                sources += [EpochValues(each, row) for row in each.history]
        return sources

    def matches(self, patterns):
        """Return the Matches (list, the most likely first) of `patterns`, which number_patterns returned."""
        found = {}
        for source in self.sources([pattern.needle for pattern in patterns]):
            for name, text in source.values.items():
                rank = next((i for i, pattern in enumerate(patterns) if pattern.matches(text)), None)
                if rank is not None:
                    exact = as_number(text) == float(patterns[rank].number)
                    new = Match(source, text, patterns[rank].description, rank, exact)
                    found.setdefault((id(source), text), new).names.append(name)
        ranked = sorted(found.values(), key=lambda match: match.sort_key)
        by_identity = {}
        for match in ranked:  # repeated tests with equal results are shown once, as the newest
            by_identity.setdefault(match.identity, match).sources.append(match.source)
        return list(by_identity.values())

    def nearest(self, patterns):
        """Return lines (list of str) with the nearest values of tests and validation, per-class values excluded."""
        targets, candidates = list(dict.fromkeys(float(pattern.number) for pattern in patterns)), []
        for source in self.sources(['']):
            for name, text in source.values.items():
                if name.startswith('train/') or ('/' in name and not name.startswith('val/')):
                    continue
                value = as_number(text)
                if value is not None and value - value == 0:
                    candidates += [(abs(value - target), text, name, source) for target in targets]
        lines = {}
        for _, text, name, source in heapq.nsmallest(20 * MAX_NEAREST, candidates, key=lambda each: each[0]):
            lines.setdefault(text, f'  {text}  {name}, {source.title}')
        return ['nearest values:', *list(lines.values())[:MAX_NEAREST]] if lines else []


class Match:
    """A recorded value that matches, with its source and the metric names under which the source has it."""

    def __init__(self, source, text, description, rank, exact):
        self.source, self.text, self.description = source, text, description
        self.rank, self.exact, self.names, self.sources = rank, exact, [], []

    @property
    def identity(self):
        """Return what repeated tests share (tuple): checkpoint, data, code, and the value."""
        return *(self.source.identity or (id(self.source),)), self.text, *self.names

    @property
    def sort_key(self):
        """Return the sort key (tuple): tests, validation values, values of single classes, values in training."""
        order = min(self.source.order_of(name) for name in self.names)
        return self.rank, order, not self.exact, *self.source.sort_key

    @property
    def name(self):
        """Return the metric names (str), with the way in which the value matches."""
        more = f' and {len(self.names) - MAX_NAMES} more' if len(self.names) > MAX_NAMES else ''
        how = f' ({self.description})' if self.description else ''
        return f'{", ".join(self.names[:MAX_NAMES])}{more}{how}'

    def lines(self):
        """Return the description of the match (list of str)."""
        rows = [(name, value) for name, value in self.source.facts(self.names) if value]
        if len(self.sources) > 1:
            first = self.sources[-1].test['at']
            since = f', the first on {first:%Y-%m-%d %H:%M:%S}' if first else ''
            rows.append(('repeated', f'{len(self.sources)} tests gave the same value{since}'))
        return [f'{self.text}  {self.name}, {self.source.title}',
                *(f'  {name:10}  {value}' for name, value in rows)]  # fmt: skip


class TestValues:
    """The values of a test (dict as in utils/runs/results.py); its Run, or None; the directory of all runs (Path)."""

    __test__ = False  # not a pytest class

    def __init__(self, test, run, root):
        self.test, self.run, self.root, self.values = test, run, root, test['values']

    @property
    def identity(self):
        """Return run, checkpoint, data and code of the test (tuple of str), or None if one of them is unknown."""
        keys = [self.test.get(key) for key in ('checkpoint_sha256', 'data_sha256', 'code')]
        known = all(isinstance(each, str) and each != 'not known' for each in keys)
        return (str(self.test['owner']), *keys) if known else None

    @property
    def title(self):
        """Return a short description (str)."""
        return f'{self.kind}, {self.run_name}'

    @property
    def kind(self):
        """Return what gave the value (str)."""
        return f'test of {Path(str(self.test.get("checkpoint"))).name}'

    @property
    def run_name(self):
        """Return the name of the run (str)."""
        return self.test.get('run') or 'of no run'

    @property
    def list_name(self):
        """Return the name of the test set (str)."""
        return Path(str(self.test.get('list') or '')).name

    @property
    def date(self):
        """Return when the test ended (datetime), or None."""
        return self.test['at']

    @property
    def code(self):
        """Return the hash of the code of the test (str), or None."""
        return self.test.get('code')

    @property
    def verdict(self):
        """Return whether the values are those recorded for the checkpoint (str), '' if it was not compared."""
        return self.test.get('verdict') or ''

    def order_of(self, name):
        """Return the place (int) of a metric among the kinds of values; few people note down those of one class."""
        return 2 if '/' in name else 0

    @property
    def sort_key(self):
        """Return the sort key (tuple): the newest first."""
        return 0, -self.date.timestamp() if self.date else 0

    def facts(self, _names):
        """Return (name, value) pairs that describe the test; a value is str or None."""
        test, code = self.test, self.test.get('code')
        archive = kept_archive_of(test, self.root)
        removed = '' if self.run or not test.get('run') else ' (removed since)'
        lines = [
            ('run', f'{test["run"]}{removed}' if test.get('run') else None),
            ('checkpoint', join_known(test.get('checkpoint'), _named('epoch', test.get('epoch')),
                                      _hash(test.get('checkpoint_sha256')))),
            ('list', join_known(test.get('list'), _named('samples', test.get('samples')),
                                _hash(test.get('data_sha256')))),
            ('date', test['at'] and f'{test["at"]:%Y-%m-%d %H:%M:%S}'),
            ('command', test.get('command')),
            ('directory', test.get('directory')),
            ('result', str(test['file'] or test.get('result_dir') or '')),
            ('code', code_line(code)),
            ('code kept', str(archive) if archive and code != code_today() else None),
            ('verdict', join_known(self.verdict, test.get('verdict_text'), '; '.join(test.get('causes') or ()))),
        ]  # fmt: skip
        run_code = self.run and self.run.recorded('code')
        if run_code and run_code != code:
            lines.append(("run's code", code_line(run_code)))
        return lines


class EpochValues:
    """The values of an epoch: a Run and a row (dict of str) of its history."""

    identity, verdict = None, ''

    def __init__(self, run, row):
        self.run, self.row = run, row
        self.values = {name: text for name, text in row.items() if name and name.startswith(('train/', 'val/'))}

    @property
    def is_best(self):
        """Return whether this is the best epoch of the run (bool)."""
        return self.run.best is not None and str(self.run.best['epoch']) == self.row['epoch']

    @property
    def title(self):
        """Return a short description (str)."""
        return f'{self.kind}{"," if self.is_best else ""} of {self.run.name}'

    @property
    def kind(self):
        """Return what gave the value (str)."""
        return f'epoch {self.row["epoch"]}{", the best epoch" if self.is_best else ""}'

    @property
    def run_name(self):
        """Return the name of the run (str)."""
        return self.run.name

    @property
    def list_name(self):
        """Return the name of the validation set (str)."""
        return Path(str(self.run.recorded('data', 'val', 'list') or '')).name

    @property
    def date(self):
        """Return when the run started (datetime), or None."""
        return self.run.started

    @property
    def code(self):
        """Return the hash of the code of the run (str), or None."""
        return self.run.recorded('code')

    def order_of(self, name):
        """Return the place (int) of a value among the kinds of values: validation before training."""
        return 3 if name.startswith('train/') else 1

    @property
    def sort_key(self):
        """Return the sort key (tuple): best epochs and new runs first."""
        return 1 if self.is_best else 2, -self.run.started.timestamp() if self.run.started else 0

    def facts(self, names):
        """Return (name, value) pairs that describe the epoch; `names` (list of str): the metrics that match."""
        run, epoch = self.run, self.row['epoch']
        files = ['best.pth'] * self.is_best + [f'{kind}_{epoch:0>4}.pth' for kind in ('epoch', 'top')]
        files += ['last.pth'] * (epoch == str(run.done))
        checkpoint = next((name for name in files if name in run.files), None)
        split = 'val' if any(name.startswith('val/') for name in names) else 'train'
        data = {key: run.recorded('data', split, key) for key in ('list', 'samples', 'sha256')}
        source = data['list'] or run.options.get(f'{split}_list') or run.options.get('data_type')
        return [
            ('run', f'{run.name} ({run.state})'),
            ('checkpoint', str(run.path / checkpoint) if checkpoint else 'none was saved in this epoch'),
            ('list', join_known(source, _named('samples', data['samples']), _hash(data['sha256']))),
            ('date', run.started and f'started {run.started:%Y-%m-%d %H:%M:%S}'),
            ('command', run.first_env.get('command') or f'python train.py {shlex.quote(f"@{run.path}/args.txt")}'),
            ('directory', run.first_env.get('directory')),
            ('code', code_line(run.recorded('code'))),
        ]  # fmt: skip


def _named(name, value):
    return f'{name} {value}' if value is not None else ''


def _hash(text):
    return f'sha256 {text[:12]}' if isinstance(text, str) and text else ''
