"""Read the tests of runs: from the lines of ledger.jsonl, and from every result.txt, listed in a ledger or not.

Each test is a dict with the keys of a ledger line (see checkpoints/README.md), and

    values      dict from a metric name to the value as printed (str)
    at          date (datetime, local, without time zone), or None
    file        path of result.txt, or None for a ledger line
    owner       directory (Path) of the run whose checkpoint was tested, or None
"""

import json
import os
import re
from pathlib import Path

from utils.base.language import deferred, translate
from utils.base.record_schema import LEDGER_LINE, fault_of
from utils.runs.run import as_number, parse_date, read_text

LEDGER = 'ledger.jsonl'
RESULT = re.compile(r'result(\.\d+)?\.txt')
SAMPLE_COUNT = re.compile('[0-9]{1,15}')
MAX_LINE_NUMBERS = 3  # in a message
SKIPPED_DIRECTORIES = ('viz', 'steps', 'outputs')  # many files, no results
MAX_DEPTH = 4  # <run>/best/val_x/result.txt; --result_dir may be nested deeper
KEYS = {
    'checkpoint sha256': 'checkpoint_sha256',
    'list sha256': 'data_sha256',
    'contents sha256': 'contents_sha256',
    'code': 'made_by',  # written by eval.py --code then
    'code sha256': 'code',
    'source sha256': 'source',
    'compared with recorded values': 'verdict_text',
}

# What a test is found to be: see utils.evaluation.verdict. The first three are compared with later tests.
EQUAL, NOT_COMPARED, CODE_CHANGED = 'equal', 'not compared', 'code changed'
DIFFERS, OUTPUTS_DIFFER = 'differs', 'outputs differ'
MARKS = {DIFFERS: '!', OUTPUTS_DIFFER: '!', CODE_CHANGED: '?'}  # beside a value of such a test
SAID = {
    DIFFERS: deferred('does not give the recorded values'),
    OUTPUTS_DIFFER: deferred('was made by a network that no longer gives the outputs it was saved with'),
    CODE_CHANGED: deferred('was made by changed code'),
}


def mark_of(test):
    """Return the mark (str) of a test (dict) that may not compute what its run did; '' for others and for None."""
    return MARKS.get((test or {}).get('verdict'), '')


def warning_on(test):
    """Return a note on the values of a test (str), in the current language, or None.

    Args:
        test: dict, see the module.
    """
    if not mark_of(test):
        return None
    causes = test.get('causes') or test.get('changed since') or ''
    causes = '; '.join(map(str, causes)) if isinstance(causes, list) else causes
    changed = translate('; changed since: {causes}', causes=causes) if causes else ''
    reason = test.get('verdict_text') or translate('no reason')
    finding = translate('{finding}: {reason}', finding=translate(SAID[test['verdict']]), reason=reason)
    return f'{MARKS[test["verdict"]]} {finding}{changed}'


def ledger_texts(directories):
    """Return (directory, text) of each ledger in `directories` (Paths)."""
    texts = [(Path(directory), read_text(Path(directory) / LEDGER)) for directory in directories]
    return [(directory, text) for directory, text in texts if text]


def ledger_tests(directories):
    """Return the tests (list of dict) of the ledgers in `directories` (Paths), in the order of their lines."""
    return tests_in(ledger_texts(directories))


def tests_in(texts, matches=lambda line: True):
    """Return the tests (list of dict) of ledgers, without invalid lines.

    Args:
        texts: what `ledger_texts` returned.
        matches: function(line) -> bool; other lines are not parsed, which saves time.
    """
    lines = ((line, folder) for folder, text in texts for line in text.split('\n') if line.strip() and matches(line))
    return [_ledger_test(line, folder) for line, folder in ((parsed(line), folder) for line, folder in lines) if line]


