"""The losses against torch.nn.CrossEntropyLoss and hand-worked Dice values, and the exactness of their means."""

import inspect
import sys
from argparse import Namespace

import pytest
import torch
from torch import nn

from loss import LOSS_ARGS, LOSS_OPTIONS, LOSSES, CrossEntropy, Focal, WeightedSum, select_loss
from utils.base.errors import DanluError
from utils.base.registry import load_entry, read_registry
from utils.logger import Recorder
from utils.losses.multilabel import SigmoidFocal
from utils.losses.region import Dice
from utils.tasks.tasks import TASKS
from utils.training.engine import Engine

K = 4
WEIGHTS = [0.5, 2.0, 1.0, 0.25]


def options(**changes):
    defaults = {
        'loss': 'ce',
        'task': 'classification',
        'num_classes': K,
        'ignore_index': None,
        'label_smoothing': 0.0,
        'class_weights': None,
        'image_size': None,
    }
    return Namespace(**(defaults | changes))


def batch(shape, ignore_index, seed=0, n=6):
    """Return logits (n, K, *shape) that require grad, and targets (n, *shape), a few of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    predictions = (3 * torch.randn(n, K, *shape, generator=generator)).requires_grad_()
    targets = torch.randint(0, K, (n, *shape), generator=generator)
    if ignore_index is not None:
        targets[torch.rand(targets.shape, generator=generator) < 0.3] = ignore_index
    return predictions, targets


def torch_loss(ignore_index, label_smoothing, class_weights):
    weight = None if class_weights is None else torch.tensor(class_weights)
    ignore = -100 if ignore_index is None else ignore_index
    return nn.CrossEntropyLoss(weight=weight, ignore_index=ignore, label_smoothing=label_smoothing)


every_option = [
    pytest.mark.parametrize('shape', [(), (3, 5)], ids=['classification', 'segmentation']),
    pytest.mark.parametrize('ignore_index', [None, 255, -1, 2]),
    pytest.mark.parametrize('label_smoothing', [0.0, 0.1, 1.0]),
    pytest.mark.parametrize('class_weights', [None, WEIGHTS], ids=['plain', 'weighted']),
]


def with_every_option(function):
    for mark in every_option:
        function = mark(function)
    return function


@with_every_option
def test_cross_entropy_equals_torchs_in_value_and_gradient(shape, ignore_index, label_smoothing, class_weights):
    predictions, targets = batch(shape, ignore_index)
    value = CrossEntropy(K, ignore_index, label_smoothing, class_weights)(predictions, targets)
    expected = torch_loss(ignore_index, label_smoothing, class_weights)(predictions, targets)
    assert value.shape == ()
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(v, predictions)[0] for v in (value, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


@with_every_option
def test_cross_entropy_over_uneven_batches_is_the_mean_over_the_set(
    shape, ignore_index, label_smoothing, class_weights
):
    predictions, targets = batch(shape, ignore_index, n=23)
    predictions = predictions.detach().double()
    loss = CrossEntropy(K, ignore_index, label_smoothing, class_weights).double()
    parts = list(zip(predictions.split([1, 9, 2, 11]), targets.split([1, 9, 2, 11]), strict=True))
    total = sum(loss(*part) * loss.count(*part) for part in parts) / sum(loss.count(*part) for part in parts)
    torch.testing.assert_close(total, loss(predictions, targets), rtol=1e-12, atol=0)


@pytest.mark.parametrize('label_smoothing', [0.0, 0.1])
@pytest.mark.parametrize('class_weights', [None, WEIGHTS], ids=['plain', 'weighted'])
@pytest.mark.parametrize('shape', [(), (3, 5)], ids=['classification', 'segmentation'])
def test_cross_entropy_of_ignored_targets_only_is_zero_without_gradient(shape, class_weights, label_smoothing):
    predictions, targets = batch(shape, None)
    targets.fill_(255)
    loss = CrossEntropy(K, 255, label_smoothing, class_weights)
    value = loss(predictions, targets)
    value.backward()
    assert value.item() == 0
    assert loss.count(predictions, targets) == 0
    assert torch.equal(predictions.grad, torch.zeros_like(predictions))


def test_cross_entropy_of_targets_with_weight_zero_is_zero_without_gradient():
    predictions, targets = torch.randn(3, 2, requires_grad=True), torch.zeros(3, dtype=torch.int64)
    loss = CrossEntropy(2, class_weights=[0.0, 1.0])
    value = loss(predictions, targets)
    assert value == 0
    assert torch.equal(torch.autograd.grad(value, predictions)[0], torch.zeros(3, 2))
    assert loss.count(predictions, targets) == 0


def test_an_ignored_batch_does_not_change_the_mean():
    loss = CrossEntropy(K, 255)
    first = batch((2, 2), None)
    second = (first[0], torch.full_like(first[1], 255))
    total = sum(loss(*b) * loss.count(*b) for b in (first, second)) / sum(loss.count(*b) for b in (first, second))
    torch.testing.assert_close(total, loss(*first))


@pytest.mark.parametrize('loss', [CrossEntropy(K), CrossEntropy(K, 255), CrossEntropy(K, 255, 0.1, WEIGHTS), Dice(K)])
def test_a_nan_among_the_logits_gives_nan(loss):
    predictions, targets = batch((3, 3), None)
    predictions = predictions.detach()
    predictions[0, 1, 2, 2] = torch.nan
    assert loss(predictions, targets).isnan()


@pytest.mark.parametrize('loss', [CrossEntropy(K, 255), CrossEntropy(K, 255, 0.0, WEIGHTS), Dice(K, 255)])
def test_a_nan_gives_nan_even_if_all_targets_are_ignored(loss):
    predictions = torch.zeros(2, K, 3, 3)
    predictions[0, 1, 2, 2] = torch.nan
    assert loss(predictions, torch.full((2, 3, 3), 255)).isnan()


def test_counts_are_the_divisors_of_the_means():
    predictions, targets = torch.zeros(2, K, 2, 2), torch.tensor([[[0, 1], [255, 255]], [[3, 3], [3, 255]]])
    assert CrossEntropy(K, 255).count(predictions, targets) == 5
    assert CrossEntropy(K, 255, 0.0, WEIGHTS).count(predictions, targets) == 0.5 + 2 + 3 * 0.25
    inside = targets.clamp(max=3)
    assert CrossEntropy(K, None, 0.0, WEIGHTS).count(predictions, inside) == 0.5 + 2 + 6 * 0.25
    count = CrossEntropy(K).count(predictions, inside)
    assert isinstance(count, int)
    assert count == 8
    assert Dice(K).count(predictions, inside) == 2
    targets[0] = 255
    assert Dice(K, 255).count(predictions, targets) == 1


def test_no_target_is_ignored_by_default():
    with pytest.raises(DanluError, match=r'target of sample 1 of the batch is -100; with 4 classes .* 0\.\.3\.'):
        CrossEntropy(K)(torch.zeros(2, K), torch.tensor([0, -100]))


def test_class_weights_move_with_the_loss_and_stay_out_of_checkpoints():
    loss = CrossEntropy(K, class_weights=WEIGHTS)
    assert loss.to('meta').class_weights.device.type == 'meta'
    assert loss.state_dict() == {}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('kind', [CrossEntropy, Dice])
def test_half_precision_is_summed_in_float32(kind, dtype):
    predictions = torch.zeros(1, K, 512, 512, dtype=dtype)  # 262144 * log(4) is beyond float16
    targets = torch.zeros(1, 512, 512, dtype=torch.int64)
    value = kind(K)(predictions, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, kind(K)(predictions.float(), targets))


def shares(n=6, seed=0):
    """Return logits (n, K) that require grad, and class probabilities (n, K)."""
    generator = torch.Generator().manual_seed(seed)
    predictions = (3 * torch.randn(n, K, generator=generator)).requires_grad_()
    return predictions, torch.rand(n, K, generator=generator).softmax(1)


@pytest.mark.parametrize('label_smoothing', [0.0, 0.1, 1.0])
@pytest.mark.parametrize('class_weights', [None, WEIGHTS], ids=['plain', 'weighted'])
def test_cross_entropy_of_probabilities_equals_torchs_and_the_sum_by_hand(label_smoothing, class_weights):
    predictions, targets = shares()
    loss = CrossEntropy(K, None, label_smoothing, class_weights)
    value = loss(predictions, targets)
    weights = torch.ones(K) if class_weights is None else torch.tensor(class_weights)
    smooth = (1 - label_smoothing) * targets + label_smoothing / K
    by_hand = -(weights * smooth * predictions.log_softmax(1)).sum() / len(targets)
    for expected in (torch_loss(None, label_smoothing, class_weights)(predictions, targets), by_hand):
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
        gradients = [torch.autograd.grad(v, predictions, retain_graph=True)[0] for v in (value, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)
    precise = predictions.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss.double()(p, targets.double()), precise)


@pytest.mark.parametrize('label_smoothing', [0.0, 0.1])
@pytest.mark.parametrize('class_weights', [None, WEIGHTS], ids=['plain', 'weighted'])
def test_cross_entropy_of_probabilities_over_uneven_batches_is_the_mean_over_the_set(label_smoothing, class_weights):
    predictions, targets = (tensor.detach().double() for tensor in shares(23))
    loss = CrossEntropy(K, None, label_smoothing, class_weights).double()
    parts = list(zip(predictions.split([1, 9, 2, 11]), targets.split([1, 9, 2, 11]), strict=True))
    assert [loss.count(*part) for part in parts] == [1, 9, 2, 11]
    total = sum(loss(*part) * loss.count(*part) for part in parts) / 23
    torch.testing.assert_close(total, loss(predictions, targets), rtol=1e-12, atol=0)


def test_certain_probabilities_are_labels():
    predictions, labels = batch((), None)
    for label_smoothing in (0.0, 0.1):
        loss = CrossEntropy(K, None, label_smoothing)
        certainties = nn.functional.one_hot(labels, K).float()
        torch.testing.assert_close(loss(predictions, certainties), loss(predictions, labels))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_probabilities_for_half_precision_are_summed_in_float32(dtype):
    predictions, targets = shares()
    predictions = predictions.detach().to(dtype)
    value = CrossEntropy(K)(predictions, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, CrossEntropy(K)(predictions.float(), targets))


def test_a_nan_among_the_logits_gives_nan_for_probabilities():
    predictions, targets = shares()
    predictions = predictions.detach()
    predictions[1, 2] = torch.nan
    assert CrossEntropy(K)(predictions, targets).isnan()


def test_an_ignore_index_is_refused_for_probabilities():
    with pytest.raises(DanluError, match=r'class probabilities have no label to ignore: leave out --ignore_index'):
        CrossEntropy(K, 0)(*shares())


def test_probabilities_of_another_number_of_classes_are_refused():
    predictions, targets = shares()
    with pytest.raises(DanluError, match=r'targets of shape \(6, 3\) and torch.float32'):
        CrossEntropy(K)(predictions, targets[:, :3])


def test_dice_refuses_probabilities():
    predictions = torch.zeros(2, K, 3, 3)
    with pytest.raises(DanluError, match=r'shape \(2, 4, 3, 3\) and torch.float32; .* need shape \(2, 3, 3\)'):
        Dice(K)(predictions, predictions.softmax(1))


def certain(classes):
    """Return logits (N, K, H, W) that are certain of the given classes (N, H, W)."""
    return 1000 * nn.functional.one_hot(classes, K).permute(0, 3, 1, 2).float()


def test_dice_of_certain_predictions_by_hand():
    truth = torch.tensor([[[0, 0], [0, 1]], [[2, 2], [2, 2]]])
    said = torch.tensor([[[0, 0], [1, 1]], [[2, 2], [3, 3]]])
    # picture 0: class 0 has 2*2/(2+3), class 1 has 2*1/(2+1); picture 1: class 2 has 2*2/(2+4), class 3 is not there
    expected = torch.tensor([1 - (4 / 5 + 2 / 3) / 2, 1 - 4 / 6])
    torch.testing.assert_close(Dice(K)(certain(said), truth), expected.mean())
    torch.testing.assert_close(Dice(K)(certain(said)[:1], truth[:1]), expected[0])
    assert Dice(K)(certain(truth), truth) == 0
    assert Dice(K)(certain((truth + 1) % K)[1:], truth[1:]) == 1


def test_dice_of_uncertain_predictions_by_hand():
    predictions = torch.zeros(1, 2, 1, 2)  # p = 1/2 everywhere
    value = Dice(2)(predictions, torch.tensor([[[0, 1]]]))
    torch.testing.assert_close(value, torch.tensor(1 - 2 * 0.5 / (2 * 0.25 + 1)))  # the squares of Milletari et al.


def test_dice_of_background_only_is_finite_and_can_be_learnt():
    predictions = torch.randn(2, K, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.zeros(2, 8, 8, dtype=torch.int64)
    before = Dice(K)(predictions, targets)
    before.backward()
    assert predictions.grad.isfinite().all()
    assert 0 < before < 1
    assert Dice(K)(predictions - 100 * predictions.grad, targets) < before
    sure = certain(targets).requires_grad_()
    value = Dice(K)(sure, targets)
    value.backward()
    assert value == 0
    assert sure.grad.isfinite().all()


@pytest.mark.parametrize('ignore_index', [255, -1, 2])
def test_dice_does_not_depend_on_ignored_pixels(ignore_index):
    predictions, targets = batch((4, 6), None)
    targets[targets == ignore_index] = 0
    ignored = targets.clone()
    ignored[:, :, 4:] = ignore_index
    value = Dice(K, ignore_index)(predictions, ignored)
    torch.testing.assert_close(value, Dice(K)(predictions[..., :4], targets[..., :4]))
    gradient = torch.autograd.grad(value, predictions)[0]
    assert not gradient[..., 4:].any()
    assert gradient[..., :4].any()


def test_ignored_images_add_nothing_to_dice():
    predictions, targets = batch((4, 6), None)
    targets[2:] = 255
    loss = Dice(K, 255)
    torch.testing.assert_close(loss(predictions, targets), loss(predictions[:2], targets[:2]))
    value = loss(predictions[2:], targets[2:])
    assert value == 0
    assert loss.count(predictions[2:], targets[2:]) == 0
    assert not torch.autograd.grad(value, predictions)[0].any()


@pytest.mark.parametrize('ignore_index', [None, 255])
def test_dice_over_uneven_batches_is_the_mean_over_the_set(ignore_index):
    predictions, targets = batch((5, 5), ignore_index, n=12)
    predictions, loss = predictions.detach().double(), Dice(K, ignore_index)
    if ignore_index is not None:
        targets[1:4] = ignore_index
    parts = list(zip(predictions.split([1, 4, 7]), targets.split([1, 4, 7]), strict=True))
    total = sum(loss(*part) * loss.count(*part) for part in parts) / sum(loss.count(*part) for part in parts)
    torch.testing.assert_close(total, loss(predictions, targets), rtol=1e-12, atol=0)


def test_dice_gradient_is_that_of_its_value():
    predictions, targets = batch((2, 3), 255, n=2)
    assert torch.autograd.gradcheck(lambda p: Dice(K, 255)(p, targets), predictions.detach().double().requires_grad_())


def test_dice_refuses_targets_outside_the_classes():
    targets = torch.zeros(3, 2, 2, dtype=torch.int64)
    targets[1, 0, 1], targets[2] = K, 9
    with pytest.raises(DanluError, match=r'sample 1 of the batch \(row 0, column 1\) is 4; with 4 classes .* 0\.\.3\.'):
        Dice(K)(torch.zeros(3, K, 2, 2), targets)


@pytest.mark.parametrize('kind', [CrossEntropy, Dice])
@pytest.mark.parametrize(
    'targets',
    [torch.zeros(2, 1, 3, 3, dtype=torch.int64), torch.zeros(2, 3, 3), torch.zeros(2, 3, 4, dtype=torch.int64)],
    ids=['channel', 'float', 'size'],
)
def test_targets_of_wrong_shape_or_dtype_are_named(kind, targets):
    with pytest.raises(DanluError, match=r'need shape \(2, 3, 3\) and torch.int64') as error:
        kind(K)(torch.zeros(2, K, 3, 3), targets)
    assert f'{tuple(targets.shape)} and {targets.dtype}' in str(error.value)


def test_select_loss_passes_every_option_on():
    loss = select_loss(options(ignore_index=7, label_smoothing=0.2, class_weights=WEIGHTS))
    assert isinstance(loss, CrossEntropy)
    assert (loss.ignore_index, loss.label_smoothing) == (7, 0.2)
    assert loss.class_weights.tolist() == WEIGHTS
    loss = select_loss(options(loss='dice', task='segmentation', ignore_index=7))
    assert isinstance(loss, Dice)
    assert (loss.num_classes, loss.ignore_index) == (K, 7)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'loss': 'dise'}, 'did you mean dice'),
        ({'loss': 'dice'}, r'--loss: dice is for segmentation, not for task classification \(.* it: ce, focal\)'),
        ({'loss': 'ce+dice'}, 'dice is for segmentation, not for task classification'),
        ({'loss': 'mse'}, 'mse is for regression and restoration, not for task classification'),
        ({'loss': 'ce+ce'}, 'ce is repeated'),
        ({'loss': 'focal', 'loss_args': ['delta=1']}, r'takes no delta \(it takes: gamma, alpha\)'),
        ({'loss': 'focal', 'loss_args': ['gamma=-1']}, 'gamma of focal must be at least 0, not -1'),
        ({'loss': 'focal', 'loss_args': ['gamma=two']}, 'gamma=two is not a number'),
        ({'loss': 'focal', 'loss_args': ['gamma=True']}, 'gamma=True is not a number'),
        ({'loss': 'focal', 'loss_args': ['gamma=1e999']}, 'gamma=inf is not a number'),
        ({'loss': 'focal', 'loss_args': ['gamma=1e300']}, r'^--loss_args gamma=1e\+300: too large for float32'),
        (
            {'loss': 'focal', 'loss_args': ['gamma=' + '9' * 400]},
            r'^--loss_args gamma=9{100}\.\.\.9{100}: must lie between',
        ),
        ({'loss': 'focal', 'loss_args': ['alpha=0.3']}, 'alpha for task multilabel only; give --class_weights'),
        ({'loss': 'focal', 'label_smoothing': 0.1}, 'of the losses for classification ce can use it'),
        ({'task': 'regression', 'loss': 'huber', 'loss_args': ['delta=0']}, 'delta of huber must be above 0'),
        (
            {'task': 'regression', 'loss': 'mse', 'class_weights': WEIGHTS},
            'class_weights: has no effect on --loss mse',
        ),
        ({'task': 'regression', 'loss': 'mse', 'ignore_index': 0}, '--ignore_index: has no effect on --loss mse'),
        ({'task': 'multilabel', 'loss': 'focal', 'loss_args': ['gamma=0.5']}, 'must be 0 or at least 1, not 0.5'),
        ({'task': 'multilabel', 'loss': 'focal', 'loss_args': ['alpha=2']}, 'alpha of focal must lie between 0 and 1'),
        ({'task': 'segmentation', 'loss': 'tversky', 'loss_args': ['beta=0']}, 'beta above 0, not 0.3 and 0'),
        ({'task': 'restoration', 'loss': 'charbonnier', 'loss_args': ['eps=0']}, 'eps of charbonnier must be above 0'),
        ({'task': 'restoration', 'loss': 'ssim', 'image_size': [8, 32]}, 'at least 11x11 pixels, .* have 8x32'),
        ({'class_weights': [1.0, 2.0]}, '2 values for 4 classes'),
        ({'class_weights': [1.0, 1.0, 1.0, -1.0]}, 'at least 0'),
        ({'class_weights': [1.0, 1.0, 1.0, float('nan')]}, 'finite'),
        ({'class_weights': [0.0] * K}, 'not all 0'),
        ({'label_smoothing': 1.5}, 'between 0 and 1'),
        ({'label_smoothing': -0.1}, 'between 0 and 1'),
        (
            {'loss': 'dice', 'task': 'segmentation', 'label_smoothing': 0.1},
            'smoothing: has no effect on --loss dice',
        ),
        (
            {'loss': 'dice', 'task': 'segmentation', 'class_weights': WEIGHTS},
            'weights: has no effect on --loss dice',
        ),
    ],
)
def test_wrong_options_are_refused(changes, message):
    with pytest.raises(DanluError, match=message):
        select_loss(options(**changes))


def test_the_registry_is_read_without_importing(monkeypatch):
    monkeypatch.delitem(sys.modules, 'loss')
    assert read_registry('loss', 'LOSSES') == LOSSES
    assert read_registry('loss', 'LOSS_OPTIONS') == LOSS_OPTIONS


# --- focal


@pytest.mark.parametrize('shape', [(), (3, 5)], ids=['classification', 'segmentation'])
@pytest.mark.parametrize('ignore_index', [None, 255, -1, 2])
@pytest.mark.parametrize('class_weights', [None, WEIGHTS], ids=['plain', 'weighted'])
def test_focal_with_gamma_0_is_cross_entropy(shape, ignore_index, class_weights):
    predictions, targets = batch(shape, ignore_index)
    losses = [Focal(K, ignore_index, class_weights, gamma=0.0), CrossEntropy(K, ignore_index, 0.0, class_weights)]
    values = [loss(predictions, targets) for loss in losses]
    torch.testing.assert_close(*values, rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(value, predictions)[0] for value in values]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)
    assert losses[0].count(predictions, targets) == losses[1].count(predictions, targets)


@pytest.mark.parametrize('gamma', [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize('class_weights', [None, WEIGHTS], ids=['plain', 'weighted'])
def test_focal_by_hand(class_weights, gamma):
    predictions, targets = batch((3, 5), 255)
    value = Focal(K, 255, class_weights, gamma)(predictions, targets)
    weights, total, count = class_weights or [1.0] * K, 0.0, 0.0
    chances = predictions.double().softmax(1).permute(0, 2, 3, 1).reshape(-1, K)
    for chance, target in zip(chances, targets.flatten().tolist(), strict=True):
        if target != 255:
            total -= weights[target] * (1 - chance[target]) ** gamma * chance[target].log()
            count += weights[target]
    torch.testing.assert_close(value.double(), total / count, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_focal_gradients_are_finite_for_certain_and_ignored_targets(gamma):
    predictions = torch.tensor([[500.0, 0, 0, 0], [0.0, 500, 0, 0], [1.0, 0, 0, 0]], requires_grad=True)
    value = Focal(K, 255, gamma=gamma)(predictions, torch.tensor([0, 0, 255]))
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(250.0))  # wrong and sure of it: as cross entropy
    assert predictions.grad.isfinite().all()
    assert predictions.grad[1].any()
    assert not predictions.grad[2].any()


def test_focal_gradient_is_that_of_its_value():
    predictions, targets = batch((2, 3), 255, n=2)
    loss = Focal(K, 255, WEIGHTS, 1.5).double()
    assert torch.autograd.gradcheck(lambda p: loss(p, targets), predictions.detach().double().requires_grad_())


@pytest.mark.parametrize('class_weights', [None, WEIGHTS], ids=['plain', 'weighted'])
def test_focal_over_uneven_batches_is_the_mean_over_the_set(class_weights):
    predictions, targets = batch((3, 5), 255, n=23)
    predictions, loss = predictions.detach().double(), Focal(K, 255, class_weights).double()
    parts = list(zip(predictions.split([1, 9, 2, 11]), targets.split([1, 9, 2, 11]), strict=True))
    total = sum(loss(*part) * loss.count(*part) for part in parts) / sum(loss.count(*part) for part in parts)
    torch.testing.assert_close(total, loss(predictions, targets), rtol=1e-12, atol=0)


def test_focal_refuses_probabilities():
    with pytest.raises(DanluError, match=r'need shape \(6,\) and torch.int64'):
        Focal(K)(*shares())


# --- sums of losses


def test_a_sum_is_the_weighted_sum_of_its_parts():
    predictions, targets = batch((4, 6), 255)
    loss = select_loss(options(loss='ce+0.5*dice', task='segmentation', ignore_index=255, class_weights=WEIGHTS))
    parts = {'ce': CrossEntropy(K, 255, 0.0, WEIGHTS), 'dice': Dice(K, 255)}
    value, expected = loss(predictions, targets), {name: part(predictions, targets) for name, part in parts.items()}
    torch.testing.assert_close(value, expected['ce'] + 0.5 * expected['dice'])
    assert {name: weight for name, (weight, _, _) in loss.last_parts.items()} == {'ce': 1.0, 'dice': 0.5}
    for name, (_, part, count) in loss.last_parts.items():
        assert part == expected[name]
        assert count == parts[name].count(predictions, targets)
    gradients = [torch.autograd.grad(v, predictions)[0] for v in (value, expected['ce'] + 0.5 * expected['dice'])]
    torch.testing.assert_close(*gradients)
    assert loss.to('meta').losses['ce'].class_weights.device.type == 'meta'


def test_one_loss_with_a_weight_is_a_sum_and_one_without_is_itself():
    predictions, targets = batch((), None)
    weighted, plain = select_loss(options(loss='2*ce')), select_loss(options())
    assert isinstance(weighted, WeightedSum)
    assert type(plain) is CrossEntropy
    torch.testing.assert_close(weighted(predictions, targets), 2 * plain(predictions, targets))


def test_a_sum_over_uneven_batches_is_the_mean_over_the_set():
    # Pixels differ in number from picture to picture, so each part is a mean over things of its own.
    predictions, targets = batch((5, 5), 255, n=12)
    targets[2, :4], targets[7] = 255, 255
    predictions = predictions.detach().double()
    loss = select_loss(options(loss='ce+3*dice', task='segmentation', ignore_index=255))
    engine, recorder = Engine.__new__(Engine), Recorder()
    engine.loss = loss
    for part in zip(predictions.split([1, 4, 7]), targets.split([1, 4, 7]), strict=True):
        engine.record_loss(recorder, 'loss', loss(*part), *part)
    assert recorder.mean('loss') == pytest.approx(loss(predictions, targets).item(), rel=1e-12)
    means = recorder.summary()
    assert list(means) == ['loss', 'loss_ce', 'loss_dice']
    for name in ('ce', 'dice'):
        assert means[f'loss_{name}'] == pytest.approx(loss.last_parts[name][1].item(), rel=1e-12)
    assert means['loss'] == pytest.approx(
        loss.last_parts['ce'][1].item() + 3 * loss.last_parts['dice'][1].item(), rel=1e-12
    )
    assert recorder.summary() == {}


# --- what the dictionaries say, against what is built


def test_every_loss_of_every_task_is_built_and_takes_its_targets():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, K, (3,), generator=generator)
    masks = torch.randint(0, K, (3, 12, 12), generator=generator)
    outputs, numbers = torch.randn(3, K, generator=generator), torch.randn(3, K, generator=generator)
    maps, pictures = torch.rand(3, K, 12, 12, generator=generator), torch.rand(3, K, 12, 12, generator=generator)
    of_task = {
        'classification': (outputs, labels),
        'segmentation': (maps, masks),
        'multilabel': (outputs, (numbers > 0).float()),
        'regression': (outputs, numbers),
        'restoration': (maps, pictures),
    }
    for task, (predictions, targets) in of_task.items():
        for name in TASKS[task].losses:
            predictions = predictions.detach().requires_grad_()
            loss = select_loss(options(loss=name, task=task, image_size=[12, 12]))
            value = loss(predictions, targets)
            value.backward()
            assert value.shape == () and value > 0
            assert predictions.grad.isfinite().all() and predictions.grad.any()
            assert loss.count(predictions, targets) > 0
    of_tasks = {name for task in TASKS.values() for name in task.losses}
    assert of_tasks <= set(LOSSES)
    assert all(load_entry(LOSSES, name, 'loss').tasks for name in set(LOSSES) - of_tasks)


def has_own(kind):
    return kind.__init__ is not nn.Module.__init__


def test_loss_args_match_the_constructors():
    classes_of = {name: {load_entry(LOSSES, name, 'loss')} for name in LOSSES}
    classes_of['focal'].add(SigmoidFocal)
    for name, classes in classes_of.items():
        arguments = set().union(*(inspect.signature(kind.__init__).parameters for kind in classes if has_own(kind)))
        taken = {*LOSS_ARGS.get(name, ()), *LOSS_OPTIONS.get(name, ())} - {'probabilities'}
        assert arguments - {'self', 'num_classes'} == taken, name


@pytest.fixture
def own_loss(monkeypatch):
    """Return the class of a loss that a project adds to LOSSES only."""

    class Own(CrossEntropy):
        tasks = ('classification',)

    monkeypatch.setattr(sys.modules['loss'], 'Own', Own, raising=False)
    monkeypatch.setitem(LOSSES, 'own', 'loss.Own')
    return Own


def test_an_unlisted_loss_fits_the_tasks_that_its_class_names(own_loss):
    assert isinstance(select_loss(options(loss='own', label_smoothing=0.2, class_weights=WEIGHTS)), own_loss)
    assert isinstance(select_loss(options(loss='own+ce')).losses['own'], own_loss)
    with pytest.raises(DanluError, match=r'own is not for task segmentation: loss.Own does not name it .* ce, focal'):
        select_loss(options(loss='own', task='segmentation'))
    del own_loss.tasks
    with pytest.raises(DanluError, match='own is not for task classification'):
        select_loss(options(loss='own'))


def test_a_listed_loss_needs_no_tasks_attribute(own_loss, monkeypatch):
    monkeypatch.setitem(TASKS, 'depth', TASKS['restoration']._replace(losses=('own',)))
    assert isinstance(select_loss(options(loss='own', task='depth')), own_loss)
