"""Starts programs as a shell does, in processes forked from one that has imported torch and the project already.

Importing torch and the project takes seconds of each `python train.py`; a forked process needs hundredths. Everything
else is as in a new process: arguments, environment, working directory, standard streams, signal handlers, `__main__`.
What Python and its libraries read before the first line of a program runs is not (see `needs_new_interpreter`).
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver, reduction
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
PRELOADED = [
    *('train', 'eval', 'torch.utils.tensorboard', 'matplotlib.figure', 'matplotlib.backends.backend_agg'),
    *('torchmetrics.functional.classification', 'torch._dynamo'),  # of use to several processes
]
# Prefixes of variables that are read while Python starts or while libraries are loaded.
READ_AT_START = ('PYTHON', 'OMP_', 'MKL_', 'KMP_', 'LD_', 'LC_', 'LANG', 'MALLOC_', 'MPL', 'TORCH', 'CXX')
context = multiprocessing.get_context('forkserver')


def needs_new_interpreter(env):
    """Return whether a forked process would not take over some of these environment variables (bool)."""
    return any(name.startswith(READ_AT_START) and value != os.environ.get(name, '') for name, value in env.items())


def start_server():
    """Start the process that all programs of this process are forked from, unless there is one."""
    context.set_forkserver_preload([*PRELOADED, __name__, 'tests.warm_server'])
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = str(PROJECT)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ['PYTHONPATH']
        if before is not None:
            os.environ['PYTHONPATH'] = before


class Program:
    """A running Python program, with the part of subprocess.Popen's interface that the tests use.

    Args:
        script: path of the program, or -m, with the name of a module in `words`.
        words: its arguments; each is turned into str.
        env: whole environment (dict of str); None: that of this process.
        cwd: working directory; None: that of this process.
        stdout, stderr: file descriptors (int), or None: to be read from the attribute of that name.
        start_new_session: give the program a session, and so a process group, of its own.

    Attributes:
        args: the program and its arguments (list of str).
        pid, returncode: as of subprocess.Popen.
        stdout, stderr: text files, or None where a descriptor was given.
    """

    def __init__(self, script, words, *, env=None, cwd=None, stdout=None, stderr=None, start_new_session=False):
        start_server()
        self.args, self.returncode = [str(script), *map(str, words)], None
        environment = {name: os.fspath(value) for name, value in (os.environ if env is None else env).items()}
        self.stdout, out = _pipe() if stdout is None else (None, os.dup(stdout))
        self.stderr, err = _pipe() if stderr is None else (None, os.dup(stderr))
        given = (self.args, environment, str(cwd or Path.cwd()), start_new_session, _Descriptor(out), _Descriptor(err))
        try:
            self._process = context.Process(target=_run, args=given)
            self._process.start()
        finally:
            os.close(out)
            os.close(err)
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self.wait()

    def close(self):
        """Close the pipes."""
        for file in filter(None, (self.stdout, self.stderr)):
            file.close()

    def poll(self):
        """Return the exit status (int; of a signal minus its number), or None while the program runs."""
        self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout=None):
        """Wait for the end and return the exit status (int); TimeoutExpired after `timeout` seconds."""
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """Wait for the end and return what is left to read of stdout and stderr (str, None where not piped).

        Raises:
            subprocess.TimeoutExpired: the program, or one that it started, has a pipe open after `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        texts, readers = {}, []
        for name in ('stdout', 'stderr'):
            if file := getattr(self, name):
                reader = threading.Thread(target=lambda n=name, f=file: texts.update({n: f.read()}), daemon=True)
                reader.start()
                readers.append(reader)
        for reader in readers:
            reader.join(None if until is None else max(0, until - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(None if until is None else max(0, until - time.monotonic()))
        self.close()
        return texts.get('stdout'), texts.get('stderr')

    def send_signal(self, number):
        """Send a signal unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Send SIGKILL unless the program has ended."""
        self.send_signal(signal.SIGKILL)


def run_forked(command, *, cwd=None, env=None, **_):
    """Stand for subprocess.run(command, text=True, capture_output=True) of a command that begins with the Python."""
    assert command[0] == sys.executable
    program = Program(command[1], command[2:], cwd=cwd, env=env)
    stdout, stderr = program.communicate(timeout=900)
    return subprocess.CompletedProcess(command, program.returncode, stdout, stderr)


def _pipe():
    """Return a pipe's reading end (text file) and its writing end (descriptor)."""
    reading, writing = os.pipe()
    return os.fdopen(reading, encoding='utf-8', errors='backslashreplace'), writing


class _Descriptor:
    """A file descriptor that is another one of the same file in the process that unpickles it."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return _detached, (reduction.DupFd(self.number),)


def _detached(duplicate):
    return duplicate.detach()


def _run(words, environment, directory, new_session, stdout, stderr):
    """Be a new process that runs words[0]."""
    if new_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, source in enumerate((nothing, stdout, stderr)):
        os.dup2(source, number)
        os.close(source)
    sys.stdin = sys.__stdin__ = os.fdopen(0, encoding='utf-8', closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, 'w', encoding='utf-8', closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, 'w', encoding='utf-8', errors='backslashreplace', closefd=False)
    sys.stderr.reconfigure(line_buffering=True)
    sys.argv = words
    sys.orig_argv = [sys.executable, *words]
    folder = Path(words[0]).parent.resolve() if words[0] != '-m' else Path.cwd()
    sys.path[:] = [str(folder), *(path for path in sys.path if _is_pythons(path))]
    if not folder.is_relative_to(PROJECT) and any((path / 'train.py').exists() for path in (folder, *folder.parents)):
        _forget_project()  # a copy of the project, with other code
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    multiprocessing.set_start_method(None, force=True)
    np.random.seed()
    atexit._clear()
    try:
        if words[0] == '-m':
            del words[0]
            runpy.run_module(words[0], run_name='__main__', alter_sys=True)
        else:
            runpy.run_path(words[0], run_name='__main__')
    except SystemExit:
        raise
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None
    finally:
        atexit._run_exitfuncs()


def _forget_project():
    """Let modules of the project be imported anew, but not the packages of a virtual environment that lies in it."""
    for name, module in [*sys.modules.items()]:
        file = Path(getattr(module, '__file__', None) or '/')
        if file.is_relative_to(PROJECT) and not _is_pythons(file):
            del sys.modules[name]


def _is_pythons(path):
    """Return whether a directory of sys.path belongs to Python and its installed packages."""
    return any(Path(path).is_relative_to(prefix) for prefix in {sys.prefix, sys.base_prefix})
