"""Hooks of a Trainer: called at their moments, and resumed with the run."""

from pathlib import Path

import pytest
import torch

from options import parse_train_args
from tests.train.helpers import loader, notebook_trainer
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint
from utils.training.hooks import Hook


class Calls(Hook):
    """Notes which moments come, in order."""

    def __init__(self):
        self.moments = []

    def before_train(self, trainer):
        self.moments.append('before_train')

    def before_step(self, trainer):
        self.moments.append(f'before_step {trainer.batch}')

    def after_step(self, trainer, images, predictions, targets):
        assert len(images) == len(predictions) == len(targets)
        self.moments.append(f'after_step {trainer.batch}')

    def after_epoch(self, trainer, row):
        assert {'train/loss', 'val/loss'} <= set(row) and row['epoch'] == trainer.epoch
        self.moments.append(f'after_epoch {trainer.epoch}')

    def after_train(self, trainer):
        self.moments.append('after_train')


class Counter(Hook):
    """Counts steps and sums targets, over all parts of a run; `stop_at` interrupts it."""

    def __init__(self, stop_at=None):
        self.steps, self.total, self.stop_at = 0, torch.zeros(()), stop_at

    def after_step(self, trainer, images, predictions, targets):
        self.steps += 1
        self.total = self.total + targets.sum()
        if self.steps == self.stop_at:
            trainer.session.save_within_epoch()
            raise KeyboardInterrupt

    def state_dict(self):
        return {'steps': self.steps, 'total': self.total}

    def load_state_dict(self, state):
        self.steps, self.total = state['steps'], state['total']


def test_hooks_are_called_in_order(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 2, train_loader=loader(16), val_loader=loader(16))
    calls = Calls()
    trainer.hooks.append(calls)
    trainer.train()
    steps = ['before_step 0', 'after_step 1', 'before_step 1', 'after_step 2']
    assert calls.moments == [
        'before_train', *steps, 'after_epoch 1', *steps, 'after_epoch 2', 'after_train',
    ]  # fmt: skip


def test_after_step_is_not_called_for_skipped_batches(tmp_path):
    batches = list(loader(16))
    batches[0] = (batches[0][0] * float('nan'), batches[0][1])
    trainer = notebook_trainer(tmp_path, '--on_nan', 'skip', '--epochs', 1, train_loader=batches)
    calls = Calls()
    trainer.hooks.append(calls)
    trainer.train()
    assert [moment for moment in calls.moments if 'step' in moment] == [
        'before_step 0',
        'before_step 1',
        'after_step 2',
    ]


def test_a_resumed_run_goes_on_with_the_state_of_its_hooks(tmp_path):
    def trainer(*words):
        return notebook_trainer(tmp_path, *words, train_loader=loader(32), val_loader=loader(16))

    whole = trainer('--epochs', 2)
    whole.hooks += [Calls(), Counter()]
    whole.train()

    cut = trainer('--epochs', 2)
    cut.hooks.append(Counter(stop_at=3))
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    resumed = trainer('--resume', cut.args.model_dir)
    resumed.hooks += [Calls(), Counter()]
    resumed.train()
    assert resumed.hooks[1].steps == whole.hooks[1].steps == 8
    assert torch.equal(resumed.hooks[1].total, whole.hooks[1].total)
    assert load_checkpoint(f'{whole.args.model_dir}/last.pth')['hooks'] == [
        {'hook': 'Calls', 'state': {}},
        {'hook': 'Counter', 'state': whole.hooks[1].state_dict()},
    ]

    without = trainer('--resume', cut.args.model_dir, '--epochs', 3)
    without.train()
    log = (Path(cut.args.model_dir) / 'log.txt').read_text(encoding='utf-8')
    assert 'the state of the hook Counter in last.pth is not used' in log


def test_a_state_that_no_checkpoint_can_hold_is_refused(tmp_path):
    class Wrong(Hook):
        def state_dict(self):
            return {'parser': parse_train_args}

    trainer = notebook_trainer(tmp_path, '--epochs', 1, train_loader=loader(16), val_loader=loader(16))
    trainer.hooks.append(Wrong())
    with pytest.raises(DanluError, match=r'Wrong\.state_dict\(\) returns something that last\.pth cannot hold'):
        trainer.train()


def test_a_hook_may_record_a_value_of_each_step(tmp_path):
    class Confidence(Hook):
        def after_step(self, trainer, images, predictions, targets):
            confidence = predictions.detach().softmax(1).amax(1).mean()
            trainer.logger.record('train/confidence', confidence, len(images))

    trainer = notebook_trainer(tmp_path, '--epochs', 2)
    trainer.hooks.append(Confidence())
    assert all(1 / 3 <= row['train/confidence'] <= 1 for row in trainer.train())


def test_of_several_hooks_of_a_class_each_gets_its_own_state(tmp_path):
    class Empty(Counter):
        def state_dict(self):
            return {}

    Empty.__name__ = 'Counter'
    cut = notebook_trainer(tmp_path, '--epochs', 2, train_loader=loader(32), val_loader=loader(16))
    cut.hooks += [Empty(), Counter(stop_at=3)]
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    resumed = notebook_trainer(tmp_path, '--resume', cut.args.model_dir, train_loader=loader(32), val_loader=loader(16))
    resumed.hooks += [Empty(), Counter()]
    resumed.train()
    assert (resumed.hooks[0].steps, resumed.hooks[1].steps) == (5, 8)


def test_a_rollback_takes_the_hooks_back_and_leaves_nothing_for_later(tmp_path):
    batches = list(loader(32))
    batches[2] = (batches[2][0] * float('nan'), batches[2][1])
    trainer = notebook_trainer(tmp_path, '--on_nan', 'rollback', '--epochs', 1, train_loader=batches)
    trainer.hooks.append(Counter())
    trainer.train()
    assert trainer.hooks[0].steps == 1, 'the run goes back to its beginning and skips the batches up to there'
    assert trainer.session.hook_states == []
