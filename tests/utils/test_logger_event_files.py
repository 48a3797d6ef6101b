"""TensorBoard reads the event files of a run in the order in which they were made."""

from types import SimpleNamespace

import pytest

from utils.runs import tensorboard
from utils.runs.tensorboard import open_writer


@pytest.fixture
def clock(monkeypatch):
    """Stop the clock that `open_writer` sees; `now` is its time, `slept` lists what was waited for, in seconds."""
    clock = SimpleNamespace(now=2000.25, slept=[])

    def sleep(seconds):
        clock.slept.append(seconds)
        clock.now += seconds / 2  # it may return early: the clock decides

    monkeypatch.setattr(tensorboard, 'time', SimpleNamespace(time=lambda: clock.now, sleep=sleep))
    return clock


@pytest.mark.parametrize(
    'names',
    [
        [],
        ['events.out.tfevents.0000001999.host.17.0'],
        ['events.out.tfevents.0000002001.host.17.0'],  # another machine's clock is ahead
        ['events.out.tfevents.mine', 'log.txt'],
    ],
)
def test_a_file_of_a_new_second_is_opened_at_once(names, clock, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    open_writer(tmp_path).close()
    assert clock.slept == []


def test_after_a_file_of_the_same_second_the_next_one_is_waited_for(clock, tmp_path):
    for second in (1000, 2000):
        (tmp_path / f'events.out.tfevents.000000{second}.host.17.9').touch()
    open_writer(tmp_path).close()
    assert clock.now >= 2001
    assert clock.slept[0] == 0.75
    assert sum(clock.slept) < 2


def test_a_directory_that_is_missing_is_made(tmp_path):
    open_writer(tmp_path / 'steps', purge_step=7).close()
    [path] = (tmp_path / 'steps').iterdir()
    assert path.name.startswith('events.out.tfevents.')
