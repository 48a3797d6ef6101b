"""The training loop: the bare loop to the last bit, waiting for no GPU."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from data.data_entry import select_eval_loader, select_train_loader
from loss import CrossEntropy
from options import parse_train_args
from programs.best_epoch import report_on
from tests.train.helpers import Dropping, Plain, Watching, bits, loader, notebook_trainer, samples, weights_in
from train import Trainer
from utils.base.errors import DanluError
from utils.runs.checkpoint import load_checkpoint


def test_training_is_the_bare_loop_to_the_last_bit(tmp_path):
    """Nothing is left out, doubled, scaled or in another order."""
    words = ['--epochs', 2, '--optimizer', 'sgd', '--lr', 0.05, '--momentum', 0.8, '--weight_decay', 0.01, '--seed', 3]
    trainer = notebook_trainer(tmp_path, *words)
    torch.manual_seed(5)
    net = Dropping()
    torch.manual_seed(3)  # as --seed says; the parts were made before
    history = trainer.train()
    torch.manual_seed(3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.8, weight_decay=0.01, fused=True)
    means, losses = [], []
    for _ in range(2):
        net.train()
        for images, targets in loader():
            loss = CrossEntropy(3)(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append((loss.item(), len(targets)))
        means.append(sum(loss * count for loss, count in losses) / 50)
        losses.clear()
    assert bits(trainer.net.state_dict()) == bits(net.state_dict())
    assert [row['train/loss'] for row in history] == pytest.approx(means, rel=1e-12)


def test_validation_is_exact_over_uneven_batches(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1)
    (row,) = trainer.train()
    images, targets = samples(21, 1).tensors
    with torch.no_grad():
        predictions = trainer.net.eval()(images)
    assert row['val/acc'] == (predictions.argmax(1) == targets).sum().item() / 21
    wanted = nn.functional.cross_entropy(predictions.double(), targets).item()
    assert row['val/loss'] == pytest.approx(wanted, rel=1e-6)


class Scripted(Trainer):
    """Validation gives these values, whatever the network does."""

    values = [0.2, 0.7, 0.7, 0.6]

    def val_per_epoch(self, epoch):
        self.record_overall('val', {'loss': 1.0, 'acc': self.values[epoch - 1]})


def test_best_pth_is_the_first_of_the_best_epochs(tmp_path, capsys):
    trainer = notebook_trainer(tmp_path, '--epochs', 4, '--save_freq', 1, kind=Scripted)
    trainer.train()
    run = tmp_path / 'lenet_exp'
    assert load_checkpoint(run / 'best.pth')['epoch'] == 2
    assert weights_in(run, 'best.pth') == weights_in(run, 'epoch_0002.pth') != weights_in(run)
    assert load_checkpoint(run / 'last.pth')['best'] == {'value': 0.7, 'epoch': 2}
    printed = capsys.readouterr().out
    assert 'best: val/acc 0.7000 in epoch 2' in printed
    marked = [line.split()[1] for line in printed.splitlines() if line.endswith('  best')]
    assert marked == ['1/4', '2/4']


class StartsWithNan(Scripted):
    values = [float('nan'), 0.2, 0.1]


def test_an_epoch_without_a_value_is_not_the_best_for_ever(tmp_path):
    notebook_trainer(tmp_path, '--epochs', 3, kind=StartsWithNan).train()
    assert load_checkpoint(tmp_path / 'lenet_exp' / 'best.pth')['epoch'] == 2


class OwnLoss(Trainer):
    """A loss of its own, which args.loss knows nothing of."""

    def compute_loss(self, predictions, targets):
        return (targets == targets[0]).float().mean() + 0 * predictions.sum()


def test_an_own_loss_is_averaged_over_the_samples(tmp_path):
    words = ['--epochs', 1, '--class_weights', 0.1, 10, 3]  # they count for args.loss, not for an own one
    trainer = notebook_trainer(tmp_path, *words, kind=OwnLoss)
    history = trainer.train()
    targets = [targets for _, targets in trainer.val_loader]
    expected = sum((batch == batch[0]).double().sum() for batch in targets) / sum(map(len, targets))
    assert history[0]['val/loss'] == pytest.approx(expected.item(), abs=1e-6)


def test_a_batch_of_three_parts_is_refused_with_the_remedy(tmp_path):
    parts = [(images, targets, torch.ones(len(targets))) for images, targets in loader()]
    with pytest.raises(DanluError, match=r'a batch is \(images, targets\), this one has 3 parts: override step\(\)'):
        notebook_trainer(tmp_path, '--epochs', 1, train_loader=parts).train()


def test_a_run_of_ready_made_parts_does_not_advise_eval_py(tmp_path, capsys):
    notebook_trainer(tmp_path, '--epochs', 1).train()
    assert 'eval.py' not in capsys.readouterr().out


def test_the_best_epoch_is_remembered_when_a_run_goes_on(tmp_path):
    notebook_trainer(tmp_path, '--epochs', 2, kind=Scripted).train()
    run = tmp_path / 'lenet_exp'
    notebook_trainer(tmp_path, '--resume', run, '--epochs', 4, kind=Scripted).train()
    assert load_checkpoint(run / 'best.pth')['epoch'] == 2
    assert load_checkpoint(run / 'last.pth')['epoch'] == 4


class WatchingPreparation(Watching):
    """Notes also what is prepared, a batch or several as one, and what comes of it."""

    def bind_transforms(self, *loaders):
        prepare, self.prepared = self.prepare, []

        def watched(images, targets, key=None):
            ready = prepare(images, targets, key)
            # Worker processes use the memory of the pixels again.
            self.prepared.append(((images.clone(), targets.clone(), key), ready))
            return ready

        self.augment, self.std, self.mean = prepare.augment, prepare.std, prepare.mean
        for each in loaders:
            each.bind_transform(self.device, watched)


@pytest.mark.slow('a run each')
@pytest.mark.parametrize(
    'words',
    [
        ['--data_type', 'digits'],
        ['LIST', '--num_workers', '2', '--augment', 'standard'],
        ['LIST', '--num_workers', '0'],
        ['LIST', '--data_type', 'mem_list', '--augment', 'flip'],
        ['MASKS', '--augment', 'standard'],
        ['MASKS', '--data_type', 'mem_list'],
    ],
    ids=' '.join,
)
def test_pictures_are_uint8_until_they_are_on_the_device(words, list_data, mask_data, tmp_path):
    known = {'LIST': list_data, 'MASKS': mask_data}
    words = [*known.get(words[0], words[:1]), *words[1:], '--epochs', '1', '--batch_size', '4', '--device', 'cpu']
    trainer = WatchingPreparation(parse_train_args([*words, '--checkpoints_dir', str(tmp_path)]))
    trainer.train()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (trainer.args.mean, trainer.args.std))
    for (images, targets, key), (ready, labels) in trainer.prepared:
        assert images.max() > 1, 'pixels from 0 to 255'
        if key is not None:
            images, targets = trainer.augment(images, targets, *key)
            assert images.dtype == torch.uint8
        assert ready.dtype == torch.float32
        assert torch.allclose(ready, (images / 255 - mean) / std, atol=1e-5)
        assert labels.dtype == torch.int64
        if trainer.args.task == 'segmentation':
            assert targets.dtype == torch.uint8, 'masks travel as bytes too'
            assert torch.equal(labels, targets.long())
    for number in (0, 1):  # every prepared picture and target reaches the network, and no other
        prepared = torch.cat([ready[number] for _, ready in trainer.prepared])
        assert torch.equal(prepared, torch.cat([step[1 + number] for step in trainer.seen]))
    assert max(len(images) for _, images, _ in trainer.seen) <= 5, 'batches of 4, the last one perhaps of 5'


@pytest.mark.slow_after(3, 'a run each')
@pytest.mark.parametrize('kind', ['list', 'mem_list'])
@pytest.mark.parametrize('augment', ['none', 'flip'])
@pytest.mark.parametrize('workers', ['0', '2'])
def test_each_batch_is_mixed_after_normalisation_and_validation_never(kind, augment, workers, list_data, tmp_path):
    words = [*list_data, '--data_type', kind, '--mixup', '0.4', '--augment', augment, '--num_workers', workers]
    words += ['--batch_size', '4', '--device', 'cpu', '--checkpoints_dir', str(tmp_path)]
    trainer = Watching(parse_train_args(words))
    trainer.train_per_epoch(1)
    trained, trainer.seen = trainer.seen, []
    trainer.val_per_epoch(1)
    trainer.logger.close()
    raw = select_train_loader(trainer.args)
    for (_, images, targets), batch in zip(trained, raw, strict=True):
        expected = raw.dataset.mixing(*trainer.prepare(*batch), *batch[2])
        assert torch.equal(images, expected[0])
        assert torch.equal(targets, expected[1])
    for (_, images, targets), batch in zip(trainer.seen, select_eval_loader(trainer.args), strict=True):
        assert torch.equal(images, (batch[0] - trainer.prepare.mean) / trainer.prepare.std)
        assert torch.equal(targets, batch[1])


def test_the_loss_of_mixed_batches_is_averaged_over_the_samples(list_data, tmp_path):
    words = [*list_data, '--cutmix', '1', '--epochs', '1', '--num_workers', '0', '--class_weights', '1', '2', '3']
    trainer = Keeping(parse_train_args([*words, '--device', 'cpu', '--checkpoints_dir', str(tmp_path)]))
    (row,) = trainer.train()
    batches = [batch for batch in trainer.kept if batch[1].dim() == 2]
    assert [len(targets) for _, targets in batches] == [8, 8, 8, 2]
    predictions, targets = map(torch.cat, zip(*batches, strict=True))
    weights = torch.tensor([1.0, 2.0, 3.0])
    wanted = nn.functional.cross_entropy(predictions.double(), targets.double(), weights.double()).item()
    assert row['train/loss'] == pytest.approx(wanted, rel=1e-6)
    right = predictions.argmax(1) == targets.argmax(1)
    assert row['train/acc'] == right.sum().item() / 26


class Keeping(Trainer):
    """Keeps what the loss was taken of."""

    def compute_loss(self, predictions, targets):
        self.kept = [*getattr(self, 'kept', []), (predictions.detach(), targets)]
        return super().compute_loss(predictions, targets)

    def loss_count(self, predictions, targets):
        return self.loss.count(predictions, targets)


def test_pictures_of_mixed_samples_have_the_name_of_the_larger_class(tmp_path):
    trainer = notebook_trainer(tmp_path, '--class_names', 'ant', 'bee', 'cat')
    trainer.logger.close()
    images, predictions = torch.rand(3, 3, 8, 8), torch.eye(3)
    shares = torch.tensor([[0.6, 0.0, 0.4], [0.0, 0.3, 0.7], [0.1, 0.9, 0.0]])
    mixed = trainer.draw_samples(images, predictions, shares)
    plain = trainer.draw_samples(images, predictions, torch.tensor([0, 2, 1]))
    assert all(np.array_equal(a, b) for a, b in zip(mixed, plain, strict=True))


@pytest.mark.parametrize('words', [['--augment', 'flip'], ['--mixup', 1], ['--cutmix', 1]], ids=str)
def test_what_a_loader_of_ones_own_does_not_do_is_refused(tmp_path, words):
    with pytest.raises(DanluError, match=f'{words[0]}.* needs the loader that --data_type names'):
        notebook_trainer(tmp_path, *words)


def test_float_pictures_are_taken_as_they_are(tmp_path):
    trainer = notebook_trainer(tmp_path, '--epochs', 1, '--mean', 0.5, '--std', 0.1, kind=Watching)
    trainer.train()
    for (images, _), ready, _ in trainer.seen:
        assert torch.equal(ready, images)


def test_uint8_pictures_of_ready_made_loaders_are_normalised(tmp_path):
    parts = {'train_loader': loader(dtype=torch.uint8), 'val_loader': loader(dtype=torch.uint8)}
    words = ['--epochs', 1, '--mean', 0.5, 0.4, 0.3, '--std', 0.1, 0.2, 0.3]
    trainer = notebook_trainer(tmp_path, *words, kind=Watching, **parts)
    trainer.train()
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1), torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    for (images, _), ready, _ in trainer.seen:
        assert torch.allclose(ready, (images / 255 - mean) / std, atol=1e-5)


WAITING = 'item tolist cpu numpy new_tensor __float__ __int__ __bool__ __index__ __array__ nonzero unique'.split()


# What makes torch wait for a GPU below Python: reading a value, and results whose size depends on values.
WAITING_OPERATIONS = '_local_scalar_dense nonzero masked_select bincount _unique2 equal is_nonzero'.split()


class CountWaits(TorchDispatchMode):
    """Counts whatever would make the loop wait for a GPU."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.count, self.operations = 0, 0
        for name in WAITING:
            monkeypatch.setattr(torch.Tensor, name, self.counting(getattr(torch.Tensor, name)))

    def counting(self, method):
        def counted(*args, **kwargs):
            self.count += 1
            return method(*args, **kwargs)

        return counted

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += 1
        self.count += func.overloadpacket.__name__ in WAITING_OPERATIONS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('phase', ['train', 'val'])
