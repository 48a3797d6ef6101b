"""Optimizers, schedulers, losses and metrics that are handed over as objects."""

import json
import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, lr_scheduler

from tests.networks import Dropping
from tests.train.helpers import bits, computed, loader, notebook_trainer, samples
from train import Trainer
from utils.base.errors import DanluError
from utils.metrics.ready_metrics import MetricFunction
from utils.runs.checkpoint import load_checkpoint

STEPS = 7  # of an epoch: 50 samples in batches of 8


def with_optimizer(folder, *words, kind=SGD, schedule=None, settings=None, **parts):
    """Return a Trainer of a network with a ready-made optimizer, and a scheduler where `schedule` makes one."""
    torch.manual_seed(5)
    net = Dropping()
    optimizer = kind(net.parameters(), **(settings or {'lr': 0.05, 'momentum': 0.9}))
    parts |= {} if schedule is None else {'scheduler': schedule(optimizer)}
    return notebook_trainer(folder, *words, model=net, optimizer=optimizer, **parts)


def plain_loop(epochs, schedule=None, step_on='epoch'):
    """Return the weights after the same training as a bare loop, and the learning rates of its epochs' last steps."""
    torch.manual_seed(5)
    net = Dropping()
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    scheduler = None if schedule is None else schedule(optimizer)
    torch.manual_seed(0)  # as --seed
    rates = []
    for _ in range(epochs):
        for images, targets in loader():
            rate = optimizer.param_groups[0]['lr']
            optimizer.zero_grad()
            nn.functional.cross_entropy(net.train()(images), targets).backward()
            optimizer.step()
            if scheduler is not None and step_on == 'step':
                scheduler.step()
        rates.append(rate)
        if scheduler is not None and step_on == 'epoch':
            scheduler.step()
    return net.state_dict(), rates


def test_a_ready_made_optimizer_is_what_trains(tmp_path, capsys):
    trainer = with_optimizer(tmp_path, '--epochs', 2, '--keep_last_weights')
    rows = trainer.train()
    weights, _ = plain_loop(2)
    for name, value in trainer.net.state_dict().items():
        assert torch.allclose(value, weights[name], atol=1e-5), name
    assert [row['lr'] for row in rows] == [0.05, 0.05]
    assert 'optimizer: SGD, ready-made; lr 0.05, momentum 0.9, weight_decay 0' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('schedule', 'step_on'),
    [
        (lambda optimizer: lr_scheduler.StepLR(optimizer, 1, 0.5), 'epoch'),
        (lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [1, 2], 0.5), 'epoch'),
        (lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=3 * STEPS), 'step'),
    ],
    ids=['step', 'multistep', 'onecycle'],
)
def test_schedulers_step_when_their_class_says(tmp_path, schedule, step_on):
    trainer = with_optimizer(tmp_path, '--epochs', 3, '--keep_last_weights', schedule=schedule)
    rows = trainer.train()
    weights, rates = plain_loop(3, schedule, step_on)
    assert [row['lr'] for row in rows] == pytest.approx(rates, rel=1e-12)
    for name, value in trainer.net.state_dict().items():
        assert torch.allclose(value, weights[name], atol=1e-5), name


def test_step_on_chooses_and_an_unknown_class_is_asked_for(tmp_path):
    class Halving(lr_scheduler.LRScheduler):
        def get_lr(self):
            return [group['lr'] / (2 if self.last_epoch else 1) for group in self.optimizer.param_groups]

    with pytest.raises(
        DanluError, match="Halving steps each epoch or each optimizer step is not known: step_on='epoch'"
    ):
        with_optimizer(tmp_path, schedule=Halving)
    by_step = with_optimizer(tmp_path, '--epochs', 1, schedule=Halving, step_on='step').train()
    assert by_step[0]['lr'] == 0.05 / 2 ** (STEPS - 1)
    by_epoch = with_optimizer(tmp_path, '--epochs', 2, schedule=Halving, step_on='epoch').train()
    assert [row['lr'] for row in by_epoch] == [0.05, 0.025]


