"""What a sweep searches, and what is wrong with a command: said before anything starts."""

import sys
from types import SimpleNamespace

import pytest

from scripts import sweep
from scripts.sweeping.space import check_parameters, parse_parameter

optuna = pytest.importorskip('optuna', reason='optuna is not installed: pip install -r requirements-extra.txt')


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
    assert parse_parameter(word).grid() == values


def test_values_become_words_of_train_py():
    assert parse_parameter('balance=on,off').words('off') == ['--no_balance']
    assert parse_parameter('lr_steps=3 6,4').words('3 6') == ['--lr_steps', '3', '6']
    assert parse_parameter('lr=0.1:1.0').words(0.25) == ['--lr=0.25']


def test_optuna_proposes_what_was_asked_for():
    names = {'lr': 'log:1e-4:1e-1', 'batch_size': 'log:8:64', 'momentum': '0:0.5:0.25', 'model_type': 'mlp,lenet'}
    space = [parse_parameter(f'{name}={text}') for name, text in names.items()]
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
        ([], '--set is missing'),
        (['--set', 'lrr=1:2'], "--set lrr=1:2: unknown option 'lrr'; did you mean lr"),
        (['--set', 'lr'], 'is not NAME=VALUES'),
        (['--set', 'save_prefix=a,b'], 'cannot be searched'),
        (['--trials', '3', '--set', 'lr=0.1,fast'], "--set lr=0.1,fast: argument --lr: 'fast' is not a number"),
        (['--trials', '3', '--set', 'lr=-1.0:1.0'], '--set lr=-1.0:1.0: argument --lr: must be more than 0'),
        (['--trials', '3', '--set', 'lr=log:0:1'], 'a logarithmic range must begin above 0'),
        (['--trials', '3', '--set', 'lr=2:1'], 'the range is empty'),
        (['--trials', '3', '--set', 'lr=log:1:2:1'], 'has no step'),
        (['--trials', '3', '--set', 'lr=log:a:b'], 'is not log:LOW:HIGH'),
        (['--trials', '3', '--set', 'lr=0.1,,0.2'], 'a value is empty or repeated'),
        (['--trials', '3', '--set', 'lr=0.1,0.2', 'lr=1:2'], '--set lr is given twice'),
        (['--trials', '3', '--set', 'balance=1,0'], 'the values of a flag are on,off'),
        (['--trials', '3', '--set', 'lr=0.1:0.2/3'], 'a number of points needs --sampler grid'),
        (['--sampler', 'grid', '--set', 'lr=0.1:0.2'], 'lr=0.1:0.2/5'),
        (['--sampler', 'grid', '--trials', '5', '--set', 'lr=0.1,0.2'], 'the grid has 2 points'),
        (['--set', 'lr=0.1,0.2'], '--trials is missing'),
        ([*TRIALS, '--metric', 'val/accc'], "--metric: unknown metric 'accc'; did you mean"),
        ([*TRIALS, '--', '--lr', '0.1'], '--lr after -- and --set lr exclude each other'),
        ([*TRIALS, '--', '--resume', 'auto'], '--resume after --'),
        ([*TRIALS, '--', '--checkpoints_dir', 'x'], 'give it before --'),
        ([*TRIALS, '--', '--epochs', 'x'], "after --: argument --epochs: 'x' is not a whole number"),
        ([*TRIALS, '--', '--summary'], 'after --: unknown option --summary'),
        ([*TRIALS, '--storage', 'nonsense'], '--storage is not the URL'),
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
    assert '--epochs is an option of train.py and belongs after --' in capsys.readouterr().err


def test_without_optuna_it_says_what_to_install(call, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    assert 'pip install' in call(*TRIALS).error


def test_the_directory_of_a_run_and_one_that_cannot_be_made(call, tmp_path):
    (tmp_path / 'runs' / 'lenet_exp').mkdir(parents=True)
    (tmp_path / 'runs' / 'lenet_exp' / 'args.txt').write_text('# python train.py @args.txt\n')
    assert 'is the directory of a run' in call(*TRIALS, '--name', 'lenet_exp').error
    (tmp_path / 'file').touch()
    done = call(*TRIALS, '--checkpoints_dir', tmp_path / 'file' / 'below')
    assert 'cannot create the directory' in done.error and '--checkpoints_dir' in done.error


def test_torchrun_is_refused(call, monkeypatch):
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '1')
    assert 'a sweep cannot run under torchrun' in call(*TRIALS).error


def test_direction_and_default_of_the_metric():
    def metric(*words, name=None):
        return sweep.metric_of(SimpleNamespace(metric=name), check_parameters([], list(words)))

    assert metric() == ('val/acc', 'max')
    assert metric(name='val/loss') == ('val/loss', 'min')
    assert metric('--monitor', 'train/loss') == ('train/loss', 'min')
    assert metric('--mode', 'min') == ('val/acc', 'min')
    assert metric('--task', 'regression', '--data_type', 'array', '--train_list', __file__, '--val_list', __file__) == (
        'val/rmse',
        'min',
    )
