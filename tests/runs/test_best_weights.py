"""What is in the network when train() returns: the weights of best.pth, or with --keep_last_weights the last ones."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from options import parse_train_args
from train import Trainer
from utils.runs.checkpoint import load_checkpoint

VALUES = [0.5, 0.9, 0.6, 0.4]  # of validation: the second epoch is the best one


class Scripted(Trainer):
    """Validation gives these values, whatever the network does."""

    values = VALUES

    def val_per_epoch(self, epoch):
        self.record_overall('val', {'loss': 1.0, 'acc': self.values[epoch - 1]})


class Rising(Scripted):
    """The last epoch is the best one."""

    values = sorted(VALUES)


class Interrupted(Scripted):
    """The third epoch does not begin."""

    def train_per_epoch(self, epoch):
        if epoch == 3:
            raise KeyboardInterrupt
        super().train_per_epoch(epoch)


def loader(count=24):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, 2, 2, generator=generator) + labels.view(-1, 1, 1, 1) / 2
    return DataLoader(TensorDataset(images, labels), batch_size=8, generator=torch.Generator())


def trainer_of(folder, *words, kind=Scripted):
    torch.manual_seed(5)
    words = ['--checkpoints_dir', folder, '--num_classes', 3, '--device', 'cpu', '--lr', 0.05, '--epochs', 4, *words]
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    return kind(parse_train_args(list(map(str, words))), model=net, train_loader=loader(), val_loader=loader())


def saved(folder, name):
    return load_checkpoint(folder / 'lenet_exp' / name)['model']


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize('words', [[], ['--ema', 0.5]])
def test_the_network_has_the_best_weights(tmp_path, words):
    trainer = trainer_of(tmp_path, *words)
    trainer.train()
    best = saved(tmp_path, 'best.pth')
    assert same(trainer.net.state_dict(), best) and not same(best, saved(tmp_path, 'last.pth'))
    with trainer.eval_weights():
        assert same(trainer.net.state_dict(), best)


@pytest.mark.parametrize('words', [[], ['--ema', 0.5]])
def test_the_last_weights_can_be_kept(tmp_path, words):
    trainer = trainer_of(tmp_path, *words, '--keep_last_weights')
    trainer.train()
    assert same(trainer.net.state_dict(), saved(tmp_path, 'last.pth'))


def test_of_a_last_epoch_that_is_the_best_the_network_has_the_average(tmp_path):
    trainer = trainer_of(tmp_path, '--ema', 0.5, kind=Rising)
    trainer.train()
    best = load_checkpoint(tmp_path / 'lenet_exp' / 'best.pth')
    assert best['epoch'] == 4 and same(trainer.net.state_dict(), best['model'])
    assert not same(best['model'], saved(tmp_path, 'last.pth'))


def test_the_best_epoch_may_be_of_an_earlier_session(tmp_path):
    cut = trainer_of(tmp_path, kind=Interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    assert same(cut.net.state_dict(), saved(tmp_path, 'last.pth')), 'an interrupted run has the weights it had'
    resumed = trainer_of(tmp_path, '--resume', tmp_path / 'lenet_exp')
    assert len(resumed.train()) == 4
    best = load_checkpoint(tmp_path / 'lenet_exp' / 'best.pth')
    assert best['epoch'] == 2 and same(resumed.net.state_dict(), best['model'])


def test_a_run_whose_best_weights_are_gone_keeps_the_last_and_says_so(tmp_path, capsys):
    class Removing(Scripted):
        def end_epoch(self, epoch, row):
            super().end_epoch(epoch, row)
            if epoch == 4:
                self.logger.checkpoints.finish()
                (tmp_path / 'lenet_exp' / 'best.pth').unlink()

    trainer = trainer_of(tmp_path, kind=Removing)
    trainer.train()
    assert same(trainer.net.state_dict(), saved(tmp_path, 'last.pth'))
    assert 'the network keeps the weights of the last epoch: ' in capsys.readouterr().out


def test_an_evaluation_after_training_gives_the_value_of_the_best_epoch(tmp_path):
    trainer = trainer_of(tmp_path, '--lr', 0.5, kind=Trainer)
    rows = trainer.train()
    values, _ = trainer.evaluate(loader(), trainer.metrics['val'])
    best = max(row['val/acc'] for row in rows)
    assert values['acc'] == best
    assert values['loss'] == next(row['val/loss'] for row in rows if row['val/acc'] == best)