@pytest.mark.parametrize(
    ('words', 'mode', 'watched'),
    [([], 'min', 'val/loss'), ([], 'max', 'val/acc'), (['--monitor', 'val/loss'], 'min', 'val/loss')],
)
def test_a_plateau_gets_the_value_that_goes_its_way(tmp_path, words, mode, watched):
    got = []

    class Watching(lr_scheduler.ReduceLROnPlateau):
        def step(self, metrics, epoch=None):
            got.append(metrics)
            super().step(metrics)

    rows = with_optimizer(
        tmp_path, '--epochs', 2, *words, schedule=lambda optimizer: Watching(optimizer, mode=mode)
    ).train()
    assert got == [row[watched] for row in rows]


def test_a_plateau_of_higher_values_is_refused_for_a_loss(tmp_path):
    with pytest.raises(DanluError, match="mode 'max', and of val/loss lower values are better"):
        with_optimizer(
            tmp_path,
            '--monitor',
            'val/loss',
            schedule=lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, 'max'),
        )


@pytest.mark.slow_after(2, 'three runs each')
@pytest.mark.parametrize(
    'schedule',
    [
        lambda optimizer: lr_scheduler.StepLR(optimizer, 1, 0.5),
        lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=4 * STEPS, cycle_momentum=False),
        lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
        lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch),
        lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.001, 0.1, step_size_up=5, cycle_momentum=False),
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2), lr_scheduler.MultiStepLR(optimizer, [1], 0.5)],
            [2],
        ),
    ],
    ids=['step', 'onecycle', 'plateau', 'lambda', 'cyclic', 'sequential'],
)
def test_resuming_gives_the_same_bits(tmp_path, schedule):
    def trainer(*words):
        parts = {'kind': Adam, 'settings': {'lr': 0.02}, 'schedule': schedule}
        return with_optimizer(tmp_path, '--keep_last_weights', *words, **parts)

    whole = trainer('--epochs', 4, '--save_prefix', 'whole')
    rows = whole.train()
    trainer('--epochs', 2, '--save_prefix', 'cut').train()
    resumed = trainer('--resume', tmp_path / 'lenet_cut', '--epochs', 4)
    assert computed(resumed.train()) == computed(rows)
    assert bits(resumed.net.state_dict()) == bits(whole.net.state_dict())
    states = [load_checkpoint(tmp_path / name / 'last.pth') for name in ('lenet_whole', 'lenet_cut')]
    for name in ('optimizer', 'scheduler'):
        assert bits(states[0][name]) == bits(states[1][name])


@pytest.mark.parametrize(
    ('make', 'reason'),
    [
        (lambda net: [SGD(net.parameters(), 0.1)], 'optimizer is of type list'),
        (lambda net: SGD(Dropping().parameters(), 0.1), 'are not parameters of the network'),
        (lambda net: SGD([*net.parameters(), nn.Parameter(torch.ones(1))], 0.1), '1 of the 7 parameters in SGD'),
        (lambda net: torch.optim.LBFGS(net.parameters()), 'LBFGS computes the loss several times per step'),
        (lambda net: SGD(net.requires_grad_(False).parameters(), 0.1), 'all of them are frozen'),
    ],
    ids=['list', 'another network', 'foreign parameter', 'closure', 'frozen'],
)
def test_optimizers_that_cannot_train_the_network_are_refused(tmp_path, make, reason):
    net = Dropping()
    with pytest.raises(DanluError, match=reason):
        notebook_trainer(tmp_path, model=net, optimizer=make(net))


def test_a_scheduler_brings_its_optimizer_and_another_ones_is_refused(tmp_path):
    net = Dropping()
    own, other = (SGD(net.parameters(), lr) for lr in (0.25, 0.5))
    trainer = notebook_trainer(tmp_path, model=net, scheduler=lr_scheduler.StepLR(own, 1))
    assert trainer.optimizer is own
    trainer.close()
    with pytest.raises(DanluError, match='StepLR changes the learning rate of another optimizer'):
        notebook_trainer(tmp_path, model=net, optimizer=own, scheduler=lr_scheduler.StepLR(other, 1))
    with pytest.raises(DanluError, match=r'step_on=.epoch.: there is no scheduler'):
        notebook_trainer(tmp_path, model=net, step_on='epoch')


