"""What a ready-made loader may yield: shapes and types that users have, and what is said of all else."""

import shlex

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from eval import Evaluator, load_predictor
from options import parse_train_args, train_args
from options import test_args as args_of_test
from train import Trainer
from utils.base.errors import DanluError
from utils.training.run_messages import interrupted_line

COUNT = 10
NUMBERS = torch.rand(COUNT, 5, generator=torch.Generator().manual_seed(0))
VALUES = torch.rand(COUNT, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(COUNT) % 3


class Squeezed(nn.Linear):
    """Returns one number per sample without an axis, (N,)."""

    def forward(self, inputs):
        return super().forward(inputs)[:, 0]


def args_of(folder, task='regression', **options):
    return train_args(**{'epochs': 1, 'device': 'cpu', 'batch_size': 4, 'checkpoints_dir': folder, 'task': task,
                         'keep_last_weights': True, **options})  # fmt: skip


def trained(folder, loader, model=None, task='regression', val_loader=None, parts=None, **options):
    """Return a Trainer that has trained one epoch, and its row."""
    torch.manual_seed(0)
    args = args_of(folder, task, **options)
    parts = {'model': model or nn.Linear(5, 1), 'train_loader': loader, 'val_loader': val_loader or loader} | (
        parts or {}
    )
    trainer = Trainer(args, **parts)
    (row,) = trainer.train()
    return trainer, row


def error_of(net):
    with torch.no_grad():
        return (net(NUMBERS).reshape(-1) - VALUES).abs().mean().item()


@pytest.mark.slow_after(2, 'a run each')
@pytest.mark.parametrize('axis', [False, True])
@pytest.mark.parametrize('parts', [
    {},
    {'loss': nn.L1Loss()},
    {'loss': lambda p, t: (p - t).abs().mean(), 'metrics': {'mae': lambda p, t: (p - t).abs().mean()}},
], ids=['named', 'module', 'functions'])  # fmt: skip
def test_one_number_per_sample_may_lack_an_axis_in_outputs_and_targets(axis, parts, tmp_path):
    """(N,) against (N, 1) would be broadcast to all pairs."""
    loader = [(NUMBERS, VALUES[:, None] if axis else VALUES)]
    options = {} if parts else {'loss': 'l1'}
    trainer, row = trained(tmp_path, loader, Squeezed(5, 1), parts=parts, **options)
    assert row['val/loss'] == pytest.approx(error_of(trainer.net), rel=1e-5)
    assert row['val/mae'] == pytest.approx(error_of(trainer.net), rel=1e-5)
    assert trainer.predict(NUMBERS).shape == (COUNT, 1)


def test_masks_of_uint8_may_have_an_axis(tmp_path):
    images = torch.rand(4, 3, 6, 6)
    masks = torch.arange(4 * 36).reshape(4, 1, 6, 6).remainder(2).byte()
    rows = []
    for number, form in enumerate((masks, masks[:, 0], masks.long())):
        torch.manual_seed(0)
        options = {'task': 'segmentation', 'num_classes': 2, 'save_prefix': str(number)}
        rows.append(trained(tmp_path, [(images, form)], nn.Conv2d(3, 2, 1), **options)[1]['val/loss'])
    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_arrays_of_numpy_and_float64_are_taken(dtype, tmp_path):
    def batches():
        yield NUMBERS.numpy().astype(dtype), VALUES.numpy().astype(dtype)

    _, row = trained(tmp_path, batches, save_prefix='arrays')
    _, same = trained(tmp_path, [(NUMBERS, VALUES)], save_prefix='tensors')
    assert row['val/loss'] == pytest.approx(same['val/loss'], rel=1e-5)


def test_a_network_of_float64_gets_float64(tmp_path):
    trainer, _ = trained(tmp_path, [(NUMBERS.double(), VALUES.double())], nn.Linear(5, 1).double())
    assert trainer.net.weight.dtype == torch.float64


def test_labels_of_float64_inputs_are_counted_by_the_network(tmp_path):
    trainer, _ = trained(tmp_path, [(NUMBERS.double(), LABELS)], nn.Linear(5, 3), 'classification')
    assert trainer.args.num_classes == 3


@pytest.mark.slow_after(1, 'a run and two tests each')
@pytest.mark.parametrize('shape', [(1, 20), (3, 2, 4, 4)], ids=['signals', 'videos'])
def test_samples_that_are_no_pictures_train_test_and_predict(shape, tmp_path):
    inputs = torch.rand(COUNT, *shape)

    def net():
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), 3))

    trainer, row = trained(tmp_path, [(inputs, LABELS)], net(), 'classification')
    assert trainer.predict(inputs).shape == (COUNT, 3)
    path = f'{trainer.args.model_dir}/best.pth'
    args = args_of_test(path, device='cpu', report=True)
    values = Evaluator(args, net=net(), loader=[(inputs, LABELS)]).eval()
    assert values['loss'] == pytest.approx(row['val/loss'])
    with pytest.raises(DanluError, match='--save_viz: the samples are not images'):
        Evaluator(args_of_test(path, device='cpu', save_viz=True), net=net(), loader=[(inputs, LABELS)])


