"""Imports matplotlib under any MPLBACKEND. Figures are drawn without pyplot, by Agg or as SVG."""

import contextlib
import os
import sys

VARIABLE = 'MPLBACKEND'


def import_matplotlib():
    """Return the package matplotlib.

    The import fails if MPLBACKEND names a backend that this version does not know, for example in a command started
    from a notebook of another environment. The backend, which only pyplot uses, is set as MPLBACKEND says if matplotlib
    knows it, so that a notebook still shows its own plots.
    """
    if 'matplotlib' in sys.modules or VARIABLE not in os.environ:
        import matplotlib

        return matplotlib
    backend = os.environ.pop(VARIABLE)
    try:
        import matplotlib
    finally:
        os.environ[VARIABLE] = backend
    with contextlib.suppress(ValueError):  # matplotlib does not know the backend
        matplotlib.rcParams['backend'] = backend
    return matplotlib
