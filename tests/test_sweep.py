"""scripts/sweep.py: what is searched, places that are filled once, trainings that are killed, pruned, failed, resumed.

Most tests use a stand-in for train.py, which leaves what a run leaves without importing torch; the last ones use it.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import sweep
from scripts.records.run import Run
from scripts.sweeping import study as studies
from scripts.sweeping import training as trainings
from scripts.sweeping import worker as workers
from scripts.sweeping.space import check_parameters, grid_of, parameter
from utils.errors import DanluError
from utils.registry import PROJECT

optuna = pytest.importorskip('optuna', reason='optuna is not installed: pip install -r requirements-extra.txt')

# Trains as many epochs as it is told, each of which is better, and saves where it was when it is asked to end.
STAND_IN = (
    f"""
import json, os, pathlib, signal, sys, time
sys.path.insert(0, {str(PROJECT)!r})
from utils.lock import RunLock
"""
    + """
options = {}
for word in sys.argv[1:]:
    name, equals, value = word.partition('=')
    if name.startswith('--'):
        last = name
        options[name] = value
    else:
        options[last] = word
resumed = options.get('--resume')
run = pathlib.Path(resumed or options['--model_dir'])
if not resumed:
    run.mkdir()
    (run / 'args.txt').write_text('# python train.py @args.txt\\n' + ''.join(f'{n}={v}\\n' for n, v in options.items()))
else:
    options = dict(line.split('=', 1) for line in (run / 'args.txt').read_text().splitlines()[1:])
lock = RunLock(run)
rate = float(options['--lr'])
log = open(run / 'log.txt', 'a')
if rate > 5:
    print(f'train.py: error: the loss is nan with {run}')
    sys.exit(2)