def test_indices_of_words_train_and_predict(tmp_path):
    words = torch.arange(COUNT * 7).reshape(COUNT, 7) % 20
    net = nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(28, 3))
    trainer, _ = trained(tmp_path, [(words, LABELS)], net, 'classification')
    assert trainer.predict(words).shape == (COUNT, 3)


def test_pictures_of_uint8_are_predicted_as_they_were_trained_on(tmp_path):
    pictures = torch.randint(256, (COUNT, 3, 4, 4), dtype=torch.uint8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    trainer, _ = trained(tmp_path, [(pictures, LABELS)], net, 'classification')
    assert (trainer.args.mean, trainer.args.std) == ([0.0] * 3, [1.0] * 3)
    with torch.no_grad():
        expected = trainer.net(pictures / 255).softmax(1)
    assert torch.allclose(trainer.predict(pictures), expected)


# --- samplers


@pytest.mark.parametrize('sampler', [
    lambda indices: {'sampler': SubsetRandomSampler(indices), 'batch_size': 4},
    lambda indices: {'sampler': WeightedRandomSampler(torch.ones(COUNT), 3), 'batch_size': 2},
    lambda indices: {'batch_sampler': BatchSampler(indices, 2, drop_last=False)},
    lambda indices: {'batch_sampler': [indices]},
], ids=['subset', 'weighted', 'batches', 'list of batches'])  # fmt: skip
def test_a_sampler_says_what_is_validated_on(sampler, tmp_path, capsys):
    data = TensorDataset(NUMBERS, VALUES)
    loaders = [DataLoader(data, **sampler(part)) for part in (list(range(7)), [7, 8, 9])]
    trainer, row = trained(tmp_path, loaders[0], val_loader=loaders[1])
    assert np.isfinite(row['val/loss'])
    known = type(loaders[1].batch_sampler) is BatchSampler
    assert trainer.data['val']['samples'] == (3 if known else None)
    assert ('3 to validate' in capsys.readouterr().out) == known


def test_a_loader_that_leaves_the_last_samples_out_is_not_validated_on(tmp_path):
    data = TensorDataset(NUMBERS, VALUES)
    dropping = DataLoader(data, 4, drop_last=True)
    with pytest.raises(DanluError, match='drop_last leaves 2 of 10 samples out'):
        trained(tmp_path, dropping)
    even = DataLoader(data, 5, drop_last=True)
    _, row = trained(tmp_path, dropping, val_loader=even)
    assert np.isfinite(row['val/loss'])


def test_a_test_of_samples_in_random_order_is_refused(tmp_path):
    data = TensorDataset(NUMBERS, VALUES)
    trainer, _ = trained(tmp_path, data)
    args = args_of_test(f'{trainer.args.model_dir}/best.pth', device='cpu')
    for sampler in (SubsetRandomSampler([1, 2]), WeightedRandomSampler([1.0] * COUNT, 3)):
        with pytest.raises(DanluError, match=r'the loader shuffles.*Subset\(data, indices\)'):
            Evaluator(args, net=nn.Linear(5, 1), loader=DataLoader(data, 4, sampler=sampler))


# --- what is no batch, no loader, no network


class Words(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {'image': NUMBERS[index], 'label': VALUES[index]}


@pytest.mark.parametrize(('loader', 'says'), [
    ([{'x': NUMBERS, 'y': VALUES}], r'a batch is \(images, targets\), this one is a dict: override step\(\) for that'),
    (Words(), r'a batch is \(images, targets\), this one is a dict: override step'),
    ([(NUMBERS, VALUES, VALUES)], r'a batch is \(images, targets\), this one has 3 parts: override step\(\)'),
    ([NUMBERS], r'a batch is \(images, targets\), this one is a tensor: override step\(\)'),
    ((NUMBERS, VALUES), r'this one is a tensor: override step\(\) for that, or give TensorDataset\(inputs, targets\)'),
    ([(NUMBERS, ['a'] * COUNT)], r'a batch is \(images, targets\), both tensors; this one holds a list: override'),
], ids=['dict', 'data set of dicts', 'three', 'inputs', 'tuple of tensors', 'strings'])  # fmt: skip
def test_what_is_no_batch_is_refused_at_the_start_and_in_training(loader, says, tmp_path):
    with pytest.raises(DanluError, match=f'give --num_targets; .*{says}'):
        trained(tmp_path, loader)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DanluError, match=says):
        trained(tmp_path, loader, num_targets=1)


@pytest.mark.parametrize('loss', [None, nn.MSELoss()], ids=['named', 'module'])
def test_a_trainer_with_a_step_of_its_own_takes_any_batch(loss, tmp_path):
    class Own(Trainer):
        def step(self, batch):
            return batch['image'], self.model(batch['image']), batch['label']  # both (N,)

    args = args_of(tmp_path, num_targets=1)
    trainer = Own(args, model=Squeezed(5, 1), train_loader=Words(), val_loader=Words(), loss=loss)
    (row,) = trainer.train()
    with torch.no_grad():
        assert row['val/loss'] == pytest.approx((trainer.net(NUMBERS[:4]) - VALUES[:4]).pow(2).mean().item(), rel=1e-5)


@pytest.mark.parametrize('empty', [[], TensorDataset(NUMBERS[:0], VALUES[:0]), lambda: iter(())],
                         ids=['list', 'data set', 'function'])  # fmt: skip
def test_an_empty_loader_is_said_to_be_empty(empty, tmp_path):
    with pytest.raises(DanluError, match='there is no batch: the loader is empty'):
        Trainer(args_of(tmp_path), model=nn.Linear(5, 1), train_loader=empty)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('wrong', 'says'), [
    ('photos', r"'photos' is not a loader: files and directories are named by options, data_type= and train_list="),
    (Words, r'the class Words is not a loader: give an instance of it'),
    ({'train': []}, r'dict is not a loader: give a DataLoader, a data set, a list of batches'),
    (NUMBERS, r'Tensor is not a loader.*TensorDataset\(inputs, targets\)'),
], ids=['str', 'class', 'dict', 'tensor'])  # fmt: skip
def test_what_is_no_loader_is_refused(wrong, says, tmp_path):
    for role in ('train_loader', 'val_loader'):
        parts = {'train_loader': [(NUMBERS, VALUES)]} | {role: wrong}
        with pytest.raises(DanluError, match=says):
            Trainer(args_of(tmp_path), model=nn.Linear(5, 1), **parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('wrong', 'says'), [
    (Squeezed, r'model is the class Squeezed: give an object of it'),
    (lambda images: images, r'model is of type function: give an nn.Module'),
    ('lenet', r'model is of type str: give an nn.Module, or its name as an option, model_type='),
], ids=['class', 'function', 'name'])  # fmt: skip
def test_what_is_no_network_is_refused(wrong, says, tmp_path):
    with pytest.raises(DanluError, match=says):
        Trainer(args_of(tmp_path), model=wrong, train_loader=[(NUMBERS, VALUES)])
    assert list(tmp_path.iterdir()) == []


