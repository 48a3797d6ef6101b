"""Losses and gradients that are not finite: the run stops, leaves the batch out, or goes back, by --on_nan."""

import math
import re
import shlex
import signal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import utils.training.nonfinite_policy
from options import parse_train_args
from tests.networks import Normed
from train import Trainer
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint

BAD = 13  # the sample, of 24 in order, that is not finite: in the fourth of six batches
CPU = ['--device', 'cpu', '--model_type', 'mlp', '--model_args', 'hidden=8', '--num_classes', 3, '--batch_size', 4]


class Root(Normed):
    """A finite loss whose gradient is not, where a picture is nothing but zeros: the root of a number that is zero."""

    def forward(self, images):
        size = images.flatten(1).square().sum(1, keepdim=True).mul(self.layers[1].weight.square().mean())
        return super().forward(images + 0.1) + size.sqrt()


def loader(bad=None, left_out=()):
    """Return 24 images in batches of 4, in order; sample BAD is filled with `bad`; some batches (from 1) left out."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 3
    images = torch.rand(24, 3, 2, 2, generator=generator) + labels.view(-1, 1, 1, 1) / 2
    if bad is not None:
        images[BAD] = bad
    kept = [index for index in range(24) if index // 4 + 1 not in left_out]
    return DataLoader(TensorDataset(images[kept], labels[kept]), batch_size=4, generator=torch.Generator())


def trainer_of(folder, *words, kind=Trainer, model=Normed, late=False, **parts):
    """Return a Trainer; the network's first weights are the same. late: as on a GPU, not waiting for anything."""
    torch.manual_seed(5)
    words = ['--checkpoints_dir', folder, *CPU, *words]
    parts = {'val_loader': loader(), **parts}
    trainer = kind(parse_train_args([str(word) for word in words]), model=model(), **parts)
    if late:
        trainer.update.guard.is_synchronous = False
    return trainer


def stopped(trainer):
    """Train until it stops, and return what it says (str)."""
    with pytest.raises(DanluError) as error:
        trainer.train()
    return str(error.value)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def lines(trainer):
    """Return the lines of log.txt about what was left out (list of str)."""
    with open(f'{trainer.args.model_dir}/log.txt', encoding='utf-8') as file:
        return [line.rstrip('\n') for line in file if line.startswith('--on_nan ')]


def no_step_of(folder, batch, *words, **parts):
    """Return the weights (dict) of a run before the step of a batch of its first epoch."""
    trainer = trainer_of(folder, *words, '--epochs', 1, '--max_steps', batch - 1, train_loader=loader(), **parts)
    trainer.train()
    return trainer.net.state_dict()


# --- stop


@pytest.mark.slow_after(3, 'a run each')
@pytest.mark.parametrize('late', [False, True])
@pytest.mark.parametrize('optimizer', ['adam', 'sgd', 'rmsprop'])
def test_stop_ends_before_the_step_and_names_it(optimizer, late, tmp_path):
    words = ['--optimizer', optimizer, '--save_prefix', 'bad', '--ema', 0.9]
    trainer = trainer_of(tmp_path, *words, train_loader=loader(math.nan), late=late and optimizer != 'rmsprop')
    said = stopped(trainer)
    assert said.startswith(
        'the loss of batch 4 of epoch 1 (step 4) is nan; samples that are not finite themselves: 1 of batch 4. '
    ), said
    assert f'{tmp_path}/mlp_bad/diverged.pth holds the weights before it, and the batch. Fix the data' in said
    state = load_checkpoint(tmp_path / 'mlp_bad' / 'diverged.pth')
    assert same(state['model'], no_step_of(tmp_path, 4, '--optimizer', optimizer))
    assert (state['epoch'], state['step'], state['args']['optimizer']) == (0, 3, optimizer)
    [batch] = state['diverged']['batches']
    assert (batch['number'], batch['not_finite'], math.isnan(state['diverged']['loss'])) == (4, [1], True)
    images, targets = batch['batch']
    assert images[1].isnan().all() and targets.tolist() == [0, 1, 2, 0]
    assert not (tmp_path / 'mlp_bad' / 'last.pth').exists()


