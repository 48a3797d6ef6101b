"""Whether output is watched on a terminal, and styles. Pipes, notebooks and CI jobs get plain lines.

Imports no torch.
"""

import os
import sys

STYLES = {'bold': '1', 'green': '32'}  # SGR parameters of ECMA-48


def is_watched(stream):
    """Return whether a stream is the terminal of a person (bool), on which a bar can be redrawn in place.

    Not the terminals of CI jobs, whose log keeps every state of a bar, of commands in a notebook cell
    (`!python train.py`), where Jupyter keeps every state too, and of editors with TERM=dumb.
    """
    if not stream.isatty() or os.environ.get('TERM') == 'dumb':
        return False
    return not (is_ci(os.environ) or is_notebook_process(os.environ))


def is_ci(environ):
    """Return whether a process belongs to a CI job (bool), by the variable CI, which all of them set."""
    return environ.get('CI', '').lower() not in ('', '0', 'false', 'no')


def is_notebook_process(environ):
    """Return whether a process is a notebook kernel or was started by one (bool), by inherited variables."""
    return bool(environ.get('JPY_PARENT_PID')) or 'inline' in environ.get('MPLBACKEND', '')


def styled(text, *styles):
    """Return a text (str) for stdout in styles ('bold', 'green'); unchanged if it is not watched or NO_COLOR is set.

    See https://no-color.org: a non-empty value of NO_COLOR turns styles off.
    """
    if os.environ.get('NO_COLOR') or not is_watched(sys.stdout) or not _has_styles():
        return text
    return f'\x1b[{";".join(STYLES[style] for style in styles)}m{text}\x1b[0m'


def _has_styles():
    """Return whether the terminal shows styles (bool): Windows' old console does not by default."""
    return sys.platform != 'win32' or 'WT_SESSION' in os.environ or 'TERM' in os.environ
