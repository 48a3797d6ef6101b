"""stdout and stderr that never raise: on a closed terminal, a broken pipe or characters that the encoding lacks.

Characters that cannot be encoded are written as escape sequences, as by Python's backslashreplace. After a stream fails
(`| head` has ended, the terminal was closed, the disk under `> out.txt` is full), further output to it is dropped and
the program continues. Imports no torch.
"""

import contextlib
import os
import sys

STANDARD = (1, 2)  # descriptors of stdout and stderr
REPLACING_ERRORS = ('backslashreplace', 'replace', 'namereplace', 'xmlcharrefreplace', 'ignore')


class Output:
    """A text stream whose writes never fail; all else is as in the wrapped stream.

    Args:
        stream: text stream.

    Attributes:
        error: the first failure (OSError or ValueError), or None.
    """

    def __init__(self, stream):
        self._stream, self.error, self._descriptor = stream, None, None
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or not a file of the system
            self._descriptor = stream.fileno()
            if stream.errors not in REPLACING_ERRORS:
                stream.reconfigure(errors='backslashreplace')

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __iter__(self):
        return iter(self._stream)

    def write(self, text):
        """Write a text (str) and return its number of characters."""
        self._attempt(lambda: self._write(text))
        return len(text)

    def writelines(self, lines):
        """Write texts (iterable of str)."""
        for line in lines:
            self.write(line)

    def flush(self):
        """Flush the stream."""
        self._attempt(self._stream.flush)

    def isatty(self):
        """Return whether the stream is a terminal that still exists (bool)."""
        with contextlib.suppress(OSError, ValueError):
            return self.error is None and self._stream.isatty()
        return False

    def _write(self, text):
        try:
            self._stream.write(text)
        except UnicodeEncodeError:  # a stream without `reconfigure`
            encoding = self._stream.encoding or 'ascii'
            self._stream.write(text.encode(encoding, 'backslashreplace').decode(encoding))

    def _attempt(self, function):
        if self.error is not None:
            return
        try:
            # Another user of the terminal can make it non-blocking; writes then fail if the reader is slow.
            if self._descriptor is not None and os.name != 'nt' and not os.get_blocking(self._descriptor):
                os.set_blocking(self._descriptor, True)
            function()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.error = error
            self._silence()

    def _silence(self):
        """Redirect a standard stream to os.devnull, or its buffered output would fail again at exit."""
        with contextlib.suppress(OSError, ValueError):
            if self._descriptor in STANDARD:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._descriptor)
                os.close(nowhere)
                self._stream.flush()


def guard_output():
    """Replace stdout and stderr by Outputs for the rest of the process."""
    for descriptor in (0, *STANDARD):  # a closed descriptor would be reused for the next opened file
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:  # closed when Python started
            stream = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115 (open until the process ends)
        if not isinstance(stream, Output):
            setattr(sys, name, Output(stream))


@contextlib.contextmanager
def guarded_output():
    """Replace stdout and stderr by Outputs in the body of the `with`."""
    before = sys.stdout, sys.stderr
    guard_output()
    guarded = sys.stdout, sys.stderr
    try:
        yield
    finally:
        if (sys.stdout, sys.stderr) == guarded:  # not if the body has replaced them
            sys.stdout, sys.stderr = before
