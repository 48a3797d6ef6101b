"""When the state of a run has to be saved within an epoch: every so often, and when the process is asked to end."""

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

# How a DataLoader says that its workers are gone: by itself, or where it asks one for the memory of a finished batch.
WORKER_EXIT_ERRORS = (RuntimeError, ConnectionError, EOFError, FileNotFoundError)
REPEATED_SIGNAL_SECONDS = 2.0  # seconds in which a second Ctrl-C is the first one once more


class EvaluationInterrupted(RuntimeError):
    """Ends a pass over data that is not part of what is saved: it begins anew."""


class Preemption:
    """Says after each step whether the state is to be saved, and whether the run ends then.

    Args:
        save_steps: optimizer steps from one saving to the next, or None.
        save_minutes: minutes likewise, or None.

    Attributes:
        signal: the signal (int) that asked for the end, or None.
        save_requested: whether the state is to be saved as soon as that can be (bool).
    """

    def __init__(self, save_steps=None, save_minutes=None):
        self.save_steps, self.seconds = save_steps, None if save_minutes is None else 60 * save_minutes
        self.signal, self.save_requested, self.saved_steps, self.saved_at = None, False, 0, time.monotonic()

    def is_save_due(self, steps):
        """Return whether the state is to be saved after so many optimizer steps (bool); takes under a microsecond."""
        return self.signal is not None or self._steps_due(steps) or self._time_due()

    def _steps_due(self, steps):
        return self.save_requested or (self.save_steps is not None and steps - self.saved_steps >= self.save_steps)

    def _time_due(self):
        return self.seconds is not None and time.monotonic() - self.saved_at >= self.seconds

    def mark_saved(self, steps):
        """Take note that the state after so many optimizer steps was saved."""
        self.saved_steps, self.saved_at, self.save_requested = steps, time.monotonic(), False

    def catch_signals(self):
        """Return a context that notices signals: the first one is kept; a second SIGINT or SIGQUIT ends at once."""
        process = os.getpid()

        def notice(number, frame):
            if os.getpid() == process:
                self._on_signal(number, frame)
            elif number == signal.SIGTERM:  # a worker process was just forked, and prepare_worker has not run yet
                _exit_worker(number, frame)

        return handle_signals({*free_signals(), *ALWAYS_HANDLED_SIGNALS}, notice)

    def guard_batches(self, batches, stop):
        """Yield batches; where a signal has ended the worker processes that make them, call `stop` and raise."""
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
        """Make what is known of signals the same for all processes that work together; here there is one."""

    def _on_signal(self, number, frame):
        if self.signal is not None and number in IMMEDIATE_SIGNALS:
            _raise_signal(number)
        self.signal = self.signal or number

    def raise_for_signal(self):
        """Raise what the signal stands for: KeyboardInterrupt, or SystemExit with 128 and its number."""
        _raise_signal(self.signal)


class SharedPreemption(Preemption):
    """A Preemption of several processes: all of them save, and end, at the same step.

    What one of them knows goes to all while the next step is computed, and counts after it.

    Args:
        save_steps, save_minutes: as Preemption has them.
        flag_reduce: utils.distributed.processes.AsyncFlagReduce.
    """

    def __init__(self, save_steps, save_minutes, flag_reduce):
        super().__init__(save_steps, save_minutes)
        self.flag_reduce, self.own_signal, self.own_signal_time, self.time_was_sent = flag_reduce, None, 0.0, False

    def is_save_due(self, steps):
        """Return whether the state is to be saved after so many optimizer steps (bool), to all processes the same."""
        is_time, self.signal = self.flag_reduce.exchange(self._time_due(), self.own_signal)
        outdated, self.time_was_sent = self.time_was_sent, False  # that it is time was told before the last saving
        return self.signal is not None or self._steps_due(steps) or (is_time and not outdated)

    def sync_signals(self):
        """Make what is known of signals the same for all processes."""
        _, self.signal = self.flag_reduce.exchange(False, self.own_signal)

    def mark_saved(self, steps):
        """Take note that the state after so many optimizer steps was saved."""
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
    """Return the Preemption that options (save_steps, save_minutes) ask for, of several processes a shared one."""
    if processes.count() == 1:
        return Preemption(args.save_steps, args.save_minutes)
    return SharedPreemption(args.save_steps, args.save_minutes, processes.AsyncFlagReduce())


def prepare_worker(_):
    """Let a worker process leave signals to the process that it works for: a DataLoader's worker_init_fn.

    Ctrl-C and batch systems reach all processes of a run at once. SIGTERM, by which the DataLoader itself ends its
    workers, ends this one too, but as if it were done: for another exit torch would raise an error in the middle of a
    step. When that process is killed, this one ends; torch's own check misses a process that is gone by the time the
    check begins.
    """
    guard_output()
    ignore_group_signals()
    signal.signal(signal.SIGTERM, _exit_worker)
    threading.Thread(target=_exit_with_parent, args=(multiprocessing.parent_process(),), daemon=True).start()


def _exit_with_parent(parent):
    """Wait until the process that this one works for has ended, and end this one."""
    parent.join()
    os._exit(0)


def _exit_worker(number, frame):
    os._exit(0)


def _raise_signal(number):
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
