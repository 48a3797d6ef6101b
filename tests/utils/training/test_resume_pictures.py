"""Which epochs have pictures in TensorBoard depends on what drawing takes, and not on interruptions."""

import signal
from types import SimpleNamespace

import pytest

from options import train_args
from train import Trainer
from utils.base.errors import DanluError
from utils.base.record_schema import check_resume_state
from utils.logger import TimeBudget


def test_a_state_goes_on_with_its_cost_and_its_time():
    earlier = TimeBudget(0.5)
    assert earlier.due()
    earlier.cost = 1e9
    assert not TimeBudget(0.5, state=earlier.state_dict()).due()
    assert TimeBudget(0.5, state={'cost': 1e9, 'since': 3e9}).due()
    assert TimeBudget(0.5, state={'cost': None}).due()


class Noting(Trainer):
    """Notes the names of the samples that it draws, and their targets (list of pairs)."""

    noted = ()

    def draw_sample_grid(self, images, predictions, targets, columns):
        self.noted = [*self.noted, *zip(self.drawn_names, targets.tolist(), strict=True)]
        return super().draw_sample_grid(images, predictions, targets, columns)


@pytest.mark.slow('three runs')
def test_a_resumed_run_draws_no_epoch_that_an_uninterrupted_one_leaves_out(tmp_path, events_of):
    options = {'epochs': 3, 'batch_size': 500, 'device': 'cpu', 'threads': 1, 'checkpoints_dir': str(tmp_path)}
    stopped = Trainer(train_args(**options))
    step = stopped.train_step

    def step_and_stop(batch):
        if stopped.update.steps == 12:
            stopped.session.drawing_budgets['val'].cost = 1e9  # seconds: drawing is slow
            stopped.session.preemption.signal = signal.SIGTERM
        return step(batch)

    stopped.train_step = step_and_stop
    with pytest.raises(SystemExit):
        stopped.train()
    resumed = Noting(train_args(resume=stopped.args.model_dir))
    resumed.train()
    assert [
        event.step for event in events_of(SimpleNamespace(directory=resumed.args.model_dir)).images['val/samples']
    ] == [1, 3]
    train, val = (loader.samples.targets.tolist() for loader in (resumed.train_loader, resumed.val_loader))
    spread = [62, 187, 312, 437, 562, 687, 812, 937]
    assert resumed.noted[-8:] == [(f'{index:05d}', val[index]) for index in spread]
    assert [target for _, target in resumed.noted[:8]] == [train[int(name)] for name, _ in resumed.noted[:8]]
    assert not resumed.drawn_names, 'other samples that a hook draws have no names'


def test_a_cost_of_another_type_is_refused(tmp_path):
    loader = {'batch': 0, 'drawing': {'val': {'cost': ''}}}
    state = {'model': {}, 'args': {}, 'epoch': 1, 'step': 8, 'optimizer': {}, 'rng': {}, 'loader': loader}
    state['recorder'], state['best'] = {'history': []}, None
    with pytest.raises(DanluError, match=r'loader\.drawing\.val\.cost is of type str'):
        check_resume_state(state, tmp_path)
