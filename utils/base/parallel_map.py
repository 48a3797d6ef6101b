"""Many short calls on all cores, in forked processes; threads would run them one after another.

concurrent.futures is not used: its forked workers wait for ever if their parent is killed.
"""

import heapq
import multiprocessing
import os
import sys
import traceback

import torch

from utils.base.ending_signals import ignore_group_signals
from utils.base.errors import DanluError


def can_fork():
    """Return whether `parallel_call` works here (bool): forked processes crash on macOS, and Windows has none."""
    return sys.platform == 'linux' and not multiprocessing.current_process().daemon


def parallel_call(function, count, processes):
    """Call `function(index)` for 0 .. count-1 in that many processes; its effects must be in shared memory or files.

    Yields:
        (index, message) for each call that raised DanluError, in the order of the indices.

    Raises:
        DanluError: a process was killed.
        Exception: any other exception of a call, at once.
    """
    context, started, receivers = multiprocessing.get_context('fork'), [], []
    try:
        for first in range(processes):
            receiver, sender = context.Pipe(duplex=False)
            indices = range(first, count, processes)
            process = context.Process(target=_work, args=(function, indices, sender, os.getpid()), daemon=True)
            process.start()
            sender.close()  # before the next fork: only this process may hold it, so that its end is noticed
            started.append(process)
            receivers.append(receiver)
        yield from heapq.merge(*map(_received, receivers))
    finally:
        for process in started:
            process.kill()
            process.join()


def _work(function, indices, sender, parent):
    ignore_group_signals()
    torch.set_num_threads(1)
    try:
        for index in indices:
            if os.getppid() != parent:  # the parent was killed
                return
            try:
                function(index)
            except DanluError as error:
                sender.send((index, str(error)))
        sender.send(None)
    except Exception as error:
        error.add_note(traceback.format_exc())  # pickle drops the traceback
        sender.send(error)


def _received(receiver):
    while True:
        try:
            message = receiver.recv()
        except EOFError:
            raise DanluError('a process that decodes images was killed; was there too little memory?') from None
        if message is None:
            return
        if isinstance(message, Exception):
            raise message
        yield message