@pytest.mark.parametrize('task', ['classification', 'segmentation'])
def test_the_loop_never_waits_for_the_device_in_a_step(task, phase, tmp_path, monkeypatch):
    """So the number of waits of an epoch does not grow with its steps."""
    waits, operations = [], []
    for steps in (10, 140):  # more than are ever summed together
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (4, 3, 6, 6), generator=generator).to(torch.uint8)
        shape = (4, 6, 6) if task == 'segmentation' else (4,)
        targets = torch.randint(0, 7, shape, generator=generator)
        batches = [(images, targets.to(torch.uint8) if task == 'segmentation' else targets)] * steps
        words = ['--num_classes', 7, '--print_freq', 1000, '--ignore_index', 3]
        if task == 'segmentation':
            words += ['--task', task, '--data_type', 'list', '--train_list', __file__, '--val_list', __file__]
        parts = {'model': Plain(7, 3, task == 'segmentation'), 'train_loader': batches, 'val_loader': batches}
        trainer = notebook_trainer(tmp_path, *words, **parts)
        # On a CPU, which has nothing to wait for, utils/training/nonfinite_guard.py reads each loss; on a GPU see
        # test_divergence.py.
        trainer.update.guard.is_finite = trainer.update.guard.gradients_are_finite = lambda *loss: True
        trainer.train_per_epoch(1)  # what is done once at the start is not counted
        run = trainer.train_per_epoch if phase == 'train' else trainer.val_per_epoch
        run(2)
        with monkeypatch.context() as patch, CountWaits(patch) as counter:
            run(3)
        trainer.logger.close()
        waits.append(counter.count)
        operations.append(counter.operations)
    assert operations[1] > 5 * operations[0], 'nothing was counted'
    assert waits[0] > 0, 'even the end of an epoch reads no value: nothing was counted'
    assert waits[1] == waits[0]


