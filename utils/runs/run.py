"""Read a run from its directory: options, epochs, best epoch, state. Unreadable files, invalid values are ignored."""

import csv
import datetime
import json
import math
import os
import re
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path

from utils.base.regular_files import open_regular, resolved
from utils.options.arguments import split_line
from utils.options.given_parts import NOT_USED, SHOWN_AS, parts_in, text_of, unused_of
from utils.runs.lock import lock_holder
from utils.tasks.tasks import mode_of, values_of

MAX_FILE_BYTES = 64 * 2**20  # no text file of a run is larger
MAX_PARTS = 20  # lines of args.txt that may name ready-made parts
TAIL_BYTES = 4096  # of log.txt; the last lines say how a run ended
FILES = ('args.txt', 'env.txt', 'record.json', 'log.txt', 'history.csv', 'lock', 'last.pth', 'best.pth')
STAMP = re.compile(r'^# (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)$', re.M)


class Run:
    """The directory of a run. Each file is read at most once, when its contents are needed.

    Args:
        path: path of the directory.
        name: name of the run, relative to the directory of all runs; None: the name of the directory.

    Attributes:
        files: the directory's entries (dict from a name to its os.DirEntry).
    """

    def __init__(self, path, name=None):
        self.path = Path(path)
        self.name = name or resolved(self.path).name
        self._texts = {}

    def __repr__(self):
        return f'Run({str(self.path)!r})'

    @cached_property
    def files(self):
        """Return the directory's entries (dict from a name to its os.DirEntry); {} if it cannot be read."""
        try:
            with os.scandir(self.path) as entries:
                return {entry.name: entry for entry in entries}
        except OSError:
            return {}

    def text(self, name):
        """Return the text of a file, '' if it cannot be read; bytes that are not UTF-8 are replaced."""
        if name not in self._texts:
            self._texts[name] = read_text(self.path / name) if name in self.files else ''
        return self._texts[name]

    @cached_property
    def _args(self):
        return self.text('args.txt')

    @property
    def has_args(self):
        """Return whether there is an args.txt of a run (bool), which only runs have."""
        return self._args.startswith('# python train.py ')

    @cached_property
    def is_test(self):
        """Return whether this is the directory of a test by eval.py, not of a run (bool)."""
        return 'result.txt' in self.files or self._args.startswith('# python eval.py ')

    @cached_property
    def _recorded(self):
        """Return (name, value, mark) of each option in args.txt: see `parse_option`.

        Options that ready-made parts replaced are left out; the parts are included under the names of SHOWN_AS.
        """
        unused = unused_of(self.given_parts, _option_keywords()) if self.given_parts else {}
        shown = [(SHOWN_AS.get(role, role), f'ready-made {text_of(part)}', 'changed')
                 for role, part in self.given_parts.items()]  # fmt: skip
        found = [option for line in self._args.splitlines() if (option := parse_option(line))]
        return [*(option for option in found if option[0] not in unused), *shown]

    @cached_property
    def given_parts(self):
        """Return the ready-made parts that were passed to the run (dict, see utils.options.given_parts)."""
        return parts_in(self._args.splitlines()[:MAX_PARTS])

    @cached_property
    def options(self):
        """Return the options in args.txt (dict): str as written, bool for flags, list for several values, or None.

        Values found in the data are included, and options in comments, which are not repeated.
        """
        return {name: value for name, value, _ in self._recorded}

    @cached_property
    def marked(self):
        """Return the names (set of str) of the options that differ from their defaults."""
        return {name for name, _, mark in self._recorded if mark == 'changed'}

    @cached_property
    def found(self):
        """Return the names (set of str) of the options that were found in the data."""
        return {name for name, _, mark in self._recorded if mark == 'found'}

    @cached_property
    def _records(self):
        """Return record.json and record_2.json ... (list, the newest first); resuming with other code adds one."""
        found = []
        for name in newest_first(self.files, 'record', '.json'):
            with suppress(ValueError, RecursionError):
                found.append(json.loads(self.text(name)))
        return [record for record in found if isinstance(record, dict)]

    @property
    def record(self):
        """Return the newest record.json (dict); {} if none can be read."""
        return self._records[0] if self._records else {}

    def recorded(self, *keys):
        """Return a value of the record by its nested keys, such as 'source', 'sha256', or None."""
        value = self.record
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def recorded_start(self):
        """Return the date of the oldest record (datetime, local, without time zone), or None."""
        return parse_date(self._records[-1].get('date')) if self._records else None

    @property
    def archive(self):
        """Return the name (str) of the newest source.zip, or None."""
        name = self.recorded('source', 'file') or 'source.zip'
        return name if isinstance(name, str) and name in self.files else None

    @cached_property
    def _envs(self):
        """Return the values (dict of str) of env.txt, env_2.txt ... (list, the newest first)."""
        return [env_values(self.text(name)) for name in newest_first(self.files, 'env', '.txt')]

    @property
    def env(self):
        """Return the values (dict of str) of the newest env.txt; {} if there is none."""
        return self._envs[0] if self._envs else {}

    @property
    def first_env(self):
        """Return the values (dict of str) of the first env.txt, of the start of the run; {} if there is none."""
        return self._envs[-1] if self._envs else {}

    @cached_property
    def history(self):
        """Return the complete rows of history.csv (list of dict of str)."""
        try:
            head, *rows = csv.reader(self.text('history.csv').replace('\0', '').splitlines())
        except (csv.Error, ValueError):
            return []
        return [dict(zip(head, row, strict=True)) for row in rows if len(row) == len(head) and 'epoch' in head]

    @cached_property
    def started(self):
        """Return when the run started (datetime, local, without time zone), or None if unknown."""
        if self.recorded_start:
            return self.recorded_start
        stamp = STAMP.search(self._args)
        if stamp and (date := parse_date(stamp[1])):
            return date
        times = [entry.stat().st_mtime for name, entry in self.files.items() if name in FILES and entry.is_file()]
        return datetime.datetime.fromtimestamp(min(times)) if times else None

    @cached_property
    def done(self):
        """Return the number of completed epochs (int)."""
        return next((int(row['epoch']) for row in reversed(self.history) if row['epoch'].isdecimal()), 0)

    @cached_property
    def epochs(self):
        """Return the requested number of epochs (int), or None if unknown."""
        wanted = self.options.get('epochs')
        return int(wanted) if isinstance(wanted, str) and wanted.isdecimal() else None

    @cached_property
    def seconds(self):
        """Return the duration of the completed epochs in seconds (float), or None."""
        found = [number for row in self.history if (number := as_number(row.get('seconds'))) is not None]
        return sum(found) if found else None

    @cached_property
    def tail(self):
        """Return the last lines of log.txt (list of str)."""
        if 'log.txt' not in self.files:
            return []
        try:
            with open_regular(self.path / 'log.txt') as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                return file.read().decode('utf-8', 'replace').splitlines()
        except OSError:
            return []

    @cached_property
    def monitor(self):
        """Return the monitored metric (str), such as 'val/acc', or None if unknown."""
        logged = [line.split()[1] for line in self.tail if line.startswith('best: ') and len(line.split()) > 2]
        if logged:
            return logged[-1]
        if self.options.get('monitor'):
            return self.options['monitor']
        columns = [name for name in (self.history or [{}])[0] if name.startswith('val/')]
        usual = f'val/{next(iter(values_of(self.options.get("task"))), "")}'
        others = [name for name in columns if not name.startswith('val/loss')]
        found = usual if usual in columns else next(iter([*others, *columns]), None)
        return 'train/loss' if found is None and self.history else found  # without validation

    @cached_property
    def mode(self):
        """Return 'max' or 'min': whether higher or lower values of `monitor` are better."""
        if self.options.get('mode') in ('max', 'min'):
            return self.options['mode']
        name = (self.monitor or '').partition('/')[2]
        return mode_of(name, values_of(self.options.get('task'))) or 'max'

    @cached_property
    def best(self):
        """Return the first epoch with the best value (dict: value, float; text, str; epoch, int), or None."""
        sign, best = -1 if self.mode == 'min' else 1, None
        for row in self.history:
            value = as_number(row.get(self.monitor))
            if value is None or math.isnan(value) or not row['epoch'].isdecimal():
                continue
            if best is None or sign * value > sign * best['value']:
                best = {'value': value, 'text': row[self.monitor], 'epoch': int(row['epoch'])}
        return best

    @cached_property
    def holder(self):
        """Return the process that holds the run's lock (str), or None."""
        return lock_holder(self.path) if 'lock' in self.files else None

    @cached_property
    def state(self):
        """Return the state of the run (str).

        running; finished; stopped (before the last epoch, by an option); interrupted (by a signal); failed (by an
        error); killed (ended without a message); find_lr (a learning rate search); broken (missing or invalid files).
        """
        if self.holder:
            return 'running'
        if not self.options or ('history.csv' in self.files and not self.history):
            return 'broken'
        if 'find_lr.png' in self.files and not self.history:
            return 'find_lr'
        for line in reversed(self.tail):
            if line.startswith('stopped by '):
                return 'interrupted' if line.split()[2:3] in (['KeyboardInterrupt'], ['SystemExit']) else 'failed'
            if line.startswith('stopped after epoch '):
                return 'stopped'
            if line.startswith(('epoch ', 'resumed ')):
                break
        return 'finished' if self.epochs and self.done >= self.epochs else 'killed'

    @cached_property
    def commit(self):
        """Return the git commit (str) of the run, followed by '+' if files had been changed, or None."""
        commit = self.recorded('git', 'commit')
        return commit + '+' * bool(self.recorded('git', 'changed')) if isinstance(commit, str) else None

    @cached_property
    def notes(self):
        """Return the lines of note.txt (list of str)."""
        return self.text('note.txt').splitlines()


