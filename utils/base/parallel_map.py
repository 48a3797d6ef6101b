"""Many short calls on all cores, in forked processes: in threads, Python would run them one after the other."""

import heapq
import multiprocessing
import os
import sys
import traceback

import torch

from utils.base.ending_signals import ignore_group_signals
from utils.base.errors import DanluError


def can_fork():
    """Return whether `parallel_call` works here: on macOS forked processes crash, Windows has none."""
    return sys.platform == 'linux' and not multiprocessing.current_process().daemon


def parallel_call(function, count, processes):
    """Call `function(index)` for 0 .. count-1 in that many processes; what it changes must be shared memory or a file.

    Yields:
        (index, message) for each call that raised DanluError, by index.

    Raises:
        DanluError: a process was killed.
        Exception: what else a call raised, at once.
    """
    context, started, receivers = multiprocessing.get_context('fork'), [], []
    try:
        for first in range(processes):
            receiver, sender = context.Pipe(duplex=False)
            indices = range(first, count, processes)
            process = context.Process(target=_work, args=(function, indices, sender, os.getpid()), daemon=True)
            process.start()
            sender.close()  # before the next fork, so that the process alone has it and its end is seen
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
            if os.getppid() != parent:  # it was killed
                return
            try:
                function(index)
            except DanluError as error:
                sender.send((index, str(error)))
        sender.send(None)
    except Exception as error:
        error.add_note(traceback.format_exc())  # which pickle leaves out
        sender.send(error)


def _received(receiver):
    while True:
        try:
            message = receiver.recv()
        except EOFError:
            raise DanluError('a process that decodes pictures was killed; was there too little memory?') from None
        if message is None:
            return
        if isinstance(message, Exception):
            raise message
        yield message
