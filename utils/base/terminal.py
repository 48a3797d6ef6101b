"""Whether somebody is looking: a terminal gets a bar and bold words; pipes, notebooks and CI jobs plain lines.

Imports no torch.
"""

import os
import sys

STYLES = {'bold': '1', 'green': '32'}  # SGR parameters of ECMA-48


def is_watched(stream):
    """Return whether what is drawn anew in place is seen so on a stream (bool): it is the terminal of a person.

    A terminal that is none: of a CI job, whose log keeps every state of a bar; of a command in a notebook's cell
    (`!python train.py`), which Jupyter gives a terminal and keeps likewise; of an editor that says it is dumb.
    """
    if not stream.isatty() or os.environ.get('TERM') == 'dumb':
        return False
    return not (is_ci(os.environ) or is_notebook_process(os.environ))


def is_ci(environ):
    """Return whether a process belongs to a CI job (bool), by the variable that all of them set."""
    return environ.get('CI', '').lower() not in ('', '0', 'false', 'no')


def is_notebook_process(environ):
    """Return whether a process is a notebook's kernel or was started by one (bool): it inherits what that sets."""
    return bool(environ.get('JPY_PARENT_PID')) or 'inline' in environ.get('MPLBACKEND', '')


def styled(text, *styles):
    """Return a text (str) for stdout in styles: 'bold', 'green'; as it is where nobody is looking or wants none.

    See https://no-color.org: any value of NO_COLOR but an empty one turns styles off.
    """
    if os.environ.get('NO_COLOR') or not is_watched(sys.stdout) or not _has_styles():
        return text
    return f'\x1b[{";".join(STYLES[style] for style in styles)}m{text}\x1b[0m'


def _has_styles():
    """Return whether the terminal knows styles (bool): Windows' old console has to be asked to, newer ones know."""
    return sys.platform != 'win32' or 'WT_SESSION' in os.environ or 'TERM' in os.environ
