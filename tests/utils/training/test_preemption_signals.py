"""Every signal that ends a process and can be caught saves the run first, and ends it with the right exit status."""

import ctypes
import os
import signal
import subprocess
import sys

import pytest
import torch

import train
from options import train_args
from utils.base.ending_signals import ENDING_SIGNALS, free_signals, handle_signals, ignore_group_signals, signal_name
from utils.base.registry import PROJECT
from utils.training.preemption import Preemption

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='names the signals of Linux')
SOME = ['SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGALRM', 'SIGTERM', 'SIGXCPU', 'SIGVTALRM', 'SIGPROF', 'SIGIO', 'SIGPWR']


@pytest.fixture
def at_default():
    """Let a signal be at its default in this process: a function that takes its number."""
    before = {}

    def reset(number, handler=signal.SIG_DFL):
        before.setdefault(number, signal.signal(number, handler))

    yield reset
    for number, handler in before.items():
        signal.signal(number, handler)


def test_all_signals_count_that_end_a_process_and_can_be_caught():
    quiet = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
    stopping = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
    faults = {
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGSEGV,
        signal.SIGSYS,
    }
    assert set(ENDING_SIGNALS) == signal.valid_signals() - quiet - stopping - faults - {signal.SIGKILL}
    assert signal.SIGRTMIN + 3 in ENDING_SIGNALS


@pytest.mark.parametrize('number', ENDING_SIGNALS, ids=signal_name)
def test_each_signal_is_caught_during_a_run(number, at_default):
    at_default(number)
    interruption = Preemption()
    with interruption.catch_signals():
        signal.raise_signal(number)
    assert interruption.signal == number
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_worker_that_is_ended_before_it_has_a_handler_of_its_own_ends(at_default):
    at_default(signal.SIGTERM)
    interruption = Preemption()
    with interruption.catch_signals():
        child = os.fork()
        if not child:  # a worker inherits the handlers of the process that starts it
            signal.raise_signal(signal.SIGTERM)
            os._exit(3)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert interruption.signal is None


def test_ignored_signals_stay_ignored(at_default):
    """As SIGHUP is under nohup."""
    at_default(signal.SIGHUP, signal.SIG_IGN)
    interruption = Preemption()
    with interruption.catch_signals():
        signal.raise_signal(signal.SIGHUP)
    assert interruption.signal is None


def test_handlers_of_other_code_are_kept(at_default):
    seen = []
    at_default(signal.SIGUSR2, lambda number, frame: seen.append(number))
    interruption = Preemption()
    with interruption.catch_signals():
        signal.raise_signal(signal.SIGUSR2)
    assert interruption.signal is None
    assert seen == [signal.SIGUSR2]


def test_handlers_of_c_libraries_are_kept(at_default):
    """As that of a profiler: Python does not know of it."""
    at_default(signal.SIGPROF)
    libc, handler = ctypes.CDLL(None), ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGPROF, handler)
    try:
        assert signal.SIGPROF not in free_signals()
    finally:
        libc.signal(signal.SIGPROF, None)
    assert signal.SIGPROF in free_signals()


@pytest.mark.slow_after(4, 'a run each')
@pytest.mark.parametrize('name', SOME)
def test_the_current_step_is_saved(name, at_default, tmp_path):
    number = getattr(signal, name)
    at_default(number)

    class Signalled(train.Trainer):
        def train_step(self, batch):
            done = super().train_step(batch)
            if self.batch == 1:
                signal.raise_signal(number)
            return done

    trainer = Signalled(train_args(checkpoints_dir=str(tmp_path), epochs=1, device='cpu', model_type='mlp'))
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 128 + number
    last = torch.load(tmp_path / 'mlp_exp' / 'last.pth', weights_only=True)
    assert (last['epoch'], last['loader']['batch']) == (0, 2)
    assert 'to go on: python train.py --resume' in (tmp_path / 'mlp_exp' / 'log.txt').read_text(encoding='utf-8')


def test_a_second_ctrl_backslash_ends_at_once(at_default):
    at_default(signal.SIGQUIT)
    with Preemption().catch_signals(), pytest.raises(SystemExit) as ended:
        signal.raise_signal(signal.SIGQUIT)
        signal.raise_signal(signal.SIGQUIT)
    assert ended.value.code == 128 + signal.SIGQUIT


ORDERLY = """
import os, signal, sys
from utils.base.errors import run_main
def main():
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        signal.pause()
    finally:
        os.kill(os.getpid(), int(sys.argv[1]))  # a shell sends another one
        print('cleaned up', flush=True)
run_main(main, 'eval.py')
"""


@pytest.mark.parametrize('name', ['SIGHUP', 'SIGTERM', 'SIGUSR2', 'SIGXCPU'])
def test_a_program_that_has_nothing_to_save_cleans_up(name, interpreter):
    number = getattr(signal, name)
    command = [interpreter, '-c', ORDERLY, str(number)]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (128 + number, 'cleaned up\n')
    assert done.stderr == f'eval.py: ended by {name}\n'


def test_a_worker_ignores_signals(at_default):
    """They reach the whole group; only SIGTERM, by which the parent may end it, ends it."""
    at_default(signal.SIGHUP)
    with handle_signals([signal.SIGHUP, signal.SIGTERM], lambda number, frame: None):
        child = os.fork()
        if not child:
            ignore_group_signals()
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
