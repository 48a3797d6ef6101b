"""Negative controls: everything that is restored is needed, and verified."""

import signal
import subprocess

import pytest
import torch

from options import train_args
from tests.runs.helpers import loader_of, tampered
from train import Trainer


def rng_left_out(trainer):
    """Leave out the generators."""
    torch.manual_seed(99)


def position_left_out(trainer):
    """Leave out the position in the epoch."""
    trainer.batch = trainer.resumed_at = 0


def optimizer_left_out(trainer):
    """Leave out the state of the optimizer."""
    trainer.optimizer.state.clear()


def schedule_left_out(trainer):
    """Leave out where the schedule stands."""
    trainer.update.schedule.by_step.last_epoch = 0
    trainer.optimizer.param_groups[0]['lr'] = 1e-6


def plateau_left_out(trainer):
    """Leave out what the schedule by values has seen."""
    trainer.update.schedule.by_value.num_bad_epochs = 0
    trainer.update.schedule.by_value.best = float('-inf')


def sums_left_out(trainer):
    """Leave out the running sums of the loss."""
    trainer.logger.recorder = type(trainer.logger.recorder)()


def metrics_left_out(trainer):
    """Leave out the metrics so far."""
    trainer.metrics['train'].reset()


def ema_left_out(trainer):
    """Leave out the averaged weights."""
    trainer.update.ema.average.module.load_state_dict(trainer.net.state_dict())


def steps_left_out(trainer):
    """Leave out how many steps were averaged."""
    trainer.update.ema.average.n_averaged.zero_()


def best_left_out(trainer):
    """Leave out the best value so far."""
    trainer.selection.best = None


def nothing_left_out(trainer):
    """Leave out nothing: the control of the controls."""


LEFT_OUT = [
    ('memory', 10, nothing_left_out, False),
    ('memory', 10, rng_left_out, True),
    ('memory', 10, position_left_out, True),
    ('memory', 10, sums_left_out, True),
    ('memory', 10, metrics_left_out, True),
    ('gathering', 10, nothing_left_out, False),
    ('gathering', 10, optimizer_left_out, True),
    ('gathering', 3, schedule_left_out, True),
    ('gathering', 17, plateau_left_out, True),
    ('gathering', 10, ema_left_out, True),
    ('gathering', 10, steps_left_out, True),
    ('gathering', 17, best_left_out, True),
]


@pytest.mark.slow_after(1, 'a resumed run for each value')
@pytest.mark.parametrize('control', LEFT_OUT, ids=lambda control: f'{control[0]}-{control[1]}-{control[2].__name__}')
def test_with_anything_left_out_the_run_ends_otherwise(control, stopped, faults, whole_runs, tmp_path):
    name, step, left_out, differs = control
    run = tmp_path / 'run'
    subprocess.run(['cp', '-r', stopped(name, step), run], check=True)
    resumed = faults.Run(['--resume', run], tmp_path / 'samples', left_out=left_out)
    assert resumed.wait() == 0, resumed.said
    assert bool(faults.differences(run, whole_runs(name).directory)) == differs


class Broken(list):
    """Batches of which the fourth is the last, as a signal has then ended the workers that make them."""

    def __iter__(self):
        yield from list(super().__iter__())[:4]
        self.interruption.signal = signal.SIGTERM
        raise RuntimeError('DataLoader worker (pid 1) exited unexpectedly')


def gradients_left_out(trainer):
    """Leave out the gradients that wait for their step."""
    for parameter in trainer.net.parameters():
        parameter.grad = None


def batches_left_out(trainer):
    """Leave out how many batches they are from."""
    trainer.update.waiting_batches = 0


@pytest.mark.parametrize(
    ('left_out', 'differs'), [(nothing_left_out, False), (gradients_left_out, True), (batches_left_out, True)]
)
def test_gradients_that_wait_for_their_step_are_needed(left_out, differs, tmp_path):
    words = {'model_type': 'mlp', 'num_classes': 3, 'image_size': [8, 8], 'channels': 3, 'device': 'cpu', 'epochs': 1}
    words |= {'accumulate': 3, 'optimizer': 'sgd', 'checkpoints_dir': str(tmp_path)}

    batches = list(loader_of(False, True))
    whole, cut = (
        Trainer(train_args(**words), train_loader=kind(batches), val_loader=batches) for kind in (list, Broken)
    )
    whole.train()
    cut.train_loader.interruption = cut.session.preemption
    with pytest.raises(SystemExit):
        cut.train()
    assert 'batch 4 of epoch 1' in cut.session.saved_position
    on = Trainer(train_args(resume=cut.args.model_dir), train_loader=batches, val_loader=batches)
    assert on.update.waiting_batches == 1, 'a gradient was to wait'
    left_out(on)
    on.train()
    pairs = zip(whole.net.state_dict().values(), on.net.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs) != differs


def weights_changed(state):
    """Change a weight."""
    next(iter(state['model'].values())).view(-1)[0] += 1


def generator_changed(state):
    """Draw otherwise in the network."""
    state['rng']['torch'] = torch.Generator().manual_seed(99).get_state()


@pytest.mark.slow_after(2, 'a run each')
@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (lambda state: None, 'resume verified: weights, data and loss of batch 4 of epoch 1'),
        (weights_changed, 'resume differs: the weights of batch 4 of epoch 1'),
        (generator_changed, 'resume differs: the loss of batch 4 of epoch 1'),
    ],
)
def test_the_first_step_of_a_resumed_run_is_compared_with_what_the_run_saw(change, line, faults, whole_runs, tmp_path):
    words = [*whole_runs('memory').words, '--checkpoints_dir', tmp_path, '--save_steps', 3, '--num_workers', 0]
    run = faults.Run(words, tmp_path / 's', faults.Fault(signal.SIGKILL, 5, written=True))
    assert run.wait() == -signal.SIGKILL
    run = tampered(tmp_path / 'mlp_exp', tmp_path / 'other', change)
    resumed = faults.Run(['--resume', run], tmp_path / 's', faults.Fault(signal.SIGTERM, 1))
    assert resumed.wait() == 143
    assert line in resumed.said
    assert 'process' in resumed.said
    assert 'is gone' in resumed.said, 'the lock of the process that was killed'
