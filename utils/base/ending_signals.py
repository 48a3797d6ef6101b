"""Which signals ask a process to end, and ending in order when one of them comes. Imports no torch.

Every signal that ends a process by default and can be caught counts, such as SIGHUP (a terminal that is closed),
SIGTERM, SIGUSR2, SIGXCPU (a limit of CPU time) and the real-time signals. One that is ignored, as SIGHUP under nohup,
stays ignored; one that other code handles stays with that code.
"""

import contextlib
import signal
import threading
from pathlib import Path

from utils.base.regular_files import read_regular_text

# They end no process, or cannot be caught, or tell of an error of the process itself, which it cannot go on from.
NON_ENDING_SIGNALS = {
    *('SIGCHLD', 'SIGCLD', 'SIGCONT', 'SIGURG', 'SIGWINCH', 'SIGINFO'),
    *('SIGSTOP', 'SIGTSTP', 'SIGTTIN', 'SIGTTOU', 'SIGKILL'),
    *('SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGSEGV', 'SIGSYS', 'SIGEMT'),
}
ENDING_SIGNALS = sorted(
    signal.valid_signals() - {getattr(signal, name) for name in NON_ENDING_SIGNALS if hasattr(signal, name)}
)
# Ctrl-C, kill and batch systems, and the warning that some of those send before: taken whoever handles them else.
ALWAYS_HANDLED_SIGNALS = {getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGUSR1') if hasattr(signal, name)}
TERMINAL_SIGNALS = {getattr(signal, name) for name in ('SIGINT', 'SIGHUP', 'SIGQUIT') if hasattr(signal, name)}
IMMEDIATE_SIGNALS = {
    getattr(signal, name) for name in ('SIGINT', 'SIGQUIT', 'SIGBREAK') if hasattr(signal, name)
}  # the second


_handlers = {}  # signals that `handling` handles now, with their handlers


class EndedBySignal(KeyboardInterrupt):
    """A signal has asked the process to end; treated as Ctrl-C is.

    Attributes:
        number: of the signal (int).
    """

    def __init__(self, number):
        super().__init__(signal_name(number))
        self.number = number


def signal_name(number):
    """Return the name of a signal (str): 'SIGHUP', of a real-time signal 'signal 40'."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'


def free_signals():
    """Return those of ENDING (list of int) that are at their default, or handled by `handling`."""
    caught = _caught()
    return [
        number
        for number in ENDING_SIGNALS
        if _is_free(number, signal.getsignal(number), bool(caught >> (number - 1) & 1))
    ]


def _is_free(number, handler, is_caught):
    if number == signal.SIGINT and handler is signal.default_int_handler:
        return True
    return handler == _handlers.get(number) if number in _handlers else handler is signal.SIG_DFL and not is_caught


def _caught():
    """Return the signals that have a handler (int, bit n - 1 of signal n), also of a C library; 0 if not known."""
    status = Path('/proc/self/status')
    lines = read_regular_text(status, errors='replace').splitlines() if status.exists() else []
    return next((int(line.split()[1], 16) for line in lines if line.startswith('SigCgt:')), 0)


@contextlib.contextmanager
def handle_signals(numbers, handler):
    """Let `handler(number, frame)` handle signals in the body of the `with`; outside of the main thread do nothing."""
    if threading.current_thread() is not threading.main_thread():  # Python gives signals to the main thread alone
        yield
        return
    before = {number: (signal.signal(number, handler), _handlers.get(number)) for number in numbers}
    _handlers.update(dict.fromkeys(numbers, handler))
    try:
        yield
    finally:
        for number, (former, own) in before.items():
            signal.signal(number, former)
            _handlers[number] = own
            if own is None:
                del _handlers[number]


def raise_on_signals():
    """Return a context in which a signal that asks for the end raises EndedBySignal, so that files are cleaned up.

    Ctrl-C stays KeyboardInterrupt.
    """
    return handle_signals([number for number in free_signals() if number != signal.SIGINT], _raise)


def _raise(number, frame):
    # A terminal that is closed sends SIGHUP itself, and its shell sends another one.
    for other, handler in _handlers.items():
        if handler is _raise:
            signal.signal(other, _pass)
    raise EndedBySignal(number)


def _pass(number, frame):
    """Do nothing: the process is ending already."""


def ignore_group_signals():
    """Ignore in a child process what asks a whole group to end: the parent ends the child, by SIGTERM or SIGKILL."""
    for number in {*free_signals(), *ALWAYS_HANDLED_SIGNALS}:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
