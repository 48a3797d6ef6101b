"""--accumulate: the weights after a step are those after one large batch, however unevenly the batches count."""

import copy
import signal

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from options import parse_train_args
from train import Trainer
from utils.training.accumulation import Accumulation

CLASSES, IGNORED = 3, 255
MASKS = ['--task', 'segmentation', '--num_classes', CLASSES, '--ignore_index', IGNORED]
LABELS = ['--num_classes', CLASSES]


class Pixels(nn.Module):
    """Classifies each pixel."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh(), nn.Conv2d(4, CLASSES, 1))

    def forward(self, images):
        return self.layers(images)


def plain_network():
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def masks(count):
    """Return pictures and masks, of which each has another number of ignored pixels, the first no other ones."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, 4, 4, generator=generator)
    targets = torch.randint(0, CLASSES, (count, 4, 4), generator=generator)
    for number, mask in enumerate(targets):
        mask.view(-1)[number * 3 % 16 :] = IGNORED
    return images, targets


def labels(count):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, 4, 4, generator=generator)
    return images, (images.flatten(1).sum(1) * 7).long() % CLASSES


CASES = {
    'an uneven last batch': (LABELS, labels(9), [4, 4, 1]),
    'a large and a small batch': (LABELS, labels(18), [16, 2]),
    'class weights': ([*LABELS, '--class_weights', 0.2, 1, 5], labels(12), [4, 4, 4]),
    'ignored labels': ([*LABELS, '--ignore_index', 1], labels(11), [4, 4, 3]),
    'ignored pixels': (MASKS, masks(10), [1, 4, 4, 1]),
    'focal': ([*MASKS, '--loss', 'focal'], masks(7), [1, 3, 3]),
    'dice': ([*MASKS, '--loss', 'dice'], masks(7), [3, 3, 1]),
    'a weighted loss': ([*MASKS, '--loss', '2*ce'], masks(7), [3, 3, 1]),
    'a sum of losses': ([*MASKS, '--loss', 'ce+0.5*dice'], masks(10), [1, 4, 4, 1]),
    'a sum of three with weights': (
        [*MASKS, '--loss', '0.3*ce+dice+2*focal', '--class_weights', 0.2, 1, 5],
        masks(10),
        [3, 3, 3, 1],
    ),
}


def trainer_of(folder, words, batches, kind=Trainer):
    torch.manual_seed(5)
    if 'segmentation' in words:  # the names of files, which are not read
        (folder.parent / 'list.txt').touch()
        words = [*words, '--data_type', 'list']
        words += [word for split in ('train', 'val') for word in (f'--{split}_list', folder.parent / 'list.txt')]
    net = Pixels() if 'segmentation' in words else plain_network()
    words = ['--checkpoints_dir', folder, '--device', 'cpu', '--optimizer', 'sgd', '--lr', 0.3, '--epochs', 2, *words]
    args = parse_train_args([str(word) for word in words])
    args.keep_last_weights = True
    return kind(args, model=net, train_loader=batches, val_loader=batches)


def split(data, sizes):
    return list(zip(*(part.split(sizes) for part in data), strict=True))


def assert_same(one, other, **tolerance):
    for first, second in zip(one.net.parameters(), other.net.parameters(), strict=True):
        torch.testing.assert_close(first, second, **tolerance)


@pytest.mark.slow_after(4, 'two runs each')
@pytest.mark.parametrize('case', CASES)
def test_accumulated_batches_equal_one_large_batch(tmp_path, case):
    words, data, sizes = CASES[case]
    words = [*words, '--clip_norm', 0.1, '--ema', 0.5]
    many = trainer_of(tmp_path / 'many', [*words, '--accumulate', len(sizes)], split(data, sizes))
    one = trainer_of(tmp_path / 'one', words, [data])
    before = copy.deepcopy(one.net)
    rows = [trainer.train() for trainer in (many, one)]
    assert many.update.steps == one.update.steps == 2
    assert_same(many, one, rtol=1e-5, atol=1e-6)
    assert not torch.equal(next(before.parameters()), next(one.net.parameters()))
    for first, second in zip(*rows, strict=True):
        assert first['train/loss'] == pytest.approx(second['train/loss'], rel=1e-5)
        assert first['val/loss'] == pytest.approx(second['val/loss'], rel=1e-5)


def test_equal_batches_have_the_bits_of_the_mean_of_their_gradients(tmp_path):
    net = plain_network()
    images, targets = labels(12)
    accumulation, expected = Accumulation(net), 0
    for batch in split((images, targets), [4, 4, 4]):
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
        accumulation.add(loss, {'': (1.0, loss, 4)}, 3, lambda loss: loss)
        other = copy.deepcopy(net)
        other.zero_grad()
        (nn.functional.cross_entropy(other(batch[0]), batch[1]) / 3).backward()
        expected = other[1].weight.grad + expected
    accumulation.finish()
    assert torch.equal(net[1].weight.grad, expected)


