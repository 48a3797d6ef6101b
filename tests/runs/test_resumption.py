"""Runs that are killed or stopped, and go on: to the same bits, and each value once."""

import os
import re
import shlex
import signal
from types import SimpleNamespace

import pytest

from tests.program_server import Program
from utils.base.registry import PROJECT
from utils.runs.checkpoint import load_checkpoint

WORKERS = (0, 2)


@pytest.fixture
def interrupted(faults, whole_runs, tmp_path):
    """Return a function that makes a run of a case, with faults one after the other -> the run, when it is done.

    (name, faults, *words, first=...): each process goes on where the one before ended, with another number of workers,
    the first one with WORKERS[first].
    """

    def interrupt(name, strikes, *words, first=0):
        whole, samples, said = whole_runs(name), tmp_path / 'samples', []
        given = [*whole.words, '--checkpoints_dir', tmp_path / 'runs', *words]
        for number, fault in enumerate([*strikes, None], first):
            run = faults.Run([*given, '--resume', 'auto', '--num_workers', WORKERS[number % 2]], samples, fault)
            code = run.wait()
            said.append(run.said)
            assert code == ending(fault), run.said
        [directory] = (tmp_path / 'runs').iterdir()
        return SimpleNamespace(directory=directory, samples=samples, said=said, whole=whole)

    return interrupt


def ending(fault):
    """Return the exit status (int) that a fault leads to."""
    if fault is None:
        return 0
    return -fault.number if fault.number == signal.SIGKILL or fault.times > 1 else 128 + fault.number


@pytest.mark.slow_after(1, 'four starts each')
@pytest.mark.parametrize('name', ['stream', 'classification', 'segmentation', 'gathering', 'memory'])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(name, interrupted, faults):
    strikes = [faults.Fault(signal.SIGKILL, step) for step in (6, 4, 5)]
    run = interrupted(name, strikes, '--save_steps', 1)
    assert 'resumed after batch' in run.said[1], 'it was to go on within an epoch'
    assert all('resume verified' in said or 'resume not verified' in said for said in run.said[1:])
    assert faults.differences(run.directory, run.whole.directory) == []
    assert faults.sample_faults(run.samples, run.whole.samples) == []


@pytest.mark.slow_after(1, 'a run each')
@pytest.mark.parametrize(
    ('number', 'group', 'first'),
    [
        (signal.SIGTERM, True, 1),
        (signal.SIGTERM, False, 1),
        (signal.SIGTERM, False, 0),
        (signal.SIGINT, True, 1),
        (signal.SIGINT, True, 0),
        (signal.SIGUSR1, True, 1),
    ],
)
def test_a_signal_ends_a_run_after_the_step_at_hand(number, group, first, interrupted, faults):
    """Four batches are done, of which three make a step: workers that a signal has ended make no more for the next."""
    run = interrupted('gathering', [faults.Fault(number, 4, group=group)], '--save_steps', 100, first=first)
    assert len(faults.steps_in(run.samples)) == 21, 'a step was done twice'
    resumed = int(re.search(r'resumed after batch (\d) of epoch 1', run.said[1])[1])
    assert 4 <= resumed <= 6, 'the step at hand was to be finished, and no more'
    assert f'last.pth holds batch {resumed} of epoch 1; to go on: python train.py --resume' in run.said[0]
    assert faults.differences(run.directory, run.whole.directory) == []


@pytest.mark.slow_after(1, 'two runs each')
@pytest.mark.parametrize('name', ['gathering', 'classification'])
def test_a_signal_during_validation_costs_nothing_but_the_validation(name, interrupted, faults):
    """With --ema the network has other weights then, and a signal to the group ends the workers of its loader."""
    strikes = [
        faults.Fault(signal.SIGTERM, 2, validating=True, group=True),
        faults.Fault(signal.SIGTERM, 2, validating=True, group=True),
    ]
    run = interrupted(name, strikes)
    assert len(faults.steps_in(run.samples)) == 21
    assert faults.differences(run.directory, run.whole.directory) == []


def test_a_second_ctrl_c_stops_at_once(faults, whole_runs, tmp_path):
    run = faults.Run(
        [*whole_runs('memory').words, '--checkpoints_dir', tmp_path],
        tmp_path / 's',
        faults.Fault(signal.SIGINT, 3, times=2),
    )
    assert run.wait() == 130
    assert 'nothing was saved yet' in run.said
    assert not list(tmp_path.glob('*/last.pth')), 'it saved first'


def test_a_process_that_is_started_by_hand_and_stopped_by_kill_says_how_to_go_on(run_program, whole_runs, tmp_path):
    """The program itself, with a signal at any moment; --resume auto of a finished run is no error."""
    words = [*whole_runs('classification').words, '--checkpoints_dir', str(tmp_path), '--num_workers', '2']
    words += ['--resume=auto']
    with Program(PROJECT / 'train.py', [*words, '--epochs', 10000], start_new_session=True) as run:
        for line in run.stdout:
            if line.startswith('epoch 2/'):
                os.killpg(run.pid, signal.SIGTERM)
                break
        rest = run.stdout.read()
    assert run.returncode == 143, rest + run.stderr.read()
    assert f'to go on: python train.py --resume {shlex.quote(str(tmp_path / "mlp_exp"))}' in rest
    epoch = load_checkpoint(tmp_path / 'mlp_exp' / 'last.pth')['epoch']
    done = run_program('train.py', *words, '--epochs', epoch)
    assert done.code == 0, done.stderr
    assert done.stdout.startswith('nothing to do: '), done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ['mlp_exp']
