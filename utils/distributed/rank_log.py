"""What processes that are not the first have to say: in a file of the run, and on the terminal once."""

import sys
import warnings
from pathlib import Path

from utils.base.regular_files import open_regular
from utils.base.write_errors import wrap_write_errors


class RankLog:
    """stdout and stderr of a process that is not the first: log.rank<n>.txt of the run, made when there is a word.

    Until the run's directory is known what is written waits.

    Args:
        rank: of the process (int).
    """

    encoding = 'utf-8'

    def __init__(self, rank):
        self.rank, self.directory, self.waiting, self.file = rank, None, [], None

    def put_into(self, directory):
        """Write into a directory, that of the run, from now on."""
        self.directory = Path(directory)
        waiting, self.waiting = self.waiting, []
        for text in waiting:
            self.write(text)

    def write(self, text):
        """Write a text (str), as of a file."""
        if self.directory is None:
            self.waiting.append(text)
        elif text and (self.file or self.directory.is_dir()):  # or it is gone again, as nothing has begun in it
            with wrap_write_errors(self.directory / f'log.rank{self.rank}.txt'):
                self._append(text)
        return len(text)

    def _append(self, text):
        """Add a text to the file, which is opened with the first one."""
        if self.file is None:
            self.file = open_regular(self.directory / f'log.rank{self.rank}.txt', 'a', encoding='utf-8')
        self.file.write(text)
        self.file.flush()

    def flush(self):
        """Do nothing: what is written is in the file at once."""

    def isatty(self):
        """Return False: nobody is looking."""
        return False


def warn_once(terminal, is_new):
    """Show a warning that several processes have once on the terminal; each has it on its own stderr besides.

    Args:
        terminal: stream that a person sees.
        is_new: function(text) -> whether no other process has shown it (bool).
    """

    def show(message, category, filename, lineno, file=None, line=None):
        text = warnings.formatwarning(message, category, filename, lineno, line)
        if is_new(text):
            terminal.write(text)
            terminal.flush()
        if sys.stderr is not terminal:
            sys.stderr.write(text)

    warnings.showwarning = show
