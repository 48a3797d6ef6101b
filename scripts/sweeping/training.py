"""The training of one trial: a process of train.py that is started, resumed, or already running."""

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
from utils.base.ending_signals import ENDING_SIGNALS, signal_name
from utils.base.registry import PROJECT
from utils.base.regular_files import open_regular, read_regular_bytes, read_regular_text
from utils.runs.run import Run, as_number

ENDED_STATES = ('finished', 'stopped', 'failed')  # of runs that are not resumed
# Exit statuses of a process that was stopped by a signal, whether or not it saved first.
STOP_SIGNALS = [*ENDING_SIGNALS, *([signal.SIGKILL] if hasattr(signal, 'SIGKILL') else [])]
STOPPED_STATUSES = [status for number in STOP_SIGNALS for status in (-number, 128 + number)]
ERROR_PREFIXES = ('train.py: error: ', 'stopped by DanluError ')


class Outcome(NamedTuple):
    """How a training ended.

    Args:
        kind: 'complete', 'failed' or 'interrupted' (stopped on request; it can be resumed).
        message: last line of the output of a failed training (str).
    """

    kind: str
    message: str = ''


class Training:
    """A process that trains for a trial.

    Args:
        sweep: study.Sweep.
        trial: optuna.Trial with its values and its index ('place').
        gpu: CUDA_VISIBLE_DEVICES of the process (str), or None: unchanged.
        threads: --threads of train.py (int), or None: the default.

    Attributes:
        stop_requested: whether the process was asked to stop (bool).
        pruned: whether it was asked to stop because the trial was pruned (bool).
        directory: directory of the run (Path).
        history: list of (epoch, value) of the completed epochs; values may be nan.
        reported: number of epochs in `history` that the worker has reported to the storage (int).
        start: how the training started (str), for a message: 'starts', 'resumes', 'is still running', 'has ended'.
    """

    def __init__(self, sweep, trial, gpu, threads):
        self.sweep, self.trial, self.gpu, self.threads = sweep, trial, gpu, threads
        known = trial.user_attrs
        self.index, self.directory = known['place'], Path(known.get('run', ''))
        self.orphan = known.get('process') if known.get('host') == socket.gethostname() else None
        self.history, self.reported, self.process, self._history_stat = [], 0, None, None
        self.stop_requested, self.pruned = False, False
        if 'run' in known and (self.directory.is_dir() or self._orphan_runs()):
            self._continue()
        else:
            self._start_run()

    def _start_run(self):
        """Start a run in a new directory."""
        self.start, name, number = 'starts', f'trial_{self.index:04d}', 1
        self.directory = self.sweep.folder / name
        while self.directory.exists():
            number += 1
            self.directory = self.sweep.folder / f'{name}_{number}'
        # Recorded before the start, so that a killed worker leaves no unknown run.
        self.trial.set_user_attr('run', str(self.directory))
        values = [word for each in self.sweep.parameters for word in each.words(self.trial.params[each.name])]
        directories = ['--checkpoints_dir', self.sweep.root, '--model_dir', self.directory]
        self._start_process([*self.sweep.words, *values, *self._machine_words(), *directories])

    def _continue(self):
        """Continue the run of a lost worker: wait for its process, resume the run, or start again."""
        state = self._state()
        self.start = 'resumes'
        if state == 'running':
            self.start = 'is still running'
        elif state in ENDED_STATES:
            self.start = 'has ended'
        elif any(self.directory.glob('last*.pth')):
            self._start_process(['--resume', self.directory])
        else:
            self._start_run()

    def _machine_words(self):
        """Return the words (list of str) that set threads and device."""
        words = [] if self.threads is None else ['--threads', self.threads]
        return words if self.gpu is None or '--device' in ' '.join(self.sweep.words) else [*words, '--device', 'cuda']

    def _start_process(self, words):
        self.trial.set_user_attr('host', socket.gethostname())
        variables = {} if self.gpu is None else {'CUDA_VISIBLE_DEVICES': self.gpu}
        with open_regular(self.output, 'ab') as output:
            self.process = subprocess.Popen(
                [sys.executable, str(PROJECT / 'train.py'), *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables},
                start_new_session=True,  # Ctrl-C reaches sweep.py only, which then stops the training
            )
        self.trial.set_user_attr('process', self.process.pid)

    def _orphan_runs(self):
        """Return whether the training process of a lost worker still runs (bool), even if it has no lock yet."""
        if self.orphan is None:
            return False
        try:
            command = read_regular_bytes(f'/proc/{self.orphan}/cmdline')
        except OSError:  # the process has ended, or the system is not Linux
            return False
        return os.fsencode(self.directory) in command.split(b'\0')

    def _state(self):
        """Return the state (str, see Run.state) of a run that is not a child of this process."""
        return 'running' if self._orphan_runs() else Run(self.directory).state

    @property
    def output(self):
        """Return the file (Path) with the output of the process; deleted after success, as log.txt has it too."""
        return self.sweep.folder / f'{self.directory.name}.txt'

    def read_epochs(self):
        """Append newly completed epochs to `history`."""
        try:
            state = os.stat(self.directory / 'history.csv')
        except OSError:
            return
        if (state.st_mtime_ns, state.st_size) == self._history_stat:
            return
        if self._history_stat is None:
            self.add_note()
        self._history_stat = state.st_mtime_ns, state.st_size
        done = self.history[-1][0] if self.history else 0
        rows = [(int(row['epoch']), as_number(row.get(self.sweep.metric))) for row in Run(self.directory).history]
        self.history += [(epoch, value) for epoch, value in rows if epoch > done and value is not None]

    def add_note(self, suffix=''):
        """Add the name of the sweep and the index of the trial, with `suffix` (str), to the run's note.txt."""
        text = f'sweep {self.sweep.name}, trial {self.index}{suffix}'
        if not any(line.endswith(text) for line in Run(self.directory).notes):
            add_note(self.directory, text)

    def best(self):
        """Return (epoch, value) of the best epoch so far, or None if no epoch has a number."""
        known = [each for each in self.history if not math.isnan(each[1])]
        sign = 1 if self.sweep.mode == 'max' else -1
        return max(known, key=lambda each: (sign * each[1], -each[0]), default=None)

    def stop(self, kill=False):
        """Ask the process to save its state and stop, or kill it."""
        self.stop_requested = True
        number = signal.SIGKILL if kill and hasattr(signal, 'SIGKILL') else signal.SIGTERM
        with suppress(ProcessLookupError, PermissionError):
            if self.process is not None:
                self.process.send_signal(number)
            elif (pid := self.orphan if self._orphan_runs() else self._lock_pid()) is not None:
                os.kill(pid, number)

    def _lock_pid(self):
        """Return the PID (int) of the process on this machine that holds the run's lock, or None."""
        try:
            owner = json.loads(read_regular_text(self.directory / 'lock'))
            known = owner['host'] == socket.gethostname() and type(owner['pid']) is int and owner['pid'] > 1
            return owner['pid'] if known else None  # os.kill would send to process groups for PIDs below 1
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def has_ended(self):
        """Return whether the training has ended (bool); resume it if the process of a lost worker was interrupted."""
        if self.process is not None:
            return self.process.poll() is not None
        state = self._state()
        if self.stop_requested or state in ENDED_STATES:
            return state != 'running'
        if state != 'running':
            self._continue()
        return False

    def outcome(self):
        """Return the Outcome; call it after `has_ended` returned True and all epochs were read."""
        code = None if self.process is None else self.process.returncode
        if code == 0 or (code is None and Run(self.directory).state in ('finished', 'stopped')):
            self.output.unlink(missing_ok=True)
            return self._complete()
        if self.stop_requested and (code is None or code in STOPPED_STATUSES):
            return Outcome('interrupted')
        return Outcome('failed', self._last_line(code))

    def _complete(self):
        if self.best() is not None:
            return Outcome('complete')
        rows = Run(self.directory).history
        if rows and self.sweep.metric not in rows[0]:
            names = ', '.join(name for name in rows[0] if name.startswith(('train/', 'val/')))
            return Outcome('failed', f'history.csv has no column {self.sweep.metric} (available: {names})')
        return Outcome('failed', f'{self.sweep.metric} is nan in all epochs')

    def _last_line(self, code):
        """Return the last line of the output (str), preferably an error message, without its prefix."""
        output = read_regular_text(self.output, errors='replace') if self.output.exists() else ''
        lines = [line.strip() for line in (output.splitlines() or Run(self.directory).tail) if line.strip()]
        if code is not None and code < 0:
            return f'ended by {signal_name(-code)}' + (f' after: {lines[-1]}' if lines else '')
        errors = [line for line in lines if line.startswith(ERROR_PREFIXES)]
        line = (errors or lines or [f'ended with exit status {code}'])[-1]
        for prefix in ERROR_PREFIXES:
            line = line.removeprefix(prefix)
        return line
