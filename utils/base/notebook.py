"""Output in notebook cells: a progress line, curves, and the report of a test.

All output is IPython display data that is updated by its id, which Jupyter, VS Code and Colab show without widgets or
extensions. Without a notebook nothing is shown. Imports no torch, and IPython only inside a kernel.
"""

import html
import sys
from pathlib import Path

from utils.base.regular_files import read_regular_bytes, read_regular_text

PROGRESS_LINES = {}  # execution count of the running cell -> the display handle of its progress line
HEIGHT_PIXELS = 800  # of a report in a cell


def is_notebook():
    """Return whether this process is a notebook kernel (bool)."""
    if 'IPython' not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), 'kernel', None) is not None


def show_line(text):
    """Show a text (str) in place of the last text that this function showed in the same cell."""
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
        live: whether the curves are redrawn after each epoch (bool); without a notebook this updates only the file.
    """

    def __init__(self, live=False):
        self.live, self.handle = live, None

    def epoch_ended(self, logger):
        """Draw and show the curves after an epoch, if live is set."""
        if self.live:
            logger.draw()
            self.show(logger)

    def show(self, logger):
        """Show the newest curves.png.

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
    """The report of a test, shown as the value of a notebook cell or by IPython.display.display.

    Args:
        path: of report.html (str or Path).
    """

    def __init__(self, path):
        self.path = Path(path)

    def __repr__(self):
        return f'report: {self.path}'

    def _repr_html_(self):
        """Return the report in an iframe (str), which separates its styles and scripts from those of the notebook."""
        page = html.escape(read_regular_text(self.path), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="{HEIGHT_PIXELS}" style="border: 0"></iframe>'
