"""Cores, threads and the selection of GPUs, without a GPU."""

import os
from argparse import Namespace

import pytest
import torch

from utils.base.errors import DanluError
from utils.base.machine import check_process_count, cpu_cores, describe_device, memory, select_gpus, set_threads
from utils.base.rank_env import RANK_VARIABLES


@pytest.fixture
def gpus(monkeypatch):
    """Return a function that makes torch report a number of GPUs."""

    def see(count):
        monkeypatch.setattr(torch.cuda, 'device_count', lambda: count)
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda index: f'Furnace {index}')
        current = [0]
        monkeypatch.setattr(torch.cuda, 'set_device', current.append)
        return current

    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,7')
    return see


def options(gpus=None, device='auto'):
    """Return the options that select_gpus reads."""
    return Namespace(gpus=gpus, device=device)


@pytest.mark.parametrize(
    ('visible', 'args', 'device', 'chosen', 'said'),
    [
        (2, options(), 'cuda:0', [0], 'GPU 0 (Furnace 0)'),
        (2, options([1]), 'cuda:1', [1], 'GPU 1 (Furnace 1)'),
        (2, options([0, 1], 'cuda'), 'cuda:0', [0, 1], 'GPU 0 (Furnace 0), 1 (Furnace 1)'),
        (2, options([1, 0]), 'cuda:1', [1, 0], 'GPU 1 (Furnace 1), 0 (Furnace 0)'),
        (2, options([0, 1], 'cpu'), 'cpu', [], 'CPU'),
        (0, options(), 'cpu', [], 'CPU'),
        (0, options(device='cpu'), 'cpu', [], 'CPU'),
    ],
)
def test_gpus_are_chosen_and_named(gpus, visible, args, device, chosen, said):
    current = gpus(visible)
    assert select_gpus(args) == (torch.device(device), chosen)
    assert current[-1] == (chosen or [0])[0], 'torch would take GPU 0 for what is not told its device'
    assert describe_device(chosen) == said
    assert os.environ['CUDA_VISIBLE_DEVICES'] == '4,7', 'it is not ours to change'


@pytest.mark.parametrize(
    ('visible', 'args', 'message'),
    [
        (0, options([0, 1]), r'--gpus 0 1: no GPU is visible \(CUDA_VISIBLE_DEVICES=4,7\); leave it out, or .*cpu'),
        (0, options(device='cuda'), r'--device cuda: no GPU is visible \(CUDA_VISIBLE_DEVICES=4,7\).* auto or cpu'),
        (2, options([2]), r'--gpus 2: only 2 GPU\(s\) are visible \(CUDA_VISIBLE_DEVICES=4,7\), so it takes 0\.\.1'),
        (2, options([0, 0]), '--gpus 0 0: an index is repeated'),
    ],
)
def test_an_impossible_choice_of_gpus_is_refused(gpus, visible, args, message):
    gpus(visible)
    with pytest.raises(DanluError, match=message):
        select_gpus(args)


def test_the_first_gpu_is_selected_after_another_one(gpus, monkeypatch):
    current = gpus(2)
    monkeypatch.setattr(torch.cuda, 'is_initialized', lambda: len(current) > 1)
    for chosen in (1, 0):
        select_gpus(options([chosen]))
        assert current[-1] == chosen


def test_without_the_variable_the_message_says_so(gpus, monkeypatch):
    gpus(0)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    with pytest.raises(DanluError, match='CUDA_VISIBLE_DEVICES=not set'):
        select_gpus(options(device='cuda'))


def test_cores_are_those_that_this_process_may_use():
    assert cpu_cores() >= 1
    if hasattr(os, 'sched_setaffinity'):
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        try:
            assert cpu_cores() == 1
        finally:
            os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ('variable', 'wanted', 'workers', 'threads'),
    [
        (None, None, 0, 6),  # all cores
        (None, None, 2, 4),  # what the workers leave
        (None, None, 8, 1),
        (None, 3, 2, 3),  # --threads
        ('5', None, 0, 2),  # as it was: torch has read the variable
        ('5', 3, 0, 3),
    ],
)
def test_threads_are_the_cores_that_the_workers_leave(monkeypatch, variable, wanted, workers, threads):
    monkeypatch.setattr('utils.base.machine.cpu_cores', lambda: 6)
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    if variable:
        monkeypatch.setenv('OMP_NUM_THREADS', variable)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert set_threads(wanted, workers) == threads
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_machine_starts_no_thousand_processes_or_threads(monkeypatch):
    monkeypatch.setattr('utils.base.machine.cpu_cores', lambda: 2)
    check_process_count('num_workers', 128)
    with pytest.raises(DanluError, match=r'^--num_workers 129: at most 128 on this machine, which has 2 cores$'):
        check_process_count('num_workers', 129)
    with pytest.raises(DanluError, match=r'^--threads 1000: at most 128'):
        set_threads(1000, 0)
    monkeypatch.setattr('utils.base.machine.cpu_cores', lambda: 256)
    check_process_count('num_workers', 1024)


@pytest.mark.skipif(not hasattr(os, 'sysconf'), reason='this system does not tell its memory')
@pytest.mark.parametrize(
    ('limit', 'share'), [('max\n', None), ('1000000\n', 1_000_000), (f'{2**60}\n', None), (None, None)]
)
def test_memory_is_that_of_the_machine_or_the_container(monkeypatch, tmp_path, limit, share):
    monkeypatch.setattr('utils.base.machine.CONTAINER_LIMIT', tmp_path / 'memory.max')
    if limit is not None:
        (tmp_path / 'memory.max').write_text(limit)
    there = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    assert memory() == (share or there) > 0


@pytest.mark.parametrize('built, available, count, why', [
    (False, False, '1', 'PyTorch has it only for macOS on a Mac with an Apple chip, and this is '),
    (True, False, '1', 'PyTorch finds no Apple GPU here, or macOS '),
    (True, True, '2', 'only for one process, without torchrun'),
])  # fmt: skip
def test_an_apple_gpu_is_refused_with_the_reason(monkeypatch, built, available, count, why):
    monkeypatch.setattr(torch.backends.mps, 'is_built', lambda: built)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: available)
    for name, value in zip(RANK_VARIABLES, ('0', '0', count, 'localhost', '29500'), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(DanluError, match=f'--device mps: {why}.*; use --device auto or cpu'):
        select_gpus(options(device='mps'))


def test_an_apple_gpu_is_chosen_and_named_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, 'is_built', lambda: True)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: True)
    device, gpus = select_gpus(options(device='mps'))
    assert (device, gpus) == (torch.device('mps'), [])
    assert describe_device(gpus, device) == 'Apple GPU (MPS); data, loss and metrics on the CPU'
