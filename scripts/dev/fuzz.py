#!/usr/bin/env python
"""Feed Danlu random options, files of data, and records of runs, and hold it to what it promises of bad input.

    python scripts/dev/fuzz.py --cases 2000 --seed 0          # of each kind; ends with a table of the outcomes
    python scripts/dev/fuzz.py --kinds records --cases 5000

The promises: options end as arguments that args.txt repeats, or in one line and exit code 2; files are read as they are
meant, sample by sample, or refused by a DanluError; so are the checkpoints and records of runs and tests, whatever is
in them, by training, testing and runs.py, and no file that only they name is shown. Nothing else is raised and nothing
hangs. A broken promise is shown with the smallest case that hypothesis finds for it, and the exit status is 1.
tests/scripts/dev/test_fuzz.py runs a short form.
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

SECONDS = 60  # that a case may take before it counts as a hang
# Each class is given a directory, and has `cases()`, a strategy of hypothesis, and `check(case)`, which returns what
# became of a case ('accepted', 'refused') and raises where a promise is broken.
KINDS = {
    'options': option_words.Options,
    'args_files': option_words.ArgsFiles,
    'lists': lists.Lists,
    'tables': tables.Tables,
    'pictures': picture_files.Pictures,
    'records': records.Records,
}


def run(kind, cases, folder, number=None):
    """Try cases of a kind and return what became of them (Counter).

    Args:
        kind: one of KINDS.
        cases: how many (int).
        folder: an empty directory to work in.
        number: seed; None: always the same cases.

    Raises:
        Exception: whatever broke a promise, with the smallest case in its notes.
    """
    place, outcomes = KINDS[kind](Path(folder)), Counter()

    @settings(
        max_examples=cases,
        derandomize=number is None,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(place.cases())
    def attempt(case):
        with warnings.catch_warnings(), within(SECONDS):
            warnings.simplefilter('ignore')  # Pillow's about broken EXIF data
            outcomes[place.check(case)] += 1

    (attempt if number is None else seed(number)(attempt))()
    return outcomes


@contextlib.contextmanager
def within(seconds):
    """Raise TimeoutError where the block takes longer; where there is no SIGALRM (Windows) nobody watches."""

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
    parser.add_argument('--cases', type=int, default=2000, metavar='N', help='cases of each kind (default: 2000)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the cases (default: 0)')
    parser.add_argument('--kinds', nargs='+', choices=list(KINDS), default=list(KINDS), help='default: all')
    args = parser.parse_args(argv)
    broken = 0
    for kind in args.kinds:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcomes = run(kind, args.cases, folder, args.seed)
            except Exception:
                broken += 1
                print(f'{kind}: a promise is broken:\n{traceback.format_exc()}')
                continue
        shown = ', '.join(f'{count:,} {outcome}' for outcome, count in sorted(outcomes.items()))
        print(f'{kind}: {outcomes.total():,} cases: {shown} ({time.perf_counter() - started:.0f} s)', flush=True)
    return 1 if broken else 0


if __name__ == '__main__':
    sys.exit(main())
