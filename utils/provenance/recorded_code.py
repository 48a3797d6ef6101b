"""eval.py --code then: a test by the code that a run had, in a process of its own; --code both: by that and today's.

Each run keeps its code in source.zip, and each of its checkpoints says which archive that is. Imports no torch.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from utils.base.ending_signals import ALWAYS_HANDLED_SIGNALS, TERMINAL_SIGNALS, free_signals, handle_signals
from utils.base.errors import DanluError
from utils.base.known_archives import check_permission
from utils.base.regular_files import read_regular_text
from utils.options.arguments import underscored
from utils.provenance.environment import command_line
from utils.provenance.source_archive import read_archive, unpack_cached

CODE_VARIABLE = 'DANLU_CODE'  # environment variable by which the process of the other code knows what it is
INTERRUPT_GRACE_SECONDS = 3.0  # seconds in which a process ends by the Ctrl-C that it got from the terminal itself


def test_with_recorded_code(parser, argv, checkpoint):
    """Test a checkpoint by the code of its run, as eval.py does, and return the values (dict of float).

    Args:
        parser: that of eval.py.
        argv: its words (list of str), --code among them; None: the command line.
        checkpoint: what utils.runs.checkpoint.load_checkpoint returned for the one that they name.

    Raises:
        DanluError: the code is not there, damaged, not allowed to run, or cannot be unpacked.
        SystemExit: the test failed; with its exit status.
    """
    argv = sys.argv[1:] if argv is None else [str(word) for word in argv]
    given = parser.given(argv)
    path, sha256 = find_archive(checkpoint, given['load_model_path'])
    if given.get('download'):  # into the project, and not into the cache
        (Path(parser.get_default('checkpoints_dir')).parent / 'datasets').mkdir(exist_ok=True)
    told = {'archive': str(path), 'sha256': sha256, 'command': original_command()}
    files = read_archive(path, sha256)
    whose = check_permission(path, sha256, given.get('trust_code', False))
    with unpack_cached(files, sha256) as place:
        print(f'by the code of the run: {path}, unpacked in {place}: {whose}', flush=True)
        start = [sys.executable, str(place / 'eval.py'), *recorded_code_arguments(parser, argv, given)]
        said = run_forwarding(start, {**os.environ, CODE_VARIABLE: json.dumps(told)})
    if not said.get('results'):
        raise DanluError(f'--code: the programs in {path} do not say where the results of the test are')
    return read_result_values(Path(said['results']) / 'result.txt')


test_with_recorded_code.__test__ = False  # pytest would take it for a test


def find_archive(checkpoint, path):
    """Return the Path of the archive that holds the code of a checkpoint's run, and its SHA-256 (str).

    Args:
        checkpoint: what utils.runs.checkpoint.load_checkpoint returned.
        path: of its file.

    Raises:
        DanluError: the checkpoint names none.
    """
    record = checkpoint.get('record')
    source = record.get('source') if isinstance(record, dict) else None
    file, sha256 = (source.get(key) for key in ('file', 'sha256')) if isinstance(source, dict) else (None, None)
    if not (isinstance(file, str) and isinstance(sha256, str)) or Path(file).name != file:
        raise DanluError(
            f'--code: {path} does not say what code it is of: it is no checkpoint of a run, or older than source.zip; '
            'check out the commit of its time and test it there'
        )
    return Path(path).parent / file, sha256


def recorded_code_arguments(parser, argv, given):
    """Return the words (list of str) that the other eval.py gets: those given, and where results go.

    Without --code, and without --trust_code, which older code does not know.
    """
    words, left = [], list(argv)
    while left:
        word = underscored(left.pop(0))
        if word == '--code':
            left.pop(0)
        elif not word.startswith('--code=') and word not in ('--trust_code', '--no_trust_code'):
            words.append(word)
    if 'code' in parser.given(words):  # in an @file
        words.append('--code=now')
    if 'result_dir' not in given:  # beside that of a test by today's code
        words += ['--save_prefix', f'{given.get("save_prefix", parser.get_default("save_prefix"))}_then']
    elif given['code'] == 'both':
        words += ['--result_dir', f'{given["result_dir"]}_then']
    if 'checkpoints_dir' not in given:  # its own default lies in the cache
        words += ['--checkpoints_dir', parser.get_default('checkpoints_dir')]
    return words


def run_forwarding(words, env):
    """Run a process, pass its output and the signals that this one gets on, and return what it printed.

    Returns:
        dict of str: 'results' from the line 'results: ...', and so on, the last of each.

    Raises:
        SystemExit: it failed; with its exit status, 128 and the number of the signal that ended it.
    """
    said = {}
    options = {'stdout': subprocess.PIPE, 'text': True, 'encoding': 'utf-8', 'errors': 'replace'}
    with subprocess.Popen(words, env={**env, 'PYTHONIOENCODING': 'utf-8'}, **options) as process:
        try:
            with forward_signals(process):
                for line in process.stdout:
                    print(line, end='', flush=True)
                    name, _, rest = line.rstrip('\n').partition(': ')
                    said[name] = rest
                status = process.wait()
        finally:
            process.kill()  # does nothing where it has ended
    if status:
        raise SystemExit(status if status > 0 else 128 - status)
    return said


@contextmanager
def forward_signals(process):
    """Let a process end by the signals that ask this one to, in the body of the `with`, and this one wait for it."""

    def pass_on(number, frame):
        # What comes from a terminal reaches both.
        timer = threading.Timer(
            INTERRUPT_GRACE_SECONDS if number in TERMINAL_SIGNALS else 0, process.send_signal, [number]
        )
        timer.daemon = True
        timer.start()

    with handle_signals({*free_signals(), *ALWAYS_HANDLED_SIGNALS}, pass_on):
        yield


def code_provenance():
    """Return by what code this process tests (dict of str) for result.txt, where it is not the project's."""
    told = json.loads(os.environ.get(CODE_VARIABLE, '{}'))
    return {'code': f"the run's own, {told['archive']} ({told['sha256']})"} if told else {}


