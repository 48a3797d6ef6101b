"""Running values for progress lines: correct, cheap and without effect on the results."""

import re
from types import SimpleNamespace

import pytest
import torch

from metrics import ClassificationMetrics, SegmentationMetrics
from utils.base.progress import running_text
from utils.metrics.multilabel import MultilabelMetrics
from utils.metrics.ready_metrics import MetricFunction, ready_metrics
from utils.metrics.regression import RegressionMetrics, RestorationMetrics


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
def test_the_running_value_is_that_of_the_batches_so_far(task):
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
def test_running_does_not_change_the_result(task):
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


def test_ready_made_metrics_show_what_is_cheap_and_the_first_three():
    torchmetrics = pytest.importorskip('torchmetrics')
    many = {'num_classes': 3, 'average': 'micro'}
    objects = {
        'acc': torchmetrics.Accuracy('multiclass', **many),
        'each': torchmetrics.Accuracy('multiclass', num_classes=3, average=None),
        'ranked': torchmetrics.AUROC('multiclass', num_classes=3),  # keeps all samples
        'whole': lambda predictions, targets: 1 / (len(targets) - 5),  # fails on the first batch
        'mean': MetricFunction(lambda predictions, targets: float(len(targets)), per_batch=True),
        'last': MetricFunction(lambda predictions, targets: 2.0, per_batch=True),
    }
    args = SimpleNamespace(task='classification', num_classes=3, class_names=None)
    seen, unseen = (ready_metrics(objects, args, torch.device('cpu')) for _ in range(2))
    assert seen.running() == {}
    for batch in batches('classification'):
        seen.update(*batch)
        unseen.update(*batch)
        running = seen.running()
    assert list(running) == ['acc', 'each', 'mean', 'last'] and running['mean'] == 5.0
    assert seen.compute() == unseen.compute() and running['acc'] == seen.compute()['acc']
    assert re.fullmatch(r'loss 0\.5000 acc \d\.\d{4} each \d\.\d{4} mean 5\.000', running_text(0.5, seen))


def test_there_is_no_running_value_if_all_targets_are_ignored():
    metrics = ClassificationMetrics(3, ignore_index=1)
    metrics.update(torch.zeros(4, 3), torch.ones(4, dtype=torch.int64))
    assert metrics.running() == {}


def test_running_text_begins_with_the_loss_and_allows_metrics_without_running():
    metrics = ClassificationMetrics(2)
    metrics.update(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    assert running_text(0.25, metrics) == 'loss 0.2500 acc 0.5000'
    assert running_text(0.25, object()) == 'loss 0.2500'