rows = (run / 'history.csv').read_text().splitlines() if resumed else ['epoch,val/acc,val/loss']
epochs = int(options['--epochs'])
print('resumed' if resumed else 'begun', file=log, flush=True)
def stop(*_):
    (run / 'last.pth').touch()
    print('stopped by SystemExit 143', file=log, flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
for epoch in range(len(rows), epochs + 1):
    time.sleep(float(os.environ.get('EPOCH_SECONDS', '0')))
    value = rate * epoch / epochs
    rows.append(f'{epoch},{value!r},{1 - value!r}')
    (run / 'partial').write_text('\\n'.join(rows) + '\\n')
    os.replace(run / 'partial', run / 'history.csv')
    print(f'epoch {epoch}', file=log, flush=True)
"""
)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Let sweeps of this process start the stand-in."""
    (tmp_path / 'project').mkdir()
    (tmp_path / 'project' / 'train.py').write_text(STAND_IN)
    monkeypatch.setattr(trainings, 'PROJECT', tmp_path / 'project')
    monkeypatch.setattr(workers, 'POLL', 0.03)
    monkeypatch.setattr(workers, 'LOOK', 0.1)


@pytest.fixture
def call(tmp_path):
    """Return a function: words of sweep.py -> exit status, what it printed (list of str), error."""

    def run(*words):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                status, error = sweep.main(['--checkpoints_dir', tmp_path / 'runs', *words]), None
            except DanluError as raised:
                status, error = 2, str(raised)
            except SystemExit as raised:
                status, error = raised.code, None
        return SimpleNamespace(status=status, lines=printed.getvalue().splitlines(), error=error)

    return run


def study_at(folder, name='sweep', url=None):
    """Return the study of a sweep (optuna.Study)."""
    return optuna.load_study(study_name=name, storage=url or f'sqlite:///{folder / "runs" / name / "sweep.db"}')


def by_place(study):
    """Return each place's trial, after checking that no result is there twice."""
    trials = study.get_trials()
    counted = [t.user_attrs['place'] for t in trials if studies.kind_of(t) in ('complete', 'pruned')]
    assert len(counted) == len(set(counted)), 'a place has two results'
    return studies.places_of(trials)


# --- what is searched


@pytest.mark.parametrize(
    ('word', 'values'),
    [
        ('lr=log:1e-4:1e-1/4', [1e-4, 1e-3, 1e-2, 1e-1]),
        ('batch_size=log:8:64/4', [8, 16, 32, 64]),
        ('batch-size=2:4', [2, 3, 4]),
        ('batch_size=16:70:16', [16, 32, 48, 64]),
        ('momentum=0:0.5:0.2', [0.0, 0.2, 0.4]),
        ('momentum=0.5:0.9/3', [0.5, 0.7, 0.9]),
        ('model_type=lenet,torchvision:resnet18', ['lenet', 'torchvision:resnet18']),
        ('model_args=hidden=8,16|width=3', ['hidden=8,16', 'width=3']),
        ('balance=on,off', ['on', 'off']),
    ],
)
def test_the_values_of_a_grid(word, values):
    assert parameter(word).grid() == values


def test_values_become_words_of_train_py():
    assert parameter('balance=on,off').words('off') == ['--no_balance']
    assert parameter('lr_steps=3 6,4').words('3 6') == ['--lr_steps', '3', '6']
    assert parameter('lr=0.1:1.0').words(0.25) == ['--lr=0.25']


def test_optuna_proposes_what_was_asked_for():
    names = {'lr': 'log:1e-4:1e-1', 'batch_size': 'log:8:64', 'momentum': '0:0.5:0.25', 'model_type': 'mlp,lenet'}
    space = [parameter(f'{name}={text}') for name, text in names.items()]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = []
    for _ in range(40):
        trial = study.ask()
        drawn.append({each.name: each.suggest(trial) for each in space})
    assert 5 < sum(each['lr'] < 1e-3 for each in drawn) < 25, 'evenly on a logarithmic scale'
    assert {type(each['batch_size']) for each in drawn} == {int}
    assert {each['momentum'] for each in drawn} == {0.0, 0.25, 0.5}
    assert {each['model_type'] for each in drawn} == {'mlp', 'lenet'}


TRIALS = ['--trials', '3', '--set', 'lr=log:1e-4:1e-1']


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ([], '--set: nothing is searched'),
        (['--set', 'lrr=1:2'], "--set lrr=1:2: unknown option 'lrr'; did you mean lr"),
        (['--set', 'lr'], 'is not NAME=VALUES'),
        (['--set', 'save_prefix=a,b'], 'is not searched'),
        (['--trials', '3', '--set', 'lr=0.1,fast'], "--set lr=0.1,fast: argument --lr: 'fast' is not a number"),
        (['--trials', '3', '--set', 'lr=-1.0:1.0'], '--set lr=-1.0:1.0: argument --lr: must be more than 0'),
        (['--trials', '3', '--set', 'lr=log:0:1'], 'a logarithmic range begins above 0'),
        (['--trials', '3', '--set', 'lr=2:1'], 'the range is empty'),
        (['--trials', '3', '--set', 'lr=log:1:2:1'], 'has no step'),
        (['--trials', '3', '--set', 'lr=log:a:b'], 'is not log:LOW:HIGH'),
        (['--trials', '3', '--set', 'lr=0.1,,0.2'], 'a value is empty or there twice'),
        (['--trials', '3', '--set', 'lr=0.1,0.2', 'lr=1:2'], '--set lr: is there twice'),
        (['--trials', '3', '--set', 'balance=1,0'], 'it is a flag: on,off'),
        (['--trials', '3', '--set', 'lr=0.1:0.2/3'], 'a number of points is for --sampler grid'),
        (['--sampler', 'grid', '--set', 'lr=0.1:0.2'], 'lr=0.1:0.2/5'),
        (['--sampler', 'grid', '--trials', '5', '--set', 'lr=0.1,0.2'], 'the grid has 2 points'),
        (['--set', 'lr=0.1,0.2'], '--trials: say how many'),
        ([*TRIALS, '--metric', 'val/accc'], "--metric: unknown metric 'accc'; did you mean"),
        ([*TRIALS, '--', '--lr', '0.1'], '--lr behind --: it is searched'),
        ([*TRIALS, '--', '--resume', 'auto'], '--resume behind --'),
        ([*TRIALS, '--', '--checkpoints_dir', 'x'], 'give it before --'),
        ([*TRIALS, '--', '--epochs', 'x'], "behind --: argument --epochs: 'x' is not a whole number"),
        ([*TRIALS, '--storage', 'nonsense'], '--storage: it is no URL'),
        (['--summary', '--name', 'nothing'], 'there is no sweep nothing'),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(call, tmp_path, words, said):
    done = call(*words)
    assert (done.status, done.lines) == (2, [])
    assert said in done.error
    assert not list((tmp_path / 'runs').glob('*/*'))


def test_an_option_of_train_py_before_the_dashes(call, capsys):
    assert call(*TRIALS, '--epochs', '3').status == 2
    assert '--epochs is an option of train.py: those stand behind --' in capsys.readouterr().err


def test_without_optuna_it_says_what_to_install(call, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    assert 'pip install' in call(*TRIALS).error


def test_direction_and_default_of_the_metric():
    def metric(*words, name=None):
        return sweep.metric_of(SimpleNamespace(metric=name), check_parameters([], list(words)))

    assert metric() == ('val/acc', 'max')
    assert metric(name='val/loss') == ('val/loss', 'min')
    assert metric('--monitor', 'train/loss') == ('train/loss', 'min')
    assert metric('--task', 'regression', '--data_type', 'array', '--train_list', __file__, '--val_list', __file__) == (
        'val/rmse',
        'min',
    )


# --- places


@pytest.fixture
def empty(tmp_path):
    """Return a Sweep of a grid of 6 points, and a function that opens its study as another worker would."""
    space = [parameter('lr=0.1,0.2,0.3'), parameter('batch_size=8,16')]
    grid = studies.Sweep('grid', tmp_path / 'runs', None, space, metric='val/acc', sampler='grid')
    return grid, lambda: studies.open_study(grid)


def test_each_point_of_a_grid_has_one_place(empty):
    grid, opened = empty
    one, other = opened(), opened()
    for study in (one, other, one):
        studies.fill(study, grid)
    taken = []
    while trial := studies.take(one if len(taken) % 2 else other, grid):
        taken.append({each.name: each.suggest(trial) for each in grid.parameters})
        assert trial.user_attrs['place'] == len(taken) - 1
    assert taken == grid_of(grid.parameters)


def test_places_that_two_workers_filled_at_once_are_taken_once(empty, monkeypatch):
    grid, opened = empty
    one = opened()
    monkeypatch.setattr(studies, 'places_of', lambda trials: {})  # as if it had not seen what the other adds
    studies.fill(opened(), grid)
    monkeypatch.undo()
    assert len(one.get_trials()) == 12
    places = []
    while trial := studies.take(one, grid):
        places.append(trial.user_attrs['place'])
    assert places == list(range(6))
    assert [studies.kind_of(trial) for trial in one.get_trials()] == ['running'] * 6 + ['surplus'] * 6


def test_of_two_that_wait_for_a_place_the_one_goes_on_that_has_a_run(empty):
    grid, opened = empty
    study = opened()
    study.enqueue_trial({'lr': '0.3', 'batch_size': '16'}, {'place': 0})
    trial = studies.take(study, grid)
    values = {each.name: each.suggest(trial) for each in grid.parameters}
    trial.set_user_attr('run', 'somewhere')
    studies.finish(study, trial.number, state=optuna.trial.TrialState.FAIL)
    taken = []
    while trial := studies.take(study, grid):
        taken.append((trial.user_attrs['place'], trial.user_attrs.get('run'), trial.number))
    assert taken[-1] == (0, 'somewhere', 7)
    assert studies.values_of(study.get_trials()[7]) == values
    assert [place for place, _, _ in taken] == [1, 2, 3, 4, 5, 0]


def test_a_trial_whose_worker_is_gone_is_tried_again_with_its_values_and_its_run(empty):
    grid, opened = empty
    study = opened()
    studies.fill(study, grid)
    trial = studies.take(study, grid)
    trial.set_user_attr('run', 'somewhere')
    with subprocess.Popen([sys.executable, '-c', '']) as gone:
        pass
    trial.set_user_attr('worker', {'host': studies.host(), 'pid': gone.pid})
    (lost,) = studies.Watch().lost(study.get_trials())
    assert studies.finish(study, lost.number, state=optuna.trial.TrialState.FAIL)
    assert not studies.finish(study, lost.number, state=optuna.trial.TrialState.COMPLETE, values=1.0), 'it is told once'
    studies.fill(study, grid)
    again = studies.places_of(study.get_trials())[0]
    assert (again.number, again.user_attrs['run'], studies.values_of(again)) == (
        6,
        'somewhere',
        studies.values_of(lost),
    )


def test_a_worker_elsewhere_is_gone_when_it_gives_no_sign_of_life(empty, monkeypatch):
    grid, opened = empty
    study = opened()
    studies.fill(study, grid)
    trial = studies.take(study, grid)
    trial.set_user_attr('worker', {'host': 'another', 'pid': 1})
    watch, clock = studies.Watch(), [1000.0]
    monkeypatch.setattr(studies.time, 'monotonic', lambda: clock[0])
    for beat in (1, 2, 2):
        trial.set_user_attr('beat', beat)
        assert watch.lost(study.get_trials()) == []
        clock[0] += studies.GRACE - 1
    clock[0] += 2
    assert [each.number for each in watch.lost(study.get_trials())] == [trial.number]
    assert watch.lost(study.get_trials(), own=[trial.number]) == []


# --- trainings, by the stand-in


def test_trials_are_runs_and_the_best_ones_are_shown(stand_in, call, tmp_path):
    done = call('--sampler', 'grid', '--set', 'lr=0.1,0.3', 'batch_size=8,16', '--workers', '2', '--', '--epochs', '2')
    assert (done.status, done.error) == (0, None)
    trials = by_place(study_at(tmp_path))
    assert [trial.value for trial in trials.values()] == [0.1, 0.1, 0.3, 0.3]
    for place, trial in trials.items():
        run = Run(trial.user_attrs['run'])
        assert run.path == tmp_path / 'runs' / 'sweep' / f'trial_{place:04d}'
        assert run.notes[0].endswith(f'sweep sweep, trial {place}')
        assert (run.options['lr'], run.options['monitor']) == (str(trial.params['lr']), 'val/acc')
        assert trial.intermediate_values == {1: trial.value / 2, 2: trial.value}
    table = done.lines[done.lines.index('sweep sweep: 4 trials (4 complete), by val/acc (max)') :]
    assert table[1].split() == ['trial', 'val/acc', 'epoch', 'lr', 'batch_size', 'run']
    assert table[2].split()[:5] == ['2', '0.3000', '2/2', '0.3', '8']
    assert (tmp_path / 'runs' / 'sweep' / 'sweep.png').read_bytes().startswith(b'\x89PNG')
    assert not list((tmp_path / 'runs' / 'sweep').glob('*.txt')), 'what was printed is in log.txt'
    again = call('--summary')
    assert again.lines == table


def test_the_same_command_does_nothing_twice_and_more_trials_are_added(stand_in, call, tmp_path):
    words = ['--sampler', 'random', '--set', 'lr=0.1:0.9', '--', '--epochs', '1']
    call('--trials', '2', *words)
    first = [trial.params for trial in study_at(tmp_path).get_trials()]
    call('--trials', '2', *words)
    call('--trials', '4', *words)
    assert [trial.params for trial in study_at(tmp_path).get_trials()][:2] == first
    assert len(by_place(study_at(tmp_path))) == len(study_at(tmp_path).get_trials()) == 4
    call('--trials', '4', '--name', 'again', '--workers', '3', *words)
    drawn = [[trial.params for trial in by_place(study_at(tmp_path, n)).values()] for n in ('sweep', 'again')]
    assert drawn[0] == drawn[1], 'a random search is a function of seed and place'


def test_another_experiment_needs_another_name(stand_in, call):
    words = ['--trials', '1', '--set', 'lr=0.1:0.9', '--']
    assert call(*words, '--epochs', '1').status == 0
    done = call(*words, '--epochs', '2')
    assert 'the sweep sweep has something else for options of train.py: epochs=1, and not epochs=2' in done.error
    assert call(*words, '--epochs', '1', '--num_workers', '1').status == 0, 'which changes no result'


def test_a_failed_trial_is_told_and_the_others_go_on(stand_in, call, tmp_path):
    done = call('--sampler', 'grid', '--set', 'lr=9,0.2,8,0.3', '--', '--epochs', '1')
    assert done.status == 0
    kinds = {place: studies.kind_of(trial) for place, trial in by_place(study_at(tmp_path)).items()}
    assert kinds == {0: 'failed', 1: 'complete', 2: 'failed', 3: 'complete'}
    assert f'trial 0 failed: the loss is nan with {tmp_path / "runs/sweep/trial_0000"}' in done.lines
    assert any(line.startswith('failed: trial 0, 2: the loss is nan') for line in done.lines)
    assert (tmp_path / 'runs' / 'sweep' / 'trial_0000.txt').exists()


def test_where_all_fail_alike_it_stops_and_can_be_tried_again(stand_in, call, tmp_path):
    words = ['--sampler', 'grid', '--set', 'lr=6,7,8,9,0.5', '--', '--epochs', '1']
    done = call(*words)
    assert done.status == 2
    assert 'the first 3 trials failed in the same way: the loss is nan' in done.error
    (tmp_path / 'project' / 'train.py').write_text(STAND_IN.replace('rate > 5', 'rate > 50'))
    assert call(*words, '--summary').status == 2  # it stands behind --
    assert call('--retry_failed', *words).status == 0
    assert [trial.value for trial in by_place(study_at(tmp_path)).values()] == [6, 7, 8, 9, 0.5]


def test_a_metric_that_no_run_has_ends_the_trial_with_what_there_is(stand_in, call):
    done = call('--trials', '1', '--set', 'lr=0.1:0.9', '--metric', 'val/auroc', '--', '--epochs', '1')
    assert 'trial 0 failed: history.csv has no column val/auroc (there are: val/acc, val/loss)' in done.lines


def test_a_hopeless_trial_is_ended_and_pruned(stand_in, call, tmp_path, monkeypatch):
    monkeypatch.setenv('EPOCH_SECONDS', '0.1')
    words = ['--sampler', 'grid', '--pruner', 'median', '--set', 'lr=0.5,0.6,0.7,0.8,0.9,0.1', '--', '--epochs', '30']
    done = call('--workers', '5', *words)
    *others, last = by_place(study_at(tmp_path)).values()
    assert {studies.kind_of(trial) for trial in others} == {'complete'}
    assert studies.kind_of(last) == 'pruned'
    assert 3 <= last.last_step < 30
    run = Run(last.user_attrs['run'])
    assert (run.state, run.notes[-1].partition(' sweep ')[2]) == ('interrupted', 'sweep, trial 5, pruned')
    assert any(line.startswith('trial 5 pruned after epoch ') for line in done.lines)


def test_a_signal_lets_trainings_save_and_the_next_start_goes_on(stand_in, call, tmp_path, monkeypatch):
    monkeypatch.setenv('EPOCH_SECONDS', '0.1')
    words = ['--trials', '2', '--workers', '2', '--set', 'lr=0.1:0.9', '--', '--epochs', '40']
    begun = tmp_path / 'runs' / 'sweep' / 'trial_0001' / 'history.csv'
    code = (f'import os, time, pathlib\nwhile not pathlib.Path({str(begun)!r}).exists(): time.sleep(0.02)\n'
            f'os.kill({os.getpid()}, {int(signal.SIGTERM)})')  # fmt: skip
    with subprocess.Popen([sys.executable, '-c', code]):
        stopped = call(*words)
    assert stopped.status == 128 + signal.SIGTERM
    assert stopped.lines[-1] == 'the same command goes on with it'
    assert {studies.kind_of(trial) for trial in study_at(tmp_path).get_trials()} == {'lost'}
    monkeypatch.setenv('EPOCH_SECONDS', '0')
    done = call(*words)
    assert done.status == 0
    for place, trial in by_place(study_at(tmp_path)).items():
        assert f'trial {place} goes on: lr={trial.params["lr"]:.4g}' in done.lines
        assert trial.user_attrs['run'] == str(tmp_path / 'runs' / 'sweep' / f'trial_{place:04d}')
        assert sorted(trial.intermediate_values) == list(range(1, 41))
        assert Run(trial.user_attrs['run']).text('log.txt').count('resumed') == 1


@pytest.mark.parametrize('has_begun', [True, False])
def test_a_training_that_outlives_its_worker_is_waited_for(stand_in, call, tmp_path, monkeypatch, has_begun):
    if not (has_begun or Path('/proc/self/cmdline').exists()):
        pytest.skip('before it has the lock, it is known by /proc alone')
    monkeypatch.setenv('EPOCH_SECONDS', '0.03')
    words = ['--sampler', 'grid', '--set', 'lr=0.1,0.9', '--']
    args = sweep.sweep_parser().parse_args(['--checkpoints_dir', str(tmp_path / 'runs'), *words[:-1]])
    asked = sweep.sweep_of(args, ['--epochs', '40'])
    trial = studies.take(studies.open_study(asked), asked)
    for each in asked.parameters:
        each.suggest(trial)
    orphan = trainings.Training(asked, trial, None, None)
    with subprocess.Popen([sys.executable, '-c', '']) as gone:
        pass
    trial.set_user_attr('worker', {'host': studies.host(), 'pid': gone.pid})
    if has_begun:
        wait_for((orphan.directory / 'history.csv').exists, orphan.process)
    done = call('--workers', '2', *words, '--epochs', '40')
    assert orphan.process.wait(timeout=60) == 0
    assert (done.status, done.lines[1]) == (0, 'trial 0: its worker is gone')
    assert 'trial 0 still runs: lr=0.1' in done.lines
    assert [each.value for each in by_place(study_at(tmp_path)).values()] == [0.1, 0.9]
    assert Run(orphan.directory).text('log.txt').count('begun') == 1
    assert not (orphan.directory.parent / 'trial_0000_2').exists()


@pytest.mark.parametrize('patience', [600, 0])
def test_a_storage_that_does_not_answer_is_tried_again(stand_in, call, tmp_path, monkeypatch, patience):
    from sqlalchemy.exc import OperationalError

    own, failures = workers.finish, iter(range(2 if patience else 10**6))

    def failing(*words, **options):
        if next(failures, None) is not None:
            raise OperationalError('select', {}, Exception('no connection'))
        return own(*words, **options)

    monkeypatch.setattr(workers, 'finish', failing)
    monkeypatch.setattr(workers, 'RETRY', 0.02)
    monkeypatch.setattr(workers, 'OUTAGE', patience)
    words = ['--sampler', 'grid', '--set', 'lr=0.1,0.2', '--', '--epochs', '1']
    done = call(*words)
    assert 'the storage does not answer (no connection); the trainings go on, and it is tried again' in done.lines
    if not patience:
        assert (done.status, 'the storage has not answered for' in done.error) == (2, True)
        monkeypatch.undo()
        monkeypatch.setattr(trainings, 'PROJECT', tmp_path / 'project')
        assert call(*words).status == 0
    assert [trial.value for trial in by_place(study_at(tmp_path)).values()] == [0.1, 0.2]
    assert len(list((tmp_path / 'runs' / 'sweep').glob('trial_*'))) == 2, 'what was trained is not trained again'


def test_each_gpu_has_one_trial_at_a_time(stand_in, call, tmp_path):
    script = tmp_path / 'project' / 'train.py'
    seen = "\n(run / 'seen.txt').write_text(os.environ['CUDA_VISIBLE_DEVICES'] + ' ' + options['--device'])\n"
    script.write_text(STAND_IN.replace('\nrate =', seen + 'rate ='))
    assert call('--trials', '4', '--gpus', '0,MIG-x', '--set', 'lr=0.1:0.9', '--', '--epochs', '1').status == 0
    found = {path.read_text() for path in (tmp_path / 'runs' / 'sweep').glob('*/seen.txt')}
    assert found == {'0 cuda', 'MIG-x cuda'}


# --- the real thing


def started(tmp_path, *words):
    """Start sweep.py in a process."""
    command = [
        sys.executable,
        str(PROJECT / 'scripts' / 'sweep.py'),
        '--checkpoints_dir',
        str(tmp_path / 'runs'),
        *words,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)


def wait_for(condition, process):
    """Wait until a function returns something, and return that."""
    until = time.monotonic() + 200
    while not (found := condition()):
        assert time.monotonic() < until and process.poll() is None, 'it never came'
        time.sleep(0.02)
    return found


def kill_in_a_run(process, folder):
    """SIGKILL a worker and its training when that has saved an epoch; return the run's directory."""

    def going():
        for lock in folder.glob('trial_*/lock'):
            with contextlib.suppress(OSError, ValueError):
                pid = json.loads(lock.read_text())['pid']
                mine = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1] == str(process.pid)
                if mine and (lock.parent / 'last.pth').exists():
                    return lock.parent, pid
        return None

    run, pid = wait_for(going, process)
    process.kill()
    os.kill(pid, signal.SIGKILL)
    process.communicate()
    return run


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='finds a process by /proc')
def test_twelve_trials_by_two_workers_one_of_which_is_killed(tmp_path):
    words = ['--trials', '12', '--set', 'lr=log:1e-3:1e-1', 'batch_size=32,64', '--name', 'many', '--',
             *'--epochs 3 --model_type mlp --no_report --device cpu'.split()]  # fmt: skip
    one, other = started(tmp_path, *words), started(tmp_path, *words)
    folder = tmp_path / 'runs' / 'many'
    killed = kill_in_a_run(one, folder)
    again = started(tmp_path, *words)
    said = [process.communicate(timeout=400)[0] for process in (other, again)]
    assert (other.returncode, again.returncode) == (0, 0), said
    trials = by_place(study_at(tmp_path, 'many'))
    assert [(place, studies.kind_of(trial)) for place, trial in trials.items()] == [(p, 'complete') for p in range(12)]
    assert sorted(path.name for path in folder.glob('trial_*')) == [f'trial_{place:04d}' for place in range(12)]
    for trial in trials.values():
        run = Run(trial.user_attrs['run'])
        assert (run.state, run.best['value'], run.done) == ('finished', trial.value, 3)
        assert float(run.options['lr']) == trial.params['lr']
    assert 'resumed after epoch' in (killed / 'log.txt').read_text()
    assert all('12 trials (12 complete), by val/acc (max)' in text for text in said)
    assert any(f'trial {int(killed.name[-4:])} goes on' in text for text in said)


