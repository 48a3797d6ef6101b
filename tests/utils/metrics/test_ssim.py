"""Structural similarity against a direct implementation of Wang et al. 2004, and equal values in all outputs."""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from utils.losses.regression import SSIM
from utils.metrics.regression import RestorationMetrics
from utils.metrics.ssim import structural_similarity


def by_the_paper(first, second):
    """Return the mean structural similarity of two pictures, float64 (C, H, W) in 0..1: 11x11 windows within them."""
    distances = np.arange(-5, 6)
    weights = np.exp(-(distances**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    values = []
    for x, y in zip(first, second, strict=True):
        for top in range(x.shape[0] - 10):
            for left in range(x.shape[1] - 10):
                a, b = (picture[top : top + 11, left : left + 11] for picture in (x, y))
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
                both = (weights * (a - mean_a) * (b - mean_b)).sum()
                luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
                values.append(luminance * (2 * both + 0.03**2) / (var_a + var_b + 0.03**2))
    return np.mean(values)


def pictures(size, count=2, channels=1):
    """Return smooth pictures and the same with noise that is stronger at their borders, float32 (N, C, H, W)."""
    random = np.random.default_rng(0)
    rows, columns = (np.linspace(-1, 1, side)[:, None] for side in size)
    shape = (count, channels, *size)
    clean = 0.5 + 0.4 * np.sin(3 * rows + 2 * columns.T + random.uniform(0, 3, (count, channels, 1, 1)))
    noise = random.normal(0, 0.1, shape) * (0.2 + np.maximum(rows**2, columns.T**2))
    return (torch.from_numpy(values.astype(np.float32)) for values in (np.clip(clean + noise, 0, 1), clean))


@pytest.mark.parametrize(('size', 'channels'), [((11, 11), 1), ((28, 28), 1), ((16, 12), 3), ((11, 40), 1)])
def test_it_is_the_mean_over_the_windows_within_the_picture(size, channels):
    predictions, targets = pictures(size, channels=channels)
    expected = [
        by_the_paper(*pair) for pair in zip(predictions.double().numpy(), targets.double().numpy(), strict=True)
    ]
    assert structural_similarity(predictions, targets).tolist() == pytest.approx(expected, abs=1e-5)
    metrics = RestorationMetrics()
    metrics.update(predictions, targets)
    assert metrics.compute()['ssim'] == pytest.approx(np.mean(expected), abs=1e-5)
    assert SSIM()(predictions, targets).item() == pytest.approx(1 - np.mean(expected), abs=1e-5)
    assert (1 - SSIM().each(predictions, targets)[0]).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_border_is_not_counted_twice_by_reflection():
    predictions, targets = pictures((28, 28))
    from torchmetrics.functional.image import structural_similarity_index_measure

    reflected = structural_similarity_index_measure(predictions, targets, data_range=1.0)
    assert abs(structural_similarity(predictions, targets).mean() - reflected) > 1e-3


def test_equal_pictures_and_single_ones():
    predictions, targets = pictures((12, 12), count=1)
    assert structural_similarity(targets, targets).tolist() == pytest.approx([1.0])
    assert structural_similarity(predictions, targets).shape == (1,)
    assert SSIM()(predictions, targets).shape == ()


def test_the_gradient_is_finite_and_not_zero():
    predictions, targets = pictures((12, 30), count=1)
    predictions.requires_grad_()
    SSIM()(predictions, targets).backward()
    assert predictions.grad.isfinite().all() and predictions.grad.abs().sum() > 0


@pytest.mark.parametrize('size', [(10, 11), (11, 10), (4, 4)])
def test_images_smaller_than_the_window_have_no_ssim(size):
    metrics = RestorationMetrics()
    metrics.update(*pictures(size))
    values = metrics.compute()
    assert math.isnan(values['ssim']) and math.isfinite(values['psnr'])


def test_the_values_of_a_test_are_those_of_its_samples(train_here, eval_here, tmp_path):
    predictions, targets = pictures((16, 14), count=4)
    lines = []
    for index, pair in enumerate(zip(predictions, targets, strict=True)):
        for name, picture in zip(('noisy', 'clean'), pair, strict=True):
            Image.fromarray((picture[0] * 255).round().byte().numpy()).save(tmp_path / f'{name}{index}.png')
        lines.append(f'noisy{index}.png clean{index}.png\n')
    (tmp_path / 'list.txt').write_text(''.join(lines), encoding='utf-8')
    words = [
        '--task',
        'restoration',
        '--data_type',
        'pairs',
        '--model_type',
        'unet',
        '--model_args',
        'width=2',
        'depth=1',
    ]
    words += ['--train_list', tmp_path / 'list.txt', '--val_list', tmp_path / 'list.txt', '--num_workers', 0]
    run = train_here(*map(str, words), '--epochs', 1, '--checkpoints_dir', tmp_path / 'runs')
    test = eval_here('--load_model_path', run.directory / 'best.pth', '--checkpoints_dir', tmp_path / 'runs')
    with open(test.directory / 'predictions.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert np.mean([float(row['ssim']) for row in rows]) == pytest.approx(float(test.values['ssim']), abs=1e-6)
