"""The terminal goes away, the pipe breaks: a run goes on with log.txt, or, asked to end, saves; a test likewise."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program_server import PROJECT, Program
from utils.runs.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(os.name == 'nt', reason='there is no pty')
TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
DIGITS = ['--model_type', 'mlp', '--batch_size', 500, '--device', 'cpu', '--no_report']


def broken_pipe():
    """Return the writing end (descriptor) of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def lost_terminal():
    """Return the descriptor of a terminal that was closed at the other side: writing into it is an EIO."""
    ours, theirs = os.openpty()
    os.close(ours)
    return theirs


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """Return a function: a program and its words, stdout and stderr (descriptors, closed here) -> exit status."""
    place = tmp_path_factory.mktemp('elsewhere')

    def run(script, *words, **streams):
        try:
            with Program(PROJECT / script, words, cwd=place, **streams) as program:
                return program.wait(timeout=300)
        finally:
            for descriptor in set(streams.values()):
                os.close(descriptor)

    return run


@pytest.fixture(scope='module')
def run_without_terminal(start, tmp_path_factory):
    """Return the directory of a run whose stdout and stderr were a lost terminal."""
    folder = tmp_path_factory.mktemp('runs')
    gone = lost_terminal()
    assert start('train.py', *DIGITS, '--epochs', 2, '--checkpoints_dir', folder, stdout=gone, stderr=gone) == 0
    return folder / 'mlp_exp'


def test_a_run_goes_on_without_its_terminal(run_without_terminal):
    log = (run_without_terminal / 'log.txt').read_text(encoding='utf-8')
    assert re.findall(r'^epoch (\d)/2', log, re.MULTILINE) == ['1', '2']
    assert 'stdout is closed ([Errno 5] Input/output error); the run continues and logs to log.txt only' in log
    assert load_checkpoint(run_without_terminal / 'last.pth')['epoch'] == 2


def test_a_test_goes_on_without_its_reader(run_without_terminal, start):
    gone, test = broken_pipe(), run_without_terminal / 'test'
    words = ['--load_model_path', run_without_terminal / 'best.pth', '--result_dir', test, '--report']
    assert start('eval.py', *words, '--device', 'cpu', stdout=gone, stderr=gone) == 0
    assert {'result.txt', 'predictions.csv', 'report.html'} <= {path.name for path in test.iterdir()}


@pytest.mark.parametrize('script', ['look', 'runs', 'measure_data'])
def test_other_programs_end_quietly_without_their_reader(script, run_without_terminal, list_data, start, tmp_path):
    words = {
        'look': ['--out', tmp_path / 'look.png'],
        'runs': ['list', '--checkpoints_dir', run_without_terminal.parent],
        'measure_data': [list_data[3]],
    }[script]
    reading, errors = os.pipe()
    status = start(f'scripts/{script}.py', *words, stdout=broken_pipe(), stderr=errors)
    assert status == {'look': 0, 'runs': 141, 'measure_data': 141}[script]
    with open(reading, 'rb') as file:
        assert file.read() == b''
    assert script != 'look' or (tmp_path / 'look.png').exists()


@pytest.mark.slow('a new interpreter')
def test_a_pipe_that_breaks_while_a_run_goes_on_ends_nothing(tmp_path):
    """As with `python train.py | head -n 1`, in an interpreter of its own: its exit status counts too."""
    words = [*DIGITS, '--epochs', 2, '--checkpoints_dir', tmp_path]
    command = [sys.executable, str(PROJECT / 'train.py'), *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as run:
        assert run.stdout.readline().startswith('run: ')
        run.stdout.close()
        errors = run.stderr.read()
    assert (run.returncode, errors) == (0, '')
    log = (tmp_path / 'mlp_exp' / 'log.txt').read_text(encoding='utf-8')
    assert 'best: val/acc' in log
    assert 'Broken pipe' in log


@pytest.mark.skipif(sys.platform != 'linux', reason='finds the processes in /proc')
@pytest.mark.slow('a run in a terminal of its own')
@pytest.mark.parametrize('ignored', [False, True], ids=['closed', 'closed under nohup'])
def test_a_terminal_that_is_closed_loses_nothing(ignored, list_data, tmp_path):
    """The system then sends SIGHUP to all processes of the terminal: the step at hand is saved, and no worker stays."""
    words = [*list_data, '--model_type', 'mlp', '--epochs', 3 if ignored else 10_000, '--num_workers', 2]
    words += ['--checkpoints_dir', tmp_path, '--device', 'cpu', '--no_report']
    ours, theirs = os.openpty()
    streams = {'stdin': theirs, 'stdout': theirs, 'stderr': theirs, 'start_new_session': True}
    how = 'SIG_IGN' if ignored else 'SIG_DFL'
    command = [sys.executable, '-c', TAKE_TERMINAL, how, str(PROJECT / 'train.py'), *map(str, words)]
    with subprocess.Popen(command, **streams, cwd=tmp_path) as run:
        os.close(theirs)
        seen = b''
        while b' 1/' not in seen:  # the row of the first epoch
            seen += os.read(ours, 65536)
        os.close(ours)
        status = run.wait(timeout=300)
    log = (tmp_path / 'mlp_exp' / 'log.txt').read_text(encoding='utf-8')
    assert status == (0 if ignored else 128 + signal.SIGHUP), log
    assert ('best: ' in log) == ignored
    assert ('to go on: python train.py --resume' in log) == (not ignored)
    assert load_checkpoint(tmp_path / 'mlp_exp' / 'last.pth')['epoch'] >= (3 if ignored else 1)
    assert processes_of(run.pid) == []


def processes_of(session):
    """Return the processes (list of int) of a session, those that wait for their parent left out."""
    found = []
    for place in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):  # it has ended
            state, _, _, own = (place / 'stat').read_text(encoding='utf-8').rpartition(')')[2].split()[:4]
            if int(own) == session and state != 'Z':
                found.append(int(place.name))
    return found
