"""What is left to resume from where last.pth is damaged, missing, or of another run."""

import os
import shutil

import pytest
import torch

import train
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope='module')
def finished(train_here, tmp_path_factory):
    """Return the directory of a run of two epochs."""
    words = ['--epochs', 2, '--batch_size', 500, '--threads', 1]
    return train_here(*words, '--checkpoints_dir', tmp_path_factory.mktemp('finished')).directory


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of that run."""
    return shutil.copytree(finished, tmp_path / 'runs' / finished.name)


def damage(path):
    """Cut a file in half."""
    os.truncate(path, path.stat().st_size // 2)


def resume(run, *words):
    """Resume a run up to its third epoch."""
    train.main(['--resume', str(run), '--epochs', '3', '--no_report', '--device', 'cpu', *words])


def test_the_saving_before_is_kept(run):
    states = [load_checkpoint(run / name) for name in ('last.prev.pth', 'last.pth')]
    assert [state['epoch'] for state in states] == [1, 2]


def test_without_hard_links_it_is_kept_too(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr(os, 'link', refuse)
    for epoch in (1, 2, 3):
        save_checkpoint(tmp_path / 'last.pth', {'epoch': epoch})
    epochs = {path.name: load_checkpoint(path)['epoch'] for path in tmp_path.iterdir()}
    assert epochs == {'last.pth': 3, 'last.prev.pth': 2}


@pytest.mark.slow('a resumed run')
def test_a_damaged_last_pth_is_set_aside_and_never_becomes_the_previous_one(run, capsys):
    damage(run / 'last.pth')
    resume(run)
    said = capsys.readouterr().out
    assert 'resuming from last.prev.pth instead: ' in said
    assert 'the damaged last.pth is kept as last.damaged.pth' in said
    epochs = {name: load_checkpoint(run / name)['epoch'] for name in ('last.pth', 'last.prev.pth')}
    assert epochs == {'last.pth': 3, 'last.prev.pth': 2}
    with pytest.raises(DanluError):
        load_checkpoint(run / 'last.damaged.pth')


def test_with_nothing_to_resume_from_best_pth_is_named(run):
    damage(run / 'last.pth')
    damage(run / 'last.prev.pth')
    with pytest.raises(DanluError, match='no readable checkpoint') as error:
        resume(run)
    assert f'python eval.py --load_model_path {run}/best.pth' in str(error.value)
    assert f'@{run}/args.txt --load_model_path {run}/best.pth' in str(error.value)
    damage(run / 'best.pth')
    with pytest.raises(DanluError, match='no readable checkpoint') as error:
        resume(run)
    assert 'best.pth' not in str(error.value)


def test_last_pth_of_another_run_is_refused(run, train_here, tmp_path):
    words = ['--epochs', 1, '--batch_size', 500, '--threads', 1, '--seed', 5]
    other = train_here(*words, '--checkpoints_dir', tmp_path / 'others').directory
    shutil.copy(other / 'last.pth', run / 'last.pth')
    with pytest.raises(DanluError, match='belongs to another run'):
        resume(run)
    assert load_checkpoint(run / 'last.prev.pth')['epoch'] == 1, 'nothing is lost by it'
    with pytest.raises(DanluError, match='belongs to another run'):
        train_here('--resume', run / 'last.pth', '--as', 'copy', '--epochs', 5)
    assert not (run.parent / 'copy').exists()


def test_a_run_goes_on_under_another_name_and_keeps_its_id(run, tmp_path):
    moved = run.rename(tmp_path / 'moved')
    before = torch.load(moved / 'last.pth', weights_only=True)['record']['run']
    resume(moved)
    assert torch.load(moved / 'last.pth', weights_only=True)['record']['run'] == before
    assert len(before) == 32