def test_a_part_of_the_network_may_be_left_out_and_is_named(tmp_path, capsys):
    net = Dropping()
    optimizer = SGD(net.layers[5].parameters(), 0.1)
    trainer = notebook_trainer(tmp_path, '--epochs', 1, '--clip_norm', 1, model=net, optimizer=optimizer)
    first, last = net.layers[1].weight.clone(), net.layers[5].weight.clone()
    trainer.train()
    assert torch.equal(net.layers[1].weight, first) and not torch.equal(net.layers[5].weight, last)
    assert '4 parameters are not in the optimizer and stay as they are: layers.1.weight' in capsys.readouterr().out


def test_options_without_effect_are_named(tmp_path, capsys):
    with_optimizer(tmp_path, '--lr', 0.3, '--weight_decay', 0.1).close()
    out = capsys.readouterr().out
    assert '--lr 0.3 has no effect: the optimizer is ready-made' in out
    assert '--weight_decay 0.1 has no effect: the optimizer is ready-made' in out


# --- assigned after construction


def test_an_assigned_optimizer_trains_and_is_recorded(tmp_path):
    given = with_optimizer(tmp_path, '--epochs', 1, '--keep_last_weights')
    given.train()
    trainer = notebook_trainer(tmp_path, '--epochs', 1, '--keep_last_weights', '--save_prefix', 'assigned')
    trainer.optimizer = SGD(trainer.net.parameters(), lr=0.05, momentum=0.9)
    trainer.train()
    assert bits(trainer.net.state_dict()) == bits(given.net.state_dict())
    record = json.loads((tmp_path / 'lenet_assigned' / 'record.json').read_text())
    assert record['experiment'] is None
    assert 'optimizer: SGD, ready-made; lr 0.05' in (tmp_path / 'lenet_assigned' / 'log.txt').read_text()


def test_an_assigned_scheduler_counts_and_brings_its_optimizer(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 2)
    trainer.scheduler = lr_scheduler.StepLR(SGD(trainer.net.parameters(), lr=0.5), 1, 0.5)
    assert [row['lr'] for row in trainer.train()] == [0.5, 0.25]


def test_an_assigned_loss_counts(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1)
    trainer.loss = lambda predictions, targets: predictions.square().mean() + 7
    (row,) = trainer.train()
    assert row['val/loss'] > 7
    trainer.loss = nn.CrossEntropyLoss()


def test_what_cannot_be_assigned_any_more_raises(tmp_path):
    trainer = with_optimizer(tmp_path, '--epochs', 1, schedule=lambda optimizer: lr_scheduler.StepLR(optimizer, 1))
    with pytest.raises(DanluError, match='the ready-made scheduler belongs to the one before'):
        trainer.optimizer = SGD(trainer.net.parameters(), 0.1)
    with pytest.raises(DanluError, match='are not parameters of the network'):
        trainer.scheduler = lr_scheduler.StepLR(SGD(Dropping().parameters(), 0.1), 1)
    trainer.train()
    for name in ('optimizer', 'scheduler'):
        with pytest.raises(DanluError, match=f'trainer.{name}: training has begun with another one'):
            setattr(trainer, name, None)
    resumed = with_optimizer(
        tmp_path, '--resume', tmp_path / 'lenet_exp', '--epochs', 2,
        schedule=lambda optimizer: lr_scheduler.StepLR(optimizer, 1),
    )  # fmt: skip
    with pytest.raises(DanluError, match=r'trainer\.optimizer: the run was resumed with another one'):
        resumed.optimizer = SGD(resumed.net.parameters(), 0.1)
    resumed.close()


def test_what_a_subclass_assigns_before_the_constructor_counts(tmp_path):
    class Own(Trainer):
        def __init__(self, args, model, **parts):
            self.optimizer = SGD(model.parameters(), lr=0.125)
            self.loss = nn.CrossEntropyLoss(label_smoothing=0.5)
            super().__init__(args, model=model, **parts)

    trainer = notebook_trainer(tmp_path, '--epochs', 1, kind=Own)
    assert trainer.train()[0]['lr'] == 0.125
    assert trainer.given >= {'optimizer', 'loss'} and trainer.loss.label_smoothing == 0.5


