#!/usr/bin/env python
"""Fuzz Danlu with random options, data files and records of runs, and check its guarantees for invalid input.

    python scripts/dev/fuzz.py --cases 2000 --seed 0          # of each kind; prints the numbers of outcomes
    python scripts/dev/fuzz.py --kinds records --cases 5000

The guarantees: options are parsed to arguments that args.txt reproduces, or refused in one line with exit status 2.
Data files are read correctly, sample by sample, or refused by a DanluError. So are checkpoints and records of runs and
tests, by training, testing and runs.py, and the contents of files that records name are never printed. Nothing else is
raised, and nothing hangs. For a violation, the smallest case that hypothesis finds is printed; the exit status is 1.
tests/scripts/dev/test_fuzz.py is the short form.
"""

import contextlib
import signal
import sys
import tempfile
import time
import traceback
import warnings
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

from hypothesis import HealthCheck, Phase, given, seed, settings

from scripts.dev.fuzzing import lists, option_words, picture_files, records, tables

TIMEOUT_SECONDS = 60  # of a case
# Each class takes a directory. `cases()` returns a hypothesis strategy; `check(case)` returns 'accepted' or 'refused',
# and raises if a guarantee is violated.
KINDS = {
    'options': option_words.Options,
    'args_files': option_words.ArgsFiles,
    'lists': lists.Lists,
    'tables': tables.Tables,
    'pictures': picture_files.Pictures,
    'records': records.Records,
}


def run(kind, cases, folder, number=None):
    """Try random cases of a kind and return the numbers of outcomes (Counter).

    Args:
        kind: one of KINDS.
        cases: number of cases (int).
        folder: an empty directory to work in.
        number: seed, or None: always the same cases.

    Raises:
        Exception: a guarantee was violated; the notes of the exception have the smallest case.
    """
    target, outcomes = KINDS[kind](Path(folder)), Counter()

    @settings(
        max_examples=cases,
        derandomize=number is None,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases())
    def attempt(case):
        with warnings.catch_warnings(), within(TIMEOUT_SECONDS):
            warnings.simplefilter('ignore')  # Pillow warns of invalid EXIF data
            outcomes[target.check(case)] += 1

    (attempt if number is None else seed(number)(attempt))()
    return outcomes


@contextlib.contextmanager
def within(seconds):
    """Raise TimeoutError if the body of the `with` takes longer; no limit without SIGALRM (Windows)."""

    def stop(*_):
        raise TimeoutError(f'a case took more than {seconds} s')

    if not hasattr(signal, 'SIGALRM'):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main(argv=None):
    """Run the long form and return the exit status (int)."""
    parser = ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument(
        '--cases', type=int, default=2000, metavar='N', help='number of cases of each kind (default: 2000)'
    )
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='seed of the cases (default: 0)')
    parser.add_argument('--kinds', nargs='+', choices=list(KINDS), default=list(KINDS), help='kinds (default: all)')
    args = parser.parse_args(argv)
    broken = 0
    for kind in args.kinds:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcomes = run(kind, args.cases, folder, args.seed)
            except Exception:
                broken += 1
                print(f'{kind}: a guarantee is violated:\n{traceback.format_exc()}')
                continue
        shown = ', '.join(f'{count:,} {outcome}' for outcome, count in sorted(outcomes.items()))
        print(f'{kind}: {outcomes.total():,} cases: {shown} ({time.perf_counter() - started:.0f} s)', flush=True)
    return 1 if broken else 0


if __name__ == '__main__':
    sys.exit(main())
