"""Worker processes of a run that is killed end, however early it is killed."""

import multiprocessing
import os
import select
import signal
import time

import pytest

from utils.training.preemption import prepare_worker


def work(end):
    """Be a worker process: what torch checks would never show this one that its parent has gone."""
    prepare_worker(0)
    os.write(end, b'ready')
    time.sleep(100)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a forked process')
def test_workers_exit_with_their_parent():
    context = multiprocessing.get_context('fork')
    begin, end = os.pipe()
    parent = os.fork()
    if not parent:
        for _ in range(2):  # of which the second has what the first one waits for
            context.Process(target=work, args=(end,)).start()
        signal.pause()
    os.close(end)
    seen = b''
    while seen.count(b'ready') < 2:
        seen += os.read(begin, 100)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert select.select([begin], [], [], 60)[0], 'the workers go on'
    assert os.read(begin, 1) == b'', 'closed by all'
    os.close(begin)
