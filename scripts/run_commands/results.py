"""Tests of runs: the lines of ledger.jsonl, and every result.txt, also those that no ledger knows of.

Both are read into the same form, a dict as a line of the ledger has it (see README of checkpoints/), with

    values      dict from a name to the value's text (str), as it was printed
    at          when (datetime, local and without zone), or None
    file        the result.txt (Path), or None for a line of the ledger
    owner       the directory (Path) of the run whose checkpoint was tested, or None: of no run
"""

import json
import os
import re
from pathlib import Path

from scripts.run_commands.run import as_number, parse_date, read_text
from utils.base.record_schema import LEDGER_LINE, fault_of

LEDGER = 'ledger.jsonl'
RESULT = re.compile(r'result(\.\d+)?\.txt')
COUNT = re.compile('[0-9]{1,15}')
SHOWN = 3  # numbers of lines in a message
WITHOUT_RESULTS = ('viz', 'steps', 'outputs')  # directories of many files
DEPTH = 4  # <run>/best/val_x/result.txt; a --result_dir may lie a little deeper
KEYS = {
    'checkpoint sha256': 'checkpoint_sha256',
    'list sha256': 'data_sha256',
    'code': 'made_by',  # as eval.py --code then has it
    'code sha256': 'code',
}


def ledger_texts(places):
    """Return the ledgers in the directories `places` (Paths): (place, text) of each."""
    texts = [(Path(place), read_text(Path(place) / LEDGER)) for place in places]
    return [(place, text) for place, text in texts if text]


def ledger_tests(places):
    """Return the tests (list of dict) that the ledgers in the directories `places` (Paths) have, in their order."""
    return tests_in(ledger_texts(places))


def tests_in(texts, holding=lambda line: True):
    """Return the tests (list of dict) in `texts`, which `ledger_texts` returned, without lines that are invalid.

    Args:
        holding: function(line) that says which lines are read, as reading all of them takes longer.
    """
    lines = ((line, place) for place, text in texts for line in text.split('\n') if line.strip() and holding(line))
    return [_test_of(line, place) for line, place in ((parsed(line), place) for line, place in lines) if line]


def invalid_lines(texts):
    """Return what is to be said of each ledger in `texts`, as `ledger_texts` returned them, with lines left out."""
    found = []
    for place, text in texts:
        lines = enumerate(text.split('\n'), 1)
        numbers = [str(number) for number, line in lines if line.strip() and parsed(line) is None]
        if numbers:
            more = f' and {len(numbers) - SHOWN:,} more' if len(numbers) > SHOWN else ''
            which = f'line {numbers[0]} is' if len(numbers) == 1 else f'lines {", ".join(numbers[:SHOWN])}{more} are'
            found.append(f'{place / LEDGER}: {which} left out, as no test writes such a line')
    return found


def parsed(line):
    """Return what a line of a ledger holds (dict), or None: it is cut off, or no test writes such a line."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and fault_of(found, LEDGER_LINE) is None else None


def _test_of(line, place):
    """Return the test (dict) of a ledger's line (dict)."""
    values = {name: repr(value) for name, value in line['values'].items() if value is not None}
    name = line.get('run')
    owner = place / name if name and '\0' not in name else None
    return {**line, 'values': values, 'at': parse_date(line.get('date')), 'file': None, 'owner': owner}


def result_files(directory):
    """Return the result.txt, result.1.txt ... (list of Path) in a directory and below it."""
    found = []
    _look_into(directory, found, DEPTH)
    return sorted(found)


def _look_into(directory, found, depth):
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if RESULT.fullmatch(entry.name) and entry.is_file():
                    found.append(Path(entry.path))
                elif depth and entry.is_dir(follow_symlinks=False) and entry.name not in WITHOUT_RESULTS:
                    _look_into(entry.path, found, depth - 1)
    except OSError:
        return


def result_test(path, owner, text=None):
    """Return the test (dict) of a result.txt.

    Args:
        path: of the file.
        owner: the directory (Path) of the run, or None.
        text: the file's contents, where they were read before.

    Values that are no numbers, a count of samples that is none, and facts called as those above are left out.
    """
    known = {'file': Path(path), 'result_dir': str(Path(path).parent), 'owner': owner, 'run': owner and owner.name}
    test, values = {}, {}
    for line in (read_text(path) if text is None else text).splitlines():
        key, colon, value = line.rpartition(': ') if not line.startswith('# ') else line[2:].partition(': ')
        if colon and line.startswith('# '):
            test[KEYS.get(key, key)] = value
        elif colon and as_number(value) is not None:
            values[key] = value.strip()
    if not COUNT.fullmatch(test.get('samples', '')):
        test.pop('samples', None)
    at = parse_date(re.sub(r' ([+-]\d{2})(\d{2})$', r'\1:\2', test.get('date', '')))
    return {**test, **known, 'values': values, 'at': at}


def tests_of(run, ledger):
    """Return the tests (list of dict) of a run's checkpoints, the oldest first, each of them once.

    Args:
        run: a Run.
        ledger: tests of the ledgers beside it, as `ledger_tests` returns them.
    """
    found = ledger_of(run, ledger)
    files = [result_test(path, run.path) for path in result_files(run.path)]
    return sorted(found + unknown(files, found), key=lambda test: str(test['at'] or ''))


def ledger_of(run, ledger):
    """Return those tests (list of dict) of a ledger that are of this run, not of an earlier one of its name."""
    place, begun = os.path.realpath(run.path), run.recorded_start
    name = os.path.basename(place)
    of_name = [test for test in ledger if test['owner'] is not None and test['owner'].name == name]
    return [
        test
        for test in of_name
        if os.path.realpath(test['owner']) == place
        and not (begun and test['at'] and test['at'] < begun.replace(microsecond=0))
    ]


def unknown(tests, known):
    """Return `tests` (list of dict, of result.txt) with those values alone that no test of `known`, a ledger's, has."""
    keys = {_key(test, name) for test in known for name in test['values']}
    left = []
    for test in tests:
        values = {name: text for name, text in test['values'].items() if _key(test, name) not in keys}
        left += [{**test, 'values': values}] if values else []
    return left


def _key(test, name):
    # The end of the path, as runs are moved.
    return *Path(str(test.get('result_dir') or '')).parts[-3:], name, test['values'][name]
