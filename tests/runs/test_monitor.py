"""--monitor: names that are checked before the first step, and values that are nan."""

import math

import pytest
import torch

from loss import WeightedSum
from options import parse_train_args
from train import Trainer
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint
from utils.training.checkpoint_selector import CheckpointSelector, predictable_values

NAN = math.nan


def options(folder, *words):
    given = '--epochs 5 --batch_size 500 --max_steps 50 --device cpu --threads 1 --no_report'.split()
    return parse_train_args([*given, '--checkpoints_dir', str(folder), *map(str, words)])


def scripted(values):
    """Return a Trainer whose validation has these values of acc, and that does not learn."""

    class Scripted(Trainer):
        def train_per_epoch(self, epoch):
            self.logger.record('train/loss', 1.0)
            self.logger.record('lr', 0.1)
            self.logger.record('images_per_second', 1.0)
            self.logger.record('data_wait', 0.0)
            self.sums = self.logger.recorder.state_dict()

        def val_per_epoch(self, epoch):
            self.record_overall('val', {'loss': 1.0, 'acc': values[epoch - 1]})

    return Scripted


@pytest.mark.parametrize('name', ['val/rmse', 'val_rmse', 'accuracy', 'loss_ce', 'val/seconds', 'train/map'])
def test_a_name_that_no_epoch_has_is_refused_before_the_first_step(name, tmp_path):
    with pytest.raises(DanluError, match=r'--monitor: unknown value .*known: train/acc, .*val/loss'):
        Trainer(options(tmp_path, '--monitor', name))
    assert not list(tmp_path.glob('*/last.pth'))


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ('val_acc', 'val/acc'),
        ('val/acc', 'val/acc'),
        ('acc', 'val/acc'),
        ('train_loss', 'train/loss'),
        ('val_f1_macro', 'val/f1_macro'),
        ('train/loss', 'train/loss'),
    ],
)
def test_a_name_with_an_underscore_is_that_with_a_slash(text, name, tmp_path):
    trainer = Trainer(options(tmp_path, '--monitor', text))
    assert trainer.selection.monitor == name
    trainer.close()


def test_parts_of_a_loss_and_further_metrics_are_known(tmp_path):
    words = ['--loss', 'ce+0.5*focal', '--metrics', 'auroc']
    for name in ('loss_focal', 'train/loss_ce', 'auroc', 'acc_top5'):
        trainer = Trainer(options(tmp_path, '--monitor', name, *words))
        assert trainer.selection.mode == ('min' if 'loss' in name else 'max')
        trainer.close()
    with pytest.raises(DanluError, match='val/loss_dice'):
        Trainer(options(tmp_path, '--monitor', 'loss_dice', *words))


def test_the_names_are_those_of_the_rows(tmp_path):
    trainer = Trainer(options(tmp_path, '--loss', 'ce+focal', '--max_steps', 1))
    row = trainer.train()[-1]
    there = {name for name in row if name.startswith(('train/', 'val/'))}
    assert set(predictable_values(trainer.args, trainer.metrics['val'], trainer.loss)) == there


def test_what_nobody_can_know_is_not_refused(tmp_path):
    class Metrics(type(Trainer(options(tmp_path)).metrics['val'])):
        def compute(self):
            return super().compute() | {'distance': 1.0}

    class Own(Trainer):
        def select_metrics(self):
            return Metrics.from_args(self.args)

    trainer = Own(options(tmp_path, '--monitor', 'distance', '--mode', 'min', '--max_steps', 1))
    assert trainer.train()[-1]['val/distance'] == 1.0
    loss = torch.nn.CrossEntropyLoss()
    loss.last_parts = {}  # of a ready-made loss, which tells its parts after a batch
    assert predictable_values(trainer.args, Trainer(options(tmp_path)).metrics['val'], loss) is None
    assert hasattr(WeightedSum, 'parts')


@pytest.mark.parametrize(
    ('values', 'patience', 'epochs', 'best'),
    [
        ([NAN] * 5, 2, 2, 1),  # none has a number
        ([NAN, NAN, 0.5, NAN, NAN], 3, 5, 3),
        ([0.5, NAN, NAN, 0.9, 0.9], 2, 3, 1),
        ([NAN, 0.1, NAN, 0.2, 0.1], 2, 5, 4),
    ],
)
def test_nan_is_worse_than_any_number_and_counts_against_patience(values, patience, epochs, best, tmp_path, capsys):
    words = ['--patience', patience, '--keep_top', 5]
    trainer = scripted(values)(options(tmp_path, *words))
    assert len(trainer.train()) == epochs
    run = tmp_path / 'lenet_exp'
    assert load_checkpoint(run / 'best.pth')['epoch'] == best
    said = capsys.readouterr().out
    assert said.count('by which the best epoch is chosen, is nan') == 1
    numbers = [number for number, value in enumerate(values[:epochs], 1) if not math.isnan(value)]
    assert sorted(int(path.stem[4:]) for path in run.glob('top_*.pth')) == numbers
    marked = [line for line in said.splitlines() if line.endswith('best')]
    assert not any('acc nan' in line for line in marked)
    assert bool(marked) == bool(numbers)


def test_a_run_without_a_number_says_why_it_stops(tmp_path, capsys):
    scripted([NAN] * 5)(options(tmp_path, '--patience', 2)).train()
    assert 'stopped after epoch 2: val/acc has been nan for 2 epochs (--patience 2)' in capsys.readouterr().out


def test_a_plateau_counts_nan_as_an_epoch_that_is_not_better(tmp_path):
    words = ['--schedule', 'plateau', '--plateau_patience', 1, '--gamma', 0.5, '--lr', 0.5]
    trainer = scripted([0.5, NAN, NAN, NAN, NAN])(options(tmp_path, *words))
    rates, step = [], trainer.update.schedule.end_epoch

    def end_epoch(value):
        step(value)
        rates.append(trainer.optimizer.param_groups[0]['lr'])

    trainer.update.schedule.end_epoch = end_epoch
    trainer.train()
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125]


@pytest.mark.parametrize('mode', ['max', 'min'])
def test_which_is_better(mode):
    selection = CheckpointSelector('val/acc', mode)
    assert selection.is_better(0.0, NAN) and selection.is_better(math.inf if mode == 'max' else -math.inf, NAN)
    assert not selection.is_better(NAN, 0.0) and not selection.is_better(NAN, NAN)
    assert selection.best_epoch_of([{'epoch': 1, 'val/acc': NAN}]) is None
