"""Runs of a program of one's own, interrupted within an epoch and resumed by the command that they print."""

import shlex
import signal
import sys

import pytest
import torch

from options import train_args
from tests.program_server import run_forked
from train import Trainer
from utils.base.registry import PROJECT

PROGRAM = """
import os, signal, sys
from examples import gan
from utils.base.errors import run_main

class Interrupted(gan.GANTrainer):
    def train_step(self, batch):
        done = super().train_step(batch)
        if self.update.steps == 3 and '--resume' not in sys.argv:
            os.kill(os.getpid(), signal.SIGTERM)
        return done

gan.GANTrainer = Interrupted
run_main(lambda: gan.main(sys.argv[1:]), 'gan.py')
"""


class Distance:
    """A metric that makes its attributes in reset(), and has no state_dict."""

    monitor, mode = 'distance', 'min'

    def reset(self):
        self.sums = []

    def update(self, predictions, targets):
        self.sums.append(float(predictions.detach().abs().sum()))

    def compute(self):
        return {'distance': sum(self.sums)}


class StatefulDistance(Distance):
    """The same with its state in checkpoints."""

    def state_dict(self):
        return {'sums': self.sums}

    def load_state_dict(self, state, device):
        self.sums += state['sums']  # as metrics may that count on reset()


def trainer_with(metric, **options):
    """Return a Trainer of the digits with its own metric."""

    class Own(Trainer):
        def select_metrics(self):
            return metric()

    return Own(train_args(device='cpu', epochs=1, batch_size=400, threads=1, report=False, **options))


@pytest.mark.slow('three runs each')
@pytest.mark.parametrize(('metric', 'exact'), [(Distance, False), (StatefulDistance, True)])
def test_metrics_that_make_their_attributes_in_reset_resume_within_an_epoch(metric, exact, tmp_path):
    straight = trainer_with(metric, checkpoints_dir=str(tmp_path / 'straight')).train()
    first = trainer_with(metric, checkpoints_dir=str(tmp_path))
    step = first.train_step

    def step_and_stop(batch):
        done = step(batch)
        if first.update.steps == 3:
            first.session.preemption.signal = signal.SIGTERM
        return done

    first.train_step = step_and_stop
    with pytest.raises(SystemExit):
        first.train()
    assert 'batch 3 of epoch 1' in first.session.saved_position
    resumed = trainer_with(metric, resume=first.args.model_dir).train()
    assert resumed[0]['val/distance'] == straight[0]['val/distance']
    assert (resumed[0]['train/distance'] == straight[0]['train/distance']) == exact


@pytest.mark.slow('a run of an example, and its resumption')
def test_a_program_of_ones_own_is_named_in_the_command_to_resume(tmp_path):
    script = tmp_path / 'my_gan.py'
    script.write_text(f'import sys\nsys.path.insert(0, {str(PROJECT)!r})\n{PROGRAM}', encoding='utf-8')
    words = [str(script), '--epochs', '1', '--max_steps', '5', '--threads', '1', '--device', 'cpu']
    done = run_forked([sys.executable, *words, '--checkpoints_dir', str(tmp_path / 'runs')])
    assert done.returncode == 143, done.stdout + done.stderr
    command = done.stdout.rsplit('to go on: ', 1)[1].split('\n')[0]
    assert command.startswith(f'python {shlex.quote(str(script))} --resume '), command
    resumed = run_forked([sys.executable, *shlex.split(command)[1:]])
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    state = torch.load(tmp_path / 'runs' / 'gan_exp' / 'last.pth', weights_only=True)
    assert state['epoch'] == 1
