"""The losses of multilabel against torch, torchvision and their formulas."""

import pytest
import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from utils.base.errors import DanluError
from utils.losses.multilabel import BinaryCrossEntropy, SigmoidFocal

K = 4
WEIGHTS = [0.5, 2.0, 1.0, 0.0]


def batch(n=6, seed=0):
    """Return logits (n, K) that require grad, and targets (n, K) of 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    predictions = (3 * torch.randn(n, K, generator=generator)).requires_grad_()
    return predictions, torch.randint(0, 2, (n, K), generator=generator).float()


def test_binary_cross_entropy_is_torchs():
    predictions, targets = batch()
    torch.testing.assert_close(
        BinaryCrossEntropy(K)(predictions, targets), nn.BCEWithLogitsLoss()(predictions, targets)
    )


def test_class_weights_give_the_weighted_mean():
    predictions, targets = batch()
    losses = nn.BCEWithLogitsLoss(reduction='none')(predictions, targets)
    expected = sum(weight * losses[:, index].sum() for index, weight in enumerate(WEIGHTS)) / (6 * sum(WEIGHTS))
    loss = BinaryCrossEntropy(K, WEIGHTS)
    torch.testing.assert_close(loss(predictions, targets), expected)
    assert loss.count(predictions, targets) == 6 * 3.5
    assert BinaryCrossEntropy(K).count(predictions, targets) == 24
    assert loss.state_dict() == {}
    gradient = torch.autograd.grad(loss(predictions, targets), predictions)[0]
    assert gradient[:, :3].all() and not gradient[:, 3].any()


@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0])
def test_focal_is_torchvisions_and_its_formula(gamma):
    predictions, targets = batch()
    value = SigmoidFocal(K, None, gamma, 0.3)(predictions, targets)
    torch.testing.assert_close(value, sigmoid_focal_loss(predictions, targets, 0.3, gamma, 'mean'))
    chance = torch.where(targets == 1, predictions.sigmoid(), 1 - predictions.sigmoid())
    alpha = torch.where(targets == 1, 0.3, 0.7)
    torch.testing.assert_close(value, -(alpha * (1 - chance) ** gamma * chance.log()).mean())


@pytest.mark.parametrize('gamma', [0.0, 1.0, 1.5, 2.0])
def test_focal_gradients_are_finite_for_certain_predictions(gamma):
    predictions = torch.tensor([[500.0, -500, 500, 0]], requires_grad=True)
    SigmoidFocal(K, None, gamma)(predictions, torch.tensor([[1.0, 0, 0, 1]])).backward()
    assert predictions.grad.isfinite().all()
    assert predictions.grad[0, 2] > 0


@pytest.mark.parametrize('kind', [BinaryCrossEntropy, SigmoidFocal])
@pytest.mark.parametrize('class_weights', [None, WEIGHTS], ids=['plain', 'weighted'])
def test_over_uneven_batches_it_is_the_mean_over_the_set(kind, class_weights):
    predictions, targets = batch(23)
    predictions, targets, loss = predictions.detach().double(), targets.double(), kind(K, class_weights).double()
    parts = list(zip(predictions.split([1, 9, 2, 11]), targets.split([1, 9, 2, 11]), strict=True))
    total = sum(loss(*part) * loss.count(*part) for part in parts) / sum(loss.count(*part) for part in parts)
    torch.testing.assert_close(total, loss(predictions, targets), rtol=1e-12, atol=0)


@pytest.mark.parametrize('kind', [BinaryCrossEntropy, SigmoidFocal])
def test_half_precision_is_summed_in_float32(kind):
    predictions, targets = torch.zeros(9, K, dtype=torch.float16), torch.ones(9, K)
    assert kind(K)(predictions, targets).dtype == torch.float32


@pytest.mark.parametrize(
    'targets',
    [torch.zeros(2, dtype=torch.int64), torch.zeros(2, K, dtype=torch.int64), torch.zeros(2, 3)],
    ids=['labels', 'integers', 'size'],
)
def test_targets_of_wrong_shape_or_dtype_are_named(targets):
    with pytest.raises(DanluError, match=r'need shape \(2, 4\) and torch.float32: each sample, from number 0') as error:
        BinaryCrossEntropy(K)(torch.zeros(2, K), targets)
    assert f'{tuple(targets.shape)} and {targets.dtype}' in str(error.value)


def test_wrong_weights_are_refused():
    with pytest.raises(DanluError, match='2 values for 4 classes'):
        BinaryCrossEntropy(K, [1.0, 2.0])