@pytest.fixture
def postgres(tmp_path):
    """Start a PostgreSQL of one's own and return the URL of its database; skip where it is not installed."""
    pytest.importorskip('psycopg', reason="psycopg is not installed: pip install 'psycopg[binary]'")
    found = sorted(Path('/usr/lib/postgresql').glob('*/bin/pg_ctl')) + [
        Path(folder, 'pg_ctl') for folder in os.environ['PATH'].split(os.pathsep) if Path(folder, 'pg_ctl').exists()
    ]
    if not found:
        pytest.skip('PostgreSQL is not installed: apt-get install postgresql')
    programs, data = found[-1].parent, tmp_path / 'postgres'
    data.mkdir()
    as_user = []
    if os.geteuid() == 0:  # which PostgreSQL refuses
        as_user = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups']
        for folder in [data, *data.parents]:
            if folder.stat().st_uid == 0 and folder.is_relative_to(tmp_path.parents[2]):
                folder.chmod(0o755)
        subprocess.run(['chown', '-R', 'nobody:nogroup', str(data)], check=True)

    def run(*words):
        done = subprocess.run([*as_user, *map(str, words)], cwd=data, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run(programs / 'initdb', '--auth=trust', '--username=danlu', '--no-sync', '-D', data / 'db')
    # A socket's path may be 107 characters long, which that of a test's directory may exceed.
    options = f"-c listen_addresses='' -c fsync=off -k {data}"
    if len(str(data)) > 90:
        pytest.skip(f'{data} is too long for a socket')
    run(programs / 'pg_ctl', '--wait', '-D', data / 'db', '-l', data / 'log', '-o', options, 'start')
    yield f'postgresql+psycopg://danlu@/postgres?host={data}'
    run(programs / 'pg_ctl', '--wait', '--mode=immediate', '-D', data / 'db', 'stop')


def test_two_workers_share_a_study_in_postgresql(tmp_path, postgres):
    words = ['--trials', '3', '--storage', postgres, '--set', 'lr=log:1e-3:1e-1', 'model_type=mlp,lenet', '--',
             *'--epochs 1 --batch_size 256 --no_report --device cpu'.split()]  # fmt: skip
    both = [started(tmp_path, *words) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    trials = by_place(study_at(tmp_path, url=postgres))
    assert {place: studies.kind_of(trial) for place, trial in trials.items()} == dict.fromkeys(range(3), 'complete')
    assert {Run(trial.user_attrs['run']).state for trial in trials.values()} == {'finished'}
    assert not list((tmp_path / 'runs' / 'sweep').glob('*.db'))