def test_schedulers_of_timm_are_stepped_by_numbers(tmp_path):
    timm = pytest.importorskip('timm.scheduler')

    def schedule(optimizer):
        return timm.CosineLRScheduler(optimizer, t_initial=4, warmup_t=1, warmup_lr_init=0.01)

    def trainer(*words):
        return with_optimizer(tmp_path, *words, schedule=schedule)

    rows = trainer('--epochs', 3, '--save_prefix', 'whole').train()
    wanted = schedule(SGD(Dropping().parameters(), 0.05))
    assert [row['lr'] for row in rows] == pytest.approx([wanted._get_lr(epoch)[0] for epoch in range(3)])
    trainer('--epochs', 1, '--save_prefix', 'cut').train()
    assert computed(trainer('--resume', tmp_path / 'lenet_cut', '--epochs', 3).train()) == computed(rows)


def test_an_override_of_select_update_may_still_set_the_optimizer(tmp_path):
    class Own(Trainer):
        def select_update(self):
            self.optimizer = SGD(self.net.parameters(), lr=0.125)
            return super().select_update()

    (row,) = notebook_trainer(tmp_path, '--epochs', 1, kind=Own).train()
    assert row['lr'] == 0.125


# --- losses and metrics


@pytest.mark.parametrize(
    ('loss', 'reason'),
    [
        (nn.CrossEntropyLoss, 'loss is the class CrossEntropyLoss'),
        ('ce', 'loss is of type str'),
        (nn.BCELoss(), 'logits'),
    ],
)
def test_losses_that_cannot_be_used_are_refused(tmp_path, loss, reason):
    with pytest.raises(DanluError, match=reason):
        notebook_trainer(tmp_path, loss=loss)


def test_a_function_is_a_loss(tmp_path):
    (row,) = notebook_trainer(tmp_path, '--epochs', 1, loss=nn.functional.cross_entropy).train()
    (same,) = notebook_trainer(tmp_path, '--epochs', 1).train()
    assert row['val/loss'] == pytest.approx(same['val/loss'], rel=1e-6)


def accuracy(predictions, targets):
    return (predictions.argmax(1) == targets).float().mean()


def test_functions_are_exact_over_uneven_batches_and_per_batch_is_the_mean_of_batches(tmp_path):
    metrics = {'whole': accuracy, 'mean': MetricFunction(accuracy, per_batch=True)}
    trainer = notebook_trainer(tmp_path, '--epochs', 1, metrics=metrics)
    (row,) = trainer.train()
    images, targets = samples(21, 1).tensors
    with torch.no_grad():
        right = (trainer.net.eval()(images).argmax(1) == targets).float()
    assert row['val/whole'] == pytest.approx(right.mean().item())
    assert row['val/mean'] == pytest.approx(sum(part.mean().item() for part in right.split(8)) / 3)
    assert set(row) >= {'train/whole', 'train/mean'}


def test_torchmetrics_choose_the_best_epoch_by_their_direction(tmp_path):
    from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

    usual = notebook_trainer(tmp_path, '--epochs', 2, '--lr', 0.01).train()
    metrics = {'right': MulticlassAccuracy(3, average='micro'), 'ece': MulticlassCalibrationError(3)}
    trainer = notebook_trainer(tmp_path, '--epochs', 2, '--lr', 0.01, metrics=metrics)
    rows = trainer.train()
    assert [row['val/right'] for row in rows] == pytest.approx([row['val/acc'] for row in usual])
    assert [row['train/right'] for row in rows] == pytest.approx([row['train/acc'] for row in usual])
    assert (trainer.selection.monitor, trainer.selection.mode) == ('val/right', 'max')
    by_error = notebook_trainer(tmp_path, '--monitor', 'val_ece', metrics=metrics)
    assert (by_error.selection.monitor, by_error.selection.mode) == ('val/ece', 'min')
    by_error.close()


