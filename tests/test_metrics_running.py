"""The values so far that progress lines show: right, cheap, and without effect on the results."""

import pytest
import torch

from metrics import ClassificationMetrics, SegmentationMetrics
from metrics_multilabel import MultilabelMetrics
from metrics_values import RegressionMetrics, RestorationMetrics
from utils.progress import running_text


def batches(kind, count=3):
    """Return batches (predictions, targets) of a task."""
    draw = torch.Generator().manual_seed(5)
    made = {
        'classification': lambda: (torch.randn(5, 3, generator=draw), torch.randint(3, (5,), generator=draw)),
        'segmentation': lambda: (torch.randn(2, 3, 4, 4, generator=draw), torch.randint(3, (2, 4, 4), generator=draw)),
        'multilabel': lambda: (torch.randn(5, 3, generator=draw), torch.rand(5, 3, generator=draw).round()),
        'regression': lambda: (torch.randn(5, 2, generator=draw), torch.randn(5, 2, generator=draw)),
        'restoration': lambda: (torch.rand(2, 1, 12, 12, generator=draw), torch.rand(2, 1, 12, 12, generator=draw)),
    }[kind]
    return [made() for _ in range(count)]


TASKS = {
    'classification': (lambda: ClassificationMetrics(3, extras=('auroc',)), 'acc'),
    'segmentation': (lambda: SegmentationMetrics(3, ignore_index=2), 'miou'),
    'multilabel': (lambda: MultilabelMetrics(3), 'f1_micro'),
    'regression': (RegressionMetrics, 'rmse'),
    'restoration': (RestorationMetrics, 'psnr'),
}


@pytest.mark.parametrize('task', TASKS)
def test_the_value_so_far_is_that_of_the_batches_so_far(task):
    make, name = TASKS[task]
    metrics = make()
    assert metrics.running() == {}
    for number, batch in enumerate(batches(task), 1):
        metrics.update(*batch)
        so_far = make()
        for earlier in batches(task)[:number]:
            so_far.update(*earlier)
        assert metrics.running() == {name: pytest.approx(so_far.compute()[name], abs=1e-12)}
    metrics.reset()
    assert metrics.running() == {}


@pytest.mark.parametrize('task', TASKS)
def test_looking_does_not_change_a_bit_of_the_result(task):
    make, _ = TASKS[task]
    seen, unseen = make(), make()
    for batch in batches(task, 7):
        seen.update(*batch)
        seen.running()
        unseen.update(*batch)
    ours, theirs = seen.compute(), unseen.compute()
    assert ours.keys() == theirs.keys()
    assert all(
        torch.equal(torch.tensor(ours[name]), torch.tensor(theirs[name])) or ours[name] != ours[name] for name in ours
    )


def test_a_set_of_which_all_is_ignored_so_far_has_no_value():
    metrics = ClassificationMetrics(3, ignore_index=1)
    metrics.update(torch.zeros(4, 3), torch.ones(4, dtype=torch.int64))
    assert metrics.running() == {}


def test_the_text_has_the_loss_first_and_takes_metrics_that_cannot_say():
    metrics = ClassificationMetrics(2)
    metrics.update(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert running_text(0.25, metrics) == 'loss 0.2500 acc 0.5000'
    assert running_text(0.25, object()) == 'loss 0.2500'
