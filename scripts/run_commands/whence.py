"""Say which run, checkpoint, list and command gave a number that starts so: runs.py whence 0.7431."""

import heapq
import shlex
import sys
from pathlib import Path

from scripts.run_commands.finding import find_runs
from scripts.run_commands.results import invalid_lines, ledger_texts, result_files, result_test, tests_in, unknown
from scripts.run_commands.run import as_number, read_text
from scripts.run_commands.searching import meanings
from scripts.run_commands.sources import code_line
from utils.base.errors import DanluError
from utils.base.text_table import printable
from utils.options.arguments import number

NEAREST, NAMES = 5, 4  # how many are shown


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument('number', metavar='NUMBER', help='the digits that are known: 0.7431, or 74.31%% for percent')
    parser.add_argument('--limit', type=number(int, low=1), default=10, metavar='N', help='places that are shown')


def run(args):
    """Print where the number came from; exit status 1: from nowhere."""
    try:
        wanted = meanings(args.number)
    except ValueError:
        raise DanluError(f'whence: {args.number!r} is not a number such as 0.7431, 74.31% or 2.5e-05') from None
    library = Library(find_runs(args.checkpoints_dir))
    hits = library.hits(wanted)
    if not hits:
        print(f'no value in {args.checkpoints_dir} begins with {args.number}, nor does one when rounded')
        print('\n'.join(map(printable, library.nearest(wanted))))
        for line in invalid_lines(library.ledgers):
            print(printable(line), file=sys.stderr)
        return 1
    for hit in hits[: args.limit]:
        print('\n'.join(map(printable, hit.lines())), end='\n\n')
    if len(hits) > args.limit:
        print(f'... {len(hits) - args.limit:,} more (--limit {len(hits)} shows them, more digits find fewer)')
    return 0


class Library:
    """All values that are written down: of tests (ledger.jsonl, result.txt) and of epochs (history.csv).

    Args:
        shelf: what find_runs returned.
    """

    def __init__(self, shelf):
        self.runs = {each.path: each for each in shelf.runs}
        self.ledgers = ledger_texts(shelf.places)
        owners = [(place, None) for place in shelf.tests] + [(path, path) for path in self.runs]
        self.results = [(path, owner, read_text(path)) for place, owner in owners for path in result_files(place)]

    def places(self, needles):
        """Return where values are (list of Tested and Trained) whose text has one of `needles` (list of str)."""

        def holding(text):
            return any(needle in text for needle in needles)

        tests = tests_in(self.ledgers, holding)
        files = [result_test(path, owner, text) for path, owner, text in self.results if holding(text)]
        found = [Tested(test, self.runs.get(test['owner'])) for test in tests + unknown(files, tests)]
        for each in self.runs.values():
            if holding(each.text('history.csv')):
                found += [Trained(each, row) for row in each.history]
        return found

    def hits(self, wanted):
        """Return the Hits (list) of a number, the likeliest first; `wanted`: its meanings, from `meanings`."""
        found = {}
        for place in self.places([each.needle for each in wanted]):
            for name, text in place.values.items():
                rank = next((i for i, each in enumerate(wanted) if each.matches(text)), None)
                if rank is not None:
                    hit = found.setdefault((id(place), text), Hit(place, text, wanted[rank].how, rank))
                    hit.rounded = as_number(text) != float(wanted[rank].number)
                    hit.names.append(name)
        hits = sorted(found.values(), key=lambda hit: (hit.rank, hit.of_a_class, hit.rounded, *hit.place.order))
        once = {}
        for hit in hits:  # of a test that was repeated with the same outcome the newest
            once.setdefault(hit.identity, hit).tests.append(hit.place)
        return list(once.values())

    def nearest(self, wanted):
        """Return the values next to a number (list of str, lines): of tests and validations, not of classes."""
        targets, found = list(dict.fromkeys(float(each.number) for each in wanted)), []
        for place in self.places(['']):
            for name, text in place.values.items():
                if name.startswith('train/') or ('/' in name and not name.startswith('val/')):
                    continue
                value = as_number(text)
                if value is not None and value - value == 0:
                    found += [(abs(value - target), text, name, place) for target in targets]
        near = {}
        for _, text, name, place in heapq.nsmallest(20 * NEAREST, found, key=lambda each: each[0]):
            near.setdefault(text, f'  {text}  {name}, {place.title}')
        return ['the nearest:', *list(near.values())[:NEAREST]] if near else []