def test_a_value_whose_direction_nobody_knows_is_asked_for_when_monitored(tmp_path):
    trainer = notebook_trainer(tmp_path, metrics={'wobble': accuracy})
    assert (trainer.selection.monitor, trainer.selection.mode) == ('val/loss', 'min')
    trainer.close()
    with pytest.raises(DanluError, match="which values of val/wobble are better is not known: give mode='max'"):
        notebook_trainer(tmp_path, '--monitor', 'wobble', metrics={'wobble': accuracy})
    with pytest.raises(DanluError, match="unknown value 'val/wabble'; did you mean val/wobble"):
        notebook_trainer(tmp_path, '--monitor', 'wabble', '--mode', 'max', metrics={'wobble': accuracy})
    for words, metrics in (
        (['--monitor', 'wobble', '--mode', 'max'], {'wobble': accuracy}),
        ([], {'wobble': MetricFunction(accuracy, mode='max')}),
        ([], {'acc': accuracy}),  # as Danlu's own
    ):
        chosen = notebook_trainer(tmp_path, *words, metrics=metrics).selection
        assert (chosen.monitor, chosen.mode) == (f'val/{next(iter(metrics))}', 'max')


def test_dictionaries_lists_collections_and_values_by_class(tmp_path, capsys):
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

    def both(predictions, targets):
        return {'low': predictions.min(), 'high': predictions.max().item()}

    def row_of(metrics):
        return set(notebook_trainer(tmp_path, '--epochs', 1, metrics=metrics).train()[0])

    assert {'val/low', 'val/high', 'train/low'} <= row_of(both)
    assert {'val/range_low', 'val/range_high'} <= row_of({'range': both})
    assert {'val/accuracy', 'val/multiclass_f1_score'} <= row_of([accuracy, MulticlassF1Score(3)])
    assert {'val/a', 'val/f'} <= row_of(MetricCollection({'a': MulticlassAccuracy(3), 'f': MulticlassF1Score(3)}))
    trainer = notebook_trainer(tmp_path, '--epochs', 1, metrics={'each': MulticlassAccuracy(3, average=None)})
    trainer.train()
    values = trainer.metrics['val'].compute()
    assert values['each'] == pytest.approx(sum(values[f'each/{index}'] for index in range(3)) / 3)


@pytest.mark.parametrize(
    ('metrics', 'reason'),
    [
        ({'a/b': accuracy}, "'a/b' cannot be the name of a metric"),
        ({'loss': accuracy}, "'loss' cannot be the name"),
        ({'x': 3}, 'metric x is of type int'),
        ([accuracy, accuracy], 'two metrics are called accuracy'),
        ([], 'metrics is empty'),
    ],
)
def test_what_is_no_metric_is_refused(tmp_path, metrics, reason):
    with pytest.raises(DanluError, match=reason):
        notebook_trainer(tmp_path, metrics=metrics)


def test_a_function_that_gives_no_number_says_so(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1, metrics={'text': lambda predictions, targets: 'much'})
    with pytest.raises(DanluError, match='metric text gives a str: give a number'):
        trainer.train()


class Interrupting(Trainer):
    """Ends within the second epoch, having saved; goes on when resumed."""

    def train_step(self, batch):
        done = super().train_step(batch)
        if self.epoch == 1 and self.batch == 3 and not self.args.resume:
            raise KeyboardInterrupt
        return done


def test_metrics_go_on_within_an_epoch(tmp_path):
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score

    def trainer(*words, kind=Trainer):
        metrics = {
            'whole': accuracy,
            'mean': MetricFunction(accuracy, per_batch=True),
            'area': MulticlassAUROC(3),
            'two': MetricCollection({'a': MulticlassAccuracy(3), 'f': MulticlassF1Score(3)}),
        }
        return notebook_trainer(tmp_path, '--save_steps', 1, *words, metrics=metrics, kind=kind)

    rows = trainer('--epochs', 2, '--save_prefix', 'whole').train()
    with pytest.raises(KeyboardInterrupt):
        trainer('--epochs', 2, '--save_prefix', 'cut', kind=Interrupting).train()
    state = load_checkpoint(tmp_path / 'lenet_cut' / 'last.pth')
    assert state['loader']['batch'] and len(state['train_metrics']['kept']) == state['loader']['batch']
    resumed = trainer('--resume', tmp_path / 'lenet_cut', kind=Interrupting).train()
    assert computed(resumed) == computed(rows)
    assert not any(math.isnan(value) for value in resumed[-1].values())
