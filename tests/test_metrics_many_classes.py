"""Metrics of very many classes: three counts per class give the values of the confusion matrix."""

from types import SimpleNamespace

import pytest
import torch

from metrics import ClassificationMetrics
from utils.base.errors import DanluError
from utils.evaluation.test_files import shows_matrix
from utils.metrics import confusion

MANY = 300


def batches(classes=MANY, count=5, ignored=None, seed=0):
    """Return batches of logits (N, K) and targets (N,) of which many are right, and some ignored."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        targets = torch.randint(0, classes - 40, (64,), generator=random)
        logits = torch.randn(64, classes, generator=random)
        logits[torch.arange(40), targets[:40]] += 9
        if ignored is not None:
            targets[::7] = ignored
        found.append((logits, targets))
    return found


def counted(metrics, parts):
    for predictions, targets in parts:
        metrics.update(predictions, targets)
    return metrics


def with_table(*args):
    metrics = ClassificationMetrics(*args)
    assert metrics.keep_table()
    return metrics


def same(values, others):
    return values == pytest.approx(others, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize('ignored', [None, 255, -100, 3])
def test_counts_by_class_give_the_same_bits_as_the_table(ignored):
    parts = batches(ignored=ignored)
    small, full = counted(ClassificationMetrics(MANY, ignored), parts), counted(with_table(MANY, ignored), parts)
    assert not small.has_table
    assert same(small.compute(), full.compute())
    for own, other in zip(small.class_counts(), full.class_counts(), strict=True):
        assert torch.equal(own, other)


def test_values_by_hand():
    metrics = ClassificationMetrics(MANY)
    targets = torch.tensor([0, 0, 1, 299])
    metrics.update(torch.eye(MANY)[[0, 1, 1, 299]], targets)
    values = metrics.compute()
    assert values['acc'] == 0.75
    assert (values['acc_class/0'], values['acc_class/1'], values['acc_class/299']) == (0.5, 1.0, 1.0)
    assert values['precision_macro'] == pytest.approx((1 + 0.5 + 1) / 3)
    assert values['f1_macro'] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_imagenet_21k_takes_a_few_counts_per_class():
    classes = 21_841
    metrics = counted(ClassificationMetrics(classes), batches(classes, 1))
    assert metrics.counts.numel() < 4 * classes
    assert sum(value.nbytes for value in metrics.state_dict().values() if torch.is_tensor(value)) < 2**20
    assert metrics.compute()['acc'] >= 40 / 64
    assert not metrics.keep_table()
    with pytest.raises(DanluError, match='no confusion matrix of 21,841 classes'):
        metrics.confusion_matrix()


def test_wrong_targets_are_named_without_a_table():
    metrics = ClassificationMetrics(MANY)
    metrics.update(torch.zeros(3, MANY), torch.tensor([0, -1, MANY]))
    with pytest.raises(DanluError, match=r'1 targets are below 0 and 1 above 299, the first of them in sample 1'):
        metrics.compute()


@pytest.mark.parametrize('ignored', [None, 255])
def test_a_pass_of_an_earlier_version_with_a_table_is_resumed(ignored):
    first, rest = batches(ignored=ignored), batches(ignored=ignored, seed=1)
    old = counted(with_table(MANY, ignored), first)
    old._count_waiting()
    state = old.state_dict()
    del state['has_table']  # which it did not have
    resumed = ClassificationMetrics(MANY, ignored)
    resumed.load_state_dict(state, torch.device('cpu'))
    counted(resumed, rest)
    assert not resumed.has_table
    assert same(resumed.compute(), counted(ClassificationMetrics(MANY, ignored), first + rest).compute())


def test_a_pass_with_a_small_table_is_resumed():
    first, rest = batches(60), batches(60, seed=1)
    old = counted(ClassificationMetrics(60), first)
    resumed = ClassificationMetrics(60)
    resumed.load_state_dict(old.state_dict(), torch.device('cpu'))
    assert torch.equal(
        counted(resumed, rest).confusion_matrix(), counted(ClassificationMetrics(60), first + rest).confusion_matrix()
    )


def test_shares_of_processes_add_up_without_a_table():
    parts = batches()
    shares = [counted(ClassificationMetrics(MANY), parts[start::2]).reduce_state() for start in (0, 1)]
    merged = ClassificationMetrics(MANY)
    merged.merge(shares, torch.device('cpu'))
    assert same(merged.compute(), counted(ClassificationMetrics(MANY), parts).compute())


@pytest.mark.slow('a test of many classes')
def test_a_test_of_many_classes_leaves_the_matrix_out_and_says_so(digits_run, eval_here, monkeypatch):
    whole = eval_here('--load_model_path', digits_run.directory / 'best.pth', '--report', '--save_prefix', 'whole')
    monkeypatch.setattr(confusion, 'MAX_TABLE_CLASSES', 9)
    monkeypatch.setattr(confusion, 'MAX_SHOWN_CLASSES', 9)
    test = eval_here('--load_model_path', digits_run.directory / 'best.pth', '--report', '--save_prefix', 'many')
    assert 'confusion_matrix.csv is left out: 10 classes would make too large a table' in test.stdout
    assert not (test.directory / 'confusion_matrix.csv').exists()
    for ending in ('png', 'svg'):
        assert (whole.directory / f'confusion_matrix.{ending}').exists()
        assert not (test.directory / f'confusion_matrix.{ending}').exists()
    assert test.values == whole.values
    page = (test.directory / 'report.html').read_text(encoding='utf-8')
    assert '>Classes<' in page
    assert 'Confusion matrix' not in page


def test_metrics_without_keep_table_show_their_matrix():
    assert shows_matrix(SimpleNamespace(confusion_matrix=lambda: None))
    assert not shows_matrix(SimpleNamespace())
