"""Every schedule with every warm-up: resumed anywhere it gives the same rates; parts with a share keep their share."""

import io
import math
from functools import cache

import pytest
import torch
from torch import nn

from options import parse_train_args
from utils.training.optim import SCHEDULES, Schedule, base_lr, select_optimizer

STEPS, EPOCHS = 2, 5
VALUES = (0.1, 0.2, 0.1, 0.1, 0.3)  # of the monitored metric
WARM_UPS = ([], ['--warmup_epochs', 2], ['--warmup_epochs', 1.5], ['--warmup_steps', 1])
OPTIONS = {'step': ['--lr_steps', 2], 'multistep': ['--lr_steps', 1, 3, 4], 'plateau': ['--plateau_patience', 0]}
LOWEST = {'cosine': ['--lr_min', 0.1], 'plateau': ['--lr_min', 0.1]}


class Network(nn.Module):
    """Three parts."""

    def __init__(self):
        super().__init__()
        self.features, self.neck, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)


@cache
def options(*words):
    return parse_train_args([str(word) for word in ('--epochs', EPOCHS, '--lr', 0.5, '--optimizer', 'sgd', *words)])


def started(words):
    args = options(*words)
    optimizer = select_optimizer(Network(), args)
    return optimizer, Schedule(optimizer, args, STEPS, 'max')


def saved_and_loaded(optimizer, schedule, words):
    """Return a new optimizer and schedule with the state of these, by way of a checkpoint's format."""
    file = io.BytesIO()
    torch.save({'optimizer': optimizer.state_dict(), 'scheduler': schedule.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    optimizer, schedule = started(words)
    optimizer.load_state_dict(state['optimizer'])
    schedule.load_state_dict(state['scheduler'])
    return optimizer, schedule


def rates(words, resume_at=None):
    """Return the learning rates of all groups at each step and the rate that is reported after it (list of lists)."""
    optimizer, schedule = started(words)
    seen = []
    for number in range(STEPS * EPOCHS):
        if number == resume_at:
            optimizer, schedule = saved_and_loaded(optimizer, schedule, words)
        used = [group['lr'] for group in optimizer.param_groups]
        optimizer.step()
        schedule.step()
        seen.append([*used, schedule.last_lr])
        if (number + 1) % STEPS == 0:
            schedule.end_epoch(VALUES[number // STEPS])
    return seen


CASES = [(name, warm_up) for name in SCHEDULES for warm_up in WARM_UPS if name != 'onecycle' or not warm_up]


@pytest.mark.parametrize(('name', 'warm_up'), CASES, ids=str)
def test_a_run_resumed_at_any_step_has_the_same_rates(name, warm_up):
    words = ['--schedule', name, *OPTIONS.get(name, []), *LOWEST.get(name, []), *warm_up, '--lr_of', 'head=0.1']
    whole = rates(words)
    for step in range(STEPS * EPOCHS):
        assert rates(words, resume_at=step) == whole, step


@pytest.mark.parametrize('warm_up', WARM_UPS[:2], ids=['none', 'two epochs'])
@pytest.mark.parametrize('name', LOWEST)
def test_the_lowest_rate_of_a_part_is_its_share_of_lr_min(name, warm_up):
    words = ['--schedule', name, *OPTIONS.get(name, []), *LOWEST[name], *warm_up]
    alone = [row[0] for row in rates(words)]
    for features, neck, head, reported in rates([*words, '--lr_of', 'features=0', 'neck=0.01']):
        assert features == 0
        assert neck == pytest.approx(0.01 * head)
        assert reported == pytest.approx(head)
        assert head == pytest.approx(alone.pop(0)) and head >= (0.1 if not warm_up else 5e-4) * (1 - 1e-9)
    assert head < 0.25, 'it comes down towards the lowest rate'


def test_a_part_at_0_is_not_trained_however_high_lr_min_is():
    words = ['--schedule', 'cosine', '--lr_min', 0.4, '--lr_of', 'features=0']
    args, net = options(*words), Network()
    optimizer = select_optimizer(net, args)
    schedule, before = Schedule(optimizer, args, STEPS, 'max'), net.features.weight.detach().clone()
    for _ in range(STEPS * EPOCHS):
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        schedule.step()
    assert torch.equal(net.features.weight, before)


def test_a_run_that_began_with_one_lowest_rate_for_all_parts_keeps_it():
    words = ['--schedule', 'cosine', '--lr_min', 0.1, '--lr_of', 'head=0.1']
    optimizer, schedule = started(words)
    state = schedule.state_dict()
    del state['by_step']['shared'], state['last_lr']  # as earlier versions wrote it
    schedule.load_state_dict(state)
    for _ in range(STEPS * EPOCHS):
        optimizer.step()
        schedule.step()
    assert [group['lr'] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1])


def test_the_rate_in_the_history_is_the_one_of_the_last_step(train_here, history_of, tmp_path):
    words = ['--epochs', 2, '--batch_size', 192, '--lr', 0.01, '--schedule', 'cosine']
    run = train_here(*words, '--checkpoints_dir', tmp_path)
    steps = torch.load(run.directory / 'last.pth', weights_only=True)['step']
    expected = [0.005 * (1 + math.cos(math.pi * (number - 1) / steps)) for number in (steps // 2, steps)]
    assert [float(row['lr']) for row in history_of(run)] == pytest.approx(expected)


def test_what_is_reported_before_the_first_step_is_the_first_rate():
    optimizer, schedule = started(['--warmup_epochs', 1])
    assert schedule.last_lr == base_lr(optimizer) == pytest.approx(0.5e-3)