class Hit:
    """A value that was found: in a place, as what (names), and how it comes to be meant."""

    def __init__(self, place, text, how, rank):
        self.place, self.text, self.how, self.rank, self.names, self.tests = place, text, how, rank, [], []
        self.rounded = False  # whether it is not the very number that was asked for

    @property
    def identity(self):
        """What is the same (tuple) of a test that was repeated: checkpoint, data, code, and the value."""
        return *(self.place.identity or (id(self.place),)), self.text, *self.names

    @property
    def of_a_class(self):
        """Whether it is of single classes only (bool), which fewer people note."""
        return all('/' in name for name in self.names) and isinstance(self.place, Tested)

    def lines(self):
        """Return what is known of it (list of str)."""
        how = f'  ({self.how})' if self.how else ''
        more = f' and {len(self.names) - NAMES} more' if len(self.names) > NAMES else ''
        rows = [(name, value) for name, value in self.place.facts(self.names) if value]
        if len(self.tests) > 1:
            first = self.tests[-1].test['at']
            since = f', the first on {first:%Y-%m-%d %H:%M:%S}' if first else ''
            rows.append(('repeated', f'{len(self.tests)} tests gave the same{since}'))
        return [f'{self.text}  {", ".join(self.names[:NAMES])}{more}, {self.place.title}{how}',
                *(f'  {name:10}  {value}' for name, value in rows)]  # fmt: skip


class Tested:
    """A test, as results.py reads it, and the Run (or None) whose checkpoint was tested."""

    def __init__(self, test, run):
        self.test, self.run, self.values = test, run, test['values']

    @property
    def identity(self):
        """What a test is of (tuple of str): the run, checkpoint, data and code; None where not all are known."""
        known = [self.test.get(key) for key in ('checkpoint_sha256', 'data_sha256', 'code')]
        told = all(isinstance(each, str) and each != 'not known' for each in known)
        return (str(self.test['owner']), *known) if told else None

    @property
    def title(self):
        """Return what it is (str)."""
        return f'test of {Path(str(self.test.get("checkpoint"))).name}, {self.test.get("run") or "of no run"}'

    @property
    def order(self):
        """Return by what it is sorted: the newest first."""
        return 0, -self.test['at'].timestamp() if self.test['at'] else 0

    def facts(self, names):
        """Return (name, value) of what is known of those of its values that `names` are of (list of pairs of str)."""
        test, code = self.test, self.test.get('code')
        gone = '' if self.run or not test.get('run') else ' (removed since)'
        lines = [
            ('run', f'{test["run"]}{gone}' if test.get('run') else None),
            ('checkpoint', _joined(test.get('checkpoint'), _named('epoch', test.get('epoch')),
                                   _hash(test.get('checkpoint_sha256')))),
            ('list', _joined(test.get('list'), _named('samples', test.get('samples')), _hash(test.get('data_sha256')))),
            ('date', test['at'] and f'{test["at"]:%Y-%m-%d %H:%M:%S}'),
            ('command', test.get('command')),
            ('directory', test.get('directory')),
            ('result', str(test['file'] or test.get('result_dir') or '')),
            ('code', code_line(code)),
        ]  # fmt: skip
        own = self.run and self.run.recorded('code')
        if own and own != code:
            lines.append(("run's code", code_line(own)))
        return lines


class Trained:
    """An epoch: a Run and a row (dict of str) of its history."""

    identity = None

    def __init__(self, run, row):
        self.run, self.row = run, row
        self.values = {name: text for name, text in row.items() if name and name.startswith(('train/', 'val/'))}

    @property
    def is_best(self):
        """Whether it is the best epoch of its run (bool)."""
        return self.run.best is not None and str(self.run.best['epoch']) == self.row['epoch']

    @property
    def title(self):
        """Return what it is (str)."""
        return f'epoch {self.row["epoch"]}{", the best one," if self.is_best else ""} of {self.run.name}'

    @property
    def order(self):
        """Return by what it is sorted: after tests, the best epochs first, of new runs before those of old ones."""
        return 1 if self.is_best else 2, -self.run.started.timestamp() if self.run.started else 0

    def facts(self, names):
        """Return (name, value) of what is known of those of its values that `names` are of (list of pairs of str)."""
        run, epoch = self.run, self.row['epoch']
        files = ['best.pth'] * self.is_best + [f'{kind}_{epoch:0>4}.pth' for kind in ('epoch', 'top')]
        files += ['last.pth'] * (epoch == str(run.done))
        kept = next((name for name in files if name in run.files), None)
        split = 'val' if any(name.startswith('val/') for name in names) else 'train'
        data = {key: run.recorded('data', split, key) for key in ('list', 'samples', 'sha256')}
        source = data['list'] or run.options.get(f'{split}_list') or run.options.get('data_type')
        return [
            ('run', f'{run.name} ({run.state})'),
            ('checkpoint', str(run.path / kept) if kept else 'none was kept of this epoch'),
            ('list', _joined(source, _named('samples', data['samples']), _hash(data['sha256']))),
            ('date', run.started and f'begun {run.started:%Y-%m-%d %H:%M:%S}'),
            ('command', run.begun_by.get('command') or f'python train.py {shlex.quote(f"@{run.path}/args.txt")}'),
            ('directory', run.begun_by.get('directory')),
            ('code', code_line(run.recorded('code'))),
        ]  # fmt: skip


def _joined(*parts):
    return ', '.join(str(part) for part in parts if part)


def _named(name, value):
    return f'{name} {value}' if value is not None else ''


def _hash(text):
    return f'sha256 {text[:12]}' if isinstance(text, str) and text else ''