# --- what a network returns


class Named(nn.Module):
    """Returns a dict, as the networks of torchvision for segmentation do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, inputs):
        return {'out': self.layer(inputs)}


@pytest.mark.parametrize('loss', [None, nn.CrossEntropyLoss()], ids=['named', 'module'])
def test_a_network_that_returns_no_tensor_is_explained(loss, tmp_path):
    with pytest.raises(DanluError, match=r'the loss got predictions of type dict; expected a tensor: .*override step'):
        trained(tmp_path, [(NUMBERS, LABELS)], Named(), 'classification', num_classes=3, parts={'loss': loss})


def test_a_network_may_have_more_outputs_than_targets_for_a_loss_of_ones_own(tmp_path):
    def likelihood(outputs, targets):
        return nn.functional.gaussian_nll_loss(outputs[:, :1], targets, outputs[:, 1:].exp())

    def mae(outputs, targets):
        return (outputs[:, :1] - targets).abs().mean()

    parts = {'loss': likelihood, 'metrics': {'mae': mae}}
    trainer, row = trained(tmp_path, [(NUMBERS, VALUES)], nn.Linear(5, 2), parts=parts)
    with torch.no_grad():
        assert row['val/mae'] == pytest.approx(mae(trainer.net(NUMBERS), VALUES[:, None]).item(), rel=1e-5)
    parts['loss'] = nn.MSELoss()
    with pytest.raises(DanluError, match=r'predictions of shape \(10, 2\) and targets of shape \(10, 1\).*broadcast'):
        trained(tmp_path, [(NUMBERS, VALUES)], nn.Linear(5, 2), parts=parts)


# --- predicting for data


class Inputs(Dataset):
    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return NUMBERS[index]


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(NUMBERS, VALUES, strict=True)


class Batches:
    def __iter__(self):
        yield NUMBERS[:4], VALUES[:4]
        yield NUMBERS[4:], VALUES[4:]


@pytest.mark.slow_after(4, 'a run each')
@pytest.mark.parametrize('form', [
    lambda: DataLoader(TensorDataset(NUMBERS, VALUES), 4),
    lambda: DataLoader(TensorDataset(NUMBERS), 4),
    lambda: TensorDataset(NUMBERS, VALUES),
    lambda: TensorDataset(NUMBERS),
    Inputs,
    Stream,
    Batches,
    lambda: lambda: iter(Batches()),
    lambda: lambda: (NUMBERS[start : start + 5].numpy() for start in (0, 5)),
    lambda: list(Batches()),
], ids='loader loader-x set set-x inputs stream object function function-x list'.split())  # fmt: skip
def test_whatever_is_trained_on_can_be_predicted_for(form, tmp_path):
    trainer, _ = trained(tmp_path, [(NUMBERS, VALUES)])
    with torch.no_grad():
        expected = trainer.net(NUMBERS)
    assert torch.allclose(trainer.predict(form()), expected)
    predictor = load_predictor(f'{trainer.args.model_dir}/last.pth', net=nn.Linear(5, 1), device='cpu')
    assert torch.allclose(predictor.predict(form()), expected)


def test_features_of_a_loader_are_predicted_as_they_were_trained_on(tmp_path):
    """Floats of a loader are taken as ready, whatever --mean says."""
    trainer, _ = trained(tmp_path, [(NUMBERS, VALUES)], mean=[0.5], std=[2.0])
    with torch.no_grad():
        assert torch.equal(trainer.predict(NUMBERS), trainer.net(NUMBERS))


# --- what is said where a run ends early


class Numbered(Trainer):
    """Takes dicts."""

    def step(self, batch):
        return batch['image'], self.model(batch['image']), batch['label']


def test_a_step_that_is_not_finite_names_the_python_that_goes_on(tmp_path):
    batches = [{'image': NUMBERS[:4], 'label': values} for values in (VALUES[:4], VALUES[:4] * torch.nan)]
    trainer = Numbered(args_of(tmp_path, num_targets=1, save_steps=1), model=Squeezed(5, 1), train_loader=batches)
    with pytest.raises(DanluError, match='not finite themselves: 0 of batch 2, 1 of batch 2') as said:
        trainer.train()
    run = trainer.args.model_dir
    on = f"go on without it: Trainer(train_args(resume={run!r}, on_nan='skip'), model=..., train_loader=...)"
    assert on in str(said.value)
    resumed = Numbered(train_args(resume=run, on_nan='skip'), model=Squeezed(5, 1), train_loader=batches)
    assert np.isfinite(resumed.train()[0]['train/loss'])


@pytest.mark.parametrize('reads', [False, True])
def test_a_script_is_only_to_be_called_with_resume_where_it_reads_its_command_line(reads, tmp_path, monkeypatch):
    monkeypatch.setattr('utils.training.run_messages.program_of', lambda trainer: 'mine.py')
    words = ['--task', 'regression', '--device', 'cpu', '--epochs', '1', '--checkpoints_dir', str(tmp_path)]
    args = parse_train_args(words, ready_made=True) if reads else args_of(tmp_path)
    trainer = Trainer(args, model=nn.Linear(5, 1), train_loader=[(NUMBERS, VALUES)])
    trainer.train()
    run = trainer.args.model_dir
    python = f', with the same parts: Trainer(train_args(resume={run!r}), model=..., train_loader=...)'
    command = f': python mine.py --resume {shlex.quote(run)}'
    assert interrupted_line(trainer) == 'last.pth holds epoch 1; to go on' + (command if reads else python)
