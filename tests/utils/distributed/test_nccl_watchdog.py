"""The watchdog ends operations that wait for a failed process, and no others."""

import threading

import pytest

from utils.distributed.nccl_watchdog import NcclWatchdog


class Stuck:
    """A fake process that waits until it is freed."""

    def __init__(self, *answers):
        self.answers, self.freed, self.times = [*answers], threading.Event(), 0
        self.asked = threading.Semaphore(0)  # how often it was

    def has_failed(self):
        self.asked.release()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def free(self):
        self.times += 1
        self.freed.set()


@pytest.fixture
def watched():
    """Return a function that watches a Stuck: (process, grace in seconds) -> the NcclWatchdog."""
    started = []

    def watch(process, grace=0.01):
        started.append(NcclWatchdog(process.has_failed, process.free, every=0.01, grace=grace))
        started[-1].start()
        return started[-1]

    yield watch
    for release in started:
        release.stop()


def test_an_operation_that_waits_for_a_failed_process_is_ended_once(watched):
    process = Stuck(False, False, True)
    release = watched(process)
    assert process.freed.wait(60)
    release.join(60)
    assert not release.is_alive() and process.times == 1


def test_nobody_else_is(watched):
    process = Stuck(False)
    release = watched(process)
    assert all(process.asked.acquire(timeout=60) for _ in range(5))
    release.stop()
    assert process.times == 0 and not release.is_alive()


def test_nobody_is_when_nobody_knows_who_has_failed(watched):
    process = Stuck(RuntimeError('the store is gone'))
    release = watched(process)
    release.join(60)
    assert process.times == 0 and not release.is_alive()


def test_an_operation_that_ends_by_itself_is_left_alone(watched):
    process = Stuck(True)
    release = watched(process, grace=600)
    assert process.asked.acquire(timeout=60)
    release.stop()
    assert process.times == 0 and not release.is_alive()
