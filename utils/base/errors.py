"""The one exception for mistakes that the user can mend: it is shown as one line, without a traceback."""

import errno
import sys
import unicodedata

from utils.base.ending_signals import EndedBySignal, raise_on_signals
from utils.base.process_setup import use_utf8
from utils.base.regular_files import NotRegularError
from utils.base.streams import guard_output

MAX_LINE_CHARS = 4000  # characters of a message that are printed
SIGPIPE_STATUS = 141  # as a shell reports a program ended by SIGPIPE
# Reasons of an OSError that are never a fault of the program, whatever it did: no space, a read-only file system ...
MACHINE_ERRNOS = tuple(
    getattr(errno, name)
    for name in ('ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EIO', 'EMFILE', 'ENFILE', 'ESTALE')
    if hasattr(errno, name)  # Windows lacks some
)


class DanluError(Exception):
    """Bad input: a wrong option, list file, picture or checkpoint.

    The message says what is wrong, where, and what to do next. `run_main` prints it as one line and exits with
    `status`: 2, as for a wrong option; classes of failures while a program runs have 1.
    """

    status = 2


def message_of(error):
    """Return the message of a DanluError (str), freed from what a DataLoader worker wraps around it: see `readable`."""
    text = str(error)
    # torch re-raises a worker's exception with the worker's whole traceback as its message.
    marker = f'\n{DanluError.__module__}.{DanluError.__name__}: '
    if text.startswith('Caught ') and marker in text:
        text = text.rsplit(marker, 1)[1]
    return readable(text.strip())


def readable(text):
    """Return text (str) as it may be printed, whoever its names and values are from.

    Characters that would move the cursor become '?', and lines are cut after MAX_LINE characters.
    """
    lines = (
        ''.join(map(_visible, line[:MAX_LINE_CHARS])) + ' ...' * (len(line) > MAX_LINE_CHARS)
        for line in text.split('\n')
    )
    return '\n'.join(lines)


def _visible(char):
    return '?' if unicodedata.category(char) == 'Cc' and char != '\t' else char


def is_machine_error(error):
    """Return whether an OSError is never a fault of the program (bool): no space, a pipe in the place of a file ..."""
    return error.errno in MACHINE_ERRNOS or isinstance(error, NotRegularError)


def run_main(main, prog):
    """Call `main()` and exit: 0 when it returns, 2 with one line on stderr for a DanluError, 130 for Ctrl-C.

    The status is 1 for a failure of the machine, such as a file that cannot be written.
    Other signals that ask for the end raise in `main()` too, so that it cleans up; then the exit status is 128 and the
    signal's number, as a shell reports a program that was ended by one. A terminal that is closed, a broken pipe and an
    encoding that lacks a character end nothing: see utils.base.streams.
    """
    use_utf8()
    guard_output()
    try:
        with raise_on_signals():
            main()
    except DanluError as error:
        print(f'{prog}: error: {message_of(error)}{_advice(error)}', file=sys.stderr)
        sys.exit(error.status)
    except OSError as error:
        if not is_machine_error(error):
            raise
        place = '' if error.filename is None else f'{error.filename}: '
        print(f'{prog}: error: {place}{error.strerror}', file=sys.stderr)
        sys.exit(1)
    except EndedBySignal as error:
        print(f'{prog}: ended by {error}', file=sys.stderr)
        sys.exit(128 + error.number)
    except KeyboardInterrupt:
        print(f'{prog}: interrupted', file=sys.stderr)
        sys.exit(130)  # as a shell reports a program ended by SIGINT


def _advice(error):
    """Return what to do about a utils.base.write_errors.WriteError (str) whose message does not say so."""
    return f'; {error.remedy}' if getattr(error, 'fault', None) == str(error) else ''


def output_status(status):
    """Return the exit status (int) of a program whose product is what it prints: `status`, or 141 for a broken pipe.

    Raises:
        DanluError: some of it could not be written, for want of space for example.
    """
    sys.stdout.flush()
    error = getattr(sys.stdout, 'error', None)
    if error is None:
        return status
    if isinstance(error, BrokenPipeError):
        return SIGPIPE_STATUS
    raise DanluError(f'the output cannot be written: {getattr(error, "strerror", None) or error}')
