"""Importing matplotlib, whatever backend the environment names. Pictures are drawn without pyplot, by Agg or as SVG."""

import contextlib
import os
import sys

VARIABLE = 'MPLBACKEND'


def import_matplotlib():
    """Return the package matplotlib.

    Importing it fails where MPLBACKEND names a backend that its version does not know, as in a command that was
    started from a notebook of another environment. The backend, which only pyplot uses, stays what MPLBACKEND names
    where matplotlib knows it, so that a notebook goes on to show the plots of its own code.
    """
    if 'matplotlib' in sys.modules or VARIABLE not in os.environ:
        import matplotlib

        return matplotlib
    backend = os.environ.pop(VARIABLE)
    try:
        import matplotlib
    finally:
        os.environ[VARIABLE] = backend
    with contextlib.suppress(ValueError):  # how matplotlib says that it does not know it
        matplotlib.rcParams['backend'] = backend
    return matplotlib