def original_command():
    """Return the command (str) that this process was started by, also where it is another one's."""
    return json.loads(os.environ.get(CODE_VARIABLE, '{}')).get('command') or command_line()


def read_result_values(path):
    """Return the values (dict of float) in a result.txt.

    Raises:
        DanluError: it cannot be read, or holds something else.
    """
    try:
        lines = read_regular_text(path).splitlines()
        pairs = (line.rpartition(': ') for line in lines if line and not line.startswith('#'))
        return {name: float(value) for name, _, value in pairs}
    except OSError as error:
        raise DanluError(f'{path} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise DanluError(f'{path} is no result of a test: {error}') from error


def comparison_table(then, now):
    """Return a table (list of str): the values of a test by the code of the run, by today's, and their difference.

    Args:
        then, now: dict from a value's name to it; those of single classes are counted only.
    """
    names = sorted({*then, *now})
    same = [name for name in names if name in then and name in now and repr(then[name]) == repr(now[name])]
    if len(same) == len(names):
        return [f'then and now: the same values, all {len(names)} to the last digit']
    rows = [('', 'then', 'now', 'difference')]
    for name in (name for name in names if '/' not in name):
        known = name in then and name in now
        difference = '=' if name in same else f'{now[name] - then[name]:+.3g}' if known else '?'
        rows.append((name, *(f'{each[name]:.6g}' if name in each else '-' for each in (then, now)), difference))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([f'{rest:>{width}}' for rest, width in zip(row[1:], widths[1:], strict=True)] for row in rows)
    lines = ['  '.join([row[0].ljust(widths[0]), *right]) for row, right in zip(rows, cells, strict=True)]
    details = [name for name in names if '/' in name]
    changed = len(set(details) - set(same))
    return lines + ([f'of single classes: {changed} of {len(details)} values differ'] if details else [])
