"""Calls in forked processes: which are made, their results, and killed processes."""

import mmap
import os
import signal
import subprocess
import sys
import time

import pytest

from utils.base.errors import DanluError
from utils.base.parallel_map import can_fork, parallel_call
from utils.base.registry import PROJECT

pytestmark = pytest.mark.skipif(not can_fork(), reason='needs Linux')


@pytest.mark.parametrize('processes', [1, 3, 8])
@pytest.mark.parametrize('count', [0, 1, 5, 100])
def test_every_call_is_made_once(processes, count):
    shared = mmap.mmap(-1, 4096)

    def call(index):
        shared[index] += 1
        shared[4000] = os.getpid() != parent

    parent = os.getpid()
    assert list(parallel_call(call, count, processes)) == []
    assert list(shared[:count]) == [1] * count
    assert shared[4000] == (count > 0)


def test_messages_come_in_the_order_of_the_calls():
    def call(index):
        if index % 7 < 3:
            raise DanluError(f'{index} ' + 'long ' * 100)  # more than a pipe holds, so that processes wait

    found = list(parallel_call(call, 2000, 4))
    assert [index for index, _ in found] == [index for index in range(2000) if index % 7 < 3]
    assert all(message == f'{index} ' + 'long ' * 100 for index, message in found)


def test_another_error_is_raised_here():
    shared = mmap.mmap(-1, 4096)

    def call(index):
        shared[index] = 1
        if index == 5:
            raise OSError(28, 'No space left on device')

    with pytest.raises(OSError, match='No space left') as error:
        list(parallel_call(call, 100, 1))
    assert error.value.errno == 28
    assert 'in call' in error.value.__notes__[0], 'where it was'
    assert list(shared[:100]) == [1] * 6 + [0] * 94, 'no call follows it'


def test_a_process_that_is_killed_is_noticed():
    def call(index):
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DanluError, match='a process that decodes images was killed; was there too little memory'):
        list(parallel_call(call, 100, 2))


def test_no_process_is_left_when_the_caller_stops():
    def call(index):
        if index == 0:
            raise DanluError(str(os.getpid()))
        time.sleep(600)

    calls = parallel_call(call, 2, 1)
    _, pid = next(calls)
    calls.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


SCRIPT = """
import os, time
from utils.base.parallel_map import parallel_call

def call(index):
    os.write(1, b'.')
    time.sleep(0.05)

list(parallel_call(call, 1_000_000, 2))
"""


def test_the_processes_end_when_their_parent_is_killed():
    parent = subprocess.Popen([sys.executable, '-c', SCRIPT], cwd=PROJECT, stdout=subprocess.PIPE)
    assert parent.stdout.read(4) == b'....'
    parent.kill()
    parent.communicate(timeout=300)  # reads until nobody holds the other end; all calls would take hours
