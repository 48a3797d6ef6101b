"""Indices of trials: filled once, whoever starts at the same time, is killed or is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock, Timeout

from scripts.sweeping import study as studies
from scripts.sweeping.space import grid_points, parse_parameter

optuna = pytest.importorskip('optuna', reason='optuna is not installed: pip install -r requirements-extra.txt')


@pytest.fixture
def empty(tmp_path):
    """Return a Sweep of a grid of 6 points, and a function that opens its study as another worker would."""
    space = [parse_parameter('lr=0.1,0.2,0.3'), parse_parameter('batch_size=8,16')]
    grid = studies.Sweep('grid', tmp_path / 'runs', None, space, metric='val/acc', sampler='grid')
    return grid, lambda: studies.open_study(grid)


def test_each_point_of_a_grid_has_one_place(empty):
    grid, opened = empty
    one, other = opened(), opened()
    for study in (one, other, one):
        studies.enqueue_missing(study, grid)
    taken = []
    while trial := studies.take_trial(one if len(taken) % 2 else other, grid):
        taken.append({each.name: each.suggest(trial) for each in grid.parameters})
        assert trial.user_attrs['place'] == len(taken) - 1
    assert taken == grid_points(grid.parameters)


def test_places_that_two_workers_filled_at_once_are_taken_once(empty, monkeypatch):
    grid, opened = empty
    one = opened()
    monkeypatch.setattr(studies, 'trials_by_index', lambda trials: {})  # as if it had not seen what the other adds
    studies.enqueue_missing(opened(), grid)
    monkeypatch.undo()
    assert len(one.get_trials()) == 12
    places = []
    while trial := studies.take_trial(one, grid):
        places.append(trial.user_attrs['place'])
    assert places == list(range(6))
    assert [studies.trial_state(trial) for trial in one.get_trials()] == ['running'] * 6 + ['surplus'] * 6


def test_two_workers_that_ask_at_the_same_time_get_different_trials(empty, monkeypatch):
    """SQLite does not lock a row that is looked at, so that Optuna alone would give both the same one."""
    grid, opened = empty
    workers = [opened(), opened()]
    studies.enqueue_missing(workers[0], grid)
    ask, inside, waiting = workers[0].ask, threading.Event(), threading.Event()

    class NotedLock(FileLock):
        def acquire(self, *words, **options):
            if inside.is_set():
                waiting.set()
            return super().acquire(*words, **options)

    def ask_while_another_waits():
        inside.set()
        assert waiting.wait(60), 'nobody waits for this one'
        with pytest.raises(Timeout):
            FileLock(grid.folder / studies.LOCK_FILE, timeout=0).acquire()
        return ask()

    monkeypatch.setattr(studies, 'FileLock', NotedLock)
    monkeypatch.setattr(workers[0], 'ask', ask_while_another_waits)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(studies.take_trial, workers[0], grid)
        assert inside.wait(60)
        second = pool.submit(studies.take_trial, workers[1], grid)
    assert [found.result().number for found in (first, second)] == [0, 1]


def test_of_two_that_wait_for_a_place_the_one_goes_on_that_has_a_run(empty):
    grid, opened = empty
    study = opened()
    study.enqueue_trial({'lr': '0.3', 'batch_size': '16'}, {'place': 0})
    trial = studies.take_trial(study, grid)
    values = {each.name: each.suggest(trial) for each in grid.parameters}
    trial.set_user_attr('run', 'somewhere')
    studies.tell_outcome(study, trial.number, state=optuna.trial.TrialState.FAIL)
    taken = []
    while trial := studies.take_trial(study, grid):
        taken.append((trial.user_attrs['place'], trial.user_attrs.get('run'), trial.number))
    assert taken[-1] == (0, 'somewhere', 7)
    assert studies.trial_values(study.get_trials()[7]) == values
    assert [place for place, _, _ in taken] == [1, 2, 3, 4, 5, 0]


def test_a_trial_whose_worker_is_gone_is_tried_again_with_its_values_and_its_run(empty, number_of_the_gone):
    grid, opened = empty
    study = opened()
    studies.enqueue_missing(study, grid)
    trial = studies.take_trial(study, grid)
    trial.set_user_attr('run', 'somewhere')
    trial.set_user_attr('worker', {'host': studies.host_name(), 'pid': number_of_the_gone})
    (lost,) = studies.LostTrialDetector().lost(study.get_trials())
    assert studies.tell_outcome(study, lost.number, state=optuna.trial.TrialState.FAIL)
    assert not studies.tell_outcome(study, lost.number, state=optuna.trial.TrialState.COMPLETE, values=1.0), (
        'it is told once'
    )
    studies.enqueue_missing(study, grid)
    again = studies.trials_by_index(study.get_trials())[0]
    assert (again.number, again.user_attrs['run'], studies.trial_values(again)) == (
        6,
        'somewhere',
        studies.trial_values(lost),
    )


def test_a_worker_elsewhere_is_gone_when_it_gives_no_sign_of_life(empty, monkeypatch):
    grid, opened = empty
    study = opened()
    studies.enqueue_missing(study, grid)
    trial = studies.take_trial(study, grid)
    trial.set_user_attr('worker', {'host': 'another', 'pid': 1})
    watch, clock = studies.LostTrialDetector(), [1000.0]
    monkeypatch.setattr(studies.time, 'monotonic', lambda: clock[0])
    for beat in (1, 2, 2):
        trial.set_user_attr('beat', beat)
        assert watch.lost(study.get_trials()) == []
        clock[0] += studies.HEARTBEAT_TIMEOUT_SECONDS - 1
    clock[0] += 2
    assert [each.number for each in watch.lost(study.get_trials())] == [trial.number]
    assert watch.lost(study.get_trials(), own=[trial.number]) == []