def read_text(path):
    """Return the contents of a text file (str), '' if it cannot be read; bytes that are not UTF-8 are replaced."""
    try:
        with open_regular(path) as file:
            return file.read(MAX_FILE_BYTES).decode('utf-8-sig', 'replace').replace('\r\n', '\n')
    except OSError:
        return ''


def newest_first(files, name, ending):
    """Return the `files` (names) of the form env.txt, env_2.txt ..., the highest number first."""
    pattern = re.compile(rf'{re.escape(name)}(?:_(\d+))?{re.escape(ending)}')
    numbers = {file: int(found[1] or 1) for file in files if (found := pattern.fullmatch(file))}
    return sorted(numbers, key=numbers.get, reverse=True)


def env_values(text):
    """Return the values in the text of an env.txt (dict of str); the first of repeated names."""
    lines = [line.partition(': ') for line in text.splitlines() if not line.startswith('#')]
    return {name.strip(): value.strip() for name, colon, value in reversed(lines) if colon}


def as_number(text):
    """Return a float, or None if `text` is not a number."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def parse_date(text):
    """Return the datetime, local and without time zone, of an ISO 8601 date (str), or None if it is invalid."""
    try:
        date = datetime.datetime.fromisoformat(text)
        return date.astimezone().replace(tzinfo=None) if date.tzinfo else date
    except (TypeError, ValueError, OverflowError, OSError):
        return None


@lru_cache
def _option_keywords():
    """Return the keywords of each option of train.py, as Parser.keywords returns them."""
    from options import train_parser  # imported on use, as options.py imports this package

    return train_parser().keywords()


def parse_option(line):
    """Return the option in a line of args.txt, or None if the line has none.

    Returns:
        name (str); value (str, bool for a flag, list of str for several values, None if not set); origin (str):
        'changed' by the user, 'default', 'found' in the data, or 'once' (in a comment, not repeated).
    """
    once = line.startswith('# --')
    if not once and not line.startswith('--'):
        return None
    body, found, _ = line[2 * once :].rstrip().partition('  (found in the data')
    body = body.partition(NOT_USED)[0]
    body, changed, _ = body.partition('  # default: ')
    mark = 'found' if found else 'once' if once else 'changed' if changed else 'default'
    words = _quoted_words(line.removeprefix('# ')) if '"' in body or "'" in body else body.split(' ')
    name, equals, value = words[0][2:].partition('=')
    name = name.replace('-', '_')
    if not name.isidentifier():
        return None
    if not equals:
        value = None if once and words[1:2] in (['(not'], ['(none)']) else words[1:]
        if value == []:
            name, value = name.removeprefix('no_'), not name.startswith('no_')
    return name, value, mark


def _quoted_words(line):
    """Return the words (list of str) of a line of args.txt; split at spaces only if a quote is not closed."""

    def unclosed(message):
        raise ValueError(message)

    try:
        return [str(word) for word in split_line(line, unclosed)]
    except ValueError:
        return line.split()
