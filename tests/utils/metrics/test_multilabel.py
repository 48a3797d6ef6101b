"""The metrics of multilabel against torchmetrics and hand-worked values, over uneven batches."""

import math

import pytest
import torch
from torchmetrics.classification import (
    MultilabelAUROC,
    MultilabelAveragePrecision,
    MultilabelExactMatch,
    MultilabelF1Score,
)

from utils.base.errors import DanluError
from utils.metrics.multilabel import MultilabelMetrics

K = 4


def random_batches(seed=0):
    """Return four uneven batches of logits (n, K) and targets (n, K), each class with positives and negatives."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for n in (23, 67, 1, 38):
        targets = (torch.rand(n, K, generator=generator) < torch.tensor([0.1, 0.3, 0.5, 0.9])).float()
        # float64: in float32, torchmetrics takes logits that differ little for equal ones.
        batches.append((torch.randn(n, K, generator=generator).double() + targets, targets))
    return batches


def over_all(metric, batches, dtype=None):
    for predictions, targets in batches:
        metric.update(predictions, targets if dtype is None else targets.to(dtype))
    return metric.compute()


@pytest.mark.parametrize('seed', [0, 1])
def test_multilabel_equals_torchmetrics(seed):
    batches = random_batches(seed)
    values = over_all(MultilabelMetrics(K, extras=('auroc',)), batches)
    for name, by_class, kind, options in (
        ('map', 'ap', MultilabelAveragePrecision, {'thresholds': None}),
        ('f1_macro', 'f1', MultilabelF1Score, {}),
        ('auroc', 'auroc', MultilabelAUROC, {'thresholds': None}),
    ):
        of_each = over_all(kind(K, average='none', **options), batches, torch.int64).tolist()
        assert [values[f'{by_class}/{index}'] for index in range(K)] == pytest.approx(of_each)
        macro = over_all(kind(K, average='macro', **options), batches, torch.int64).item()
        assert values[name] == pytest.approx(macro)
    micro = over_all(MultilabelF1Score(K, average='micro'), batches, torch.int64).item()
    assert values['f1_micro'] == pytest.approx(micro)
    exact = over_all(MultilabelExactMatch(K), batches, torch.int64).item()
    assert values['exact_match'] == pytest.approx(exact)
    assert 0 < exact < 1


def test_by_hand_with_an_absent_class():
    metrics = MultilabelMetrics(3, ['cat', 'dog', 'yak'])
    metrics.update(torch.tensor([[2.0, 1, -1], [1.0, -1, -1]]), torch.tensor([[0.0, 1, 0], [1.0, 1, 0]]))
    values = metrics.compute()
    assert all(type(value) is float for value in values.values())
    assert list(values)[:4] == ['map', 'f1_macro', 'f1_micro', 'exact_match']
    assert (values['ap/cat'], values['ap/dog'], values['map']) == (0.5, 1, 0.75)  # cat: found second
    assert values['f1/cat'] == pytest.approx(2 / 3)
    assert values['f1/dog'] == pytest.approx(2 / 3)
    assert values['f1_macro'] == pytest.approx(2 / 3)
    assert values['f1_micro'] == pytest.approx(4 / 6)
    assert values['exact_match'] == 0
    assert math.isnan(values['ap/yak']) and math.isnan(values['f1/yak'])


def test_samples_without_labels_are_no_error():
    metrics = MultilabelMetrics(2)
    metrics.update(torch.full((3, 2), -1.0), torch.zeros(3, 2))
    values = metrics.compute()
    assert values['exact_match'] == 1
    assert all(math.isnan(values[name]) for name in ('map', 'f1_macro', 'f1_micro'))


def test_reset_starts_a_new_pass_and_an_empty_set_is_an_error():
    metrics = MultilabelMetrics(K)
    over_all(metrics, random_batches())
    metrics.reset()
    with pytest.raises(DanluError, match='no sample was evaluated'):
        metrics.compute()


def test_wrong_targets_are_named():
    metrics = MultilabelMetrics(2)
    metrics.update(torch.zeros(3, 2), torch.zeros(3, 2))
    metrics.update(torch.zeros(2, 2), torch.tensor([[0.0, 1], [1, 0.5]]))
    for read in (metrics.compute, metrics.check_targets):
        with pytest.raises(DanluError, match=r'sample 4 of the pass for class 1 is 0\.5: it must be 1'):
            read()
    with pytest.raises(DanluError, match=r'shape \(3,\) and torch.int64; .* need shape \(3, 2\) and torch.float32'):
        metrics.update(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(DanluError, match=r'predictions of shape \(3, 5\); expected \(N, 2\)'):
        metrics.update(torch.zeros(3, 5), torch.zeros(3, 5))
    with pytest.raises(DanluError, match='1 class names for 2 classes'):
        MultilabelMetrics(2, ['cat'])


def test_update_does_not_synchronise_the_device():
    metrics = MultilabelMetrics(K)
    for _ in range(2):
        metrics.update(torch.empty(5, K, device='meta'), torch.empty(5, K, device='meta'))
        metrics._count_waiting()
    assert metrics.seen == 10
