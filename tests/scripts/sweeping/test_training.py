"""Trainings of a sweep, by the stand-in: told, failed, pruned, stopped, gone on with, waited for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import sweep
from scripts.sweeping import study as studies
from scripts.sweeping import training as trainings
from scripts.sweeping import worker as workers
from utils.runs.run import Run

pytest.importorskip('optuna', reason='optuna is not installed: pip install -r requirements-extra.txt')


def test_trials_are_runs_and_the_best_ones_are_shown(stand_in, call, tmp_path, by_place):
    done = call('--sampler', 'grid', '--set', 'lr=0.1,0.3', 'batch_size=8,16', '--workers', '2', '--', '--epochs', '2')
    assert (done.status, done.error) == (0, None)
    trials = by_place()
    assert [trial.value for trial in trials.values()] == [0.1, 0.1, 0.3, 0.3]
    for place, trial in trials.items():
        run = Run(trial.user_attrs['run'])
        assert run.path == tmp_path / 'runs' / 'sweep' / f'trial_{place:04d}'
        assert run.notes[0].endswith(f'sweep sweep, trial {place}')
        assert (run.options['lr'], run.options['monitor']) == (str(trial.params['lr']), 'val/acc')
        assert trial.intermediate_values == {1: trial.value / 2, 2: trial.value}
    table = done.lines[done.lines.index('sweep sweep: 4 trials (4 complete), val/acc (max)') :]
    assert table[1].split() == ['trial', 'val/acc', 'epoch', 'lr', 'batch_size', 'run']
    assert table[2].split()[:5] == ['2', '0.3000', '2/2', '0.3', '8']
    for plot in ('sweep.png', 'sweep_parallel.png'):
        assert (tmp_path / 'runs' / 'sweep' / plot).read_bytes().startswith(b'\x89PNG')
    assert not list((tmp_path / 'runs' / 'sweep').glob('*.txt')), 'what was printed is in log.txt'
    again = call('--summary')
    assert again.lines == table


@pytest.mark.slow('two sweeps')
def test_the_same_command_does_nothing_twice_and_more_trials_are_added(stand_in, call, study_at, by_place):
    words = ['--sampler', 'random', '--set', 'lr=0.1:0.9', '--', '--epochs', '1']
    call('--trials', '2', *words)
    first = [trial.params for trial in study_at().get_trials()]
    call('--trials', '2', *words)
    call('--trials', '4', *words)
    assert [trial.params for trial in study_at().get_trials()][:2] == first
    assert len(by_place()) == len(study_at().get_trials()) == 4
    call('--trials', '4', '--name', 'again', '--workers', '3', *words)
    drawn = [[trial.params for trial in by_place(n).values()] for n in ('sweep', 'again')]
    assert drawn[0] == drawn[1], 'a random search is a function of seed and place'


def test_another_experiment_needs_another_name(stand_in, call):
    words = ['--trials', '1', '--set', 'lr=0.1:0.9', '--']
    assert call(*words, '--epochs', '1').status == 0
    done = call(*words, '--epochs', '2')
    assert 'the sweep sweep has another value for options of train.py: epochs=1, not epochs=2' in done.error
    assert call(*words, '--epochs', '1', '--num_workers', '1').status == 0, 'which changes no result'


def test_a_failed_trial_is_told_and_the_others_go_on(stand_in, call, tmp_path, by_place):
    done = call('--sampler', 'grid', '--set', 'lr=9,0.2,8,0.3', '--', '--epochs', '1')
    assert done.status == 0
    kinds = {place: studies.trial_state(trial) for place, trial in by_place().items()}
    assert kinds == {0: 'failed', 1: 'complete', 2: 'failed', 3: 'complete'}
    assert f'trial 0 failed: the loss is nan with {tmp_path / "runs/sweep/trial_0000"}' in done.lines
    assert any(line.startswith('failed: trial 0, 2: the loss is nan') for line in done.lines)
    assert (tmp_path / 'runs' / 'sweep' / 'trial_0000.txt').exists()


@pytest.mark.slow('two sweeps')
def test_where_all_fail_alike_it_stops_and_can_be_tried_again(stand_in, call, by_place):
    words = ['--sampler', 'grid', '--set', 'lr=6,7,8,9,0.5', '--', '--epochs', '1']
    done = call(*words)
    assert done.status == 2
    assert 'the first 3 trials failed in the same way: the loss is nan' in done.error
    stand_in.file.write_text(stand_in.file.read_text().replace('rate > 5', 'rate > 50'))
    assert call(*words, '--summary').status == 2  # it stands behind --
    assert call('--retry_failed', *words).status == 0
    assert [trial.value for trial in by_place().values()] == [6, 7, 8, 9, 0.5]


def test_a_metric_that_no_run_has_ends_the_trial_with_what_there_is(stand_in, call):
    done = call('--trials', '1', '--set', 'lr=0.1:0.9', '--metric', 'val/auroc', '--', '--epochs', '1')
    assert 'trial 0 failed: history.csv has no column val/auroc (available: val/acc, val/loss)' in done.lines


def test_a_hopeless_trial_is_ended_and_pruned(stand_in, call, by_place):
    stand_in.hold('0.1')
    words = ['--sampler', 'grid', '--pruner', 'median', '--set', 'lr=0.5,0.6,0.7,0.8,0.9,0.1', '--', '--epochs', '30']
    done = call('--workers', '5', *words)
    *others, last = by_place().values()
    assert {studies.trial_state(trial) for trial in others} == {'complete'}
    assert studies.trial_state(last) == 'pruned'
    assert 3 <= last.last_step < 30
    run = Run(last.user_attrs['run'])
    assert (run.state, run.notes[-1].partition(' sweep ')[2]) == ('interrupted', 'sweep, trial 5, pruned')
    assert any(line.startswith('trial 5 pruned after epoch ') for line in done.lines)


def test_a_signal_lets_trainings_save_and_the_next_start_goes_on(stand_in, call, tmp_path, study_at, by_place):
    gate = stand_in.hold('all')
    words = ['--trials', '2', '--workers', '2', '--set', 'lr=0.1:0.9', '--', '--epochs', '40']
    begun = [str(tmp_path / 'runs' / 'sweep' / f'trial_000{place}' / 'history.csv') for place in (0, 1)]
    code = (f'import os, time\nwhile not all(map(os.path.exists, {begun!r})): time.sleep(0.02)\n'
            f'os.kill({os.getpid()}, {int(signal.SIGTERM)})')  # fmt: skip
    with subprocess.Popen([sys.executable, '-c', code]):
        stopped = call(*words)
    assert stopped.status == 128 + signal.SIGTERM
    assert stopped.lines[-1] == 'to continue, repeat the command'
    assert {studies.trial_state(trial) for trial in study_at().get_trials()} == {'lost'}
    gate.touch()
    done = call(*words)
    assert done.status == 0
    for place, trial in by_place().items():
        assert f'trial {place} resumes: lr={trial.params["lr"]:.4g}' in done.lines
        assert trial.user_attrs['run'] == str(tmp_path / 'runs' / 'sweep' / f'trial_{place:04d}')
        assert sorted(trial.intermediate_values) == list(range(1, 41))
        assert Run(trial.user_attrs['run']).text('log.txt').count('resumed') == 1


@pytest.mark.slow('a sweep whose worker is killed')
@pytest.mark.parametrize('has_begun', [True, False])
def test_a_training_that_outlives_its_worker_is_waited_for(
    stand_in, call, tmp_path, has_begun, by_place, wait_for, number_of_the_gone
):
    if not (has_begun or Path('/proc/self/cmdline').exists()):
        pytest.skip('before it has the lock, it is known by /proc alone')
    stand_in.hold('0.1', until_taken=0)  # until it has been found that it still runs
    words = ['--sampler', 'grid', '--set', 'lr=0.1,0.9', '--']
    args = sweep.sweep_parser().parse_args(['--checkpoints_dir', str(tmp_path / 'runs'), *words[:-1]])
    asked = sweep.sweep_of(args, ['--epochs', '40'])
    trial = studies.take_trial(studies.open_study(asked), asked)
    for each in asked.parameters:
        each.suggest(trial)
    orphan = trainings.Training(asked, trial, None, None)
    trial.set_user_attr('worker', {'host': studies.host_name(), 'pid': number_of_the_gone})
    if has_begun:
        wait_for((orphan.directory / 'history.csv').exists, orphan.process)
    done = call('--workers', '2', *words, '--epochs', '40')
    assert orphan.process.wait(timeout=300) == 0
    assert (done.status, done.lines[1]) == (0, 'trial 0: its worker was lost')
    assert 'trial 0 is still running: lr=0.1' in done.lines
    assert [each.value for each in by_place().values()] == [0.1, 0.9]
    assert Run(orphan.directory).text('log.txt').count('begun') == 1
    assert not (orphan.directory.parent / 'trial_0000_2').exists()


@pytest.mark.slow('waits for a storage')
@pytest.mark.parametrize('patience', [600, 0])
def test_a_storage_that_does_not_answer_is_tried_again(stand_in, call, tmp_path, monkeypatch, patience, by_place):
    from sqlalchemy.exc import OperationalError

    own, failures = workers.tell_outcome, iter(range(2 if patience else 10**6))

    def failing(*words, **options):
        if next(failures, None) is not None:
            raise OperationalError('select', {}, Exception('no connection'))
        return own(*words, **options)

    monkeypatch.setattr(workers, 'tell_outcome', failing)
    monkeypatch.setattr(workers, 'STORAGE_RETRY_SECONDS', 0.02)
    monkeypatch.setattr(workers, 'STORAGE_TIMEOUT_SECONDS', patience)
    words = ['--sampler', 'grid', '--set', 'lr=0.1,0.2', '--', '--epochs', '1']
    done = call(*words)
    assert 'the storage does not answer (no connection); retrying, while the trainings continue' in done.lines
    if not patience:
        assert (done.status, 'the storage has not answered for' in done.error) == (2, True)
        monkeypatch.setattr(workers, 'tell_outcome', own)
        assert call(*words).status == 0
    assert [trial.value for trial in by_place().values()] == [0.1, 0.2]
    assert len(list((tmp_path / 'runs' / 'sweep').glob('trial_*'))) == 2, 'what was trained is not trained again'


@pytest.mark.slow('a sweep')
def test_each_gpu_has_one_trial_at_a_time(stand_in, call, tmp_path):
    seen = "\n(run / 'seen.txt').write_text(os.environ['CUDA_VISIBLE_DEVICES'] + ' ' + options['--device'])\n"
    stand_in.file.write_text(stand_in.file.read_text().replace('\nrate =', seen + 'rate ='))
    assert call('--trials', '4', '--gpus', '0,MIG-x', '--set', 'lr=0.1:0.9', '--', '--epochs', '1').status == 0
    found = {path.read_text() for path in (tmp_path / 'runs' / 'sweep').glob('*/seen.txt')}
    assert found == {'0 cuda', 'MIG-x cuda'}
