"""eval.py --code: tests a checkpoint with the code of its run, or of an earlier test, in a separate process.

Each run saves its code in source.zip, and each checkpoint names the archive; the code of tests is kept by
utils/provenance/kept_code.py. Imports no torch.
"""

import hashlib
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
from utils.base.language import ENGLISH, terminal_language
from utils.base.regular_files import read_regular_bytes, read_regular_text
from utils.base.text_table import number_text
from utils.options.arguments import underscored
from utils.provenance.environment import command_line
from utils.provenance.source_archive import read_archive, unpack_cached

OWN = "the run's own"
CODE_VARIABLE = 'DANLU_CODE'  # environment variable that tells the other process its archive and command
INTERRUPT_GRACE_SECONDS = 3.0  # until Ctrl-C is forwarded to a process that the terminal has signalled itself


def test_with_recorded_code(parser, args, checkpoint):
    """Test a checkpoint with the code of its run and return the values (dict of float).

    Args:
        parser: parser of eval.py.
        args: Options of the command line; --code is not 'now'.
        checkpoint: result of utils.runs.checkpoint.load_checkpoint for --load_model_path.

    Raises:
        DanluError: the code is missing, damaged, not permitted to run, or cannot be unpacked.
        SystemExit: the test failed; has its exit status.
    """
    given = {name: getattr(args, name) for name in args.given}
    path, sha256 = chosen_archive(given['code'], checkpoint, given['load_model_path'])
    if given.get('download'):  # downloads go into the project, not into the cache
        (Path(parser.get_default('checkpoints_dir')).parent / 'datasets').mkdir(exist_ok=True)
    whose = OWN if given['code'] in ('then', 'both') else 'that of the archive'
    told = {'archive': str(path), 'sha256': sha256, 'command': original_command(), 'whose': whose}
    files = read_archive(path, sha256)
    permission = check_permission(path, sha256, given.get('trust_code', False))
    with unpack_cached(files, sha256) as place:
        what = 'the code of the run: ' if whose == OWN else 'the code of '
        print(f'testing with {what}{path}, unpacked in {place}: {permission}', flush=True)
        start = [sys.executable, str(place / 'eval.py'), *recorded_code_arguments(parser, args.words, given)]
        said = run_forwarding(start, {**os.environ, CODE_VARIABLE: json.dumps(told)})
    if not said.get('results'):
        raise DanluError(f'--code: eval.py in {path} did not print where its results are')
    return read_result_values(Path(said['results']) / 'result.txt')


test_with_recorded_code.__test__ = False  # pytest would take it for a test


def chosen_archive(code, checkpoint, path):
    """Return the Path and the SHA-256 (str) of the archive that --code chooses.

    Args:
        code: 'then' or 'both' for the archive of the run, or the path of an archive (str).
        checkpoint, path: as for `find_archive`.

    Raises:
        DanluError: there is no archive.
    """
    if code in ('then', 'both'):
        return find_archive(checkpoint, path)
    try:
        return Path(code), hashlib.sha256(read_regular_bytes(code)).hexdigest()
    except OSError as error:
        raise DanluError(f'--code: {code} cannot be read: {error.strerror}') from error


def find_archive(checkpoint, path):
    """Return the Path and the SHA-256 (str) of the source archive of a checkpoint.

    Args:
        checkpoint: result of utils.runs.checkpoint.load_checkpoint.
        path: path of the checkpoint.

    Raises:
        DanluError: the checkpoint names no archive.
    """
    record = checkpoint.get('record')
    source = record.get('source') if isinstance(record, dict) else None
    file, sha256 = (source.get(key) for key in ('file', 'sha256')) if isinstance(source, dict) else (None, None)
    if not (isinstance(file, str) and isinstance(sha256, str)) or Path(file).name != file:
        raise DanluError(
            f'--code: {path} names no source.zip: it is no checkpoint of a run, or older than source.zip. To use its '
            'code, check out the commit of that time'
        )
    return Path(path).parent / file, sha256


def output_language(choice):
    """Return the language of results on stdout, as terminal_language does; English where `run_forwarding` reads them.

    Args:
        choice: --lang (str).
    """
    return ENGLISH if os.environ.get(CODE_VARIABLE) else terminal_language(choice)


