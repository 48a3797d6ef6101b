"""A process that waits for one that has failed is freed, any other one is left alone."""

import threading
import time

import pytest

from utils.release import Release


class Stuck:
    """A process as the watching thread sees it: it waits until it is freed."""

    def __init__(self, *answers):
        self.answers, self.freed, self.times = [*answers], threading.Event(), 0

    def has_failed(self):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def free(self):
        self.times += 1
        self.freed.set()


@pytest.fixture
def watched():
    """Return a function that watches a Stuck: (process, grace in seconds) -> the Release."""
    started = []

    def watch(process, grace=0.01):
        started.append(Release(process.has_failed, process.free, every=0.01, grace=grace))
        started[-1].start()
        return started[-1]

    yield watch
    for release in started:
        release.stop()


def test_what_waits_for_one_that_failed_is_freed_once(watched):
    process = Stuck(False, False, True)
    release = watched(process)
    assert process.freed.wait(10)
    release.join(10)
    assert not release.is_alive() and process.times == 1


@pytest.mark.parametrize('answer', [False, RuntimeError('the store is gone')])
def test_nobody_else_is(answer, watched):
    process = Stuck(answer)
    release = watched(process)
    time.sleep(0.2)
    release.stop()
    assert process.times == 0 and not release.is_alive()


def test_one_that_ends_by_itself_is_not(watched):
    process = Stuck(True)
    release = watched(process, grace=60)
    time.sleep(0.1)
    release.stop()
    assert process.times == 0 and not release.is_alive()