@pytest.mark.parametrize('case', ['ignored pixels', 'a sum of losses', 'an uneven last batch'])
def test_a_batch_with_a_nonfinite_loss_does_not_count(tmp_path, case):
    words, data, sizes = CASES[case]
    batches = split(data, sizes)
    faulty = [*batches[:1], (batches[1][0] * float('nan'), batches[1][1]), *batches[2:]]
    words = [*words, '--accumulate', len(sizes)]
    skipping = trainer_of(tmp_path / 'skip', [*words, '--on_nan', 'skip', '--epochs', 1], faulty)
    skipping.val_loader = batches
    skipping.train()
    left = trainer_of(tmp_path / 'left', [*words, '--epochs', 1], [*batches[:1], *batches[2:]])
    left.train()
    assert_same(skipping, left, rtol=1e-5, atol=1e-6)


class Broken(list):
    """Batches of which the second is the last, as a signal has then ended the workers that make them."""

    interruption = None

    def __iter__(self):
        yield from list(super().__iter__())[:2]
        self.interruption.signal = signal.SIGTERM
        raise RuntimeError('DataLoader worker (pid 1) exited unexpectedly')


@pytest.mark.parametrize('case', ['ignored pixels', 'a sum of losses', 'class weights'])
def test_resuming_within_a_step_is_bit_identical(tmp_path, case):
    words, data, sizes = CASES[case]
    batches, words = split(data, sizes), [*words, '--accumulate', len(sizes)]
    whole = trainer_of(tmp_path / 'whole', words, batches)
    whole.train()
    cut = trainer_of(tmp_path / 'cut', words, Broken(batches))
    cut.train_loader.interruption = cut.session.preemption
    with pytest.raises(SystemExit):
        cut.train()
    run = cut.args.model_dir
    again = trainer_of(tmp_path / 'cut', [*words, '--resume', run], batches)
    assert again.update.waiting_batches > 0
    again.train()
    assert_same(again, whole, rtol=0, atol=0)


def test_a_scale_multiplies_all_gradients():
    net, (images, targets), found = plain_network(), labels(6), []
    for factor in (1, 1024):
        net.zero_grad()
        accumulation = Accumulation(net)
        for batch in split((images, targets), [4, 2]):
            predictions = net(batch[0])
            entropy = nn.functional.cross_entropy(predictions, batch[1])
            parts = {'ce': (1.0, entropy, len(batch[1])), 'size': (0.5, predictions.square().mean(), 1)}
            accumulation.add(None, parts, 2, lambda loss, factor=factor: loss * factor)
        accumulation.finish()
        found.append(net[1].weight.grad.clone())
    torch.testing.assert_close(found[1], 1024 * found[0])


def test_no_number_is_copied_to_the_device_or_read_from_it():
    operations = []

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            operations.append(str(operation))
            return operation(*args, **(kwargs or {}))

    net, (images, targets) = plain_network(), labels(6)
    accumulation, counts = Accumulation(net), torch.tensor([4.0, 2.0])
    with Operations():
        for number, batch in enumerate(split((images, targets), [4, 2])):
            loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
            accumulation.add(loss, {'': (1.0, loss, counts[number])}, 2, lambda loss: loss)
        accumulation.finish()
    assert 'aten.where.self' in operations
    assert not [name for name in operations if 'lift_fresh' in name or 'local_scalar' in name]


def test_parts_with_equal_counts_share_their_gradients(tmp_path):
    words, data, sizes = CASES['a sum of three with weights']
    trainer = trainer_of(tmp_path, [*words, '--accumulate', 4], split(data, sizes))
    assert trainer.loss_groups() == {'ce': 'ce', 'dice': 'dice', 'focal': 'ce'}
    assert trainer.update.accumulates_by_part() and not trainer.update.ends_step()


def test_without_parts_all_batches_have_the_same_weight():
    net, (images, targets) = plain_network(), labels(6)
    accumulation, gradients = Accumulation(net), []
    for batch in split((images, targets), [4, 2]):
        loss = nn.functional.cross_entropy(net(batch[0]), batch[1])
        gradients.append(torch.autograd.grad(loss, net[1].weight, retain_graph=True)[0])
        accumulation.add(loss, None, 2, lambda loss: loss)
    accumulation.finish()
    torch.testing.assert_close(net[1].weight.grad, (gradients[0] + gradients[1]) / 2)


def test_an_own_loss_is_weighted_by_samples(tmp_path):
    class Own(Trainer):
        def compute_loss(self, predictions, targets):
            return nn.functional.cross_entropy(predictions, targets) + predictions.square().mean()

    data = labels(9)
    many = trainer_of(tmp_path / 'many', [*LABELS, '--accumulate', 3], split(data, [4, 4, 1]), kind=Own)
    one = trainer_of(tmp_path / 'one', LABELS, [data], kind=Own)
    for trainer in (many, one):
        trainer.train()
    assert_same(many, one, rtol=1e-5, atol=1e-6)


def test_a_resumed_run_of_an_earlier_version_is_noted(tmp_path, capsys):
    words, batches = [*LABELS, '--accumulate', 3], DataLoader(TensorDataset(*labels(9)), batch_size=4)
    trainer_of(tmp_path, [*words, '--epochs', 1], batches).train()
    run = tmp_path / 'lenet_exp'
    state = torch.load(run / 'last.pth', weights_only=True)
    del state['loader']['accumulates']
    torch.save(state, run / 'last.pth')
    capsys.readouterr()
    trainer_of(tmp_path, ['--resume', run], batches).train()
    assert 'accumulate: a step has the gradient of its 3 batches as one; the run began with' in capsys.readouterr().out
