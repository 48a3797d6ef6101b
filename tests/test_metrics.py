"""The metrics against hand-worked values and against torchmetrics, over uneven batches."""

import math
import sys
from argparse import Namespace

import pytest
import torch
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
)

from metrics import METRICS, ClassificationMetrics, SegmentationMetrics, select_metrics
from utils.base.errors import DanluError
from utils.base.registry import read_registry
from utils.options.metric_options import directions_of
from utils.tasks.tasks import TASKS


def logits_for(classes, num_classes):
    """Return logits (N, K, ...) whose highest is that of the given classes (N, ...)."""
    return torch.nn.functional.one_hot(classes, num_classes).movedim(-1, 1).float()


def random_batches(num_classes, shape, ignore_index, seed):
    """Return four uneven batches in which the last class occurs nowhere."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for n in (23, 67, 1, 38):
        predictions = torch.randn(n, num_classes, *shape, generator=generator)
        targets = torch.randint(0, num_classes - 1, (n, *shape), generator=generator)
        predictions.scatter_add_(1, targets.unsqueeze(1), torch.full((n, 1, *shape), 1.0))  # better than chance
        predictions[:, -1] = -100
        if ignore_index is not None:
            targets[torch.rand(targets.shape, generator=generator) < 0.2] = ignore_index
        batches.append((predictions, targets))
    return batches


def over_all(metric, batches):
    for predictions, targets in batches:
        metric.update(predictions, targets)
    return metric.compute()


@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('ignore_index', [None, 255, -1])
@pytest.mark.parametrize('num_classes', [3, 6, 12])
def test_classification_equals_torchmetrics(num_classes, ignore_index, seed):
    batches = random_batches(num_classes, (), ignore_index, seed)
    metrics = ClassificationMetrics(num_classes, ignore_index)
    values = over_all(metrics, batches)
    same = {'num_classes': num_classes, 'ignore_index': ignore_index}
    assert values['acc'] == pytest.approx(over_all(MulticlassAccuracy(average='micro', **same), batches).item())
    assert values['f1_macro'] == pytest.approx(over_all(MulticlassF1Score(average='macro', **same), batches).item())
    for name, kind in (('precision', MulticlassPrecision), ('recall', MulticlassRecall)):
        expected = over_all(kind(average='macro', **same), batches).item()
        assert values[f'{name}_macro'] == pytest.approx(expected)
    by_class = over_all(MulticlassAccuracy(average='none', **same), batches)
    for index in range(num_classes - 1):
        assert values[f'acc_class/{index}'] == pytest.approx(by_class[index].item())
    assert math.isnan(values[f'acc_class/{num_classes - 1}'])  # there was none
    assert torch.equal(metrics.confusion_matrix(), over_all(MulticlassConfusionMatrix(**same), batches))
    assert ('acc_top5' in values) == (num_classes > 5)
    if num_classes > 5:
        top5 = over_all(MulticlassAccuracy(average='micro', top_k=5, **same), batches).item()
        assert values['acc_top5'] == pytest.approx(top5)
        assert values['acc_top5'] > values['acc']


@pytest.mark.parametrize('num_classes', [3, 12])
def test_class_probabilities_count_as_their_largest_class(num_classes):
    mixed, labels = ClassificationMetrics(num_classes), ClassificationMetrics(num_classes)
    for predictions, targets in random_batches(num_classes, (), None, 0):
        certain = torch.nn.functional.one_hot(targets, num_classes).float()
        mixed.update(predictions, 0.6 * certain + 0.4 * certain.roll(1, 0))
        labels.update(predictions, targets)
    assert mixed.compute() == pytest.approx(labels.compute(), nan_ok=True)
    with pytest.raises(DanluError, match=r'targets of shape \(4, 2\) and torch.float32'):
        mixed.update(torch.zeros(4, num_classes), torch.zeros(4, 2))


@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('ignore_index', [None, 255, -1, 1])
@pytest.mark.parametrize('num_classes', [3, 12])
def test_segmentation_equals_torchmetrics(num_classes, ignore_index, seed):
    batches = random_batches(num_classes, (9, 7), ignore_index, seed)
    metrics = SegmentationMetrics(num_classes, ignore_index)
    values = over_all(metrics, batches)
    same = {'num_classes': num_classes, 'ignore_index': ignore_index}
    assert values['miou'] == pytest.approx(over_all(MulticlassJaccardIndex(average='macro', **same), batches).item())
    assert values['pixel_acc'] == pytest.approx(over_all(MulticlassAccuracy(average='micro', **same), batches).item())
    by_class = over_all(MulticlassJaccardIndex(average='none', **same), batches)
    for index in set(range(num_classes - 1)) - {ignore_index}:
        assert values[f'iou/{index}'] == pytest.approx(by_class[index].item())
    assert math.isnan(values[f'iou/{num_classes - 1}'])
    assert torch.equal(metrics.confusion_matrix(), over_all(MulticlassConfusionMatrix(**same), batches))


def test_classification_by_hand():
    metrics = ClassificationMetrics(4, 255, ['a', 'b', 'c', 'd'])
    metrics.update(logits_for(torch.tensor([0, 0, 1, 2]), 4), torch.tensor([0, 1, 1, 255]))
    metrics.update(logits_for(torch.tensor([0]), 4), torch.tensor([2]))
    assert metrics.confusion_matrix().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert metrics.confusion_matrix().dtype == torch.int64
    values = metrics.compute()
    by_class = ['acc_class/a', 'acc_class/b', 'acc_class/c', 'acc_class/d']
    assert list(values) == ['acc', 'f1_macro', 'precision_macro', 'recall_macro', *by_class]
    assert all(type(value) is float for value in values.values())
    assert values['acc'] == 2 / 4
    assert values['f1_macro'] == pytest.approx((2 / 4 + 2 / 3 + 0) / 3)  # d occurs nowhere
    assert values['precision_macro'] == pytest.approx((1 / 3 + 1 + 0) / 3)  # c is never predicted
    assert values['recall_macro'] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert [values[f'acc_class/{name}'] for name in 'abc'] == [1, 0.5, 0]
    assert math.isnan(values['acc_class/d'])


def test_top5_by_hand():
    predictions = torch.tensor([[6.0, 5, 4, 3, 2, 1]]).repeat(4, 1)
    metrics = ClassificationMetrics(6, ignore_index=1)
    metrics.update(predictions, torch.tensor([4, 5, 0, 1]))  # fifth, sixth, first, ignored
    values = metrics.compute()
    assert values['acc_top5'] == pytest.approx(2 / 3)
    assert values['acc'] == pytest.approx(1 / 3)


def test_segmentation_by_hand():
    truth = torch.tensor([[[0, 0, 1], [1, 255, 255]]])
    said = torch.tensor([[[0, 1, 1], [1, 0, 2]]])
    metrics = SegmentationMetrics(3, 255, ['road', 'sky', 'tree'])
    metrics.update(logits_for(said, 3), truth)
    values = metrics.compute()
    assert list(values) == ['miou', 'pixel_acc', 'iou/road', 'iou/sky', 'iou/tree']
    assert values['iou/road'] == pytest.approx(1 / 2)
    assert values['iou/sky'] == pytest.approx(2 / 3)
    assert math.isnan(values['iou/tree'])
    assert values['miou'] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert values['pixel_acc'] == pytest.approx(3 / 4)


def test_an_ignored_class_is_left_out_of_the_means():
    truth, said = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 2, 1, 2])
    values = over_all(ClassificationMetrics(3, ignore_index=2), [(logits_for(said, 3), truth)])
    assert values['acc'] == pytest.approx(2 / 3)
    assert values['f1_macro'] == pytest.approx((2 / 3 + 1) / 2)
    assert math.isnan(values['acc_class/2'])


def test_counts_are_integers_and_exact_beyond_float32():
    metrics = SegmentationMetrics(2)
    metrics.update(logits_for(torch.tensor([[[0, 1]]]), 2), torch.tensor([[[0, 1]]]))
    assert metrics.counts.dtype == torch.int64
    metrics.counts.mul_(2**24)
    metrics.update(logits_for(torch.tensor([[[0]]]), 2), torch.tensor([[[0]]]))
    assert metrics.confusion_matrix().tolist() == [[2**24 + 1, 0], [0, 2**24]]


def test_the_confusion_matrix_is_a_copy():
    metrics = ClassificationMetrics(3)
    metrics.update(torch.eye(3), torch.arange(3))
    metrics.confusion_matrix().fill_(7)
    assert torch.equal(metrics.confusion_matrix(), torch.eye(3, dtype=torch.int64))


def test_reset_starts_a_new_pass():
    metrics = ClassificationMetrics(6)
    wrong, right = torch.tensor([5, 4]), torch.tensor([0, 1])
    metrics.update(logits_for(wrong, 6), right)
    metrics.reset()
    assert not metrics.confusion_matrix().any()
    metrics.update(logits_for(right, 6), right)
    values = metrics.compute()
    assert (values['acc'], values['acc_top5']) == (1, 1)


def test_update_does_not_change_its_arguments():
    predictions, targets = torch.randn(5, 7, requires_grad=True), torch.tensor([0, 255, 6, 3, 3])
    before = predictions.detach().clone(), targets.clone()
    metrics = ClassificationMetrics(7, 255)
    metrics.update(predictions, targets)
    assert torch.equal(predictions, before[0])
    assert torch.equal(targets, before[1])
    assert not metrics.counts.requires_grad


@pytest.mark.parametrize('kind', [ClassificationMetrics, SegmentationMetrics])
def test_update_does_not_synchronise_the_device(kind):
    # On the meta device, tensors have no values: whatever would wait for a GPU fails there.
    shape = (4,) if kind is ClassificationMetrics else (4, 8, 8)
    metrics = kind(7, 255)
    for _ in range(2):
        metrics.update(
            torch.empty(4, 7, *shape[1:], device='meta'), torch.empty(shape, dtype=torch.int64, device='meta')
        )
    assert metrics.counts.device.type == 'meta'


def test_counts_taken_in_inference_mode_can_be_summed_outside():
    metrics = ClassificationMetrics(7)
    with torch.inference_mode():
        metrics.update(torch.eye(7), torch.arange(7))
    metrics.counts.add_(metrics.counts.clone())
    metrics.update(torch.eye(7), torch.arange(7))
    assert torch.equal(metrics.confusion_matrix(), 3 * torch.eye(7, dtype=torch.int64))


@pytest.mark.parametrize('kind', [ClassificationMetrics, SegmentationMetrics])
def test_an_empty_set_is_an_error(kind):
    metrics = kind(3, 255)
    with pytest.raises(DanluError, match='no sample was evaluated'):
        metrics.compute()
    shape = (2,) if kind is ClassificationMetrics else (2, 4, 4)
    metrics.update(torch.randn(2, 3, *shape[1:]), torch.full(shape, 255))
    assert not metrics.confusion_matrix().any()
    with pytest.raises(DanluError, match='no sample was evaluated'):
        metrics.compute()


@pytest.mark.parametrize('ignore_index', [None, 255])
def test_targets_outside_the_classes_are_an_error_and_not_ignored(ignore_index):
    metrics = ClassificationMetrics(3, ignore_index)
    metrics.update(torch.randn(4, 3), torch.tensor([0, 1, 2, 2]))
    metrics.counts  # noqa: B018 (counts what waits)
    metrics.update(torch.randn(6, 3), torch.tensor([0, 1, 3, 4000, -1, 2]))
    said = r'1 targets are below 0 and 2 above 2, the first of them in sample 6 of the pass: .* 0\.\.2'
    for read in (metrics.compute, metrics.confusion_matrix):
        with pytest.raises(DanluError, match=said):
            read()
    metrics.reset()
    metrics.update(torch.randn(2, 3), torch.tensor([0, 1]))
    metrics.compute()


@pytest.mark.parametrize(
    'targets',
    [torch.zeros(2, 1, 3, 3, dtype=torch.int64), torch.zeros(2, 3, 3), torch.zeros(2, 3, 3, dtype=torch.uint8)],
    ids=['channel', 'float', 'uint8'],
)
def test_targets_of_wrong_shape_or_dtype_are_named(targets):
    with pytest.raises(DanluError, match=r'need shape \(2, 3, 3\) and torch.int64') as error:
        SegmentationMetrics(4).update(torch.zeros(2, 4, 3, 3), targets)
    assert f'{tuple(targets.shape)} and {targets.dtype}' in str(error.value)


@pytest.mark.parametrize('shape', [(2,), (2, 5)])
def test_predictions_of_wrong_shape_are_named(shape):
    with pytest.raises(DanluError, match=r'expected \(N, 4, \.\.\.\)'):
        ClassificationMetrics(4).update(torch.zeros(shape), torch.zeros(2, dtype=torch.int64))


def test_names_that_repeat_keep_their_entries():
    metrics = ClassificationMetrics(3, class_names=['crane', '0:crane', 'crane'])
    metrics.update(logits_for(torch.tensor([0, 1, 0]), 3), torch.tensor([0, 1, 2]))
    values = metrics.compute()
    found = {name: value for name, value in values.items() if name.startswith('acc_class/')}
    assert found == {'acc_class/0:crane': 1, 'acc_class/1:0:crane': 1, 'acc_class/2:crane': 0}


def test_a_wrong_target_among_masks_is_named():
    metrics = SegmentationMetrics(3, 255)
    masks = torch.zeros(4, 5, 6, dtype=torch.int64)
    masks[0], masks[2, 4, 5] = 255, 3
    for part in (masks[:1], masks[1:]):
        metrics.update(torch.randn(len(part), 3, 5, 6), part)
    with pytest.raises(DanluError, match='0 targets are below 0 and 1 above 2, the first of them in sample 2 of'):
        metrics.compute()


@pytest.mark.parametrize('ignore_index', [None, 255])
@pytest.mark.parametrize('num_classes', [2, 4])
def test_auroc_equals_torchmetrics(num_classes, ignore_index):
    batches = random_batches(num_classes + 1, (), ignore_index, 0)
    batches = [(predictions[:, :num_classes], targets) for predictions, targets in batches]  # all classes occur
    metrics = ClassificationMetrics(num_classes, ignore_index, extras=('auroc',))
    values = over_all(metrics, batches)
    same = {'num_classes': num_classes, 'ignore_index': ignore_index, 'thresholds': None}
    assert values['auroc'] == pytest.approx(over_all(MulticlassAUROC(average='macro', **same), batches).item())
    by_class = over_all(MulticlassAUROC(average='none', **same), batches).tolist()
    assert [values[f'auroc/{index}'] for index in range(num_classes)] == pytest.approx(by_class)
    assert 0.5 < values['auroc'] < 1
    assert over_all(ClassificationMetrics(num_classes, ignore_index), batches) == pytest.approx(
        {name: value for name, value in values.items() if not name.startswith('auroc')}
    )
    metrics.reset()
    assert over_all(metrics, batches[:1])['auroc'] != values['auroc']


def test_auroc_leaves_out_absent_classes():
    values = over_all(ClassificationMetrics(3, extras=('auroc',)), [(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 0]))])
    assert values['auroc/0'] == values['auroc/1'] == values['auroc'] == 0.75
    assert math.isnan(values['auroc/2'])
    alone = over_all(ClassificationMetrics(3, extras=('auroc',)), [(torch.eye(3), torch.zeros(3, dtype=torch.int64))])
    assert math.isnan(alone['auroc'])


def test_auroc_ranks_certain_predictions():
    # In float32 both probabilities of class 0 would be 1.
    logits = torch.tensor([[30.0, 0], [25.0, 0], [0.0, 30]])
    values = over_all(ClassificationMetrics(2, extras=('auroc',)), [(logits, torch.tensor([0, 1, 1]))])
    assert values['auroc'] == 1


def test_macro_values_of_pixels_are_extras_of_segmentation():
    batches = random_batches(4, (9, 7), 255, 0)
    names = ['f1_macro', 'precision_macro', 'recall_macro']
    values = over_all(SegmentationMetrics(4, 255, extras=names), batches)
    same = {'num_classes': 4, 'ignore_index': 255, 'average': 'macro'}
    for name, kind in zip(names, (MulticlassF1Score, MulticlassPrecision, MulticlassRecall), strict=True):
        assert values[name] == pytest.approx(over_all(kind(**same), batches).item())
    assert set(names) == set(values) - set(over_all(SegmentationMetrics(4, 255), batches))


def test_registered_values_are_the_computed_values():
    args = Namespace(num_classes=6, ignore_index=None, class_names=None, metrics=None)
    maps = torch.rand(4, 6, 12, 12)
    of_task = {
        'classification': (maps[:, :, 0, 0], torch.arange(4)),
        'segmentation': (maps, maps.argmax(1)),
        'multilabel': (maps[:, :, 0, 0] - 0.5, maps[:, :, 1, 1].round()),
        'regression': (maps[:, :, 0, 0], maps[:, :, 1, 1]),
        'restoration': (maps, maps.flip(0)),
    }
    assert set(METRICS) >= set(TASKS)
    for task, batch in of_task.items():
        for extras in (None, list(TASKS[task].extra_metrics) or None):
            args.task, args.metrics = task, extras
            metrics = select_metrics(args)
            names = [name for name in over_all(metrics, [batch]) if '/' not in name]
            assert set(names) == set(directions_of(task, extras)) - {'loss'}
            assert (metrics.monitor, metrics.mode) == next(iter(TASKS[task].values.items()))
            assert metrics.directions == TASKS[task].values


@pytest.mark.parametrize(
    ('task', 'names', 'says'),
    [
        ('regression', ['auroc'], r'auroc is not for task regression \(additional metrics for it: none\)'),
        (
            'segmentation',
            ['auroc'],
            r'auroc is not for .* \(.*: f1_macro, precision_macro, recall_macro',
        ),
        ('classification', ['acc_top5'], 'acc_top5 needs 6 classes or more, and there are 3'),
        ('classification', ['acc'], 'acc is always computed for task classification'),
        ('multilabel', ['auroc', 'auroc'], 'auroc auroc: a name is there twice'),
    ],
)
def test_invalid_extra_metrics_are_refused(task, names, says):
    args = Namespace(task=task, num_classes=3, ignore_index=None, class_names=None, metrics=names)
    with pytest.raises(DanluError, match=f'--metrics: {says}'):
        select_metrics(args)


def test_top5_of_too_few_classes_is_refused_where_they_are_counted_in_the_data():
    with pytest.raises(DanluError, match='--metrics: acc_top5 needs 6 classes or more, and there are 5'):
        ClassificationMetrics(5, extras=('acc_top5',))
    assert 'acc_top5' in over_all(ClassificationMetrics(6, extras=('acc_top5',)), [(torch.eye(6), torch.arange(6))])


def test_select_metrics_builds_by_task():
    args = Namespace(task='segmentation', num_classes=2, ignore_index=9, class_names=['a', 'b'])
    metrics = select_metrics(args)
    assert isinstance(metrics, SegmentationMetrics)
    assert (metrics.num_classes, metrics.ignore_index, metrics.class_names) == (2, 9, ['a', 'b'])
    assert (metrics.monitor, metrics.mode) == ('miou', 'max')
    args.task = 'classification'
    metrics = select_metrics(args)
    assert isinstance(metrics, ClassificationMetrics)
    assert (metrics.monitor, metrics.mode) == ('acc', 'max')
    args.class_names = ['a']
    with pytest.raises(DanluError, match='1 class names for 2 classes'):
        select_metrics(args)
    args.task = 'detection'
    with pytest.raises(DanluError, match='unknown task'):
        select_metrics(args)


def test_the_monitored_value_is_computed():
    for kind, shape in ((ClassificationMetrics, (2,)), (SegmentationMetrics, (2, 3, 3))):
        metrics = kind(3)
        metrics.update(torch.randn(2, 3, *shape[1:]), torch.zeros(shape, dtype=torch.int64))
        assert metrics.monitor in metrics.compute()


def test_the_registry_is_read_without_importing(monkeypatch):
    monkeypatch.delitem(sys.modules, 'metrics')
    assert read_registry('metrics', 'METRICS') == METRICS
