#!/usr/bin/env python
"""Plant changes into a copy of the project between training and testing, and see whether a test names them.

    python scripts/dev/plant_changes.py                     # all changes; about 20 minutes on two cores
    python scripts/dev/plant_changes.py --only recorder     # those whose kind or name holds this text
    python scripts/dev/plant_changes.py --list

Small runs are trained in a copy of the project, with data and code of a user. Then each change is planted alone, a copy
of the run is tested by eval.py, and the change is taken back. A change is `named` if the test prints what was changed;
`by number only` if it prints that values differ, without the cause; else `not`. A `wrong claim` is a test that gives
other values and says that they are equal to the recorded ones. Harmless changes must not be reported as a changed
result. Exit status 1 if a change is not named, or a harmless one is reported.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

from scripts.dev.planting.code_changes import code_changes
from scripts.dev.planting.harmless_changes import harmless_changes
from scripts.dev.planting.user_changes import user_changes
from scripts.dev.planting.workshop import NOISE, RUNS, Workshop
from utils.base.text_table import table

NAMED, NUMBER, NOT_NAMED, WRONG, QUIET, REPORTED = 'named', 'by number only', 'not', 'wrong claim', 'quiet', 'reported'
# What a test prints or records where it reports a changed result.
DIFFERS = re.compile('not the recorded values|no longer gives the outputs|which may change the result')
VERDICTS = ('differs', 'outputs differ', 'code changed')


def main(argv=None):
    """Plant the changes and print the outcome of each; return the exit status."""
    args = parse_args(argv)
    changes = [change for change in all_changes() if args.only in f'{change.kind} {change.name}']
    if args.list:
        print(*(f'{change.kind}: {change.name}' for change in changes), sep='\n')
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='danlu_planting_') as folder:
        outcomes = plant_all(changes, Workshop(folder), args.verbose)
    print('', *summary(changes, outcomes), sep='\n')
    print(f'{len(changes)} changes in {time.monotonic() - started:.0f} seconds')
    return int(any(outcome not in (NAMED, QUIET) for outcome in outcomes))


def parse_args(argv):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', default='', metavar='TEXT', help='changes whose kind or name holds this text')
    parser.add_argument('--list', action='store_true', help='print the changes and plant none')
    parser.add_argument('--verbose', action='store_true', help='print what the test prints where a change is not named')
    return parser.parse_args(argv)


def all_changes():
    """Return all Changes (list)."""
    return [*code_changes(), *user_changes(), *harmless_changes()]


def plant_all(changes, shop, verbose=False):
    """Plant each Change, print a line on it, and return the outcomes (list of str)."""
    shop.build([name for name in RUNS if any(change.run == name for change in changes)])
    usual, outcomes = {}, []
    for change in changes:
        if change.run not in usual:
            usual[change.run] = shop.test(change.run).values
        with shop.planted(change):
            tested = shop.test(change.run, change.words, change.env, change.act)
        values = 'other values' if tested.values != usual[change.run] else 'the same values'
        outcomes.append(outcome_of(change, tested, usual[change.run]))
        print(
            f'{outcomes[-1]:14}  {change.kind}: {change.name} ({values if tested.values else "no result"})', flush=True
        )
        if verbose and outcomes[-1] not in (NAMED, QUIET):
            print(tested.text)
    return outcomes


def outcome_of(change, tested, usual):
    """Return NAMED, NUMBER, NOT_NAMED, WRONG, QUIET or REPORTED (str) for a planted Change and its EvalResult.

    Args:
        usual: the values (dict of str) without the change.
    """
    lines = [line for line in tested.text.splitlines() if not line.startswith(NOISE)]
    differs = tested.head.get('verdict') in VERDICTS or any(map(DIFFERS.search, lines))
    if not change.named:
        return REPORTED if differs or tested.status else QUIET
    if tested.head.get('verdict') == 'equal' and tested.values != usual and not close(tested.values, usual):
        return WRONG
    text = '\n'.join(lines)
    if any(re.search(words, text) for words in change.named):
        return NAMED
    return NUMBER if differs else NOT_NAMED


def close(values, usual):
    """Return whether two dicts of values (str) are equal up to rounding (bool)."""
    return values.keys() == usual.keys() and all(
        abs(float(values[name]) - float(usual[name])) <= 1e-5 * abs(float(usual[name])) for name in usual
    )


def summary(changes, outcomes):
    """Return a table (list of str) with a row for each kind of change."""
    columns = (NAMED, NUMBER, NOT_NAMED, WRONG, QUIET, REPORTED)
    kinds = dict.fromkeys(change.kind for change in changes)
    rows = []
    for kind in [*kinds, 'all']:
        counts = Counter(
            outcome for change, outcome in zip(changes, outcomes, strict=True) if kind in (change.kind, 'all')
        )
        rows.append([kind, str(counts.total()), *(str(counts[column]) for column in columns)])
    return table(['kind', 'changes', *columns], rows, right=('changes', *columns))[0]


if __name__ == '__main__':
    sys.exit(main())