def recorded_code_arguments(parser, argv, given):
    """Return the arguments (list of str) for the eval.py of the run: the given ones and the result directory.

    --code, --trust_code and --lang are removed, because older code does not know them.
    """
    words, left = [], list(argv)
    while left:
        word = underscored(left.pop(0))
        if word in ('--code', '--lang'):
            left.pop(0)
        elif not word.startswith(('--code=', '--lang=')) and word not in ('--trust_code', '--no_trust_code'):
            words.append(word)
    if 'code' in parser.given(words):  # from an @file
        words.append('--code=now')
    if 'result_dir' not in given:  # beside the test with today's code
        words += ['--save_prefix', f'{given.get("save_prefix", parser.get_default("save_prefix"))}_then']
    elif given['code'] == 'both':
        words += ['--result_dir', f'{given["result_dir"]}_then']
    if 'checkpoints_dir' not in given:  # the default of the unpacked code lies in the cache
        words += ['--checkpoints_dir', parser.get_default('checkpoints_dir')]
    return words


def run_forwarding(words, env):
    """Run a process, forward signals to it and its output to stdout, and return its `key: value` lines.

    Returns:
        dict of str, such as 'results' for the line 'results: ...'; the last line of each key counts.

    Raises:
        SystemExit: the process failed; has its exit status, or 128 plus the number of the signal that ended it.
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
            process.kill()  # does nothing if the process has ended
    if status:
        raise SystemExit(status if status > 0 else 128 - status)
    return said


@contextmanager
def forward_signals(process):
    """Forward signals that ask this process to end to another process, in the body of the `with`."""

    def pass_on(number, frame):
        # The terminal sends its signals to both processes.
        timer = threading.Timer(
            INTERRUPT_GRACE_SECONDS if number in TERMINAL_SIGNALS else 0, process.send_signal, [number]
        )
        timer.daemon = True
        timer.start()

    with handle_signals({*free_signals(), *ALWAYS_HANDLED_SIGNALS}, pass_on):
        yield


def code_provenance():
    """Return the `code` line for result.txt (dict of str) if this process runs the code of an archive, else {}."""
    told = json.loads(os.environ.get(CODE_VARIABLE, '{}'))
    return {'code': f'{told.get("whose", OWN)}, {told["archive"]} ({told["sha256"]})'} if told else {}


def original_command():
    """Return the command that the user typed (str), also in the process that runs the code of a run."""
    return json.loads(os.environ.get(CODE_VARIABLE, '{}')).get('command') or command_line()


def read_result_values(path):
    """Return the values (dict of float) in a result.txt.

    Raises:
        DanluError: the file cannot be read, or is not a result.txt.
    """
    try:
        lines = read_regular_text(path).splitlines()
        pairs = (line.rpartition(': ') for line in lines if line and not line.startswith('#'))
        return {name: float(value) for name, _, value in pairs}
    except OSError as error:
        raise DanluError(f'{path} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise DanluError(f'{path} is not a valid result.txt: {error}') from error


def comparison_table(then, now, recorded=None, others=()):
    """Return a table (list of str) of the values with the code of the run, with today's code, and the differences.

    If the values with the code of the run are not the recorded ones, the table has a column of the recorded values: the
    code of the project is then not the cause, or not the only one.

    Args:
        then, now, recorded: dict from a name to a value; of values per class only the number of differences is given.
        others: names of the values with the code of the run that are not the recorded ones.
    """
    names, recorded = sorted({*then, *now}), recorded or {}
    same = [name for name in names if name in then and name in now and repr(then[name]) == repr(now[name])]
    if len(same) == len(names) and not others:
        told = ', and equal to the recorded values' if recorded else ''
        return [f"all {len(names)} values are identical with the code of the run and with today's code{told}"]
    columns = {**({'recorded': recorded} if others else {}), 'then': then, 'now': now}
    rows = [('', *columns, 'difference')]
    for name in (name for name in names if '/' not in name):
        known = name in then and name in now
        difference = '=' if name in same else number_text(now[name] - then[name], signed=True) if known else '?'
        texts = (number_text(each[name]) if name in each else '-' for each in columns.values())
        rows.append((name, *texts, difference))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([f'{rest:>{width}}' for rest, width in zip(row[1:], widths[1:], strict=True)] for row in rows)
    lines = ['  '.join([row[0].ljust(widths[0]), *right]) for row, right in zip(rows, cells, strict=True)]
    details = [name for name in names if '/' in name]
    changed = len(set(details) - set(same))
    lines += [f'values per class: {changed} of {len(details)} differ'] if details else []
    if others:
        lines.append(
            f'with the code of the run {len(others)} of {len(recorded)} values are not the recorded ones: something '
            'besides the code of the project has changed (versions, environment variables, data or machine)'
        )
    return lines
