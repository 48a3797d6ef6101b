"""Say on one page what a run was, what it gave, what has changed since, and whether it still holds: runs.py why RUN.

The page is made from records, without testing. With --test, best.pth is tested first.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import io
import math
import os
import platform
import shlex
import zipfile
from pathlib import Path

from scripts.run_commands.diff import SampleNumbers
from scripts.run_commands.run_code import code_line, code_today, is_by_code_today, kept_archive_of
from utils.base.errors import DanluError
from utils.base.record_schema import RECORD, fault_of
from utils.base.registry import PROJECT
from utils.base.regular_files import open_regular, read_regular_bytes
from utils.base.text_table import (
    count_text,
    distinct_number_texts,
    join_known,
    number_text,
    printable,
    span_text,
    table,
    terminal_width,
    wrap_lines,
)
from utils.options.given_parts import named
from utils.provenance.code_fingerprint import (
    Source,
    describe_changes,
    find_changed_files,
    find_changes,
    find_evaluation_changes,
)
from utils.provenance.contents import CONTENTS, SampleHashes, compare_contents, contents_file
from utils.provenance.used_files import hash_of_file
from utils.runs.results import DIFFERS, EQUAL, OUTPUTS_DIFFER, ledger_tests, tests_of
from utils.runs.run import as_number
from utils.runs.run_index import find_run
from utils.runs.run_table import hidden_options

BEST = 'best.pth'
MAX_TESTS = 10  # the newest ones
MAX_CHANGES = 12
HASH_CHARACTERS = 12
HOLDS, DOES_NOT_HOLD, UNKNOWN = 'yes', 'no', 'not known'
VERDICTS = {EQUAL: HOLDS, DIFFERS: DOES_NOT_HOLD, OUTPUTS_DIFFER: DOES_NOT_HOLD}
TOLERANCE = 1e-6  # relative


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('run', metavar='RUN', help='name of the run')
    parser.add_argument('--test', action='store_true', help='first test best.pth with the current code, by eval.py')


def run(args):
    """Print the page."""
    found = find_run(args.run, args.checkpoints_dir)
    if args.test:
        test_now(found)
        found = find_run(args.run, args.checkpoints_dir)
    tests = tests_of(found, ledger_tests([found.path.parent]))
    sections = {
        'what ran': what_ran(found),
        'what it gave': what_it_gave(found, tests, args.checkpoints_dir),
        'what has changed since': what_has_changed(found, tests) or ['nothing that was recorded'],
        'does it still hold?': [': '.join(does_it_hold(found, tests))],
    }
    print(printable(head_line(found)))
    for title, lines in sections.items():
        shown = (wrap_lines(f'  {printable(line)}'.rstrip(), terminal_width()) for line in lines)
        print('', title, *shown, sep='\n')


def test_now(found):
    """Test best.pth of a Run with the current code; what eval.py prints is not shown.

    Raises:
        DanluError: there is no best.pth, or the test fails.
    """
    if BEST not in found.files:
        raise DanluError(f'{found.path} has no {BEST} to test')
    import eval as eval_py  # imports torch

    with contextlib.redirect_stdout(io.StringIO()):
        eval_py.main(['--load_model_path', str(found.path / BEST)])


def head_line(found):
    """Return the line (str) that says which run it is, and how it ended."""
    started = f'started {found.started:%Y-%m-%d %H:%M}' if found.started else None
    seconds = span_text(found.seconds) if found.seconds else None
    parts = [
        found.state,
        f'{found.done} of {count_text(found.epochs, "epoch") if found.epochs else "? epochs"}',
        started,
        seconds,
    ]
    return f'{found.name}: {", ".join(filter(None, parts))}'


def what_ran(found):
    """Return the facts about a Run (list of str): command, options, code, data, machine, notes."""
    env, record = found.first_env, found.record
    options = [f'{name}={_option_text(found.options[name])}' for name in found.options
               if name in found.marked and name not in hidden_options()]  # fmt: skip
    threads = str(env.get('threads', ''))
    git = record.get('git') if isinstance(record.get('git'), dict) else {}
    edited = ', '.join(map(str, (git.get('changed') or [])[:MAX_CHANGES]))
    facts = {
        'command': env.get('command'),
        'directory': env.get('directory'),
        'options': ', '.join(options) or 'all at their defaults',
        'parts': found.given_parts and f'ready-made: {named(found.given_parts)}',
        'code': join_known(found.archive or 'no source.zip', found.commit and f'commit {found.commit[:7]}',
                           edited and f'uncommitted: {edited}'),
        **{f'{split} data': _data_text(found, split) for split in ('train', 'val')},
        'machine': join_known(*(f'{name} {env[name]}' for name in ('python', 'torch') if name in env),
                              env.get('device'), threads.isdecimal() and count_text(int(threads), 'thread')),
        'notes': '; '.join(found.notes),
    }  # fmt: skip
    return _aligned(facts)


def _data_text(found, split):
    values = {key: found.recorded('data', split, key) for key in ('list', 'samples', 'sha256')}
    if not values['samples']:
        return None
    digest, count = values['sha256'], values['samples']
    return join_known(values['list'], count_text(count, 'sample') if isinstance(count, int) else None,
                      f'sha256 {digest[:HASH_CHARACTERS]}' if isinstance(digest, str) else None)  # fmt: skip


def what_it_gave(found, tests, checkpoints_dir):
    """Return the best epoch and a table of the tests of a Run (list of str), the newest first."""
    lines = []
    if found.best:
        value = number_text(found.best['value'])
        lines.append(f'best {found.monitor} {value} in epoch {found.best["epoch"]} of the training')
    if not tests:
        return [*lines, 'no tests']
    metric = (found.monitor or '').partition('/')[2]
    rows = []
    for test in reversed(tests[-MAX_TESTS:]):
        name = metric if metric in test['values'] else next(iter(test['values']), '')
        archive = kept_archive_of(test, checkpoints_dir)
        rows.append([
            f'{test["at"]:%Y-%m-%d %H:%M}' if test['at'] else '',
            Path(str(test.get('checkpoint'))).name,
            Path(str(test.get('list') or '')).name,
            f'{name} {number_text(float(test["values"][name]))}' if name else '',
            _code_text(found, test),
            test.get('verdict') or '',
            '' if archive is None else archive.name[:HASH_CHARACTERS],
        ])  # fmt: skip
    head = ['tested', 'checkpoint', 'list', 'value', 'code', 'verdict', 'code kept as']
    width = terminal_width() and terminal_width() - 2  # lines are indented
    shown, _ = table(head, rows, width, flexible=('list', 'code'), droppable=('code kept as',))
    more = [f'... and {len(tests) - MAX_TESTS} earlier tests'] if len(tests) > MAX_TESTS else []
    return [*lines, *shown, *more]


def _code_text(found, test):
    """Return whose code a test ran with (str)."""
    code = test.get('code')
    if not isinstance(code, str):
        return 'not recorded'
    own, today = code == found.recorded('code'), code == code_today()
    return {(True, True): "the run's, as today", (True, False): "the run's", (False, True): "today's"}.get(
        (own, today), "neither the run's nor today's"
    )


def what_has_changed(found, tests):
    """Return what differs from the time of a Run (list of str): code, versions, data, files of the run."""
    facts = {
        'code': [*_code_changes(found), *_changed_files(found)],
        'versions': _version_changes(found),
        'variables': _variable_changes(found),
        'data': [*_data_changes(found), *_sample_changes(found, tests)],
        'files': [f'{name} is missing' for name in (BEST, 'source.zip') if name not in found.files],
    }
    return [
        f'{name if index == 0 else "":10}  {line}' for name, lines in facts.items() for index, line in enumerate(lines)
    ]


def _code_changes(found):
    """Return the changed definitions and files (list of str), [] if the code computes the same by its text."""
    if code_line(found.recorded('code')) == 'the same as today':
        return []
    record = found.record if fault_of(found.record, RECORD) is None else {}
    now, then = Source(PROJECT), None
    if found.archive:
        with contextlib.suppress(OSError, zipfile.BadZipFile):
            then = Source(found.path / found.archive)
    changes = find_changes(record, then, now)
    if then is None:
        return [*describe_changes(changes), 'compared by hashes only: there is no readable source.zip']
    changes += find_evaluation_changes(then, now)
    paths = {change.path for change in changes}
    lines = describe_changes(changes)
    lines += [f'{path} (not known to be used)' for path in find_changed_files(then, now) if path not in paths]
    hidden = len(lines) - MAX_CHANGES
    lines = lines[:MAX_CHANGES] + ([f'... and {hidden} more'] if hidden > 0 else [])
    return lines or ['only comments, layout, tests or scripts']


def _version_changes(found):
    """Return the packages whose versions are not those of a Run (list of str)."""
    lines = []
    for name, then in sorted(_texts(found.recorded('versions')).items()):
        try:
            now = platform.python_version() if name == 'python' else importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            now = 'not installed'
        if str(then).partition('+')[0] != now.partition('+')[0]:  # a record has the build of torch, +cu130
            lines.append(f'{name} {then} -> {now}')
    return lines


def _changed_files(found):
    """Return the files outside the project that a Run imported, and other files that it read, that have changed."""
    lines = []
    for path, digest in _texts(found.recorded('outside')).items():
        try:
            now = hashlib.sha256(read_regular_bytes(path)).hexdigest()[: len(digest)]
        except OSError:
            now = None
        if now != digest:
            lines.append(f'{path} (outside the project{", gone" if now is None else ""})')
    opened = _texts(found.recorded('opened')).items()
    return lines + [f'{path} (read by the run)' for path, digest in opened if hash_of_file(path) != digest]


def _variable_changes(found):
    """Return the environment variables that a Run's code reads and that have other values now (list of str)."""
    recorded = found.recorded('variables')
    pairs = [
        (name, then, os.environ.get(name)) for name, then in (recorded if isinstance(recorded, dict) else {}).items()
    ]
    return [f'{name}: {"not set" if then is None else then} -> {"not set" if now is None else now}'
            for name, then, now in pairs if then != now]  # fmt: skip