@pytest.mark.slow_after(4, 'a run each')
@pytest.mark.parametrize('kind', ['list_data', 'mask_data'])
@pytest.mark.parametrize('augment', ['flip', 'crop', 'affine', 'standard', 'strong'])
def test_augmentation_never_waits_for_the_device(kind, augment, request, tmp_path, monkeypatch):
    """It works on whole batches, on the device: what it draws must not be read back."""
    words = [*request.getfixturevalue(kind), '--data_type', 'mem_list', '--augment', augment, '--device', 'cpu']
    trainer = Trainer(parse_train_args([*words, '--num_workers', '0', '--checkpoints_dir', str(tmp_path)]))
    trainer.logger.close()
    batches = list(select_train_loader(trainer.args))
    trainer.prepare(*batches[0])  # what is done once at the start is not counted
    with monkeypatch.context() as patch, CountWaits(patch) as counter:
        images, targets = trainer.prepare(*batches[1])
    assert counter.operations > 3, 'nothing was counted'
    assert counter.count == 0
    assert images.shape == batches[1][0].shape
    plain = (batches[1][0] - trainer.prepare.mean) / trainer.prepare.std
    assert not torch.allclose(images, plain, atol=1e-3), 'not augmented'
    assert targets.shape == batches[1][1].shape


