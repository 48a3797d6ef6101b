"""--resume RUN/epoch_0002.pth --as NAME: a new run that goes on from a chosen checkpoint, the old one untouched."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from options import parse_train_args, train_args
from tests.train.helpers import Dropping, bits, computed, loader, snapshot
from train import Trainer
from utils.base.errors import DanluError
from utils.provenance.record import read_record
from utils.runs.checkpoint import load_checkpoint
from utils.training.run_copy import copy_run
from utils.training.session import RunSession

WORDS = ['--epochs', 4, '--save_freq', 1, '--schedule', 'step', '--lr_steps', 1, '--gamma', 0.5, '--lr', 0.004,
         '--num_workers', 0]  # fmt: skip


@pytest.fixture(scope='module')
def run(list_data, train_here, tmp_path_factory):
    """Return a run of four epochs, each with its checkpoint."""
    return train_here(*list_data, *WORDS, '--checkpoints_dir', tmp_path_factory.mktemp('copied'))


@pytest.fixture
def own(run, tmp_path):
    """Return a copy of `run` that a test may write into, by its name and in a directory of its own."""
    shutil.copytree(run.directory, tmp_path / run.directory.name)
    return SimpleNamespace(directory=tmp_path / run.directory.name)


def test_a_copy_ends_as_the_old_run_did_and_leaves_it_as_it_is(own, train_here, history_of, events_of):
    before = snapshot(own.directory)
    new = train_here('--resume', own.directory / 'epoch_0002.pth', '--as', 'again')
    assert snapshot(own.directory) == before
    assert new.directory == own.directory.parent / 'again'
    assert computed(history_of(new)) == computed(history_of(own))
    for name in ('last.pth', 'epoch_0004.pth'):
        states = [load_checkpoint(each.directory / name) for each in (own, new)]
        for part in ('model', 'optimizer', 'scheduler', 'rng', 'best'):
            assert bits(states[0][part]) == bits(states[1][part]), part
    assert 'resume verified: weights, data and loss of batch 1 of epoch 3' in new.stdout
    scalars = events_of(new).scalars['val/loss']
    assert [event.step for event in scalars] == [1, 2, 3, 4]
    assert f'a copy of {own.directory / "epoch_0002.pth"}' in (new.directory / 'log.txt').read_text()


@pytest.mark.slow('three runs')
def test_a_copy_is_a_run_of_its_own(own, train_here):
    new = train_here('--resume', own.directory / 'epoch_0003.pth', '--as', 'third')
    again = train_here('--resume', own.directory / 'epoch_0003.pth', '--as', 'third')
    assert again.directory.name == 'third_2'
    records = [read_record(each.directory) for each in (own, new, again)]
    assert len({record['run'] for record in records}) == 3
    longer = train_here('--resume', new.directory, '--epochs', 5)
    assert longer.directory == new.directory
    assert load_checkpoint(new.directory / 'last.pth')['record']['run'] == records[1]['run']
    written = json.loads((new.directory / 'record.json').read_text())
    assert written['copy_of'] == {'run': records[0]['run'], 'checkpoint': str(own.directory / 'epoch_0003.pth')}


@pytest.mark.slow('several copies of a run')
def test_options_that_are_safe_to_change_may_be_changed(own, train_here, history_of):
    new = train_here('--resume', own.directory / 'epoch_0002.pth', '--as', 'longer', '--epochs', 5)
    assert len(history_of(new)) == 5
    assert '# --as=longer' in (new.directory / 'args.txt').read_text()
    with pytest.raises(SystemExit):
        train_here('--resume', own.directory / 'epoch_0002.pth', '--as', 'other', '--lr', 1)
    assert not (own.directory.parent / 'other').exists()


def test_the_message_that_refuses_an_older_checkpoint_names_it(own):
    path = own.directory / 'epoch_0002.pth'
    with pytest.raises(DanluError, match=rf'in a new run: python train\.py --resume {path} --as NAME'):
        Trainer(train_args(resume=str(path), device='cpu'))


@pytest.mark.parametrize(
    ('name', 'words', 'reason'),
    [
        ('best.pth', [], 'best.pth is for testing, it holds no optimizer'),
        ('epoch_0004.pth', [], 'is finished, at epoch 4 of 4; to train longer, add --epochs 8'),
    ],
)
def test_what_cannot_go_on_is_refused_and_leaves_nothing(own, train_here, name, words, reason):
    with pytest.raises(DanluError, match=reason):
        train_here('--resume', own.directory / name, '--as', 'nothing', *words)
    assert not (own.directory.parent / 'nothing').exists()


def test_without_a_run_or_with_auto_it_is_refused(capsys, own):
    for words, reason in (
        (['--as', 'x'], 'argument --as: requires --resume'),
        (['--as', 'x', '--resume', 'auto'], 'argument --as: --resume auto goes on in the run itself'),
    ):
        with pytest.raises(SystemExit):
            parse_train_args(words)
        assert reason in capsys.readouterr().err


def test_a_copy_that_fails_at_its_start_is_removed(own, train_here, monkeypatch):
    monkeypatch.setattr(RunSession, '_restore', lambda self, notes: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_here('--resume', own.directory / 'epoch_0002.pth', '--as', 'failed')
    assert not (own.directory.parent / 'failed').exists()


def test_best_pth_is_that_of_the_best_epoch_up_to_there(own, train_here):
    """The best epoch of all is not that of the first two, whose weights are in their own checkpoints."""
    state = load_checkpoint(own.directory / 'epoch_0002.pth')
    epoch = state['best']['epoch']
    (own.directory / 'best.pth').unlink()
    target = Path(own.directory.parent, 'half')
    target.mkdir()
    copy_run(state, own.directory / 'epoch_0002.pth', target)
    best = load_checkpoint(target / 'best.pth')
    assert best['epoch'] == epoch and 'optimizer' not in best
    assert bits(best['model']) == bits(load_checkpoint(own.directory / f'epoch_{epoch:04d}.pth')['model'])


def test_averages_are_in_best_pth(list_data, train_here, tmp_path):
    run = train_here(*list_data, *WORDS, '--ema', 0.5, '--epochs', 2, '--checkpoints_dir', tmp_path)
    new = train_here('--resume', run.directory / 'epoch_0001.pth', '--as', 'averaged')
    for name in ('best.pth', 'last.pth'):
        assert bits(load_checkpoint(new.directory / name)['model']) == bits(
            load_checkpoint(run.directory / name)['model']
        )


def test_in_python_with_ready_made_parts(tmp_path):
    def trainer(**options):
        args = train_args(num_classes=3, device='cpu', checkpoints_dir=str(tmp_path), save_freq=1, **options)
        return Trainer(args, model=Dropping(), train_loader=loader(), val_loader=loader(21, 1))

    whole = trainer(epochs=3, keep_last_weights=True)
    rows = whole.train()
    path = tmp_path / 'lenet_exp' / 'epoch_0001.pth'
    args = train_args(resume=str(path), as_='python', device='cpu')
    new = Trainer(args, model=Dropping(), train_loader=loader(), val_loader=loader(21, 1))
    assert new.args.model_dir == str(tmp_path / 'python')
    assert computed(new.train()) == computed(rows)
    assert bits(new.net.state_dict()) == bits(whole.net.state_dict())


def test_events_that_a_resumed_run_has_merged_are_cut(own, train_here, events_of):
    train_here('--resume', own.directory, '--epochs', 5)
    new = train_here('--resume', own.directory / 'epoch_0002.pth', '--as', 'cut', '--epochs', 3)
    assert [event.step for event in events_of(new).scalars['val/loss']] == [1, 2, 3]
    net = load_checkpoint(new.directory / 'epoch_0003.pth')['model']
    assert bits(net) == bits(load_checkpoint(own.directory / 'epoch_0003.pth')['model'])
