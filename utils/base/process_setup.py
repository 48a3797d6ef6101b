"""Settings to make before torch is imported. Imports nothing else of the project."""

import codecs
import ctypes
import importlib
import os
import platform
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

COMPILER = 'torch._dynamo'
RESTARTED_VARIABLE = 'DANLU_UTF8'  # environment variable that `use_utf8` sets in the restarted process
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt(3)


def use_utf8():
    """Restart this program in Python's UTF-8 mode if names of files would have to be ASCII.

    This happens with LC_ALL=C or POSIX if PYTHONUTF8=0 turns the UTF-8 mode off, which Python would enter by itself:
    paths with other characters could not be opened, and class names from the command line would be garbled. The process
    id, environment and signal handlers stay. Does nothing in a forked process.
    """
    is_ascii = codecs.lookup(sys.getfilesystemencoding()).name == 'ascii'
    forking = sys.modules.get('multiprocessing.process')
    if not is_ascii or RESTARTED_VARIABLE in os.environ or (forking and forking.parent_process() is not None):
        return
    os.environ.update({'PYTHONUTF8': '1', RESTARTED_VARIABLE: '1'})
    os.execv(sys.executable, [sys.executable, '-X', 'utf8=1', *sys.orig_argv[1:]])


def share_busy_cores():
    """Let idle threads sleep if the machine is already busy; return whether it is (bool).

    A thread that waits for the next operation spins for a while, which is fastest on free cores. On cores shared with
    another run, spinning takes time from the very thread that is waited for: on two cores beside two busy processes,
    LeNet trained 5 to 30 times as fast with sleeping threads. Results are bit-identical. An existing OMP_WAIT_POLICY
    takes precedence.
    """
    busy = hasattr(os, 'getloadavg') and os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1)
    if busy:
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # read by libgomp when torch loads it
    return busy


def keep_freed_memory():
    """Let this process reuse the memory that it frees; return whether this was possible (bool).

    glibc returns blocks of more than 32 MB to the system at once, and the pages of the next block are mapped and zeroed
    again: normalising a batch of photographs took four times as long, a step of a U-Net on the CPU a twentieth more.
    The peak memory of the process stays the same.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def postpone_compiler():
    """Load torch's compiler only on use, which halves the start-up time of a small run.

    Every torch.optim optimizer imports torch._dynamo, only to exclude functions from tracing. The import takes nearly
    as long as that of torch itself.
    """
    if COMPILER not in sys.modules:
        sys.modules[COMPILER] = _PostponedCompiler()


class _PostponedCompiler(ModuleType):
    """Stands for torch._dynamo until an attribute is used that needs the real module, which is then imported."""

    def __init__(self):
        super().__init__(COMPILER)
        self.__spec__ = ModuleSpec(COMPILER, None)
        self._untraced = []

    def graph_break(self):
        """Do nothing: nothing is traced before the real module is loaded."""

    def disable(self, function, recursive=True, *, wrapping=True):
        """Return the function; torch marks it with an attribute, which `__getattr__` removes later."""
        self._untraced.append(function)
        return function

    def __getattr__(self, name):
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
            for function in self._untraced:
                vars(function).pop('__dynamo_disable', None)
        return getattr(importlib.import_module(COMPILER), name)
