"""Select runs by name, options, date and state, and sort them."""

import argparse
import datetime
import fnmatch
import operator
import re

from utils.base.errors import DanluError
from utils.base.registry import unknown_name
from utils.runs.run import as_number, parse_date

CONDITION = re.compile(r'([\w/-]+?)(!=|<=|>=|=|<|>)(.*)', re.DOTALL)
ORDERS = {'<': operator.lt, '>': operator.gt, '<=': operator.le, '>=': operator.ge}
TIME_UNITS = {'m': 'minutes', 'h': 'hours', 'd': 'days', 'w': 'weeks'}
UNSET = ('', 'none', 'None', '-')  # values of a condition for options that are not set
ON, OFF = ('true', 'on', 'yes', '1'), ('false', 'off', 'no', '0')
# Names besides options that conditions may use: function(run) -> str or None.
FACTS = {
    'state': lambda run: run.state,
    'done': lambda run: str(run.done),
    'best': lambda run: run.best and run.best['text'],
    'seconds': lambda run: None if run.seconds is None else str(run.seconds),
}


def condition(text):
    """Parse a word such as lr=0.01 or epochs>=10 into (name, operator, value), all str: an argparse type."""
    found = CONDITION.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=VALUE, nor with !=, <, >, <= or >= (in quotes: 'lr>0.1')"
        )
    name, sign, value = found.groups()
    if sign in ORDERS and as_number(value) is None:
        raise argparse.ArgumentTypeError(f'{text!r}: {value!r} is not a number')
    return name.replace('-', '_'), sign, value


def start_date(text):
    """Return the datetime of 2026-11-01, 2026-11-01T12:30 or a time ago, 7d (units m, h, d, w): an argparse type."""
    if span := re.fullmatch(r'(\d{1,5})([mhdw])', text):
        return datetime.datetime.now() - datetime.timedelta(**{TIME_UNITS[span[2]]: int(span[1])})
    if date := parse_date(text):
        return date
    raise argparse.ArgumentTypeError(f'{text!r} is neither a date such as 2026-11-01 nor a time ago such as 7d')


def selected(runs, patterns=(), conditions=(), since=None):
    """Return the runs (list) whose name matches a pattern, that fulfil all conditions and started after `since`.

    Args:
        patterns: shell patterns such as lenet_*; a pattern without * ? [ matches names that contain it. (): all runs.
        conditions: what `condition` returned.
        since: datetime, or None.

    Raises:
        DanluError: no run has an option that a condition names.
    """
    check_names([name for name, *_ in conditions], runs, '--where')
    patterns = [text if set(text) & set('*?[') else f'*{text}*' for text in patterns]
    return [
        run
        for run in runs
        if (not patterns or any(fnmatch.fnmatchcase(run.name, pattern) for pattern in patterns))
        and (since is None or (run.started is not None and run.started >= since))
        and all(holds(run, *each) for each in conditions)
    ]


def check_names(names, runs, option):
    """Raise a DanluError that begins with `option` for the first name that is not an option of any run."""
    known = {name for run in runs for name in run.options} | set(FACTS) if names else ()
    for name in names:
        if runs and name not in known:
            raise DanluError(f'{option}: {unknown_name("option", name, sorted(known))}')


def holds(run, name, sign, wanted):
    """Return whether a run fulfils a condition (bool)."""
    value = FACTS[name](run) if name in FACTS else run.options.get(name)
    if sign in ORDERS:
        number = as_number(value) if isinstance(value, str) else None
        return number is not None and ORDERS[sign](number, float(wanted))
    return _equal(value, wanted) == (sign == '=')


def _equal(value, wanted):
    """Return whether an option's value equals that of a condition (bool), as numbers if both are numbers."""
    if value is None or value is False:
        return wanted in (UNSET if value is None else OFF)
    if value is True:
        return wanted in ON
    if isinstance(value, list):  # the condition may name one element or all
        return wanted in (' '.join(value), ','.join(value)) or any(_equal(each, wanted) for each in value)
    number, other = as_number(value), as_number(wanted)
    return value == wanted or (number is not None and number == other)


def ordered(runs, by, test_of, reverse=False):
    """Return sorted runs (list): by name, or the newest, best or longest first; runs without the value come last.

    Args:
        by: 'name', 'date', 'best', 'test', 'epochs' or 'time'.
        test_of: function(run) -> value of its newest test (float) or None.
        reverse: reverse the order.
    """

    def better(run, value):
        # Values are compared only within one metric.
        return None if value is None else (run.monitor or '', value if run.mode == 'min' else -value)

    keys = {
        'name': lambda run: run.name,
        'date': lambda run: run.started and -run.started.timestamp(),
        'best': lambda run: better(run, run.best and run.best['value']),
        'test': lambda run: better(run, test_of(run)),
        'epochs': lambda run: -run.done,
        'time': lambda run: run.seconds and -run.seconds,
    }
    known = [run for run in runs if keys[by](run) is not None]
    known.sort(key=lambda run: (keys[by](run), run.name), reverse=reverse)
    return known + [run for run in runs if keys[by](run) is None]
