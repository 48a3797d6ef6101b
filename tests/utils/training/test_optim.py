"""Optimizers and schedules: the settings that reach torch, and the learning rate at every step against its formula."""

import math

import pytest
import torch
from torch import nn

from options import parse_train_args
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint, save_checkpoint
from utils.training.freeze import freeze
from utils.training.optim import OPTIMIZERS, SCHEDULES, Schedule, base_lr, select_optimizer

STEPS, EPOCHS = 10, 6  # of an epoch, of a run


class Network(nn.Module):
    """Two parts, the second with a norm."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 8))
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 2))

    def forward(self, images):
        return self.head(self.backbone(images))


def options(*words):
    return parse_train_args([str(word) for word in ('--epochs', EPOCHS, *words)])


def learn(optimizer, net):
    optimizer.zero_grad()
    net(torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))).pow(2).sum().backward()
    optimizer.step()


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimizer_of_the_registry_lowers_a_loss(name):
    torch.manual_seed(0)
    net = Network()
    optimizer = select_optimizer(net, options('--optimizer', name, '--lr', 0.01))
    assert type(optimizer).__name__.lower() == name
    before = [p.clone() for p in net.parameters()]
    for _ in range(3):
        learn(optimizer, net)
    assert not any(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    assert optimizer.param_groups[0]['lr'] == 0.01
    assert bool(optimizer.param_groups[0].get('fused')) == (name in ('sgd', 'adam', 'adamw')), 'one call for all'


def test_an_optimizer_without_weight_decay_refuses_it():
    args = options('--optimizer', 'rprop')
    args.weight_decay = 0.1  # of a Namespace that no parser has checked
    with pytest.raises(DanluError, match='--weight_decay: rprop has none; leave it out'):
        select_optimizer(Network(), args)


def groups_of(net, *words):
    """Return {name of a parameter: (learning rate, weight decay)}."""
    optimizer = select_optimizer(net, options(*words))
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return {names[id(p)]: (g['lr'], g['weight_decay']) for g in optimizer.param_groups for p in g['params']}


def test_biases_and_norms_may_go_without_decay():
    decays = groups_of(Network(), '--weight_decay', 0.1, '--decay_weights_only')
    without = {name for name, (_, decay) in decays.items() if decay == 0}
    assert without == {'backbone.0.bias', 'backbone.2.bias', 'head.0.weight', 'head.0.bias', 'head.1.bias'}
    assert {decay for name, (_, decay) in decays.items() if name not in without} == {0.1}
    assert {decay for _, decay in groups_of(Network(), '--weight_decay', 0.1).values()} == {0.1}


def test_lr_of_sets_learning_rates_by_prefix():
    words = ['--lr', 0.2, '--lr_of', 'backbone=0.1', 'backbone.2=0', '--weight_decay', 0.1, '--decay_weights_only']
    rates = {name: rate for name, (rate, _) in groups_of(Network(), *words).items()}
    for name, rate in rates.items():
        share = 0 if name.startswith('backbone.2') else 0.1 if name.startswith('backbone') else 1
        assert rate == pytest.approx(0.2 * share), name
    assert len(rates) == 8


def test_the_learning_rate_that_is_reported_is_the_one_asked_for():
    net = Network()
    optimizer = select_optimizer(net, options('--lr', 0.2, '--lr_of', 'backbone=0.1'))
    assert optimizer.param_groups[0]['lr'] == pytest.approx(0.02)
    assert base_lr(optimizer) == pytest.approx(0.2)


@pytest.mark.parametrize('words', [['backbone=0'], ['backbone=0', 'head=0.5'], ['backbone=0', 'head=0']])
def test_the_learning_rate_is_reported_beside_a_part_that_stands_still(words):
    optimizer = select_optimizer(Network(), options('--lr', 0.2, '--lr_of', *words))
    assert base_lr(optimizer) == pytest.approx(0 if words[-1] == 'head=0' else 0.2)


def test_changes_more_often_than_at_every_step_come_at_every_step():
    assert rates('--schedule', 'step', '--lr_steps', 0.01, '--gamma', 0.5)[:4] == [0.5, 0.25, 0.125, 0.0625]


def test_an_unknown_prefix_is_reported_with_the_known_ones():
    with pytest.raises(
        DanluError, match=r"--lr_of backbne=0.1: unknown part of the model 'backbne'; did you mean backbone"
    ):
        select_optimizer(Network(), options('--lr_of', 'backbne=0.1'))


def test_a_part_that_is_frozen_has_no_learning_rate():
    net = Network()
    freeze(net, ['backbone'])
    with pytest.raises(DanluError, match=r'--lr_of backbone.0=0.1: all of it is frozen; leave it out here or of --f'):
        select_optimizer(net, options('--lr_of', 'backbone.0=0.1'))


def test_frozen_parameters_are_left_out_and_nothing_to_train_is_said():
    net = Network()
    net.backbone.requires_grad_(False)
    assert set(groups_of(net)) == {name for name, _ in net.named_parameters() if name.startswith('head')}
    net.requires_grad_(False)
    with pytest.raises(DanluError, match='no parameter that could be trained'):
        select_optimizer(net, options())


def rates(*words, values=(), resume_at=None, tmp_path=None):
    """Return the learning rate of every step of a run; resumed, by way of a file, after epoch `resume_at`."""

    def started():
        optimizer = select_optimizer(Network(), args)
        return optimizer, Schedule(optimizer, args, STEPS, 'max')

    args, seen = options('--lr', 0.5, '--optimizer', 'sgd', *words), []
    optimizer, schedule = started()
    for epoch in range(EPOCHS):
        if epoch == resume_at:
            state = {'optimizer': optimizer.state_dict(), 'scheduler': schedule.state_dict(), 'model': {}}
            save_checkpoint(tmp_path / 'state.pth', state)
            state = load_checkpoint(tmp_path / 'state.pth')
            optimizer, schedule = started()
            optimizer.load_state_dict(state['optimizer'])
            schedule.load_state_dict(state['scheduler'])
        for _ in range(STEPS):
            seen.append(base_lr(optimizer))
            optimizer.step()
            schedule.step()
        schedule.end_epoch(values[epoch] if values else 0.0)
    return seen


WHOLE = STEPS * EPOCHS
FORMULAS = {
    '--schedule none': lambda n: 0.5,
    '--schedule step --lr_steps 2': lambda n: 0.5 * 0.1 ** (n // 20),
    '--schedule multistep --lr_steps 1 2.5 5 --gamma 0.5': lambda n: (
        0.5 * 0.5 ** sum(n >= place for place in (10, 25, 50))
    ),
    '--schedule exponential --gamma 0.8': lambda n: 0.5 * 0.8 ** (n / STEPS),
    '--schedule cosine': lambda n: 0.25 * (1 + math.cos(math.pi * n / WHOLE)),
    '--schedule cosine --lr_min 0.1': lambda n: 0.1 + 0.2 * (1 + math.cos(math.pi * n / WHOLE)),
    '--schedule poly': lambda n: 0.5 * (1 - n / WHOLE) ** 0.9,
    '--schedule poly --power 2': lambda n: 0.5 * (1 - n / WHOLE) ** 2,
    '--warmup_epochs 1.5': lambda n: 0.5 * min(1, 1e-3 + (1 - 1e-3) * n / 15),
    '--schedule cosine --warmup_epochs 2': lambda n: (
        0.5 * (1e-3 + (1 - 1e-3) * n / 20) if n < 20 else 0.25 * (1 + math.cos(math.pi * (n - 20) / 40))
    ),
    '--schedule multistep --lr_steps 3 4 --warmup_epochs 1': lambda n: (
        0.5 * (1e-3 + (1 - 1e-3) * n / 10) if n < 10 else 0.5 * 0.1 ** sum(n >= place for place in (30, 40))
    ),
}


@pytest.mark.parametrize('words', FORMULAS)
def test_the_learning_rate_follows_its_formula(words):
    assert rates(*words.split()) == pytest.approx([FORMULAS[words](n) for n in range(WHOLE)], rel=1e-6, abs=1e-12)


def test_one_cycle_rises_for_three_tenths_and_falls_to_nearly_nothing():
    seen = rates('--schedule', 'onecycle')
    assert seen[0] == pytest.approx(0.5 / 25)
    assert seen.index(max(seen)) == pytest.approx(0.3 * WHOLE, abs=1)
    assert max(seen) == pytest.approx(0.5, rel=0.01)
    assert seen[-1] < 0.01


def test_a_plateau_lowers_the_rate_after_epochs_without_a_better_value():
    words = ['--schedule', 'plateau', '--plateau_patience', 1, '--gamma', 0.5, '--lr_min', 0.2]
    seen = rates(*words, values=(0.5, 0.4, float('nan'), 0.6, 0.6, 0.6))
    assert seen[::STEPS] == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25], 'an epoch with nan is one without a better value'


@pytest.mark.parametrize('words', [*FORMULAS, '--schedule onecycle', '--schedule plateau --plateau_patience 0'])
@pytest.mark.parametrize('epoch', [1, 3, 5])
def test_a_resumed_run_goes_on_with_the_same_rates(words, epoch, tmp_path):
    values = (0.1, 0.2, 0.1, 0.1, 0.3, 0.2)
    whole = rates(*words.split(), values=values)
    assert rates(*words.split(), values=values, resume_at=epoch, tmp_path=tmp_path) == whole


def test_every_schedule_is_tested():
    assert {words.split()[1] for words in FORMULAS if '--schedule' in words} | {'onecycle', 'plateau'} == set(SCHEDULES)


def test_shares_keep_their_proportion_under_a_schedule():
    args = options('--lr', 0.5, '--lr_of', 'backbone=0.1', '--schedule', 'cosine', '--optimizer', 'sgd')
    optimizer = select_optimizer(Network(), args)
    schedule = Schedule(optimizer, args, STEPS, 'max')
    for _ in range(30):
        optimizer.step()
        schedule.step()
    low, high = (group['lr'] for group in optimizer.param_groups)
    assert (low, high) == pytest.approx((0.025, 0.25))


def test_a_warm_up_that_leaves_nothing_is_refused():
    for option, value in (('--warmup_epochs', '5.99'), ('--warmup_steps', '60')):
        args = options(option, value)
        with pytest.raises(DanluError, match=rf'{option} {value}: the run has only 6 epochs, 60 steps'):
            Schedule(select_optimizer(Network(), args), args, STEPS, 'max')


def test_the_warm_up_may_be_given_in_steps():
    assert rates('--warmup_steps', 5, '--schedule', 'cosine') == rates('--warmup_epochs', 0.5, '--schedule', 'cosine')


def test_a_run_that_ends_by_steps_ends_its_schedule_there():
    seen = rates('--schedule', 'cosine', '--max_steps', 24)
    assert seen[24] == pytest.approx(0.0, abs=1e-12) and seen[12] == pytest.approx(0.25)


def test_without_a_length_only_schedules_by_epochs_work():
    optimizer = select_optimizer(Network(), options())
    Schedule(optimizer, options('--schedule', 'plateau'), None, 'max')
    with pytest.raises(DanluError, match='need a loader that says how many batches it has'):
        Schedule(optimizer, options('--schedule', 'cosine'), None, 'max')
