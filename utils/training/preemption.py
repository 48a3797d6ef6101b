"""Preemption: saving within an epoch at intervals, and saving and ending on a signal."""

import multiprocessing
import os
import signal
import threading
import time

from utils.base.ending_signals import (
    ALWAYS_HANDLED_SIGNALS,
    IMMEDIATE_SIGNALS,
    free_signals,
    handle_signals,
    ignore_group_signals,
)
from utils.base.streams import guard_output
from utils.distributed import processes

# Raised by a DataLoader whose workers have exited, also when it requests a batch's shared memory from one of them.
WORKER_EXIT_ERRORS = (RuntimeError, ConnectionError, EOFError, FileNotFoundError)
REPEATED_SIGNAL_SECONDS = 2.0  # a second Ctrl-C within this time is the same one, delivered twice


class EvaluationInterrupted(RuntimeError):
    """Ends a validation on a signal; a resumed run starts the validation again."""


class Preemption:
    """Decides after each step whether the state is saved; a received signal ends the run after saving.

    Args:
        save_steps: optimizer steps between two saves, or None.
        save_minutes: minutes between two saves, or None.

    Attributes:
        signal: the received signal (int), or None.
        save_requested: whether to save as soon as possible (bool).
    """

    def __init__(self, save_steps=None, save_minutes=None):
        self.save_steps, self.seconds = save_steps, None if save_minutes is None else 60 * save_minutes
        self.signal, self.save_requested, self.saved_steps, self.saved_at = None, False, 0, time.monotonic()

    def is_save_due(self, steps):
        """Return whether to save after this number of optimizer steps (bool); takes under a microsecond."""
        return self.signal is not None or self._steps_due(steps) or self._time_due()

    def _steps_due(self, steps):
        return self.save_requested or (self.save_steps is not None and steps - self.saved_steps >= self.save_steps)

    def _time_due(self):
        return self.seconds is not None and time.monotonic() - self.saved_at >= self.seconds

    def mark_saved(self, steps):
        """Register that the state after this number of optimizer steps was saved."""
        self.saved_steps, self.saved_at, self.save_requested = steps, time.monotonic(), False

    def catch_signals(self):
        """Return a context that catches signals: it stores the first; a second SIGINT or SIGQUIT ends at once."""
        process = os.getpid()

        def notice(number, frame):
            if os.getpid() == process:
                self._on_signal(number, frame)
            elif number == signal.SIGTERM:  # a worker process was just forked, and prepare_worker has not run yet
                _exit_worker(number, frame)

        return handle_signals({*free_signals(), *ALWAYS_HANDLED_SIGNALS}, notice)

    def guard_batches(self, batches, stop):
        """Yield batches; if a signal ended the loader's worker processes, call `stop` and raise."""
        batches = iter(batches)
        while True:
            try:
                batch = next(batches, batches)
            except WORKER_EXIT_ERRORS:
                if self.signal is None:
                    raise
                stop()
                raise
            if batch is batches:
                return
            yield batch

    def sync_signals(self):
        """Share the received signal between all processes of the run; here there is only one."""

    def _on_signal(self, number, frame):
        if self.signal is not None and number in IMMEDIATE_SIGNALS:
            _raise_signal(number)
        self.signal = self.signal or number

    def raise_for_signal(self):
        """Raise KeyboardInterrupt for SIGINT, or SystemExit(128 + number) for another signal."""
        _raise_signal(self.signal)


class SharedPreemption(Preemption):
    """The Preemption of several processes, which save and end at the same step.

    The flags of one process are sent to all while the next step is computed, and apply after that step.

    Args:
        save_steps, save_minutes: as for Preemption.
        flag_reduce: utils.distributed.processes.AsyncFlagReduce.
    """

    def __init__(self, save_steps, save_minutes, flag_reduce):
        super().__init__(save_steps, save_minutes)
        self.flag_reduce, self.own_signal, self.own_signal_time, self.time_was_sent = flag_reduce, None, 0.0, False

    def is_save_due(self, steps):
        """Return whether to save after this number of optimizer steps (bool), the same on all processes."""
        is_time, self.signal = self.flag_reduce.exchange(self._time_due(), self.own_signal)
        outdated, self.time_was_sent = self.time_was_sent, False  # the flag was sent before the last save
        return self.signal is not None or self._steps_due(steps) or (is_time and not outdated)

    def sync_signals(self):
        """Share the received signal between all processes."""
        _, self.signal = self.flag_reduce.exchange(False, self.own_signal)

    def mark_saved(self, steps):
        """Register that the state after this number of optimizer steps was saved."""
        super().mark_saved(steps)
        self.time_was_sent = True

    def _on_signal(self, number, frame):
        now = time.monotonic()
        # A terminal sends Ctrl-C to all processes, and torchrun forwards it to the processes that it started.
        is_second = self.own_signal is not None and now - self.own_signal_time > REPEATED_SIGNAL_SECONDS
        if is_second and number in IMMEDIATE_SIGNALS:
            _raise_signal(number)
        if self.own_signal is None:
            self.own_signal, self.own_signal_time = number, now


def select_preemption(args):
    """Return the Preemption of the options save_steps and save_minutes; with several processes a SharedPreemption."""
    if processes.count() == 1:
        return Preemption(args.save_steps, args.save_minutes)
    return SharedPreemption(args.save_steps, args.save_minutes, processes.AsyncFlagReduce())


def prepare_worker(_):
    """Make a worker process ignore signals and exit with its parent: a DataLoader's worker_init_fn.

    Ctrl-C and batch systems signal all processes of a run at once, and the parent handles the signal. On SIGTERM, with
    which the DataLoader ends its workers, the worker exits with status 0: for another status torch would raise an error
    in the middle of a step. The worker also exits when its parent is killed; torch's own check misses a parent that is
    gone when the check begins.
    """
    guard_output()
    ignore_group_signals()
    signal.signal(signal.SIGTERM, _exit_worker)
    threading.Thread(target=_exit_with_parent, args=(multiprocessing.parent_process(),), daemon=True).start()


def _exit_with_parent(parent):
    """Wait for the parent process to end, then exit."""
    parent.join()
    os._exit(0)


def _exit_worker(number, frame):
    os._exit(0)


def _raise_signal(number):
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
