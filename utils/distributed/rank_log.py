"""stdout and stderr of processes other than rank 0: a file of the run; warnings are shown on the terminal once."""

import sys
import warnings
from pathlib import Path

from utils.base.regular_files import open_regular
from utils.base.write_errors import wrap_write_errors


class RankLog:
    """stdout and stderr of a process other than rank 0: log.rank<n>.txt of the run, created by the first output.

    Output is kept until the run's directory is known.

    Args:
        rank: of the process (int).
    """

    encoding = 'utf-8'

    def __init__(self, rank):
        self.rank, self.directory, self.waiting, self.file = rank, None, [], None

    def put_into(self, directory):
        """Write to a directory, that of the run, from now on."""
        self.directory = Path(directory)
        waiting, self.waiting = self.waiting, []
        for text in waiting:
            self.write(text)

    def write(self, text):
        """Write a text (str) and return its length."""
        if self.directory is None:
            self.waiting.append(text)
        elif text and (self.file or self.directory.is_dir()):  # an unused directory may have been removed
            with wrap_write_errors(self.directory / f'log.rank{self.rank}.txt'):
                self._append(text)
        return len(text)

    def _append(self, text):
        """Append a text to the file, which is opened on first use."""
        if self.file is None:
            self.file = open_regular(self.directory / f'log.rank{self.rank}.txt', 'a', encoding='utf-8')
        self.file.write(text)
        self.file.flush()

    def flush(self):
        """Do nothing: writes are flushed."""

    def isatty(self):
        """Return False."""
        return False


def warn_once(terminal, is_new):
    """Show a warning of several processes once on the terminal; each process also writes it to its own stderr.

    Args:
        terminal: stream of the terminal.
        is_new: function(text) -> whether no other process has shown the warning (bool).
    """

    def show(message, category, filename, lineno, file=None, line=None):
        text = warnings.formatwarning(message, category, filename, lineno, line)
        if is_new(text):
            terminal.write(text)
            terminal.flush()
        if sys.stderr is not terminal:
            sys.stderr.write(text)

    warnings.showwarning = show
