"""The one exception for mistakes that the user can mend: it is shown as one line, without a traceback."""

import sys


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


def run_main(main, prog):
    """Call `main()` and exit: 0 when it returns, 2 with one line on stderr for a DanluError, 130 for Ctrl-C."""
    try:
        main()
    except DanluError as error:
        print(f'{prog}: error: {message_of(error)}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f'{prog}: interrupted', file=sys.stderr)
        sys.exit(130)  # as a shell reports a program ended by SIGINT
