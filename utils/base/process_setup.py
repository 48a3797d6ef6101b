"""What has to be settled before torch is imported. Imports nothing else of the project."""

import codecs
import ctypes
import importlib
import os
import platform
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

COMPILER = 'torch._dynamo'
RESTARTED_VARIABLE = 'DANLU_UTF8'  # environment variable of a process that `use_utf8` has started anew
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt(3)


def use_utf8():
    """Start this program anew in Python's UTF-8 mode, where names of files would have to be ASCII.

    So it is with LC_ALL=C or POSIX if PYTHONUTF8=0 turns off that mode, which Python enters there by itself: a path
    with other characters could not be opened, and class names from the command line would be garbled. The process, its
    environment and its signal handlers stay. Does nothing in a process that another one has forked.
    """
    is_ascii = codecs.lookup(sys.getfilesystemencoding()).name == 'ascii'
    forking = sys.modules.get('multiprocessing.process')
    if not is_ascii or RESTARTED_VARIABLE in os.environ or (forking and forking.parent_process() is not None):
        return
    os.environ.update({'PYTHONUTF8': '1', RESTARTED_VARIABLE: '1'})
    os.execv(sys.executable, [sys.executable, '-X', 'utf8=1', *sys.orig_argv[1:]])


def share_busy_cores():
    """Let idle threads sleep when the machine is busy already; returns whether it is (bool).

    A thread that waits for the next operation spins for a while, which is fastest on free cores. On cores that another
    run shares, the spinning takes time from the very thread that is waited for: measured on two cores with two busy
    processes beside it, LeNet trained 5 to 30 times as fast with sleeping threads. The results are the same bits.
    An OMP_WAIT_POLICY that is set is left alone.
    """
    busy = hasattr(os, 'getloadavg') and os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1)
    if busy:
        os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # libgomp reads it when torch loads it
    return busy


def keep_freed_memory():
    """Let this process keep what it frees for what it needs next; returns whether that could be arranged (bool).

    glibc gives blocks of more than 32 MB back to the system at once and has every page of the next one mapped and wiped
    anew: normalising a batch of photographs took four times as long, a step of a U-Net on the CPU a twentieth more.
    The memory that a process holds at most stays the same.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def postpone_compiler():
    """Leave torch's compiler unloaded until something really uses it, which saves a small run half of its start.

    Every torch.optim optimizer imports torch._dynamo only to tell it what not to trace. Loading it takes nearly as long
    as torch itself.
    """
    if COMPILER not in sys.modules:
        sys.modules[COMPILER] = _PostponedCompiler()


class _PostponedCompiler(ModuleType):
    """Stands for torch._dynamo and knows how to do nothing; whatever else is asked of it loads the real one."""

    def __init__(self):
        super().__init__(COMPILER)
        self.__spec__ = ModuleSpec(COMPILER, None)
        self._untraced = []

    def graph_break(self):
        """Do nothing: nothing is being traced as long as the real module is not loaded."""

    def disable(self, function, recursive=True, *, wrapping=True):
        """Return a function as it is; torch keeps the answer in an attribute of it, which `__getattr__` takes away."""
        self._untraced.append(function)
        return function

    def __getattr__(self, name):
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]
            for function in self._untraced:
                vars(function).pop('__dynamo_disable', None)
        return getattr(importlib.import_module(COMPILER), name)