@pytest.mark.parametrize('late', [False, True])
def test_a_nonfinite_gradient_of_a_finite_loss_is_detected(late, tmp_path):
    trainer = trainer_of(tmp_path, '--save_prefix', 'bad', train_loader=loader(0.0), model=Root, late=late)
    said = stopped(trainer)
    assert said.startswith(
        'the gradient of batch 4 of epoch 1 (step 4) is not finite (its loss is finite) in layers.1.weight; samples in '
        'it: 0 of batch 4, 1 of batch 4, 2 of batch 4, 3 of batch 4. '
    ), said
    assert 'train_args(lr=0.0001, ...)' in said
    state = load_checkpoint(tmp_path / 'mlp_bad' / 'diverged.pth')
    assert state['diverged']['parameters'] == ['layers.1.weight']
    assert same(state['model'], no_step_of(tmp_path, 4, model=Root))


@pytest.mark.parametrize('late', [False, True])
def test_a_loss_that_explodes_stops_with_a_command_for_a_lower_learning_rate(late, tmp_path):
    trainer = trainer_of(tmp_path, '--lr', 1e30, '--optimizer', 'sgd', train_loader=loader(), late=late)
    said = stopped(trainer)
    assert re.match(r'the (loss|gradient) of batch [23] of epoch 1 \(step [23]\) is (nan|inf|not finite)', said), said
    assert 'lower the learning rate: train_args(lr=1e+29, ...)' in said, 'train.py does not have the network'
    assert 'resume' not in said, 'nothing was saved yet'


@pytest.fixture
def table(tmp_path):
    """Return the options of a regression from .npz files, in which one sample of the training has a huge target."""
    random, files = np.random.default_rng(3), []
    for name in ('train', 'val'):
        features = random.normal(size=(24, 4)).astype(np.float32)
        targets = features[:, :1] * 2
        if name == 'train':
            targets[BAD] = 1e30
        files.append(tmp_path / f'{name}.npz')
        np.savez(files[-1], x=features, y=targets)
    words = ['--data_type', 'array', '--task', 'regression', '--train_list', files[0], '--val_list', files[1]]
    return [
        *words,
        '--target_scale',
        'none',
        *CPU[:6],
        '--batch_size',
        4,
        '--epochs',
        3,
        '--save_steps',
        1,
        '--checkpoints_dir',
        tmp_path,
    ]


def test_samples_are_called_by_their_names_and_the_run_goes_on_without_them_where_it_stopped(
    table, train_here, history_of, tmp_path
):
    with pytest.raises(DanluError, match='is inf; samples in it: ') as error:
        train_here(*table)
    said = str(error.value)
    named = said.partition('samples in it: ')[2].partition('.')[0].split(', ')
    assert f'{BAD:05d}' in named and len(named) == 4
    run = tmp_path / 'mlp_exp'
    number = int(re.search(r'batch (\d) of epoch 1', said)[1])
    if number > 1:
        assert f'or go on without it: python train.py --resume {shlex.quote(str(run))} --on_nan skip' in said
    [batch] = load_checkpoint(run / 'diverged.pth')['diverged']['batches']
    assert batch['samples'] == named
    assert batch['batch'][1].max() > 1e29, 'the batch itself is there'
    done = train_here('--resume', run, '--on_nan', 'skip') if number > 1 else train_here(*table, '--on_nan', 'skip')
    assert len(history_of(done)) == 3
    assert all(float(row['train/loss']) < 100 for row in history_of(done))
    assert done.stdout.count('1 of 6 batches of epoch ') == 3
    assert all(value.isfinite().all() for value in load_checkpoint(done.directory / 'last.pth')['model'].values())


# --- skip


