"""Resuming with ready-made loaders and metrics."""

import signal

import pytest
import torch

from metrics import Metrics
from options import train_args
from tests.runs.helpers import loader_of
from train import Trainer
from utils.training.preemption import Preemption


@pytest.mark.slow_after(1, 'two runs each')
@pytest.mark.parametrize(('hidden', 'own', 'exact'), [(False, True, True), (False, False, True), (True, True, False)])
def test_a_ready_made_loader_goes_on_as_the_docstring_says(hidden, own, exact, tmp_path):
    """The network draws from the global generator too, in turns with the data."""
    options = {
        **{'model_type': 'mlp', 'model_args': ['hidden=16', 'dropout=0.3'], 'num_classes': 3, 'epochs': 3},
        **{'image_size': [8, 8], 'channels': 3, 'device': 'cpu', 'checkpoints_dir': str(tmp_path)},
        'keep_last_weights': True,  # the best ones may be of an epoch before the interruption
    }

    def trained(**more):
        loaders = {'train_loader': loader_of(hidden, own), 'val_loader': loader_of(False, False)}
        return Stopping(train_args(**options, **more), **loaders)

    whole = trained(save_prefix='whole')
    whole.stop_at = None
    whole.train()
    cut = trained(save_prefix='cut')
    with pytest.raises(SystemExit):
        cut.train()
    on = Stopping(
        train_args(resume=cut.args.model_dir),
        **{'train_loader': loader_of(hidden, own), 'val_loader': loader_of(False, False)},
    )
    on.stop_at = None
    on.train()
    pairs = zip(whole.net.state_dict().values(), on.net.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs) == exact


class Stopping(Trainer):
    """Is asked to stop in its second epoch."""

    stop_at = 8

    def train_step(self, batch):
        done = super().train_step(batch)
        if self.update.steps == self.stop_at:
            self.session.preemption.signal = signal.SIGTERM
        return done


class Counting(Metrics):
    """Has attributes that are not private, as a class of one's own may."""

    def __init__(self):
        self.reset()

    def reset(self):
        super().reset()
        self.hits, self.of_class = torch.zeros(()), {'a': [0.5]}


def test_metrics_of_ones_own_go_on_with_all_that_they_hold():
    one, other = Counting(), Counting()
    one.hits, one.of_class = torch.tensor(7.0), {'a': [1.5]}
    other.load_state_dict(one.state_dict(), torch.device('cpu'))
    assert (other.hits, other.of_class) == (7, {'a': [1.5]})
    one.helper = torch.nn.Linear(1, 1)  # a checkpoint of plain values cannot hold it, so it is said and not half saved
    assert one.state_dict() is None


@pytest.mark.parametrize('error', [RuntimeError, ConnectionResetError, EOFError, FileNotFoundError])
def test_workers_that_a_signal_has_ended_are_no_error_however_they_are_missed(error):
    """A batch that is finished lies in memory for which the DataLoader asks the worker that made it."""

    def batches():
        yield 1
        interruption.signal = signalled
        raise error

    interruption, signalled, saved = Preemption(), None, []
    with pytest.raises(error):
        list(interruption.guard_batches(batches(), lambda: saved.append('state')))
    assert saved == [], 'without a signal the error is one'
    signalled = signal.SIGTERM
    with pytest.raises(error):
        list(interruption.guard_batches(batches(), lambda: saved.append('state')))
    assert saved == ['state']
