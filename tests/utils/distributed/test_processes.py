"""Several processes, tested in one process."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from data.samplers import EpochBatches, StreamBatches
from metrics import select_metrics
from model.unet.unet import UNet
from options import parse_train_args
from train import Trainer
from utils.base.errors import DanluError
from utils.base.rank_env import RankInfo, rank_info_of
from utils.distributed import processes
from utils.distributed.fsdp import fault_of_options, shard
from utils.runs.lock import NoLock
from utils.training import resume, session_opening
from utils.training.nonfinite_guard import MAX_PENDING_STEPS, NonFiniteError, NonFiniteGuard

TORCHRUN = {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '2', 'MASTER_ADDR': 'localhost', 'MASTER_PORT': '29500'}


@pytest.mark.parametrize('count', [2, 3, 7])
@pytest.mark.parametrize('length', [1, 6, 41, 65])
def test_the_parts_of_a_batch_make_up_the_batch(length, count):
    whole = list(EpochBatches(length, 16, True, seed=3))
    shared = [EpochBatches(length, 16, True, seed=3) for _ in range(count)]
    streams = [StreamBatches(SimpleNamespace(order=lambda epoch: iter(range(length))), 16, True) for _ in range(count)]
    for rank, (sampler, stream) in enumerate(zip(shared, streams, strict=True)):
        sampler.rank_and_count = stream.rank_and_count = (rank, count)
    parts = [list(sampler) for sampler in shared]
    assert {len(each) for each in parts} == {len(whole)}
    for number, (_, batch) in enumerate(whole):
        found = [part[number][1] for part, sampler in zip(parts, shared, strict=True)
                 if (1, number) not in sampler.padding_batches]  # fmt: skip
        assert np.concatenate(found).tolist() == batch.tolist()
        assert max(map(len, found)) - min(map(len, found)) <= 1
    places = [[part.tolist() for _, part in stream] for stream in streams]
    counted = [place for stream, each in zip(streams, places, strict=True) for number, part in enumerate(each)
               if (1, number) not in stream.padding_batches for place in part]  # fmt: skip
    assert sorted(counted) == list(range(length))


@pytest.mark.parametrize('count', [2, 3, 7])
def test_no_part_of_a_last_batch_is_a_single_sample(count):
    """Batch normalisation cannot use single samples; a single process has no such batch either."""
    for rest in range(2, 15):
        for rank in range(count):
            sampler = EpochBatches(16 + rest, 16, True, seed=3)
            sampler.rank_and_count = (rank, count)
            assert len(list(sampler)[-1][1]) > 1, rest


TASKS = {
    'classification': (
        {'num_classes': 7, 'metrics': ['auroc', 'acc_top5']},
        lambda random: (torch.randn(41, 7, generator=random), torch.randint(7, (41,), generator=random)),
    ),
    'segmentation': (
        {'num_classes': 3, 'ignore_index': 2},
        lambda random: (torch.randn(41, 3, 4, 4, generator=random), torch.randint(3, (41, 4, 4), generator=random)),
    ),
    'multilabel': (
        {'num_classes': 4, 'metrics': ['auroc']},
        lambda random: (torch.randn(41, 4, generator=random), torch.randint(2, (41, 4), generator=random).float()),
    ),
    'regression': (
        {},
        lambda random: tuple(torch.randn(41, 2, generator=random, dtype=torch.float64) + 1e4 for _ in range(2)),
    ),
    'restoration': ({}, lambda random: tuple(torch.rand(41, 1, 16, 16, generator=random) for _ in range(2))),
}


@pytest.mark.parametrize('task', TASKS)
def test_shares_of_metrics_add_up(task):
    options, make = TASKS[task]
    args = SimpleNamespace(**{'task': task, 'class_names': None, 'ignore_index': None, 'metrics': None} | options)
    whole, shares = select_metrics(args), [select_metrics(args) for _ in range(3)]
    predictions, targets = make(torch.Generator().manual_seed(0))
    whole.update(predictions, targets)
    for share, part in zip(shares[1:], (slice(0, 15), slice(15, 41)), strict=True):  # and nothing for the first
        share.update(predictions[part], targets[part])
    merged = select_metrics(args)
    merged.merge([share.reduce_state() for share in shares], torch.device('cpu'))
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-9, nan_ok=True)


@pytest.mark.parametrize('option', ['--ema 0.9', '--compile', '--channels_last', '--amp fp16', '--optimizer adafactor'])
def test_options_that_fsdp_does_not_support_are_refused(monkeypatch, option):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    fault = fault_of_options(parse_train_args(['--parallel', 'fsdp', *option.split()]))
    assert fault.startswith(f'{option.removesuffix(" 0.9")}: not with --parallel')
    assert fault_of_options(parse_train_args(['--parallel', 'fsdp', '--amp', 'bf16'])) is None


@pytest.fixture
def alone_in_a_group():
    """Make this process the only one of a group."""
    torch.distributed.init_process_group('gloo', store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_a_channels_last_network_can_be_sharded(alone_in_a_group):
    torch.manual_seed(0)
    net, images = UNet(num_classes=3), torch.rand(2, 3, 32, 32)
    expected = net(images)
    out = shard(net, torch.device('cpu'), least=100)(images)
    out.mean().backward()
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_weights_that_are_not_contiguous_can_be_sharded(alone_in_a_group):
    net = torch.nn.Linear(4, 8)
    net.weight = torch.nn.Parameter(torch.randn(4, 8).t())
    expected = net(torch.ones(2, 4))
    torch.testing.assert_close(shard(net, torch.device('cpu'))(torch.ones(2, 4)), expected)


def test_errors_after_the_watchdog_are_blamed_on_the_failed_process(monkeypatch):
    """utils.distributed.nccl_watchdog has ended the groups, so torch knows of no processes."""
    monkeypatch.setattr(processes, '_group', SimpleNamespace(why='the failure of process 0: no space left'))
    monkeypatch.setattr(processes.rank_env, 'rank_info', lambda: RankInfo(1, 2, 1))
    assert (processes.count(), processes.rank()) == (2, 1)
    assert processes.why_ended(ValueError('there is no group')) == 'the failure of process 0: no space left'


def test_processes_that_are_not_connected_do_not_train(monkeypatch, tmp_path):
    args = parse_train_args(['--checkpoints_dir', str(tmp_path), '--device', 'cpu'])
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DanluError, match='which are not connected'):
        Trainer(args)


def test_trials_of_one_process_do_not_wait_for_the_others(monkeypatch):
    """Synchronised batch norms would, in the copies of a network that --fast tries in rank 0."""
    monkeypatch.setattr(processes, '_group', object())
    monkeypatch.setattr(processes, 'count', lambda: 2)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    processes.check(parse_train_args(['--fast']))
    with pytest.raises(DanluError, match='--fast: not with --sync_bn'):
        processes.check(parse_train_args(['--fast', '--sync_bn']))


def test_a_finished_run_is_drawn_by_one_process(monkeypatch, tmp_path):
    """Two processes would replace each other's incomplete curves.png."""
    drawn = []
    monkeypatch.setattr(resume, 'draw_run', lambda *given: drawn.append(given))
    state = {'recorder': {'history': [{'epoch': 1}]}}
    for first in (False, True):
        monkeypatch.setattr(processes, 'is_first', lambda first=first: first)
        resume.draw_missing_curves(tmp_path / 'last.pth', state, None)
    assert len(drawn) == 1


