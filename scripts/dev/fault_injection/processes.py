"""Training processes that can be killed at any time, and that record the samples of each step."""

import contextlib
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from scripts.dev.fault_injection.recording import recording
from scripts.dev.fault_injection.strikes import Phases, Strike, note_phases

PROJECT = Path(__file__).resolve().parents[3]
# Processes start from one that has imported everything, which takes them hundredths of a second instead of ten seconds.
context = multiprocessing.get_context('forkserver')
context.set_forkserver_preload(
    'train eval torch._dynamo torch.utils.tensorboard matplotlib.pyplot '
    'scripts.dev.fault_injection.processes scripts.dev.fault_injection.warming'.split()
)
os.environ['PYTHONPATH'] = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get('PYTHONPATH')])])

# A start also asks for the exit status of all processes before it, which can be read once: by one thread at a time.
process_lock = threading.Lock()


class Fault(NamedTuple):
    """What a process does to itself, where that is better than from outside, which is at some moment.

    `number` is a signal, sent after `step` training steps of the process or, where `validating`, after so many batches
    of validation, and `times` times; SIGKILL as soon after that as there is a last.pth. `group`: to its whole group.
    `written`: what is being saved is waited for, so that a run that goes on begins behind it for certain.
    """

    number: int
    step: int
    validating: bool = False
    group: bool = False
    times: int = 1
    written: bool = False


class Run:
    """One process that trains, in a process group of its own.

    Args:
        words: command line (list of str) of the program.
        samples: file (Path) that one line of JSON is added to for each step: epoch, batch, a checksum per sample.
            `<samples>.phase` holds the phase of the process: see fault_injection.strikes.
        fault: Fault or Strike, or None.
        file_size: bytes that no file may exceed, or None: as a full disk.
        left_out: function of a Trainer, called before it trains: to leave out something that was restored, or None.
        program: train.py, or the path (str) of another program that trains.
    """

    def __init__(self, words, samples, fault=None, file_size=None, left_out=None, program='train.py'):
        self.output = Path(f'{samples}.{time.monotonic_ns()}.out')
        arguments = ([program, *map(str, words)], str(self.output), str(samples), fault, file_size, left_out)
        self.process = context.Process(target=_train, args=arguments)
        with process_lock:
            self.process.start()

    def kill(self):
        """Send SIGKILL to the process alone: its workers have to notice by themselves."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)

    def wait(self, seconds=None):
        """Wait for the end and return the exit status (int; of a signal minus its number), or None: not yet."""
        multiprocessing.connection.wait([self.process.sentinel], seconds)
        with process_lock:
            self.process.join(0)
            return self.process.exitcode

    @property
    def said(self):
        """What it has printed so far (str)."""
        return self.output.read_text(encoding='utf-8') if self.output.exists() else ''


def _train(command, output, samples, fault, file_size, left_out):
    os.setsid()
    strike = fault if isinstance(fault, Strike) else None
    phases = Phases(f'{samples}.phase', strike, Path(samples).parent)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    import torch

    import train
    from utils.base.errors import run_main
    from utils.base.process_setup import postpone_compiler

    postpone_compiler()  # as train.py does when it is started
    multiprocessing.set_start_method('fork', force=True)  # for its own workers, as where train.py is started by hand
    torch.set_num_threads(1)  # more would be other bits
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    note_phases(phases)
    train.Trainer = recording(train.Trainer, samples, None if strike else fault, left_out, phases)
    program, *words = command
    try:
        if program == 'train.py':
            run_main(lambda: train.main(words), 'train.py')
        else:
            sys.argv = command
            runpy.run_path(program, run_name='__main__')
    finally:
        phases.enter('closing')
        sys.stdout.flush()
        sys.stderr.flush()


def steps_in(samples):
    """Return the steps that processes wrote down (list of (epoch, batch, checksums)); a line cut off is left out."""
    steps = []
    for line in Path(samples).read_text(encoding='utf-8').splitlines() if Path(samples).exists() else []:
        with contextlib.suppress(ValueError):  # a kill in the middle of writing it
            steps.append(tuple(json.loads(line)))
    return steps
