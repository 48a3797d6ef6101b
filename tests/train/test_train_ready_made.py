"""Ready-made data in every task and every form: what is handed over is what counts, and nothing named is touched."""

import csv
import signal

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import data.data_entry
import data.ready_made
import loss as loss_py
import metrics as metrics_py
import model.model_entry
from eval import Evaluator, load_predictor
from options import parse_train_args, train_args
from options import test_args as args_of_test
from tests.train.helpers import bits, weights_in
from train import Trainer
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint
from utils.training import optim as optim_py

COUNT, BATCH = 10, 4


def drawn(shape, seed=0, high=None):
    """Return numbers, or whole numbers below `high`, of a shape."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator) if high is None else torch.randint(high, shape, generator=generator)


PICTURES = drawn((COUNT, 3, 12, 12))
# By task: inputs, targets, a network, and what the options of the run become.
TASKS = {
    'classification': (PICTURES, drawn((COUNT,), 1, 4), lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 4))),
    'segmentation': (PICTURES, drawn((COUNT, 12, 12), 1, 2), lambda: nn.Conv2d(3, 2, 1)),
    'multilabel': (PICTURES, drawn((COUNT, 4), 1, 2), lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 4))),
    'regression': (drawn((COUNT, 5)), drawn((COUNT,), 1), lambda: nn.Linear(5, 1)),
    'restoration': (PICTURES, drawn((COUNT, 3, 12, 12), 1), lambda: nn.Conv2d(3, 3, 1)),
}
GIVEN = {'segmentation': {'num_classes': 2}}  # masks have to be told how many


class Stream(IterableDataset):
    """Yields the samples of a task one by one."""

    def __init__(self, inputs, targets):
        self.inputs, self.targets = inputs, targets

    def __iter__(self):
        yield from zip(self.inputs, self.targets, strict=True)


def in_form(form, inputs, targets):
    """Return the samples as a loader of one form."""

    def batches():
        for start in range(0, COUNT, BATCH):
            yield inputs[start : start + BATCH], targets[start : start + BATCH]

    return {
        'generator function': lambda: batches,
        'list': lambda: list(batches()),
        'stream': lambda: Stream(inputs, targets),
        'data set': lambda: TensorDataset(inputs, targets),
        'DataLoader': lambda: DataLoader(TensorDataset(inputs, targets), BATCH),
    }[form]()


def parts_of(task, form='stream'):
    """Return the parts of a Trainer for a task."""
    inputs, targets, build = TASKS[task]
    torch.manual_seed(3)
    return {
        'model': build(),
        'train_loader': in_form(form, inputs, targets),
        'val_loader': in_form(form, inputs, targets),
    }


def args_of(folder, **options):
    """Return short options for a run in a folder, or of one that is resumed."""
    if 'resume' in options:
        return train_args(**options)
    return train_args(**{'epochs': 1, 'device': 'cpu', 'batch_size': BATCH, 'checkpoints_dir': folder, **options})


class Refusing(dict):
    """A registry whose names may be read, and that fails the test when an entry is looked up."""

    def __getitem__(self, name):
        raise AssertionError(f'{name} was looked up')

    get = __getitem__


def refuse(*_):
    """Fail the test: something named was used."""
    raise AssertionError('the named data was used')


@pytest.fixture
def nothing_named(monkeypatch):
    """Let every registry of what is handed over raise."""
    for module, name in ((data.data_entry, 'DATASETS'), (model.model_entry, 'MODELS'), (loss_py, 'LOSSES')):
        monkeypatch.setattr(module, name, Refusing(getattr(module, name)))
    for name in ('select_train_loader', 'select_eval_loader'):
        monkeypatch.setattr(data.ready_made, name, refuse)
    monkeypatch.setattr(data.data_entry, 'complete_args', refuse)


@pytest.mark.slow_after(2, 'three runs each')
@pytest.mark.parametrize('task', TASKS)
def test_a_stream_of_each_task_trains_validates_and_resumes_to_the_bit(task, tmp_path):
    def trainer(kind=Trainer, **options):
        return kind(args_of(tmp_path, **options), **parts_of(task))

    given = {'task': task, 'keep_last_weights': True, **GIVEN.get(task, {})}
    whole = trainer(save_prefix='whole', epochs=2, **given)
    rows = whole.train()
    assert 'val/loss' in rows[1] and rows[1]['train/loss'] != rows[0]['train/loss']
    inputs, targets, _ = TASKS[task]
    with torch.no_grad():
        outputs = whole.net.eval()(inputs)
    expected = whole.loss(outputs, whole.to_device((inputs, targets))[1])
    assert rows[1]['val/loss'] == pytest.approx(expected.item(), rel=1e-5)
    cut = trainer(Stopping, save_prefix='cut', epochs=2, **given)
    with pytest.raises(SystemExit):
        cut.train()
    on = trainer(resume=cut.args.model_dir)
    assert on.batch == 1
    on.train()
    assert bits(on.net.state_dict()) == bits(whole.net.state_dict())


class Stopping(Trainer):
    """Is asked to stop within its second epoch."""

    def train_step(self, batch):
        done = super().train_step(batch)
        if self.update.steps == 4:
            self.session.preemption.signal = signal.SIGTERM
        return done


@pytest.mark.parametrize('form', ['generator function', 'list', 'stream', 'data set', 'DataLoader'])
def test_every_form_of_data_gives_the_same_and_touches_nothing_named(form, tmp_path, request):
    args = args_of(tmp_path, task='regression', epochs=2)
    parts = parts_of('regression', form)
    request.getfixturevalue('nothing_named')
    trainer = Trainer(args, **parts, loss=nn.MSELoss())
    rows = trainer.train()
    assert (args.num_targets, args.image_size, args.channels) == (1, [], 5)
    inputs, targets, _ = TASKS['regression']
    with torch.no_grad():
        errors = trainer.net.eval()(inputs)[:, 0] - targets
    assert rows[-1]['val/rmse'] == pytest.approx(errors.pow(2).mean().sqrt().item(), rel=1e-5)
    state = load_checkpoint(tmp_path / 'lenet_exp' / 'best.pth')
    assert state['record']['data']['train']['list'] is None
    text = (tmp_path / 'lenet_exp' / 'args.txt').read_text()
    assert not any(
        line.startswith(('--data_type', '--model_type', '--val_list', '--loss=')) for line in text.splitlines()
    )


@pytest.mark.slow_after(2, 'a run of each task')
@pytest.mark.parametrize('task', TASKS)
def test_with_every_part_handed_over_no_registry_is_looked_into(task, nothing_named, monkeypatch, tmp_path):
    """Training, resuming within an epoch, testing and predicting."""
    for module, name in ((optim_py, 'OPTIMIZERS'), (optim_py, 'SCHEDULES')):
        monkeypatch.setattr(module, name, Refusing(getattr(module, name)))
    inputs, targets, _ = TASKS[task]

    def error(predictions, wanted):
        return (predictions.flatten(1).mean(1) - wanted.reshape(len(wanted), -1).float().mean(1)).abs().mean()

    def trainer(kind, **options):
        parts = parts_of(task)
        parts |= {'loss': error, 'metrics': {'error': error}, 'optimizer': SGD(parts['model'].parameters(), lr=0.1)}
        return kind(args_of(tmp_path, **options), **parts, scheduler=StepLR(parts['optimizer'], 1))

    with monkeypatch.context() as patch:
        patch.setattr(
            metrics_py, 'METRICS', Refusing(metrics_py.METRICS)
        )  # a test has those of the task beside its own
        cut = trainer(Stopping, task=task, epochs=2, keep_last_weights=True, **GIVEN.get(task, {}))
        with pytest.raises(SystemExit):
            cut.train()
        on = trainer(Trainer, resume=cut.args.model_dir)
        row = on.train()[-1]
    assert row['val/error'] == pytest.approx(row['val/loss'])
    assert on.evaluate(in_form('stream', inputs, targets))['loss'] == pytest.approx(row['val/loss'])
    path = f'{on.args.model_dir}/last.pth'
    test = Evaluator(args_of_test(path, device='cpu'), net=TASKS[task][2](), loader=in_form('stream', inputs, targets),
                     loss=error, metrics={'error': error})  # fmt: skip
    assert test.eval()['error'] == pytest.approx(row['val/error'])
    predictor = load_predictor(path, net=TASKS[task][2](), device='cpu')
    assert torch.equal(predictor.predict(in_form('stream', inputs, targets)), on.predict(inputs))


@pytest.mark.parametrize('axis', [False, True])
@pytest.mark.parametrize('dtype', [torch.int64, torch.int32, torch.uint8])
def test_labels_may_have_an_axis_and_any_whole_type(axis, dtype, tmp_path):
    inputs, targets, build = TASKS['classification']
    targets = targets.to(dtype)[:, None] if axis else targets.to(dtype)
    loader = [(inputs, targets)]
    (row,) = Trainer(args_of(tmp_path), model=build(), train_loader=loader, val_loader=loader).train()
    assert 0 <= row['val/acc'] <= 1


def test_numbers_may_have_an_axis_or_none(tmp_path):
    inputs, targets, _ = TASKS['regression']
    values = []
    for number, form in enumerate((targets, targets[:, None])):
        torch.manual_seed(3)
        args = args_of(tmp_path, task='regression', save_prefix=str(number))
        values.append(Trainer(args, model=nn.Linear(5, 1), train_loader=[(inputs, form)]).train()[0]['train/loss'])
    assert values[0] == values[1]


def test_a_data_set_is_shuffled_by_the_seed_and_goes_on_within_an_epoch(tmp_path):
    """Its own randomness is a function of (seed, epoch, sample): the number of workers and the place do not matter."""

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return COUNT

        def __getitem__(self, index):
            return TASKS['regression'][0][index] + torch.rand(5) / 10, float(index)

    def trainer(kind=Trainer, **options):
        torch.manual_seed(3)
        args = args_of(tmp_path, **options)
        return kind(args, model=nn.Sequential(nn.Dropout(0.3), nn.Linear(5, 1)), train_loader=Noisy())

    whole = trainer(task='regression', epochs=2, save_prefix='whole')
    orders = []
    for epoch in (1, 2):
        whole.train_loader.batch_sampler.set_epoch(epoch)
        orders.append([targets.tolist() for _, targets in whole.train_loader])
    assert [len(batch) for batch in orders[0]] == [4, 4, 2]
    assert sorted(value for batch in orders[0] for value in batch) == list(range(COUNT)) and orders[0] != orders[1]
    whole.train()
    cut = trainer(Stopping, task='regression', epochs=2, save_prefix='cut')
    with pytest.raises(SystemExit):
        cut.train()
    trainer(resume=cut.args.model_dir).train()
    assert weights_in(tmp_path / 'lenet_cut') == weights_in(tmp_path / 'lenet_whole')


def test_what_cannot_be_iterated_over_twice_is_refused(tmp_path):
    def batches():
        yield TASKS['regression'][:2]

    def needing(count):
        yield count

    for wrong, says in (
        (batches(), 'of type generator can be iterated over only once; pass a list, or the function'),
        (iter([1]), 'of type list_iterator can be iterated over only once'),
        (needing, "called without arguments for each epoch: missing a required argument: 'count'"),
        (7, 'int is not a loader: give a DataLoader, a data set, a list of batches, or a generator function'),
    ):
        with pytest.raises(DanluError, match=says):
            Trainer(args_of(tmp_path, task='regression'), model=nn.Linear(5, 1), train_loader=wrong)
    assert list(tmp_path.iterdir()) == []


def test_what_the_data_does_not_tell_is_asked_for_in_one_line(tmp_path):
    class Numbered(IterableDataset):
        def __iter__(self):
            yield from zip(PICTURES, TASKS['classification'][1], strict=True)

    with pytest.raises(DanluError, match=r'ready-made loaders do not tell everything: give --num_classes$'):
        Trainer(args_of(tmp_path), train_loader=Numbered())
    rows = [(PICTURES.flatten(2), TASKS['classification'][1])]
    with pytest.raises(DanluError, match=r'give --image_size, --channels$'):
        Trainer(args_of(tmp_path), train_loader=rows)


def test_options_that_the_named_data_does_not_have_are_refused_where_it_is_used(tmp_path):
    args = args_of(tmp_path, task='regression')
    with pytest.raises(DanluError, match='--data_type: digits has no numbers; regression takes list or mem_list or'):
        Trainer(args)
    with pytest.raises(DanluError, match='--data_type: digits has no numbers'):
        train_args(task='regression', data_type='digits')
    with pytest.raises(DanluError, match='--channels: 5: choose from 1, 3'):
        Trainer(args_of(tmp_path, channels=5))
    with pytest.raises(SystemExit):
        parse_train_args(['--task', 'regression'])
    assert parse_train_args(['--task', 'regression'], ready_made=True).task == 'regression'


# --- no validation


def test_without_a_val_loader_nothing_is_validated_on(tmp_path, capsys):
    trainer = Trainer(args_of(tmp_path, epochs=3, patience=2, schedule='plateau'), **{
        name: part for name, part in parts_of('classification').items() if name != 'val_loader'
    })  # fmt: skip
    rows = trainer.train()
    assert not any(name.startswith('val/') for row in rows for name in row)
    best = min(rows, key=lambda row: row['train/loss'])
    assert trainer.selection.best == {'value': best['train/loss'], 'epoch': best['epoch']}
    said = capsys.readouterr().out
    assert said.count('no validation') == 1
    assert 'no validation: the best epoch is that of the lowest train/loss' in said
    assert f'best: train/loss {best["train/loss"]:#.4g} in epoch' in said
    assert '| val' not in said
    run = tmp_path / 'lenet_exp'
    assert load_checkpoint(run / 'best.pth')['epoch'] == best['epoch']
    with open(run / 'history.csv', newline='') as file:
        assert 'val/loss' not in next(csv.reader(file))
    assert load_checkpoint(run / 'best.pth')['record']['data']['val']['samples'] == 0


def test_a_monitor_of_validation_is_refused_without_it(tmp_path):
    for monitor in ('val/acc', 'val_acc', 'acc'):
        with pytest.raises(DanluError, match='--monitor val/acc: there is no validation; give train/loss or another'):
            Trainer(args_of(tmp_path, monitor=monitor), train_loader=in_form('list', *TASKS['classification'][:2]))
    with pytest.raises(DanluError, match=r"unknown value 'train/miou'.*known: train/acc.*train/loss"):
        Trainer(args_of(tmp_path, monitor='train/miou'), train_loader=in_form('list', *TASKS['classification'][:2]))
    assert list(tmp_path.iterdir()) == []


def test_a_monitor_of_training_chooses_the_best_epoch(tmp_path):
    args = args_of(tmp_path, epochs=2, monitor='train/acc')
    trainer = Trainer(args, train_loader=in_form('list', *TASKS['classification'][:2]))
    rows = trainer.train()
    assert trainer.selection.best['value'] == max(row['train/acc'] for row in rows)


def test_a_trainer_that_validates_by_itself_still_may(tmp_path):
    class Own(Trainer):
        def val_per_epoch(self, epoch):
            self.logger.record('val/score', 1 / epoch)

    args = args_of(tmp_path, epochs=2, monitor='val/score', mode='max')
    trainer = Own(args, train_loader=in_form('list', *TASKS['classification'][:2]))
    trainer.train()
    assert trainer.selection.best == {'value': 1.0, 'epoch': 1}


def test_val_list_none_trains_the_named_data_without_validation(tmp_path, train_here, list_data):
    words = [word for word in list_data if word != '--val_list']
    words.remove(list_data[list_data.index('--val_list') + 1])
    run = train_here(*words, '--num_workers', 0, '--epochs', 1, '--val_list', 'none', '--report', '--checkpoints_dir',
                     tmp_path)  # fmt: skip
    assert 'no validation: the best epoch is that of the lowest train/loss' in run.stdout
    assert 'no report.html: there is no validation data (--val_list none) to test best.pth on' in run.stdout
    assert 'best.pth --val_list LIST' in run.stdout
    assert '--val_list=none' in (run.directory / 'args.txt').read_text()
    assert 'best' not in run.files and 'best.pth' in run.files
    on = train_here('--resume', run.directory, '--epochs', 2)
    assert 'epoch 2/2' in on.stdout
    again = train_here(f'@{run.directory / "args.txt"}')
    assert 'same options, code and files (names and sizes) as an earlier run' in again.stdout