def test_the_loss_of_all_waits_for_no_gpu(monkeypatch):
    """Copying a Python number to a GPU waits for all earlier work."""
    operations = []

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            operations.append(str(operation))
            return operation(*args, **(kwargs or {}))

    monkeypatch.setattr(processes, '_group', object())
    monkeypatch.setattr(processes, 'count', lambda: 2)
    monkeypatch.setattr(processes.dist, 'all_reduce', lambda tensor: None)
    values = torch.tensor([2.0, 3.0], requires_grad=True)
    parts = {'ce': (1.0, values[0], 4), 'dice': (0.5, values[1], torch.tensor(2))}
    with Operations():
        loss, known = processes.all_reduce_loss(values[0] + 0.5 * values[1], lambda: parts)
    assert loss.item() == 3.5
    assert [(mean.item(), number.item()) for _, mean, number in known.values()] == [(2, 4), (3, 2)]
    assert 'aten.stack.default' in operations
    assert not [name for name in operations if 'lift_fresh' in name or 'local_scalar' in name]


def test_all_processes_learn_the_directory_of_a_run_that_was_not_prepared(monkeypatch, tmp_path):
    """A custom program may use parse_train_args only; this process is not rank 0."""
    monkeypatch.setattr(processes, 'is_first', lambda: False)
    monkeypatch.setattr(processes, 'broadcast_from_rank0', lambda function: str(tmp_path / 'run'))
    monkeypatch.setattr(session_opening, 'select_lock', NoLock)
    trainer = Trainer(parse_train_args(['--checkpoints_dir', str(tmp_path), '--device', 'cpu']))
    assert trainer.args.model_dir == str(tmp_path / 'run')
    assert list(tmp_path.iterdir()) == [], 'it writes nothing itself'


def test_the_rank_is_that_of_torchrun():
    assert rank_info_of({}) == RankInfo(0, 1, 0)
    assert rank_info_of({'WORLD_SIZE': '4', 'RANK': '1'}) == RankInfo(0, 1, 0), 'of something else'
    assert rank_info_of({**TORCHRUN, 'RANK': '5', 'WORLD_SIZE': '8', 'LOCAL_RANK': '1'}) == RankInfo(5, 8, 1)


def test_all_processes_handle_a_nonfinite_step_at_the_same_step(monkeypatch):
    """One GPU may learn of the step sooner than another."""
    net = torch.nn.Linear(2, 1)
    guard = NonFiniteGuard(net, torch.optim.SGD(net.parameters(), 0.1, fused=True), is_synchronous=False)
    guard.is_synchronous = False  # as on a GPU
    known = SimpleNamespace(query=lambda: True, synchronize=lambda: None)
    monkeypatch.setattr(processes, 'count', lambda: 2)
    for step in range(MAX_PENDING_STEPS):
        guard.pending_checks.append(
            (torch.ones(()), known, NonFiniteError('gradient', [step + 1], step, late=True), [])
        )
        guard.raise_pending()
    guard.pending_checks.append(
        (torch.ones(()), known, NonFiniteError('gradient', [MAX_PENDING_STEPS + 1], MAX_PENDING_STEPS, late=True), [])
    )
    with pytest.raises(NonFiniteError) as met:
        guard.raise_pending()
    assert met.value.batches == [1]
