"""Kill a process at a random time in a given phase, and report the phase in which it was killed."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# closing: curves, files and locks at the end of training, and the end of the process.
PHASES = ('start', 'step', 'saving', 'validation', 'end test', 'closing')
WEIGHTS = {'start': 3, 'step': 4, 'saving': 5, 'validation': 6, 'end test': 3, 'closing': 2}
# Of file operations that a phase has about; where there are none only the time decides.
OPERATIONS = {'start': 40, 'saving': 40, 'end test': 40, 'closing': 6}
MIN_SECONDS = 1e-4
MAX_SECONDS = {'start': 1.5, 'step': 0.2, 'saving': 0.3, 'validation': 0.5, 'end test': 3.0, 'closing': 0.5}
FILE_OPERATIONS = ('open', 'os.rename', 'os.remove', 'os.mkdir', 'os.rmdir', 'os.link', 'os.truncate')


class Strike(NamedTuple):
    """When a process kills itself by SIGKILL: some time after a phase has begun, whatever it does by then.

    phase: one of PHASES.
    entry: from which beginning of the phase on is counted (int, the first is 1).
    operation: before which file operation of the phase (int, the first is 1), or None.
    seconds: after which time (float), where operation is None.
    """

    phase: str
    entry: int
    operation: int | None
    seconds: float


def draw_strike(draw, phases, steps):
    """Return a Strike at a random moment.

    Args:
        draw: random.Random.
        phases: that are possible (list of str).
        steps: that are left about (int).
    """
    [phase] = draw.choices(phases, [WEIGHTS[phase] for phase in phases])
    entries = {'step': max(1, steps // 2), 'saving': 4, 'validation': 2, 'closing': 2}
    operation = draw.randint(1, OPERATIONS[phase]) if phase in OPERATIONS and draw.random() < 0.6 else None
    share = draw.random()
    seconds = MIN_SECONDS * (MAX_SECONDS[phase] / MIN_SECONDS) ** share
    return Strike(phase, draw.randint(1, entries.get(phase, 1)), operation, seconds)


class Phases:
    """Knows which phase this process is in, tells it to the driver in a file, and strikes.

    Args:
        path: of the file: the phase, and behind it whether a checkpoint is being written.
        strike: Strike, or None: this process is not killed by itself.
        folder: directory (Path) whose file operations count.
    """

    def __init__(self, path, strike, folder):
        self.strike, self.folder = strike, os.fspath(folder)
        self.file, self.process = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), os.getpid()
        self.entries, self.operations, self.is_armed, self.is_writing = Counter(), 0, False, False
        self.current = None
        if strike is not None and strike.operation is not None:
            sys.addaudithook(self._count)
        self.enter('start')

    def enter(self, phase):
        """Begin a phase."""
        if phase != self.current:
            self.current = phase
            self._tell()
        self._begin(phase)

    @contextmanager
    def within(self, phase):
        """Be in a phase during the body of the `with`."""
        before = self.current
        if before == phase:  # a function that calls another of the same phase
            yield
            return
        self.enter(phase)
        try:
            yield
        finally:
            self.current = before
            self._tell()

    @contextmanager
    def writing(self):
        """Note that a thread writes a checkpoint during the body of the `with`."""
        self.is_writing = True
        self._tell()
        try:
            yield
        finally:
            self.is_writing = False
            self._tell()

    def _tell(self):
        os.pwrite(self.file, f'{self.current:<12}{"writing" if self.is_writing else "":<8}'.encode(), 0)

    def _begin(self, phase):
        self.entries[phase] += 1
        if self.strike is None or phase != self.strike.phase or self.entries[phase] != self.strike.entry:
            return
        self.is_armed = True
        if self.strike.operation is None:
            threading.Thread(target=self._strike_later, daemon=True).start()

    def _strike_later(self):
        time.sleep(self.strike.seconds)
        os.kill(self.process, signal.SIGKILL)

    def _count(self, event, arguments):
        if not self.is_armed or event not in FILE_OPERATIONS or os.getpid() != self.process:
            return
        in_thread = threading.current_thread().name.startswith('checkpoints')
        if self.strike.phase != ('saving' if in_thread else self.current):
            return
        if not isinstance(arguments[0], str | os.PathLike) or not os.fspath(arguments[0]).startswith(self.folder):
            return
        self.operations += 1
        if self.operations == self.strike.operation:
            os.kill(self.process, signal.SIGKILL)


def phase_at_end(path):
    """Return the phase (str, one of PHASES) in which the process was, that wrote the file `path`, when it ended."""
    text = Path(path).read_text(encoding='utf-8') if Path(path).exists() else ''
    phase, is_writing = text[:12].strip() or 'start', 'writing' in text
    return 'saving' if is_writing and phase in ('step', 'validation') else phase


def note_phases(phases):
    """Let the parts of Danlu say when a phase of a run begins and ends; `phases`: Phases of this process."""
    from programs import best_epoch
    from utils.logger import Logger
    from utils.runs import async_writer

    def wrap(owner, name, context):
        original = getattr(owner, name)

        def wrapped(*args, **options):
            with context():
                return original(*args, **options)

        setattr(owner, name, wrapped)

    @contextmanager
    def closing():
        phases.enter('closing')
        yield

    wrap(async_writer, 'save_checkpoint', phases.writing)
    wrap(Logger, 'save_curves', lambda: phases.within('saving'))
    wrap(Logger, 'close', closing)
    for name in ('report_on', 'complete_test'):
        wrap(best_epoch, name, lambda: phases.within('end test'))
