"""The training of one trial: a process of train.py that is begun, gone on with, or found going."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scripts.run_commands.note import add_note
from scripts.run_commands.run import Run, as_number
from utils.base.ending_signals import ENDING_SIGNALS, signal_name
from utils.base.registry import PROJECT
from utils.base.regular_files import open_regular, read_regular_bytes, read_regular_text

OVER = ('finished', 'stopped', 'failed')  # states of a run that does not go on
# Exit statuses of a process that was asked to end: it saved first, or it had not got so far, or was killed.
ASKED = [*ENDING_SIGNALS, *([signal.SIGKILL] if hasattr(signal, 'SIGKILL') else [])]
SIGNALLED = [status for number in ASKED for status in (-number, 128 + number)]
MARKS = ('train.py: error: ', 'stopped by DanluError ')  # before the message of what ended a run


class Outcome(NamedTuple):
    """How a training ended.

    Args:
        kind: 'complete', 'failed' or 'ended': it was asked to end before, and can go on.
        said: of a failed one the last line (str).
    """

    kind: str
    said: str = ''


class Training:
    """A process that trains for a trial.

    Args:
        sweep: study.Sweep.
        trial: optuna.Trial, with its values and its place.
        gpu: what CUDA_VISIBLE_DEVICES is for it (str), or None: as it is.
        threads: for --threads (int), or None: left to train.py.

    Attributes:
        asked: whether it was asked to end (bool); hopeless: whether as it was pruned.
        directory: of the run (Path).
        history: (epoch, value) of the epochs that have ended so far (list of int and float, nan among these).
        reported: how many of these the storage knows (int); the worker counts.
        begun: how it began (str): 'begins', 'goes on', 'still runs' or 'has ended meanwhile'.
    """

    def __init__(self, sweep, trial, gpu, threads):
        self.sweep, self.trial, self.gpu, self.threads = sweep, trial, gpu, threads
        known = trial.user_attrs
        self.place, self.directory = known['place'], Path(known.get('run', ''))
        self.orphan = known.get('process') if known.get('host') == socket.gethostname() else None
        self.history, self.reported, self.process, self._read = [], 0, None, None
        self.asked, self.hopeless = False, False
        if 'run' in known and (self.directory.is_dir() or self._outlives()):
            self._take_up()
        else:
            self._begin()

    def _begin(self):
        """Start a run in a directory that is not there yet."""
        self.begun, name, number = 'begins', f'trial_{self.place:04d}', 1
        self.directory = self.sweep.folder / name
        while self.directory.exists():
            number += 1
            self.directory = self.sweep.folder / f'{name}_{number}'
        # Before it starts: a worker that is killed leaves none that nobody knows of.
        self.trial.set_user_attr('run', str(self.directory))
        values = [word for each in self.sweep.parameters for word in each.words(self.trial.params[each.name])]
        own = ['--checkpoints_dir', self.sweep.root, '--model_dir', self.directory]
        self._start([*self.sweep.words, *values, *self._machine(), *own])

    def _take_up(self):
        """Go on with the run that a worker has left, wherever it stands."""
        state = self._state()
        self.begun = 'goes on'
        if state == 'running':
            self.begun = 'still runs'
        elif state in OVER:
            self.begun = 'has ended meanwhile'
        elif any(self.directory.glob('last*.pth')):
            self._start(['--resume', self.directory])
        else:
            self._begin()

    def _machine(self):
        """Return the words (list of str) that say where this machine is to compute."""
        words = [] if self.threads is None else ['--threads', self.threads]
        return words if self.gpu is None or '--device' in ' '.join(self.sweep.words) else [*words, '--device', 'cuda']

    def _start(self, words):
        self.trial.set_user_attr('host', socket.gethostname())
        chosen = {} if self.gpu is None else {'CUDA_VISIBLE_DEVICES': self.gpu}
        with open_regular(self.output, 'ab') as output:
            self.process = subprocess.Popen(
                [sys.executable, str(PROJECT / 'train.py'), *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **chosen},
                start_new_session=True,  # Ctrl-C in a terminal is for the sweep, which then asks it to end
            )
        self.trial.set_user_attr('process', self.process.pid)

    def _outlives(self):
        """Return whether the process of a worker that is gone still trains (bool), perhaps before it has the lock."""
        if self.orphan is None:
            return False
        try:
            command = read_regular_bytes(f'/proc/{self.orphan}/cmdline')
        except OSError:  # it has ended, or this is no Linux
            return False
        return os.fsencode(self.directory) in command.split(b'\0')

    def _state(self):
        """Return how a run stands that is not this process's child (str), as scripts.run_commands.run.Run has it."""
        return 'running' if self._outlives() else Run(self.directory).state

    @property
    def output(self):
        """File (Path) with what it prints; gone when it ended well, as log.txt has that too."""
        return self.sweep.folder / f'{self.directory.name}.txt'

    def read_epochs(self):
        """Add the epochs that have ended since to `history`."""
        try:
            state = os.stat(self.directory / 'history.csv')
        except OSError:
            return
        if (state.st_mtime_ns, state.st_size) == self._read:
            return
        if self._read is None:
            self.note()
        self._read = state.st_mtime_ns, state.st_size
        done = self.history[-1][0] if self.history else 0
        rows = [(int(row['epoch']), as_number(row.get(self.sweep.metric))) for row in Run(self.directory).history]
        self.history += [(epoch, value) for epoch, value in rows if epoch > done and value is not None]

    def note(self, what=''):
        """Write into the run's note.txt which sweep it belongs to, and `what` became of it."""
        text = f'sweep {self.sweep.name}, trial {self.place}{what}'
        if not any(line.endswith(text) for line in Run(self.directory).notes):
            add_note(self.directory, text)

    def best(self):
        """Return (epoch, value) of the best epoch so far, or None: none has a number."""
        known = [each for each in self.history if not math.isnan(each[1])]
        sign = 1 if self.sweep.mode == 'max' else -1
        return max(known, key=lambda each: (sign * each[1], -each[0]), default=None)

    def end(self, kill=False):
        """Ask the process to save its state and to end, or end it at once."""
        self.asked = True
        number = signal.SIGKILL if kill and hasattr(signal, 'SIGKILL') else signal.SIGTERM
        with suppress(ProcessLookupError, PermissionError):
            if self.process is not None:
                self.process.send_signal(number)
            elif (pid := self.orphan if self._outlives() else self._holder()) is not None:
                os.kill(pid, number)

    def _holder(self):
        """Return the process (int) on this machine that has the run's lock, or None."""
        try:
            owner = json.loads(read_regular_text(self.directory / 'lock'))
            known = owner['host'] == socket.gethostname() and type(owner['pid']) is int and owner['pid'] > 1
            return owner['pid'] if known else None  # 0 and below are whole groups of processes
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def has_ended(self):
        """Return whether it is over (bool); one that another process had and that can go on is gone on with."""
        if self.process is not None:
            return self.process.poll() is not None
        state = self._state()
        if self.asked or state in OVER:
            return state != 'running'
        if state != 'running':
            self._take_up()
        return False

    def outcome(self):
        """Return the Outcome (call it when `has_ended` says so, and all epochs were read)."""
        code = None if self.process is None else self.process.returncode
        if code == 0 or (code is None and Run(self.directory).state in ('finished', 'stopped')):
            self.output.unlink(missing_ok=True)
            return self._complete()
        if self.asked and (code is None or code in SIGNALLED):
            return Outcome('ended')
        return Outcome('failed', self._last_line(code))

    def _complete(self):
        if self.best() is not None:
            return Outcome('complete')
        rows = Run(self.directory).history
        if rows and self.sweep.metric not in rows[0]:
            names = ', '.join(name for name in rows[0] if name.startswith(('train/', 'val/')))
            return Outcome('failed', f'history.csv has no column {self.sweep.metric} (there are: {names})')
        return Outcome('failed', f'{self.sweep.metric} is no number in any epoch')

    def _last_line(self, code):
        """Return what it said last (str), without what stands before each message."""
        said = read_regular_text(self.output, errors='replace') if self.output.exists() else ''
        lines = [line.strip() for line in (said.splitlines() or Run(self.directory).tail) if line.strip()]
        if code is not None and code < 0:
            return f'ended by {signal_name(-code)}' + (f' after: {lines[-1]}' if lines else '')
        marked = [line for line in lines if line.startswith(MARKS)]
        line = (marked or lines or [f'ended with the exit status {code}'])[-1]
        for mark in MARKS:
            line = line.removeprefix(mark)
        return line