@pytest.mark.parametrize(
    ('bad', 'model', 'words'),
    [(math.nan, Normed, ['--ema', 0.8]), (math.inf, Normed, ['--optimizer', 'sgd']), (0.0, Root, ['--amp', 'bf16'])],
)
def test_a_skipped_batch_has_no_effect_on_the_run(bad, model, words, tmp_path):
    words = ['--epochs', 2, *words]
    one = trainer_of(tmp_path, *words, '--on_nan', 'skip', model=model, train_loader=loader(bad))
    other = trainer_of(tmp_path, *words, model=model, train_loader=loader(left_out=[4]))
    rows = [trainer.train() for trainer in (one, other)]
    assert same(one.net.state_dict(), other.net.state_dict())
    if one.update.ema is not None:
        averages = [trainer.update.ema.average.module.state_dict() for trainer in (one, other)]
        assert same(*averages)
    for row, expected in zip(*rows, strict=True):
        assert {k: v for k, v in row.items() if '/' in k} == {k: v for k, v in expected.items() if '/' in k}
    said = lines(one)
    assert len(said) == 4
    assert said[1] == '--on_nan skip: 1 of 6 batches of epoch 1 left out: 4'


def test_an_accumulated_step_skips_the_nonfinite_batch(tmp_path):
    words = ['--epochs', 1, '--optimizer', 'sgd', '--momentum', 0]
    one = trainer_of(tmp_path, *words, '--accumulate', 3, '--on_nan', 'skip', train_loader=loader(math.nan))
    one.train()
    assert one.update.steps == 2
    # batches 1, 2, 3, and then 5, 6
    other = trainer_of(tmp_path, *words, '--accumulate', 3, train_loader=loader(left_out=[4]))
    other.train()
    pairs = zip(one.net.state_dict().values(), other.net.state_dict().values(), strict=True)
    assert all(torch.allclose(*pair, atol=1e-6) for pair in pairs)


def test_a_nonfinite_gradient_names_all_batches_of_the_step(tmp_path):
    parts = {'model': Root, 'train_loader': loader(0.0)}
    said = stopped(trainer_of(tmp_path, '--accumulate', 3, **parts))
    assert 'the gradient of batches 4, 5, 6 of epoch 1 (step 2) is not finite' in said
    batches = load_checkpoint(tmp_path / 'mlp_exp' / 'diverged.pth')['diverged']['batches']
    assert [batch['number'] for batch in batches] == [4, 5, 6]
    skipping = trainer_of(tmp_path, '--accumulate', 3, '--on_nan', 'skip', '--epochs', 1, **parts)
    skipping.train()
    assert lines(skipping)[-1] == '--on_nan skip: 3 of 6 batches of epoch 1 left out: 4, 5, 6'
    assert skipping.update.steps_taken == 1


def test_a_schedule_by_steps_counts_skipped_steps(tmp_path):
    trainer = trainer_of(
        *(tmp_path, '--epochs', 2, '--on_nan', 'skip', '--schedule', 'onecycle'), train_loader=loader(math.nan)
    )
    trainer.train()
    assert (trainer.update.steps, trainer.update.steps_taken) == (12, 10)
    whole = trainer_of(tmp_path, '--epochs', 2, '--schedule', 'onecycle', train_loader=loader())
    whole.train()
    assert trainer.optimizer.param_groups[0]['lr'] == whole.optimizer.param_groups[0]['lr']


class Stopping(Trainer):
    """Is asked to stop after some steps of this process."""

    stop_at = None

    def train_step(self, batch):
        if self.update.steps + 1 == self.stop_at:
            self.session.preemption.signal = signal.SIGTERM
        return super().train_step(batch)


