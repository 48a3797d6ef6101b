"""What a notebook's cell shows: a progress line that is drawn anew in place, curves, and the page of a test.

All of it is display data of IPython that is updated by its id, which Jupyter, VS Code and Colab show without widgets or
an extension. Elsewhere nothing is shown. Imports no torch, and IPython only where a kernel runs.
"""

import html
import sys
from pathlib import Path

from utils.base.regular_files import read_regular_bytes, read_regular_text

PROGRESS_LINES = {}  # number of the cell that runs -> the handle of its progress line
HEIGHT_PIXELS = 800  # of a page in a cell


def is_notebook():
    """Return whether this process is the kernel of a notebook (bool)."""
    if 'IPython' not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), 'kernel', None) is not None


def show_line(text):
    """Show a text (str) in place of what this function has shown in the same cell."""
    from IPython import get_ipython
    from IPython.display import display

    cell, content = get_ipython().execution_count, {'text/plain': text}
    if cell in PROGRESS_LINES:
        PROGRESS_LINES[cell].update(content, raw=True)
    elif text:
        PROGRESS_LINES.clear()
        PROGRESS_LINES[cell] = display(content, raw=True, display_id=True)


class CellCurves:
    """Shows a run's curves.png below the cell that trains.

    Args:
        live: whether the picture is drawn anew after each epoch (bool), also where there is no notebook: then it is
            the file alone.
    """

    def __init__(self, live=False):
        self.live, self.handle = live, None

    def epoch_ended(self, logger):
        """Draw and show the curves after an epoch, if they are live."""
        if self.live:
            logger.draw()
            self.show(logger)

    def show(self, logger):
        """Show the curves as they were drawn last.

        Args:
            logger: utils.logger.Logger of the run.
        """
        if not is_notebook() or not logger.history:
            return
        from IPython.display import Image, display

        picture = Image(data=read_regular_bytes(logger.directory / 'curves.png'), format='png')
        if self.handle is None:
            self.handle = display(picture, display_id=True)
        else:
            self.handle.update(picture)


class NotebookReport:
    """The page of a test: shown as the value of a notebook's cell, or by IPython.display.display.

    Args:
        path: of report.html (str or Path).
    """

    def __init__(self, path):
        self.path = Path(path)

    def __repr__(self):
        return f'report: {self.path}'

    def _repr_html_(self):
        """Return the page as a frame of its own (str): its styles and scripts do not mix with those of the notebook."""
        page = html.escape(read_regular_text(self.path), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="{HEIGHT_PIXELS}" style="border: 0"></iframe>'
