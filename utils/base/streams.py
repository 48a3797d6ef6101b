"""stdout and stderr that cannot end a program: a terminal may be closed, a pipe broken, an encoding too small.

What cannot be encoded is written by its number, as Python's backslashreplace does. When a stream is gone (`| head` has
ended, the terminal was closed, the disk under `> out.txt` is full), what is written into it is dropped from then on and
the program goes on. Imports no torch.
"""

import contextlib
import os
import sys

STANDARD = (1, 2)  # descriptors of stdout and stderr
REPLACING_ERRORS = ('backslashreplace', 'replace', 'namereplace', 'xmlcharrefreplace', 'ignore')


class Output:
    """A text stream into which writing never fails; all else is as of the stream that it wraps.

    Args:
        stream: text stream.

    Attributes:
        error: what the first failure was (OSError or ValueError), or None: the stream works.
    """

    def __init__(self, stream):
        self._stream, self.error, self._descriptor = stream, None, None
        with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, or none of the system's files
            self._descriptor = stream.fileno()
            if stream.errors not in REPLACING_ERRORS:
                stream.reconfigure(errors='backslashreplace')

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __iter__(self):
        return iter(self._stream)

    def write(self, text):
        """Write a text (str) and return how many characters it has."""
        self._attempt(lambda: self._write(text))
        return len(text)

    def writelines(self, lines):
        """Write texts (iterable of str)."""
        for line in lines:
            self.write(line)

    def flush(self):
        """Hand what was written to the system."""
        self._attempt(self._stream.flush)

    def isatty(self):
        """Return whether the stream is a terminal that is still there (bool)."""
        with contextlib.suppress(OSError, ValueError):
            return self.error is None and self._stream.isatty()
        return False

    def _write(self, text):
        try:
            self._stream.write(text)
        except UnicodeEncodeError:  # of a stream without `reconfigure`
            encoding = self._stream.encoding or 'ascii'
            self._stream.write(text.encode(encoding, 'backslashreplace').decode(encoding))

    def _attempt(self, function):
        if self.error is not None:
            return
        try:
            # Who shares the terminal can make it so; then a write fails where the reader is slow.
            if self._descriptor is not None and os.name != 'nt' and not os.get_blocking(self._descriptor):
                os.set_blocking(self._descriptor, True)
            function()
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self.error = error
            self._silence()

    def _silence(self):
        """Let a standard stream lead nowhere, or what it still holds would fail once more at the interpreter's end."""
        with contextlib.suppress(OSError, ValueError):
            if self._descriptor in STANDARD:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._descriptor)
                os.close(nowhere)
                self._stream.flush()


def guard_output():
    """Let stdout and stderr be Outputs for the rest of the process."""
    for descriptor in (0, *STANDARD):  # one that is closed would be given to the next file that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when Python started
            stream = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115 (as long as the process)
        if not isinstance(stream, Output):
            setattr(sys, name, Output(stream))


@contextlib.contextmanager
def guarded_output():
    """Let stdout and stderr be Outputs in the body of the `with`."""
    before = sys.stdout, sys.stderr
    guard_output()
    guarded = sys.stdout, sys.stderr
    try:
        yield
    finally:
        if (sys.stdout, sys.stderr) == guarded:  # else the body has put others in their place
            sys.stdout, sys.stderr = before