def _texts(recorded):
    """Return the texts (dict of str) among the values of a part of a record, which may be anything."""
    recorded = recorded if isinstance(recorded, dict) else {}
    return {name: value for name, value in recorded.items() if isinstance(value, str) and '\0' not in name}


def _data_changes(found):
    """Return which lists and directories of a Run are missing or were written after its start (list of str)."""
    lines = []
    for name in ('train_list', 'val_list', 'data_root'):
        path = found.options.get(name)
        if not isinstance(path, str) or path == 'none':
            continue
        if not os.path.exists(path):
            lines.append(f'--{name} {path} does not exist')
            continue
        written = datetime.datetime.fromtimestamp(os.stat(path).st_mtime)
        if os.path.isfile(path) and found.started and written > found.started:
            lines.append(f'--{name} {path} was written on {written:%Y-%m-%d %H:%M}, after the start of the run')
    return lines


def _sample_changes(found, tests):
    """Return a line (list of str) if the newest test on the data of a Run has read other bytes than the run."""
    data = found.recorded('data', 'val') or {}
    then = found.recorded('data', 'val', 'contents', 'sha256')
    own = [test for test in tests if test.get('data_sha256') == data.get('sha256') and test.get('contents_sha256')]
    if not (then and own) or own[-1]['contents_sha256'] == then:
        return []
    path = Path(str(own[-1].get('directory') or ''), str(own[-1].get('result_dir') or ''), CONTENTS)
    hashes = [SampleHashes.read(each) for each in (contents_file(found.path, 'val'), path)]
    is_known = None not in hashes and hashes[1].record()['sha256'] == own[-1]['contents_sha256']
    difference = compare_contents(*hashes, same_order=True) if is_known else None
    text = 'the bytes of samples changed' if difference is None else difference.text(SampleNumbers)
    when = f' of {own[-1]["at"]:%Y-%m-%d %H:%M}' if own[-1]['at'] else ''
    return [f'in the test{when} of the validation data: {text}']


