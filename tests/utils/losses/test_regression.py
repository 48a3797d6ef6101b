"""The losses of regression and restoration against torch, torchmetrics and their formulas."""

import pytest
import torch
from torch import nn

from utils.base.errors import DanluError
from utils.losses.regression import L1, MSE, SSIM, Charbonnier, Huber

ALL = [L1(), MSE(), Huber(0.1), Charbonnier(), SSIM()]
NUMBERS = ALL[:4]
NAMES = ['l1', 'mse', 'huber', 'charbonnier', 'ssim']


def pictures(n=4, seed=0, size=(12, 14)):
    """Return predictions (n, 3, H, W) that require grad, a few of them beyond 0..1, and targets in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.rand(n, 3, *size, generator=generator)
    noise = 0.3 * torch.randn(targets.shape, generator=generator)
    return (targets + noise).requires_grad_(), targets


@pytest.mark.parametrize('shape', [(6, 2), (2, 3, 4, 5)])
def test_losses_equal_those_of_torch(shape):
    generator = torch.Generator().manual_seed(0)
    predictions, targets = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    torch.testing.assert_close(L1()(predictions, targets), nn.L1Loss()(predictions, targets))
    torch.testing.assert_close(MSE()(predictions, targets), nn.MSELoss()(predictions, targets))
    torch.testing.assert_close(Huber(0.4)(predictions, targets), nn.HuberLoss(delta=0.4)(predictions, targets))
    expected = ((predictions - targets) ** 2 + 0.25).sqrt().mean()
    torch.testing.assert_close(Charbonnier(0.5)(predictions, targets), expected)
    torch.testing.assert_close(Charbonnier(1e-6)(predictions, targets), L1()(predictions, targets))


@pytest.mark.parametrize('loss', ALL, ids=NAMES)
def test_following_the_gradient_lowers_the_loss(loss):
    predictions, targets = pictures()
    for _ in range(3):
        before = loss(predictions, targets)
        (gradient,) = torch.autograd.grad(before, predictions)
        assert gradient.isfinite().all()
        predictions = (predictions - 0.02 * gradient / gradient.abs().max()).detach().requires_grad_()
        assert loss(predictions, targets) < before


@pytest.mark.parametrize('loss', NUMBERS, ids=NAMES[:4])
def test_the_gradient_of_a_perfect_prediction_is_0(loss):
    targets = torch.rand(2, 3)
    predictions = targets.clone().requires_grad_()
    loss(predictions, targets).backward()
    assert not predictions.grad.any()


@pytest.mark.parametrize('loss', ALL, ids=NAMES)
def test_over_uneven_batches_it_is_the_mean_over_the_set(loss):
    predictions, targets = pictures(12)
    predictions = predictions.detach()
    parts = list(zip(predictions.split([1, 4, 7]), targets.split([1, 4, 7]), strict=True))
    total = sum(loss(*part).double() * loss.count(*part) for part in parts) / sum(loss.count(*part) for part in parts)
    torch.testing.assert_close(total.float(), loss(predictions, targets), rtol=1e-5, atol=1e-7)
    assert all(isinstance(loss.count(*part), int) for part in parts)


@pytest.mark.parametrize('loss', ALL, ids=NAMES)
def test_half_precision_is_computed_in_float32(loss):
    predictions, targets = pictures()
    half = predictions.detach().half()
    value = loss(half, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(half.float(), targets))


@pytest.mark.parametrize('loss', ALL, ids=NAMES)
def test_a_nan_shows(loss):
    predictions, targets = pictures()
    predictions = predictions.detach()
    predictions[0, 1, 2, 2] = torch.nan
    assert loss(predictions, targets).isnan()


@pytest.mark.parametrize('loss', ALL, ids=NAMES)
@pytest.mark.parametrize(
    'targets',
    [
        torch.zeros(2, 12, 12, dtype=torch.int64),
        torch.zeros(2, 3, 12, 12, dtype=torch.uint8),
        torch.zeros(2, 1, 12, 12),
    ],
    ids=['masks', 'bytes', 'channels'],
)
def test_targets_of_wrong_shape_or_dtype_are_named(loss, targets):
    with pytest.raises(DanluError, match=r'need shape \(2, 3, 12, 12\) and torch.float32: each sample') as error:
        loss(torch.zeros(2, 3, 12, 12), targets)
    assert f'{tuple(targets.shape)} and {targets.dtype}' in str(error.value)
    assert f'a target of shape {tuple(targets.shape[1:])} and {targets.dtype}, where (3, 12, 12)' in str(error.value)


def test_too_few_targets_and_no_tensor_are_named():
    with pytest.raises(DanluError, match='2 predictions have 3 targets'):
        MSE()(torch.zeros(2, 1), torch.zeros(3, 1))
    with pytest.raises(DanluError, match='targets of type list; expected a tensor'):
        MSE()(torch.zeros(2, 1), [0.0, 1.0])


@pytest.mark.parametrize('size', [(10, 64), (64, 5)])
def test_ssim_refuses_pictures_smaller_than_its_window(size):
    with pytest.raises(DanluError, match=rf'at least 11x11 pixels, and they have {size[0]}x{size[1]}'):
        SSIM()(torch.zeros(2, 3, *size), torch.zeros(2, 3, *size))
    SSIM()(torch.zeros(2, 3, 11, 11), torch.zeros(2, 3, 11, 11))
    with pytest.raises(DanluError, match=r'predictions of shape \(2, 3\); expected \(N, C, H, W\)'):
        SSIM()(torch.zeros(2, 3), torch.zeros(2, 3))