@pytest.mark.parametrize('option', ['--mixup', '--cutmix'])
def test_mixing_never_waits_for_the_device(option, list_data, tmp_path, monkeypatch):
    words = [*list_data, option, '1', '--device', 'cpu', '--num_workers', '0', '--checkpoints_dir', str(tmp_path)]
    trainer = Trainer(parse_train_args(words))
    trainer.logger.close()
    loader = select_train_loader(trainer.args)
    first, second = ([*trainer.prepare(*batch), *batch[2]] for batch in list(loader)[:2])
    loader.dataset.mixing(*first)  # what is done once at the start is not counted
    with monkeypatch.context() as patch, CountWaits(patch) as counter:
        _, predictions, targets = trainer.step(loader.dataset.mixing(*second))
        trainer.compute_loss(predictions, targets)
        trainer.loss_count(predictions, targets)
        trainer.compute_metrics(predictions, targets, trainer.metrics['train'])
    assert counter.operations > 3, 'nothing was counted'
    assert counter.count == 0
    assert targets.shape == (8, 3), 'not mixed'


def test_the_loop_waits_only_every_print_freq_steps(tmp_path, monkeypatch):
    """The counterpart: with --print_freq 1 the waits do grow, so the test above can see them."""
    waits = []
    for print_freq in (1000, 1):
        trainer = notebook_trainer(tmp_path, '--print_freq', print_freq)
        trainer.train_per_epoch(1)
        with monkeypatch.context() as patch, CountWaits(patch) as counter:
            trainer.train_per_epoch(2)
        trainer.logger.close()
        waits.append(counter.count)
    assert waits[1] >= waits[0] + 7


@pytest.mark.parametrize('page', [False, True])
def test_a_trainer_is_gone_with_its_last_reference(page, list_data, tmp_path):
    """In a circle of references its worker processes would be waited for until they time out."""
    words = [*list_data, '--num_workers', '2', '--augment', 'flip', '--device', 'cpu', '--epochs', '1']
    gc.disable()
    try:
        trainer = Trainer(parse_train_args([*words, '--checkpoints_dir', str(tmp_path)]))
        trainer.train()
        if page:
            report_on(trainer.args, trainer.val_loader)
        left = [weakref.ref(trainer), weakref.ref(trainer.val_loader)]
        del trainer
        assert [reference() for reference in left] == [None, None]
    finally:
        gc.enable()
