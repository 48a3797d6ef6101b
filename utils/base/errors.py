"""DanluError, for errors that the user can fix, and `run_main`, which shows errors as one line without a traceback."""

import errno
import sys
import unicodedata

from utils.base.ending_signals import EndedBySignal, raise_on_signals
from utils.base.process_setup import use_utf8
from utils.base.regular_files import NotRegularError
from utils.base.streams import guard_output

MAX_LINE_CHARS = 4000
SIGPIPE_STATUS = 141  # the exit status that a shell reports for a program ended by SIGPIPE
# The error numbers of an OSError that are never caused by the program: no space, a read-only file system ...
MACHINE_ERRNOS = tuple(
    getattr(errno, name)
    for name in ('ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EIO', 'EMFILE', 'ENFILE', 'ESTALE')
    if hasattr(errno, name)  # Windows lacks some
)


class DanluError(Exception):
    """Invalid input: an option, list file, image or checkpoint.

    The message says what is wrong, where, and what to do next. `run_main` prints it as one line and exits with
    `status`: 2, as for a wrong option; subclasses for failures at run time have 1.
    """

    status = 2


def message_of(error):
    """Return the printable message of a DanluError (str), without the text that a DataLoader worker adds to it."""
    text = str(error)
    # torch re-raises a worker's exception with the worker's whole traceback as its message.
    marker = f'\n{DanluError.__module__}.{DanluError.__name__}: '
    if text.startswith('Caught ') and marker in text:
        text = text.rsplit(marker, 1)[1]
    return readable(text.strip())


def first_line(error):
    """Return the first line (str) of an exception's message, or its class name if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def readable(text):
    """Return text (str) that is safe to print.

    Control characters become '?', and lines are cut after MAX_LINE_CHARS characters.
    """
    lines = (
        ''.join(map(_visible, line[:MAX_LINE_CHARS])) + ' ...' * (len(line) > MAX_LINE_CHARS)
        for line in text.split('\n')
    )
    return '\n'.join(lines)


def _visible(char):
    return '?' if unicodedata.category(char) == 'Cc' and char != '\t' else char


def is_machine_error(error):
    """Return whether an OSError is never caused by the program (bool): no space, a pipe in place of a file ..."""
    return error.errno in MACHINE_ERRNOS or isinstance(error, NotRegularError)


def run_main(main, prog):
    """Return what `main()` returns, or exit: 2 with one line on stderr for a DanluError, 130 for Ctrl-C.

    The status is 1 for a failure of the machine, such as a file that cannot be written. Other signals that end a
    process raise in `main()` too, so that it cleans up; the exit status is then 128 plus the number of the signal, as a
    shell reports it. A closed terminal, a broken pipe and characters that the encoding lacks do not end the program:
    see utils.base.streams.
    """
    use_utf8()
    guard_output()
    try:
        with raise_on_signals():
            return main()
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
    """Return the remedy (str) of a utils.base.write_errors.WriteError whose message has none."""
    return f'; {error.remedy}' if getattr(error, 'fault', None) == str(error) else ''


def output_status(status):
    """Return the exit status (int) of a program whose result is its output: `status`, or 141 for a broken pipe.

    Raises:
        DanluError: the output could not be written, for example because the disk is full.
    """
    sys.stdout.flush()
    error = getattr(sys.stdout, 'error', None)
    if error is None:
        return status
    if isinstance(error, BrokenPipeError):
        return SIGPIPE_STATUS
    raise DanluError(f'the output cannot be written: {getattr(error, "strerror", None) or error}')
