"""The one exception for mistakes that the user can mend: it is shown as one line, without a traceback."""

import errno
import os
import shlex
import sys
from contextlib import contextmanager

from utils.ending_signals import EndedBySignal, raising
from utils.startup import use_utf8
from utils.streams import guard_output

PIPE_CLOSED = 141  # as a shell reports a program ended by SIGPIPE
FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, 'EDQUOT', errno.ENOSPC))  # no space, or no more than so much allowed


class DanluError(Exception):
    """Bad input: a wrong option, list file, picture or checkpoint.

    The message says what is wrong, where, and what to do next. `run_main` prints it as one line and exits with 2.
    """


def message_of(error):
    """Return the message of a DanluError (str), freed from what a DataLoader worker wraps around it."""
    text = str(error)
    # torch re-raises a worker's exception with the worker's whole traceback as its message.
    marker = f'\n{DanluError.__module__}.{DanluError.__name__}: '
    if text.startswith('Caught ') and marker in text:
        text = text.rsplit(marker, 1)[1]
    return text.strip()


@contextmanager
def writing_into(directory):
    """Say in one line that there is no space left for what the body of the `with` writes into a run's directory."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        resumable = os.path.exists(os.path.join(directory, 'last.pth'))
        on = f'--resume {shlex.quote(str(directory))}' if resumable else 'start it again'
        raise DanluError(f'cannot write into {directory}: {error.strerror}; free some space, then {on}') from error


def run_main(main, prog):
    """Call `main()` and exit: 0 when it returns, 2 with one line on stderr for a DanluError, 130 for Ctrl-C.

    Other signals that ask for the end raise in `main()` too, so that it cleans up; then the exit status is 128 and the
    signal's number, as a shell reports a program that was ended by one. A terminal that is closed, a broken pipe and an
    encoding that lacks a character end nothing: see utils.streams.
    """
    use_utf8()
    guard_output()
    try:
        with raising():
            main()
    except DanluError as error:
        print(f'{prog}: error: {message_of(error)}', file=sys.stderr)
        sys.exit(2)
    except EndedBySignal as error:
        print(f'{prog}: ended by {error}', file=sys.stderr)
        sys.exit(128 + error.number)
    except KeyboardInterrupt:
        print(f'{prog}: interrupted', file=sys.stderr)
        sys.exit(130)  # as a shell reports a program ended by SIGINT


def status_of_output(status):
    """Return the exit status (int) of a program whose product is what it prints: `status`, or 141 for a broken pipe.

    Raises:
        DanluError: some of it could not be written, for want of space for example.
    """
    sys.stdout.flush()
    error = getattr(sys.stdout, 'error', None)
    if error is None:
        return status
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    raise DanluError(f'the output cannot be written: {getattr(error, "strerror", None) or error}')
