"""The signals that end a process, and cleaning up when one arrives. Imports no torch.

These are all signals that end a process by default and can be caught, such as SIGHUP (the terminal was closed),
SIGTERM, SIGUSR2, SIGXCPU (a limit of CPU time) and the real-time signals. Ignored signals, such as SIGHUP under nohup,
stay ignored; signals that other code handles stay with that code.
"""

import contextlib
import signal
import threading
from pathlib import Path

from utils.base.regular_files import read_regular_text

# Signals that end no process, cannot be caught, or report a fatal error of the process itself.
NON_ENDING_SIGNALS = {
    *('SIGCHLD', 'SIGCLD', 'SIGCONT', 'SIGURG', 'SIGWINCH', 'SIGINFO'),
    *('SIGSTOP', 'SIGTSTP', 'SIGTTIN', 'SIGTTOU', 'SIGKILL'),
    *('SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGSEGV', 'SIGSYS', 'SIGEMT'),
}
ENDING_SIGNALS = sorted(
    signal.valid_signals() - {getattr(signal, name) for name in NON_ENDING_SIGNALS if hasattr(signal, name)}
)
# Ctrl-C, kill, batch systems and their early warning: handled even if other code handles them.
ALWAYS_HANDLED_SIGNALS = {getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGUSR1') if hasattr(signal, name)}
TERMINAL_SIGNALS = {getattr(signal, name) for name in ('SIGINT', 'SIGHUP', 'SIGQUIT') if hasattr(signal, name)}
# The second of these ends the process at once.
IMMEDIATE_SIGNALS = {getattr(signal, name) for name in ('SIGINT', 'SIGQUIT', 'SIGBREAK') if hasattr(signal, name)}


_handlers = {}  # signal -> its handler, inside `handle_signals`


class EndedBySignal(KeyboardInterrupt):
    """A signal has asked the process to end; a KeyboardInterrupt, so that it is treated like Ctrl-C.

    Attributes:
        number: of the signal (int).
    """

    def __init__(self, number):
        super().__init__(signal_name(number))
        self.number = number


def signal_name(number):
    """Return the name of a signal (str): 'SIGHUP', or 'signal 40' for a real-time signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'


def free_signals():
    """Return the ENDING_SIGNALS (list of int) that have their default handler or one of `handle_signals`."""
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
    """Return the signals with a handler, also one of a C library (int, bit n - 1 for signal n); 0 if unknown."""
    status = Path('/proc/self/status')
    lines = read_regular_text(status, errors='replace').splitlines() if status.exists() else []
    return next((int(line.split()[1], 16) for line in lines if line.startswith('SigCgt:')), 0)


@contextlib.contextmanager
def handle_signals(numbers, handler):
    """Handle signals by `handler(number, frame)` in the body of the `with`; does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():  # Python delivers signals to the main thread only
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
    """Return a context in which an ending signal raises EndedBySignal, so that files are cleaned up.

    Ctrl-C stays KeyboardInterrupt.
    """
    return handle_signals([number for number in free_signals() if number != signal.SIGINT], _raise)


def _raise(number, frame):
    # A closed terminal sends SIGHUP, and so does its shell.
    for other, handler in _handlers.items():
        if handler is _raise:
            signal.signal(other, _pass)
    raise EndedBySignal(number)


def _pass(number, frame):
    """Do nothing: the process is already ending."""


def ignore_group_signals():
    """Ignore in a child process the signals to a process group: the parent ends the child by SIGTERM or SIGKILL."""
    for number in {*free_signals(), *ALWAYS_HANDLED_SIGNALS}:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