@pytest.mark.slow_after(2, 'three runs each')
@pytest.mark.parametrize(('policy', 'at'), [('skip', 4), ('skip', 5), ('skip', 10), ('rollback', 4), ('rollback', 10)])
def test_a_run_with_skipped_batches_resumes_bit_identically(policy, at, tmp_path):
    words = ['--epochs', 3, '--on_nan', policy, '--ema', 0.9, '--schedule', 'cosine']
    whole = trainer_of(tmp_path, *words, '--save_prefix', 'whole', train_loader=loader(math.nan))
    rows = whole.train()
    cut = trainer_of(tmp_path, *words, kind=Stopping, train_loader=loader(math.nan))
    cut.stop_at = at
    with pytest.raises(SystemExit):
        cut.train()
    on = trainer_of(tmp_path, '--resume', tmp_path / 'mlp_exp', train_loader=loader(math.nan))
    again = on.train()
    assert on.update.steps == 18
    assert same(on.net.state_dict(), whole.net.state_dict())
    assert [row['val/loss'] for row in rows] == [row['val/loss'] for row in again]
    left_out = [line for line in lines(on) if 'left out' in line]
    assert len(left_out) == 3 and left_out == [line for line in lines(cut) if 'left out' in line]


def test_a_run_with_only_nonfinite_batches_stops(tmp_path, monkeypatch):
    images, labels = torch.full((24, 3, 2, 2), math.nan), torch.zeros(24, dtype=torch.int64)
    bad = DataLoader(TensorDataset(images, labels), batch_size=4)
    said = stopped(trainer_of(tmp_path, '--on_nan', 'skip', '--print_freq', 1, train_loader=bad))
    assert said.startswith('no batch of epoch 1 could be learned from. ')
    monkeypatch.setattr(utils.training.nonfinite_policy, 'MAX_FAILURES_IN_A_ROW', 5)
    said = stopped(trainer_of(tmp_path, '--on_nan', 'skip', train_loader=bad))
    assert said.startswith('for the 5th time in a row: the loss of batch 5 of epoch 1 (step 5) is nan; ')


def test_diverged_pth_holds_values_that_are_no_tensors(tmp_path):
    class Named(Trainer):
        def to_device(self, batch):
            return super().to_device(batch[:2])

    batches = [(images, labels, {'name': ['a'], 'of': object}) for images, labels in loader(math.nan)]
    stopped(trainer_of(tmp_path, kind=Named, train_loader=batches))
    [batch] = load_checkpoint(tmp_path / 'mlp_exp' / 'diverged.pth')['diverged']['batches']
    assert batch['batch'][2] == {'name': ['a'], 'of': repr(object)}


# --- rollback


class Straying(Trainer):
    """Weights go astray at step 8, finite as they are, and what comes of it is met at step 10; but for one order."""

    def train_step(self, batch):
        if self.update.steps == 7 and not getattr(self, 'been', False):
            self.been = True
            with torch.no_grad():
                self.net.layers[4].weight.mul_(1e3)
        return super().train_step(batch)

    def compute_loss(self, predictions, targets):
        loss = super().compute_loss(predictions, targets)
        return loss * math.nan if self.update.steps == 9 and loss > 50 else loss


def test_rollback_restores_the_saved_weights_and_continues_after_the_batch(tmp_path):
    words = ['--epochs', 2, '--on_nan', 'rollback', '--optimizer', 'sgd', '--momentum', 0, '--lr', 0.001]
    trainer = trainer_of(tmp_path, *words, kind=Straying, train_loader=loader())
    trainer.train()
    said = lines(trainer)
    assert said[0].startswith('--on_nan rollback: the loss of batch 4 of epoch 2 (step 10) is nan; '), said
    assert said[0].endswith('; went back to the weights of epoch 1')
    assert said[1] == '--on_nan rollback: 4 of 6 batches of epoch 2 left out: 1, 2, 3, 4'
    # the first epoch, and of the second what came behind
    other = trainer_of(tmp_path, *words, '--save_prefix', 'first', train_loader=loader())
    other.args.epochs = 1
    other.train()
    batches = list(loader(left_out=[1, 2, 3, 4]))
    on = trainer_of(tmp_path, '--resume', tmp_path / 'mlp_first', '--epochs', 2, train_loader=batches)
    on.train()
    assert same(trainer.net.state_dict(), on.net.state_dict())
    assert trainer.update.steps == 12


class Turning(Trainer):
    """What is not finite is met at another batch of each epoch."""

    def compute_loss(self, predictions, targets):
        loss = super().compute_loss(predictions, targets)
        return loss * math.nan if self.update.steps in (4, 7) and self.net.training else loss