def invalid_lines(texts):
    """Return a message (str) for each ledger with invalid lines; `texts`: what `ledger_texts` returned."""
    messages = []
    for directory, text in texts:
        lines = enumerate(text.split('\n'), 1)
        numbers = [str(number) for number, line in lines if line.strip() and parsed(line) is None]
        if numbers:
            more = f' and {len(numbers) - MAX_LINE_NUMBERS:,} more' if len(numbers) > MAX_LINE_NUMBERS else ''
            which = f'line{"s" * (len(numbers) > 1)} {", ".join(numbers[:MAX_LINE_NUMBERS])}{more}'
            messages.append(f'{directory / LEDGER}: ignored invalid {which}')
    return messages


def parsed(line):
    """Return the contents of a ledger line (dict), or None if the line is truncated or invalid."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and fault_of(found, LEDGER_LINE) is None else None


def _ledger_test(line, directory):
    values = {name: repr(value) for name, value in line['values'].items() if value is not None}
    name = line.get('run')
    owner = directory / name if name and '\0' not in name else None
    return {**line, 'values': values, 'at': parse_date(line.get('date')), 'file': None, 'owner': owner}


def result_files(directory):
    """Return the paths (list of Path) of result.txt, result.1.txt ... in a directory and its subdirectories."""
    paths = []
    _add_result_files(directory, paths, MAX_DEPTH)
    return sorted(paths)


def _add_result_files(directory, paths, depth):
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if RESULT.fullmatch(entry.name) and entry.is_file():
                    paths.append(Path(entry.path))
                elif depth and entry.is_dir(follow_symlinks=False) and entry.name not in SKIPPED_DIRECTORIES:
                    _add_result_files(entry.path, paths, depth - 1)
    except OSError:
        return


def result_test(path, owner, text=None):
    """Return the test (dict) of a result.txt.

    Values that are not numbers, an invalid number of samples, and facts named like the keys above are ignored.

    Args:
        path: path of the file.
        owner: directory (Path) of the run, or None.
        text: contents of the file (str); None: read them.
    """
    known = {'file': Path(path), 'result_dir': str(Path(path).parent), 'owner': owner, 'run': owner and owner.name}
    test, values = {}, {}
    for line in (read_text(path) if text is None else text).splitlines():
        key, colon, value = line.rpartition(': ') if not line.startswith('# ') else line[2:].partition(': ')
        if colon and line.startswith('# '):
            test[KEYS.get(key, key)] = value
        elif colon and as_number(value) is not None:
            values[key] = value.strip()
    if not SAMPLE_COUNT.fullmatch(test.get('samples', '')):
        test.pop('samples', None)
    at = parse_date(re.sub(r' ([+-]\d{2})(\d{2})$', r'\1:\2', test.get('date', '')))
    return {**test, **known, 'values': values, 'at': at}


def tests_of(run, ledger):
    """Return the tests (list of dict) of a run's checkpoints, the oldest first, without duplicates.

    Args:
        run: a Run.
        ledger: tests of the ledgers beside the run, as `ledger_tests` returns them.
    """
    tests = run_tests(run, ledger)
    files = [result_test(path, run.path) for path in result_files(run.path)]
    return sorted(tests + new_values(files, tests), key=lambda test: str(test['at'] or ''))


def run_tests(run, ledger):
    """Return the tests (list of dict) in a ledger that belong to this run, not to an older run of the same name."""
    path, started = os.path.realpath(run.path), run.recorded_start
    name = os.path.basename(path)
    same_name = [test for test in ledger if test['owner'] is not None and test['owner'].name == name]
    return [
        test
        for test in same_name
        if os.path.realpath(test['owner']) == path
        and not (started and test['at'] and test['at'] < started.replace(microsecond=0))
    ]


def new_values(tests, known):
    """Return `tests` (list of dict, of result.txt) without the values that the tests in `known` (of a ledger) have."""
    keys = {_key(test, name) for test in known for name in test['values']}
    found = []
    for test in tests:
        values = {name: text for name, text in test['values'].items() if _key(test, name) not in keys}
        found += [{**test, 'values': values}] if values else []
    return found


def _key(test, name):
    # Only the end of the path, as runs may be moved.
    return *Path(str(test.get('result_dir') or '')).parts[-3:], name, test['values'][name]
