"""scripts/runs.py replay: the first steps of a run, repeated with the code and the data that are there now."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from options import train_args
from scripts import runs
from scripts.run_commands.replay import DIFFERS, SAME, first_difference, replay
from train import Trainer
from utils.base.errors import DanluError
from utils.base.registry import PROJECT
from utils.provenance.replay_log import (
    LATE_FILE,
    LATE_STEPS,
    REPLAY_FILE,
    REPLAY_STEPS,
    read_late_steps,
    read_replay_log,
)

LENET = 'model/lenet/lenet.py'
EQUAL = 'data, weights, optimizer, learning rates and losses'


@pytest.fixture
def table(tmp_path):
    """Return a .npz of features whose label is the largest of four."""
    features = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / 'table.npz', features=features, targets=features.argmax(1))
    return tmp_path / 'table.npz'


@pytest.fixture
def table_run(table, train_here, tmp_path):
    """Return the directory of a run over `table`: 8 batches per epoch, with dropout."""
    words = ['--data_type', 'array', '--train_list', table, '--val_list', table, '--model_type', 'mlp', '--epochs', 3]
    words += ['--batch_size', 8, '--model_args', 'dropout=0.2', '--checkpoints_dir', tmp_path / 'runs']
    return train_here(*words).directory


@pytest.fixture
def project(tmp_path):
    """Return a copy of the project that is a git repository with one commit, and a function that commits a change."""
    copy = tmp_path / 'project'
    left_out = shutil.ignore_patterns('.git', '.venv', '__pycache__', 'checkpoints', 'tests', 'docs', '.*_cache')
    shutil.copytree(PROJECT, copy, ignore=left_out)
    git(copy, 'init', '-q')

    def commit(name, old, new, message):
        path = copy / name
        text = path.read_text(encoding='utf-8')
        assert old in text
        path.write_text(text.replace(old, new), encoding='utf-8')
        git(copy, 'add', '-A')
        git(copy, '-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-qm', message)

    commit('README.md', '# Danlu', '# A copy of Danlu', 'begin')
    return copy, commit


def git(folder, *words, code=0):
    """Run git and return what it printed."""
    done = subprocess.run(['git', *words], check=False, cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_run_over_several_epochs_is_repeated_to_the_same_bits(table_run):
    conditions, steps = read_replay_log(table_run)
    assert [step['step'] for step in steps] == list(range(1, REPLAY_STEPS + 1))
    assert len({step['weights'] for step in steps}) == len({step['loss'] for step in steps}) == REPLAY_STEPS
    assert conditions['device'] == 'cpu' and not conditions['ready_made']
    assert {'optimizer', 'ema', 'lr', 'epoch', 'batch'} <= {*steps[0]} and steps[0]['ema'] is None
    assert replay(table_run, 20) == ([f'{EQUAL} of the first 20 steps are equal to those of the run'], SAME)


def test_a_replay_leaves_nothing_behind_and_changes_nothing(table_run, tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'temporary'))
    (tmp_path / 'temporary').mkdir()
    before = {path: path.read_bytes() for path in table_run.rglob('*') if path.is_file()}
    replay(table_run, 3)
    assert {path: path.read_bytes() for path in table_run.rglob('*') if path.is_file()} == before
    assert not list((tmp_path / 'temporary').iterdir())
    assert [path.name for path in table_run.parent.iterdir()] == [table_run.name]


def test_another_sample_is_a_difference_of_the_data_in_the_step_that_sees_it(table_run, table):
    with np.load(table) as arrays:
        features, targets = arrays['features'], arrays['targets']
    swapped = np.ascontiguousarray(features[::-1])
    np.savez(table, features=swapped, targets=targets[::-1])
    [line, *changed], status = replay(table_run, 20)
    assert status == DIFFERS and line.startswith('step 1 differs: the data')
    assert 'changed since the run: the training data' in changed


def test_what_led_to_other_weights_is_named(table_run):
    record = table_run / 'args.txt'
    text = record.read_text(encoding='utf-8')
    record.write_text(text.replace('--lr=0.001', '--lr=0.01'), encoding='utf-8')
    [line, note], status = replay(table_run, 20)
    assert status == DIFFERS
    assert line == 'step 1 differs: the learning rate is 0.01, was 0.001'
    assert note == 'no change of data, versions and code is known that explains it'
    record.write_text(text.replace('--weight_decay=0.0', '--weight_decay=0.1'), encoding='utf-8')
    [line, _], status = replay(table_run, 20)
    assert line.startswith('step 2 differs: step 1 led to other weights'), line
    record.write_text(text.replace('--seed=0', '--seed=1'), encoding='utf-8')
    assert replay(table_run, 20)[1] == DIFFERS


@pytest.mark.parametrize(
    ('now', 'close', 'said'),
    [
        ({'loss': 2.0}, None, None),
        ({'loss': 2.0000001}, None, 'step 1 differs: the loss is 2.0000001, was 2.0000000'),
        ({'loss': 2.0000001, 'weights': 9}, 1e-5, None),
        ({'loss': 2.1, 'weights': 9}, 1e-5, 'step 1 differs: the loss'),
        ({'loss': float('nan')}, None, 'step 1 differs: the loss is nan'),
        ({'loss': 2.0, 'weights': 9}, None, 'step 1 differs: the initial weights are not those of the run'),
        ({'loss': 2.1, 'weights': 9, 'data': 9}, None, 'step 1 differs: the data'),
    ],
)
def test_the_first_difference(now, close, said):
    then = {'step': 1, 'data': 1, 'weights': 2, 'loss': 2.0}
    found = first_difference([then], [then | now], close)
    assert found is None if said is None else found.startswith(said)
    assert first_difference([then, then | {'step': 2}], [then], close) == 'step 2 differs: the data ends after 1 step'


@pytest.mark.parametrize(
    ('now', 'said'),
    [
        (
            {'optimizer': 9},
            'step 2 differs: step 1 led to another optimizer state from the same data, weights and loss',
        ),
        ({'ema': 9}, 'step 2 differs: step 1 led to another EMA from the same data, weights and loss'),
        ({'lr': [0.1, 0.2]}, 'step 2 differs: the learning rate is 0.1, 0.2, was 0.1'),
        ({'lr': [0.1]}, 'step 2 differs: the learning rate is 0.1, was 0.1'),
    ],
)
def test_the_states_of_optimizer_ema_and_schedule_are_compared(now, said):
    then = {'step': 1, 'data': 1, 'weights': 2, 'optimizer': 3, 'ema': 4, 'lr': [0.1, 0.1], 'loss': 2.0}
    second = then | {'step': 2, 'epoch': 7, 'batch': 5}
    assert first_difference([then, second], [then, second], None) is None
    assert first_difference([then, second], [then, second | now], None) == said
    assert first_difference([then, then], [then, then | {'optimizer': 9, 'ema': 9}], 1e-3) is None
    older = {name: then[name] for name in ('step', 'data', 'weights', 'loss')}
    assert first_difference([older], [then], None) is None, 'an older version recorded less'
    named = first_difference([second], [second | {'loss': 3.0}], None, late=True)
    assert named.startswith('batch 5 of epoch 7 differs: the loss is 3.000, was 2.000')


def late_run(train_here, table, folder, *words):
    """Return the directory of a run of five epochs of 8 batches, with momentum, EMA and a schedule that turns late."""
    words = ['--data_type', 'array', '--train_list', table, '--val_list', table, '--model_type', 'mlp', '--epochs', 5,
             '--batch_size', 8, '--optimizer', 'sgd', '--lr', 0.1, '--momentum', 0.9, '--ema', 0.9, '--save_freq', 3,
             '--schedule', 'step', '--lr_steps', 3, '--checkpoints_dir', folder, *words]  # fmt: skip
    return train_here(*words).directory


def test_late_steps_are_repeated_from_the_nearest_kept_checkpoint(train_here, table, tmp_path):
    run = late_run(train_here, table, tmp_path / 'runs')
    late = read_late_steps(run)
    assert [(step['epoch'], step['batch'], step['step']) for step in late[:LATE_STEPS]] == [
        (4, 1, 1),
        (4, 2, 2),
        (4, 3, 3),
    ]
    assert late[0]['lr'] == pytest.approx([0.01]) and read_replay_log(run)[1][0]['lr'] == [0.1]
    before = {path: path.read_bytes() for path in run.rglob('*') if path.is_file()}
    lines, status = replay(run, 20, at=0.7)
    equal = (
        f'{EQUAL.replace("weights", "weights, EMA")} of the 3 steps after epoch_0003.pth are equal to those of the run'
    )
    assert (lines, status) == ([equal], SAME)
    assert {path: path.read_bytes() for path in run.rglob('*') if path.is_file()} == before
    steps = [json.loads(line) for line in (run / LATE_FILE).read_text().splitlines()]
    steps[1] |= {'optimizer': 1}
    (run / LATE_FILE).write_text(''.join(json.dumps(step) + '\n' for step in steps))
    lines, status = replay(run, 20, at=0.7)
    led = 'batch 2 of epoch 4 differs: batch 1 of epoch 4 led to another optimizer state'
    assert lines[0].startswith(led) and status == DIFFERS
    assert replay(run, 1, at=0.7)[1] == SAME
    assert replay(run, 20, at=0.0)[0][0].endswith('steps after epoch_0003.pth are equal to those of the run') is False
    (run / 'epoch_0003.pth').unlink()
    (run / 'last.prev.pth').unlink()
    with pytest.raises(DanluError, match=r'no recorded steps after a kept checkpoint \(last\.pth\); --save_freq keeps'):
        replay(run, 20, at=0.7)


def test_moved_lists_are_given(train_here, table, tmp_path):
    run = late_run(train_here, table, tmp_path / 'runs')
    moved = str(table.rename(tmp_path / 'moved.npz'))
    words = ['replay', run, '--steps', 2, '--train_list', moved, '--val_list', moved]
    assert runs.main(words[:4]) == 125
    assert runs.main(words) == runs.main([*words, '--at', 0.7]) == 0


def test_an_unknown_run_is_a_usage_error(tmp_path):
    with pytest.raises(DanluError, match="no run 'NOSUCH'") as error:
        runs.main(['replay', 'NOSUCH', '--checkpoints_dir', tmp_path])
    assert error.value.status == 2


def test_a_loss_that_was_nan_and_is_nan_is_the_same():
    step = {'step': 1, 'data': 1, 'weights': 2, 'loss': float('nan')}
    assert first_difference([step], [dict(step)], None) is None


def test_runs_that_cannot_be_repeated_by_their_options_are_refused(table_run, table, tmp_path):
    args = train_args(
        data_type='array',
        train_list=table,
        val_list=table,
        model_type='mlp',
        epochs=1,
        checkpoints_dir=tmp_path / 'own',
    )
    trainer = Trainer(args)
    own = Trainer(
        train_args(data_type='array', train_list=table, val_list=table, epochs=1, checkpoints_dir=tmp_path / 'own'),
        model=trainer.net,
    )
    trainer.close()
    own.train()
    with pytest.raises(DanluError, match='ready-made parts'):
        replay(own.args.model_dir, 5)
    (table_run / REPLAY_FILE).write_text('{"threads": 1', encoding='utf-8')
    with pytest.raises(DanluError, match='damaged'):
        replay(table_run, 5)
    (table_run / REPLAY_FILE).unlink()
    with pytest.raises(DanluError, match='has no first_steps'):
        replay(table_run, 5)


def test_a_run_of_several_processes_is_said_not_to_be_replayed(table_run):
    text = (table_run / REPLAY_FILE).read_text(encoding='utf-8')
    (table_run / REPLAY_FILE).write_text(text.replace('"processes": 1', '"processes": 2'), encoding='utf-8')
    with pytest.raises(DanluError, match='was made by 2 processes'):
        replay(table_run, 5)


def test_the_exit_status_is_what_git_bisect_takes(table_run, capsys):
    words = ['replay', table_run, '--checkpoints_dir', table_run.parent]
    assert runs.main([*words, '--steps', 2]) == 0
    assert capsys.readouterr().out == f'{EQUAL} of the first 2 steps are equal to those of the run\n'
    record = table_run / 'args.txt'
    text = record.read_text(encoding='utf-8')
    record.write_text(text.replace('--seed=0', '--seed=1'), encoding='utf-8')
    assert runs.main(words) == 1
    record.write_text(text.replace('--model_type=mlp', '--model_type=lenet'), encoding='utf-8')
    assert runs.main(words) == 125
    assert capsys.readouterr().err.count('cannot be replayed: ') == 1


@pytest.mark.slow('git bisect starts a new interpreter for each commit')
def test_git_bisect_finds_the_commit_that_changed_what_a_run_computes(project, tmp_path, train_here):
    train_here('--epochs', 1, '--max_steps', 3, '--checkpoints_dir', tmp_path / 'runs')
    [run] = (tmp_path / 'runs').iterdir()
    folder, commit = project
    commit('README.md', '# A copy', '# One copy', 'change the text')
    commit(LENET, 'ReLU', 'NoSuchLayer', 'break it')
    commit(LENET, 'NoSuchLayer', 'SiLU', 'mend it, with another activation')
    commit('README.md', '# One copy', '# A copy', 'change the text again')
    git(folder, 'bisect', 'start', 'HEAD', 'HEAD~4')
    said = git(folder, 'bisect', 'run', sys.executable, 'scripts/runs.py', 'replay', str(run), '--steps', '2', code=2)
    # The commit that cannot train cannot be told apart from the one after it, as git puts it.
    assert 'step 1 differs: the loss is' in said and 'for the same data and weights' in said
    suspects = git(folder, 'bisect', 'log')
    assert 'break it' in suspects and 'mend it, with another activation' in suspects
    assert '# only skipped commits left to test' in suspects
    assert json.loads((run / REPLAY_FILE).read_text().splitlines()[0])['threads'] >= 1