def test_rollback_does_not_count_what_an_earlier_epoch_left_out(tmp_path):
    trainer = trainer_of(tmp_path, '--epochs', 2, '--on_nan', 'rollback', kind=Turning, train_loader=loader())
    trainer.train()
    assert lines(trainer)[1::2] == [
        '--on_nan rollback: 5 of 6 batches of epoch 1 left out: 1, 2, 3, 4, 5',
        '--on_nan rollback: 2 of 6 batches of epoch 2 left out: 1, 2',
    ]


def test_rollback_stops_after_repeated_failures_from_the_same_weights(tmp_path):
    class Hopeless(Trainer):
        def compute_loss(self, predictions, targets):
            loss = super().compute_loss(predictions, targets)
            return loss * math.nan if self.batch % 2 else loss

    trainer = trainer_of(tmp_path, '--on_nan', 'rollback', kind=Hopeless, train_loader=[*loader(), *loader()])
    said = stopped(trainer)
    assert 'the loss of batch 8 of epoch 1 (step 8) is nan' in said
    assert said.endswith('. Going back to the weights of the beginning has not helped 3 times'), said


# --- 16 bits, and a loop of one's own


@pytest.mark.parametrize('late', [False, True])
def test_gradients_of_16_bits_may_overflow_and_losses_may_not(late, tmp_path):
    trainer = trainer_of(tmp_path, '--epochs', 2, '--amp', 'fp16', train_loader=loader(), late=late)
    trainer.update.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**127)
    trainer.train()
    assert trainer.update.scaler.get_scale() < 2.0**127, 'some did overflow'
    trainer = trainer_of(tmp_path, '--epochs', 2, '--amp', 'fp16', train_loader=loader(math.nan), late=late)
    assert 'the loss of batch 4 of epoch 1 (step 4) is nan' in stopped(trainer)


def test_a_vanishing_gradient_scale_is_an_error(tmp_path):
    zeros = DataLoader(TensorDataset(torch.zeros(160, 3, 2, 2), torch.arange(160) % 3), batch_size=4)
    trainer = trainer_of(tmp_path, '--amp', 'fp16', '--print_freq', 1, model=Root, train_loader=zeros)
    said = stopped(trainer)
    assert 'of epoch 1 (step 30) are not finite, whatever their scale (--amp fp16): it fell to 6.104e-05' in said, said


def test_the_loss_of_an_own_loop_is_checked_too(tmp_path):
    class Own(Trainer):
        def train_step(self, batch):
            images, predictions, targets = self.step(batch)
            loss = self.compute_loss(predictions, targets)
            loss.backward()
            self.record_loss(self.logger, 'train/loss', loss, predictions, targets)
            return images, predictions, targets

    said = stopped(trainer_of(tmp_path, kind=Own, train_loader=loader(math.nan)))
    assert said.startswith('the training loss is nan after batch 6 of epoch 1. Check the data, or lower ')


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU is visible')
@pytest.mark.parametrize('words', [[], ['--amp', 'fp16'], ['--optimizer', 'rmsprop'], ['--on_nan', 'skip']])
def test_a_gpu_skips_the_step_itself(words, tmp_path):
    words = ['--device', 'cuda', '--epochs', 1, *words]
    trainer = trainer_of(tmp_path, *words, '--save_prefix', 'bad', train_loader=loader(math.nan))
    assert trainer.update.guard.is_synchronous == ('rmsprop' in words or 'skip' in words)
    if 'skip' in words:
        trainer.train()
        assert lines(trainer)[-1] == '--on_nan skip: 1 of 6 batches of epoch 1 left out: 4'
        return
    assert 'the loss of batch 4 of epoch 1 (step 4) is nan; samples that' in stopped(trainer)
    state = load_checkpoint(tmp_path / 'mlp_bad' / 'diverged.pth')
    before = trainer_of(tmp_path, *words, '--max_steps', 3, train_loader=loader())
    before.train()
    assert same(state['model'], {name: value.cpu() for name, value in before.net.state_dict().items()})
