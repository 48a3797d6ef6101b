"""The Tversky loss against hand-worked values and against Dice, with which it shares everything else."""

import pytest
import torch
from torch import nn

from utils.losses.region import Dice, Tversky

K = 4


def certain(classes):
    """Return logits (N, K, H, W) that are certain of the given classes (N, H, W)."""
    return 1000 * nn.functional.one_hot(classes, K).permute(0, 3, 1, 2).float()


def batch(n=6, seed=0):
    """Return logits (n, K, 4, 6) and targets (n, 4, 6), some of them 255."""
    generator = torch.Generator().manual_seed(seed)
    predictions = 3 * torch.randn(n, K, 4, 6, generator=generator)
    targets = torch.randint(0, K, (n, 4, 6), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < 0.3] = 255
    return predictions, targets


def test_tversky_of_certain_predictions_by_hand():
    truth = torch.tensor([[[0, 0], [0, 1]], [[2, 2], [2, 2]]])
    said = torch.tensor([[[0, 0], [1, 1]], [[2, 2], [3, 3]]])
    # picture 0: class 0 has TP 2, FP 0, FN 1, class 1 has TP 1, FP 1, FN 0; picture 1: class 2 has TP 2, FP 0, FN 2
    expected = torch.tensor([1 - (2 / (2 + 0.8) + 1 / (1 + 0.2)) / 2, 1 - 2 / (2 + 0.8 * 2)])
    torch.testing.assert_close(Tversky(K, None, 0.2, 0.8)(certain(said), truth), expected.mean())
    assert Tversky(K)(certain(truth), truth) == 0


def test_tversky_of_uncertain_predictions_by_hand():
    value = Tversky(2, None, 0.3, 0.7)(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]]))  # p = 1/2 everywhere
    torch.testing.assert_close(value, torch.tensor(1 - 0.5 / (0.5 + 0.3 * 0.5 + 0.7 * 0.5)))


def test_tversky_with_halves_is_dice_of_certain_predictions():
    _, targets = batch()
    said = certain(torch.randint(0, K, targets.shape, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(Tversky(K, 255, 0.5, 0.5)(said, targets), Dice(K, 255)(said, targets))


def test_a_larger_beta_penalises_missed_pixels_more():
    truth = torch.zeros(1, 4, 4, dtype=torch.int64)
    truth[:, 1:3, 1:3] = 1
    missed = truth.clone()
    missed[:, 2] = 0
    values = [Tversky(K, None, 1 - beta, beta)(certain(missed), truth) for beta in (0.5, 0.7, 0.9)]
    assert values == sorted(values)


def test_tversky_over_uneven_batches_is_the_mean_over_the_set():
    predictions, targets = batch(12)
    targets[1:4] = 255
    predictions, loss = predictions.double(), Tversky(K, 255)
    parts = list(zip(predictions.split([1, 4, 7]), targets.split([1, 4, 7]), strict=True))
    total = sum(loss(*part) * loss.count(*part) for part in parts) / sum(loss.count(*part) for part in parts)
    torch.testing.assert_close(total, loss(predictions, targets), rtol=1e-12, atol=0)


def test_tversky_gradient_is_that_of_its_value_and_0_where_ignored():
    predictions, targets = batch(2)
    predictions = predictions.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: Tversky(K, 255)(p, targets), predictions)
    gradient = torch.autograd.grad(Tversky(K, 255)(predictions, targets), predictions)[0]
    ignored = (targets == 255).unsqueeze(1).expand_as(gradient)
    assert not gradient[ignored].any()
    assert gradient[~ignored].all()


@pytest.mark.parametrize('ignore_index', [None, 255])
def test_tversky_of_nan_is_nan(ignore_index):
    predictions = torch.zeros(2, K, 3, 3)
    predictions[0, 1, 2, 2] = torch.nan
    assert Tversky(K, ignore_index)(predictions, torch.zeros(2, 3, 3, dtype=torch.int64)).isnan()
