"""The metrics of regression and restoration against torchmetrics and hand-worked values, over uneven batches."""

import math

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchmetrics.functional.regression import r2_score
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError

from utils.base.errors import DanluError
from utils.metrics.regression import RegressionMetrics, RestorationMetrics


def number_batches(outputs, offset=0.0, seed=0):
    """Return four uneven batches of predictions and targets (n, outputs), float32."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for n in (23, 67, 1, 38):
        targets = 3 * torch.randn(n, outputs, generator=generator) + offset
        batches.append((targets + torch.randn(n, outputs, generator=generator), targets))
    return batches


def picture_batches(size=(12, 14), seed=0):
    """Return three uneven batches of predictions, some of them beyond 0..1, and of targets, (n, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for n in (3, 1, 5):
        targets = torch.rand(n, 3, *size, generator=generator)
        noise = 0.3 * torch.rand(n, 1, 1, 1, generator=generator) * torch.randn(targets.shape, generator=generator)
        batches.append((targets + noise, targets))
    return batches


def over_all(metric, batches):
    for predictions, targets in batches:
        metric.update(predictions, targets)
    return metric.compute()


@pytest.mark.parametrize('offset', [0.0, 2000.0])
@pytest.mark.parametrize('outputs', [1, 3])
def test_regression_equals_torchmetrics(outputs, offset):
    batches = number_batches(outputs, offset)
    values = over_all(RegressionMetrics(), batches)
    exact = [(predictions.double(), targets.double()) for predictions, targets in batches]
    for name, metric in (
        ('mae', MeanAbsoluteError()),
        ('rmse', MeanSquaredError(squared=False)),
    ):
        assert values[name] == pytest.approx(over_all(metric.set_dtype(torch.float64), exact).item(), rel=1e-6)
    whole = [torch.cat(parts) for parts in zip(*exact, strict=True)]
    assert values['r2'] == pytest.approx(r2_score(*whole, multioutput='uniform_average').item(), rel=1e-6)
    assert all(type(value) is float for value in values.values())
    assert ('mae/0' in values) == (outputs > 1)
    for index in range(outputs if outputs > 1 else 0):
        column = [(p[:, index : index + 1], t[:, index : index + 1]) for p, t in batches]
        alone = over_all(RegressionMetrics(), column)
        assert {name: values[f'{name}/{index}'] for name in alone} == pytest.approx(alone)


def test_regression_by_hand():
    values = over_all(RegressionMetrics(), [(torch.tensor([[1.0], [2]]), torch.tensor([[1.0], [4]]))])
    assert values == {'rmse': pytest.approx(math.sqrt(2)), 'mae': 1.0, 'r2': pytest.approx(1 - 4 / 4.5)}


def test_no_more_than_a_thousand_batches_wait():
    metrics = RegressionMetrics()
    for _ in range(1500):
        metrics.update(torch.ones(2, 1), torch.zeros(2, 1))
    assert metrics.seen == 2048
    assert metrics.compute()['mae'] == 1
    assert metrics.seen == 3000


def test_r2_is_exact_for_large_targets():
    # The squares of numbers around 1e8 have no digits left for a spread of 1.
    generator = torch.Generator().manual_seed(0)
    noise, errors = (torch.randn(500, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    batches = [(noise + 1e8 + 0.1 * errors, noise + 1e8)]
    expected = 1 - (0.1 * errors).square().sum() / (noise - noise.mean()).square().sum()
    assert over_all(RegressionMetrics(), batches)['r2'] == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize('n', [1, 7])
def test_r2_of_targets_that_are_all_the_same_is_nan(n):
    values = over_all(RegressionMetrics(), [(torch.rand(n, 1), torch.full((n, 1), 0.1))])
    assert math.isnan(values['r2'])
    assert math.isfinite(values['rmse'])
    mixed = torch.tensor([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]])
    values = over_all(RegressionMetrics(), [(mixed, mixed)])
    assert math.isnan(values['r2/0'])
    assert values['r2'] == values['r2/1'] == 1


@pytest.mark.parametrize('kind', [RegressionMetrics, RestorationMetrics])
@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_wrong_targets_are_named(kind, value):
    batches = number_batches(2) if kind is RegressionMetrics else picture_batches()
    metrics = kind()
    metrics.update(*batches[0])
    metrics._count_waiting()  # the number of the sample goes on from one block to the next
    start = len(batches[0][1])
    for _, targets in batches[1:]:
        targets[0].view(-1)[-1] = value
    for batch in batches[1:]:
        metrics.update(*batch)
    for read in (metrics.compute, metrics.check_targets):
        with pytest.raises(DanluError, match=f'target of sample {start} of the pass is nan or infinite'):
            read()
    metrics.reset()
    metrics.update(*batches[0])
    metrics.compute()


@pytest.mark.parametrize('kind', [RegressionMetrics, RestorationMetrics])
def test_targets_of_wrong_shape_or_dtype_are_named(kind):
    shape = (2, 3) if kind is RegressionMetrics else (2, 3, 12, 12)
    with pytest.raises(DanluError, match=r'need shape \(2, 3.* each sample, from number 0 of the batch on'):
        kind().update(torch.zeros(shape), torch.zeros(2, 1, *shape[2:]))
    with pytest.raises(DanluError, match=r'and torch.int64; .* and torch.float32'):
        kind().update(torch.zeros(shape), torch.zeros(shape, dtype=torch.int64))
    with pytest.raises(DanluError, match=r'predictions of shape \(2,\); expected \(N, '):
        kind().update(torch.zeros(2), torch.zeros(2))


@pytest.mark.parametrize('kind', [RegressionMetrics, RestorationMetrics])
def test_an_empty_set_is_an_error(kind):
    metrics = kind()
    with pytest.raises(DanluError, match='no sample was evaluated'):
        metrics.compute()
    metrics.update(*(number_batches(2) if kind is RegressionMetrics else picture_batches())[0])
    metrics.reset()
    with pytest.raises(DanluError, match='no sample was evaluated'):
        metrics.compute()


@pytest.mark.parametrize('kind', [RegressionMetrics, RestorationMetrics])
def test_update_does_not_synchronise_the_device(kind):
    # On the meta device, tensors have no values: whatever would wait for a GPU fails there.
    shape = (4, 2) if kind is RegressionMetrics else (4, 3, 12, 12)
    metrics = kind()
    for _ in range(2):
        metrics.update(torch.empty(shape, device='meta'), torch.empty(shape, device='meta'))
        metrics._count_waiting()
    assert metrics.seen == 8


def test_restoration_equals_torchmetrics():
    batches = picture_batches()
    values = over_all(RestorationMetrics(), batches)
    clamped = [(predictions.clamp(0, 1), targets) for predictions, targets in batches]
    pairs = [pair for batch in clamped for pair in zip(*(part.unsqueeze(1) for part in batch), strict=True)]
    psnr = [peak_signal_noise_ratio(*pair, data_range=1.0) for pair in pairs]
    assert values['psnr'] == pytest.approx(torch.stack(psnr).mean().item(), rel=1e-6)
    assert values['mae'] == pytest.approx(over_all(MeanAbsoluteError(), clamped).item(), rel=1e-6)
    assert list(values) == ['psnr', 'ssim', 'mae']


def test_a_perfect_picture_has_100_db():
    black, noise = torch.zeros(1, 1, 12, 12), torch.full((1, 1, 12, 12), 0.1)
    assert over_all(RestorationMetrics(), [(black, black)])['psnr'] == pytest.approx(100)
    values = over_all(RestorationMetrics(), [(black, black), (black + noise, black), (black - noise, black)])
    assert values['psnr'] == pytest.approx((100 + 20 + 100) / 3)  # less than black is saved as black


def test_ssim_of_small_pictures_is_nan():
    values = over_all(RestorationMetrics(), picture_batches((8, 64)))
    assert math.isnan(values['ssim'])
    assert math.isfinite(values['psnr']) and math.isfinite(values['mae'])


def test_pictures_of_several_sizes_count_alike():
    batches = [*picture_batches((12, 14)), *picture_batches((30, 16))]
    values = over_all(RestorationMetrics(), batches)
    halves = [over_all(RestorationMetrics(), part) for part in (batches[:3], batches[3:])]
    for name, value in values.items():
        assert value == pytest.approx((halves[0][name] + halves[1][name]) / 2)