def does_it_hold(found, tests):
    """Return HOLDS, DOES_NOT_HOLD or UNKNOWN, and why (str), by the newest test of best.pth with the current code."""
    path = found.path / BEST
    command = f'python eval.py --load_model_path {shlex.quote(str(path))}'
    if BEST not in found.files:
        return UNKNOWN, f'there is no {BEST} to test'
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    own = [test for test in tests if test.get('checkpoint_sha256') == digest and is_by_code_today(test)]
    if not own:
        return UNKNOWN, f'{BEST} was not tested with the current code; to test: {command}'
    return judge(found, own[-1], command)


def judge(found, test, command):
    """Return HOLDS, DOES_NOT_HOLD or UNKNOWN, and why (str), by a test (dict, see utils/runs/results.py) of best.pth.

    Tests of versions that wrote no verdict are compared with the values of the best epoch.
    """
    when = f'tested with the current code on {test["at"]:%Y-%m-%d %H:%M}' if test['at'] else 'tested'
    if test.get('verdict') in VERDICTS:
        causes = test.get('causes') or test.get('changed since') or []
        text = join_known(when, test.get('verdict_text'), '; '.join([causes] if isinstance(causes, str) else causes))
        return VERDICTS[test['verdict']], text
    if test.get('data_sha256') != found.recorded('data', 'val', 'sha256'):
        return UNKNOWN, f'{when}, on other data than the run was validated on; to test: {command}'
    row = next((row for row in found.history if found.best and row['epoch'] == str(found.best['epoch'])), {})
    then = {name: as_number(row.get(f'val/{name}')) for name in test['values']}
    then = {name: value for name, value in then.items() if value is not None}
    now = {name: as_number(test['values'][name]) for name in then}
    texts = {name: distinct_number_texts([now[name], then[name]]) for name in then}
    other = [f'{name} {texts[name][0]}, and {texts[name][1]} in the training' for name in then
             if not math.isclose(now[name], then[name], rel_tol=TOLERANCE)]  # fmt: skip
    if not then:
        return UNKNOWN, f'{when}, and there is no value of the training to compare'
    return (
        (DOES_NOT_HOLD, f'{when}: {"; ".join(other)}')
        if other
        else (HOLDS, f'{when}: {count_text(len(then), "value")} as in the training')
    )


def _option_text(value):
    return ' '.join(map(str, value)) if isinstance(value, list) else str(value)


def _aligned(facts):
    """Return 'name  value' for each fact with a value (list of str); `facts`: dict of str or None."""
    return [f'{name:10}  {value}' for name, value in facts.items() if value]
