"""The contents of a page: calibration, curves, confidence intervals, the confusion matrix, and selected samples."""

import argparse
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_calibration_error,
    multilabel_auroc,
    multilabel_average_precision,
)

from metrics import select_metrics
from utils.html_report import predictions_table
from utils.html_report.class_labels import name_cell, shortened
from utils.html_report.class_sections import calibration
from utils.html_report.confusion_matrix import confused_pairs, matrix_layout, short_count
from utils.html_report.intervals import find_intervals, matrix_metrics
from utils.html_report.page import Page
from utils.html_report.sample_images import errors_apart, select_groups
from utils.html_report.score_histograms import ScoreHistograms, best_threshold, roc_pr_curves
from utils.html_report.task_reports import SEGMENTATION
from utils.statistics import ranking_bootstrap, significance
from utils.statistics.ranking_bootstrap import RankedScores, ranking_intervals
from utils.statistics.significance import bootstrap_intervals, count_intervals, draw_counts


def test_calibration_is_that_of_torchmetrics():
    random = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(500, 4, generator=random) * 2, torch.randint(0, 4, (500,), generator=random)
    confidence, said = logits.softmax(1).double().max(1)
    wanted = multiclass_calibration_error(logits.softmax(1).double(), targets, 4, n_bins=15)
    error, _, _, _, shares = calibration(confidence.numpy(), (said == targets).double().numpy())
    assert error == pytest.approx(float(wanted), abs=1e-6)
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize('target', ['label', 'labels'])
def test_curves_from_counts_are_nearly_those_of_all_scores(target):
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(800, 3, generator=random) * 3
    if target == 'label':
        targets = logits.add(torch.randn(800, 3, generator=random) * 4).argmax(1)
        truth, scores = targets[:, None] == torch.arange(3), logits.double().softmax(1)
    else:
        truth = logits + torch.randn(800, 3, generator=random) * 4 > 0
        targets, scores = truth.float(), logits.double().sigmoid()
    counts = ScoreHistograms(target, 3)
    for part in range(0, 800, 130):
        counts.add(logits[part : part + 130], targets[part : part + 130])
    found = counts.histograms()
    assert found.sum() == 800 * 3 and (found[1].sum(1) == truth.sum(0).numpy()).all()
    for index in range(3):
        curve = roc_pr_curves(*found[:, index])
        both = scores[:, index], truth[:, index].long()
        assert curve['auroc'] == pytest.approx(float(binary_auroc(*both)), abs=2e-3)
        assert curve['ap'] == pytest.approx(float(binary_average_precision(*both)), abs=5e-3)


def test_certain_scores_stay_apart_and_a_class_that_is_not_there_has_no_curve():
    counts = ScoreHistograms('label', 2)
    # The probability of class 1 is 1 in float32 for both.
    counts.add(torch.tensor([[0.0, 17.5], [0.0, 18.5], [0.0, float('nan')]]), torch.tensor([0, 1, 1]))
    found = counts.histograms()
    assert found[0, 1].nonzero()[0].max() < found[1, 1].nonzero()[0].max()
    assert found[1, 1, 0] == 1, 'what is no number is the least sure'
    assert np.isnan(roc_pr_curves(np.array([1, 2]), np.array([0, 0]))['ap'])


def test_ignored_samples_do_not_count_and_other_shapes_are_left_alone():
    counts = ScoreHistograms('label', 2, ignore_index=1)
    counts.add(torch.zeros(3, 2), torch.tensor([0, 1, 7]))
    assert counts.histograms().sum() == 2
    counts.add(torch.zeros(3, 5), torch.tensor([0, 1, 0]))
    assert counts.histograms().sum() == 2


def test_the_best_threshold_is_where_f1_is_largest():
    without, having = np.zeros(1000, int), np.zeros(1000, int)
    without[[100, 400]], having[[600, 700]] = 5, 5
    threshold, f1 = best_threshold(without, having)
    assert f1 == 1 and threshold == pytest.approx(1 / (1 + np.exp(-4)))
    assert np.isnan(best_threshold(without, np.zeros(1000, int))).all()


def test_intervals_are_those_of_theory():
    random = np.random.default_rng(0)
    right = (random.random(2000) < 0.8).astype(float)
    wanted = right.mean() + np.array([-1.96, 1.96]) * np.sqrt(right.mean() * (1 - right.mean()) / 2000)
    found, _ = bootstrap_intervals(np.stack([right, np.ones(2000)], 1), lambda sums: sums[:, :1] / sums[:, 1:])
    np.testing.assert_allclose(found[0], wanted, atol=2e-3)
    counts = np.array([int(2000 - right.sum()), int(right.sum())])
    found, _ = count_intervals(counts, lambda sums: sums[:, 1:] / 2000)
    np.testing.assert_allclose(found[0], wanted, atol=2e-3)


def test_intervals_of_groups_are_those_of_samples():
    random = np.random.default_rng(0)
    values = random.normal(3, 2, 60_000)
    groups = predictions_table.GroupedSums(2, seed=0)
    for value in values:
        groups.add([value, 1.0])
    found, _ = bootstrap_intervals(groups.rows(), lambda sums: sums[:, :1] / sums[:, 1:])
    assert len(groups.rows()) == predictions_table.MAX_SAMPLES
    assert groups.rows().sum(0) == pytest.approx([values.sum(), 60_000])
    assert np.diff(found[0])[0] == pytest.approx(2 * 1.96 * 2 / np.sqrt(60_000), rel=0.1)


@pytest.mark.parametrize('digits', [1, 16], ids=['many are equal', 'none is equal'])
def test_values_of_draws_are_those_that_torchmetrics_gives_for_the_drawn_samples(digits):
    random = np.random.default_rng(3)
    scores = np.round(random.random((70, 3)), digits)
    truth = random.random((70, 3)) < scores * [0.9, 0.3, 0.1]
    times = next(draw_counts(random, 70, 8)).astype(np.int32)
    for k in range(3):
        found = RankedScores(scores[:, k], truth[:, k]).values(times)
        for of_draw, (ap, auroc) in zip(times, found.T, strict=True):
            drawn = np.repeat(np.arange(70), of_draw)
            both = torch.from_numpy(scores[drawn, k]), torch.from_numpy(truth[drawn, k]).long()
            if both[1].any():
                assert ap == pytest.approx(float(binary_average_precision(*both)), abs=1e-6)
                assert auroc == pytest.approx(float(binary_auroc(*both)), abs=1e-6)
            else:
                assert np.isnan([ap, auroc]).all()


def test_intervals_of_ranks_are_those_of_a_plain_bootstrap():
    random = np.random.default_rng(4)
    scores = random.random((120, 2))
    truth = random.random((120, 2)) < scores
    ap, auroc, resamples = ranking_intervals(scores, truth)
    assert ap.shape == auroc.shape == (3, 2) and resamples == significance.REPORT_RESAMPLES
    tensors, plain = (torch.from_numpy(scores), torch.from_numpy(truth).long()), []
    for _ in range(300):
        drawn = random.integers(0, 120, 120)
        both = [part[drawn] for part in tensors]
        values = [f(*both, 2, average='macro') for f in (multilabel_average_precision, multilabel_auroc)]
        plain.append(list(map(float, values)))
    np.testing.assert_allclose([ap[-1], auroc[-1]], np.percentile(plain, [2.5, 97.5], axis=0).T, atol=0.02)
    many = np.zeros((ranking_bootstrap.MAX_RANKED_SCORES // 2, 3), np.float16)
    assert ranking_intervals(many, many > 0) is None


def test_where_all_are_right_proportions_have_an_interval_and_other_metrics_none():
    matrix = np.diag([30, 10])
    page = argparse.Namespace(
        target_kind='label', matrix=matrix, class_counts=(matrix.diagonal(), matrix.sum(1), matrix.sum(0)), count=40,
        class_names=['a', 'b'], results={'acc': 1.0}, engine=argparse.Namespace(metrics=None),
    )  # fmt: skip
    bounds, _ = find_intervals(page, [], [], seed=0)
    known = {name: pair for name, pair in bounds.items() if np.isfinite(pair).all()}
    assert set(known) == {'acc', 'acc_class/a', 'acc_class/b', 'precision/a', 'precision/b'}
    assert known['acc_class/a'] == pytest.approx([0.8865, 1], abs=5e-5)
    assert known['acc'][0] > known['acc_class/a'][0], 'of more samples'


def test_values_of_the_matrix_are_those_of_the_metrics():
    names = ['a', 'b', 'c', 'd']
    metrics = select_metrics(
        argparse.Namespace(task='classification', num_classes=4, class_names=names, ignore_index=None, metrics=None)
    )
    random = torch.Generator().manual_seed(2)
    metrics.update(torch.randn(50, 4, generator=random), torch.randint(0, 3, (50,), generator=random))
    wanted = metrics.compute()
    keys, value, counts = matrix_metrics(metrics.confusion_matrix().numpy(), names)
    with np.errstate(divide='ignore', invalid='ignore'):
        found = dict(zip(keys, value(counts[None])[0], strict=True))
    for key in ('acc', 'f1_macro', 'precision_macro', 'recall_macro', 'acc_class/a', 'acc_class/d'):
        assert found[key] == pytest.approx(wanted[key], nan_ok=True), key


def test_values_of_masks_are_those_of_the_metrics():
    names, extras = ['a', 'b', 'c', 'd'], ['f1_macro', 'precision_macro', 'recall_macro']
    args = argparse.Namespace(task='segmentation', num_classes=4, class_names=names, ignore_index=None, metrics=extras)
    random, metrics = torch.Generator().manual_seed(2), select_metrics(args)
    masks = torch.randint(0, 3, (2, 4, 4), generator=random)  # the last class is in no mask, and never said
    metrics.update(torch.randn(2, 4, 4, 4, generator=random) - torch.tensor([0, 0, 0, 99.0]).view(1, 4, 1, 1), masks)
    matrix, wanted = metrics.confusion_matrix().double().numpy(), metrics.compute()
    hits = matrix.diagonal()
    sums = np.concatenate([hits, matrix.sum(0) + matrix.sum(1) - hits, matrix.sum(1)])
    header = [f'{part}/{name}' for part in ('intersection', 'union', 'truth') for name in names]
    (measure,) = [m for m in SEGMENTATION.measures([*header, 'pixel_acc', 'pixels']) if 'f1_macro' in m.name]
    found = dict(zip(measure.name.split('\n'), measure.value(sums[None])[0], strict=True))
    assert found.keys() == {*(f'iou/{name}' for name in names), *extras}
    for name, value in found.items():
        assert value == pytest.approx(wanted[name], nan_ok=True), name


@pytest.mark.parametrize('classes', [2, 100, 300])
def test_a_matrix_is_drawn_within_its_bounds(classes):
    random = np.random.default_rng(0)
    matrix = random.integers(0, 3, (classes, classes)) + np.diag(np.full(classes, 40))
    drawn = matrix_layout(
        matrix, [f'{"猫" if k % 2 else "class"} of number {k} and a long name' for k in range(classes)]
    )
    assert len(drawn['labels']) == min(classes, 100) and drawn['left_out'] == max(0, classes - 100)
    assert max(cell['x'] + drawn['side'] for cell in drawn['cells']) <= drawn['size']
    assert all(len(label) < 25 for label in drawn['labels'])
    assert drawn['size'] < 1600


def test_pairs_are_named_by_how_often():
    matrix = np.array([[5, 3, 0], [1, 5, 0], [0, 9, 1]])
    found = [(pair['truth'], pair['predicted'], pair['count']) for pair in confused_pairs(matrix, ['a', 'b', 'c'])]
    assert found == [(2, 1, 9), (0, 1, 3), (1, 0, 1)]
    assert confused_pairs(np.diag([1, 2]), ['a', 'b']) == []


def test_counts_fit_into_cells():
    texts = [short_count(count) for count in (0, 9999, 12_345, 9_999_999, 12_345_678, 5 * 10**11)]
    assert texts == ['0', '9999', '12k', '9999k', '12M', '5e+11']


def test_of_many_samples_the_worst_are_shown():
    badness = np.random.default_rng(0).random(50_000)
    shown = predictions_table.select_rows(badness, seed=0)
    assert len(shown) == predictions_table.MAX_SAMPLES == len(set(shown.tolist()))
    assert set(np.argsort(-badness)[:1000]) <= set(shown.tolist())


def test_groups_of_samples_share_none():
    badness = np.array([0.1, np.inf, 0.3, -np.inf, 0.5, 0.2])
    assert select_groups(badness, 2, 1, 9, seed=0) == {'worst': [1, 4], 'best': [0], 'others': [2, 5]}
    assert select_groups(badness, 2, 1, 1, seed=None)['median'] == [2]
    assert select_groups(np.array([-np.inf]), 2, 1, 1, seed=0) == {}
    assert select_groups(np.array([0.5]), 2, 1, 1, seed=None) == {'worst': [0]}


def test_a_task_of_ones_own_has_metrics_and_settings(tmp_path):
    args = argparse.Namespace(
        task='counting', num_classes=None, ignore_index=None, seed=0, model_type='lenet', lang='en'
    )
    engine = argparse.Namespace(args=args, metrics=SimpleNamespace(monitor='off_by'))
    page = Page(engine)
    page.add(torch.zeros(3), {'boxes': 1})
    tested = {
        'checkpoint': 'runs/x/best.pth',
        'samples': '3',
        'list': 'a <b>',
        'epoch': '1',
        'date': '2026-01-01 00:00',
    }
    page.write(tmp_path / 'report.html', tmp_path / 'none.csv', {'off_by': 1.5, 'loss': float('nan')}, tested, [])
    text = (tmp_path / 'report.html').read_text(encoding='utf-8')
    assert 'data-value="1.5"' in text and 'data-value="nan"' in text and 'a &lt;b&gt;' in text
    assert text.index('data-metric="off_by"') < text.index('data-metric="loss"')
    assert 'id="samples"' not in text


def test_errors_stand_apart_from_right_predictions():
    groups = {'worst': [4, 1, 2], 'best': [0]}
    assert errors_apart(groups, np.array([1, 0, 1, 1, 0])) == {'errors': [4, 1], 'uncertain': [2], 'best': [0]}
    assert errors_apart(groups, np.ones(5)) == {'uncertain': [4, 1, 2], 'best': [0]}


def test_whole_numbers_are_shown_without_decimals():
    column = predictions_table.number_column('age', 'age', [3.0, math.nan, 172801.0])
    assert column['whole'] and repr(column['values']) == '[3, None, 172801]'
    column = predictions_table.number_column('age', 'age', [3.0, 0.123456789])
    assert not column['whole'] and column['values'] == [3, 0.123457]


def test_long_names_lose_their_middle():
    names = ['northern_cardinal_(Cardinalis)_female', 'northern_cardinal_(Cardinalis)_male']
    short = [shortened(name, 160) for name in names]
    assert len(set(short)) == 2 and all(text.startswith('north') and text.endswith('male') for text in short)
    assert shortened('short', 100) == 'short'
    assert name_cell('short') == {'text': 'short'}
    assert name_cell('a' * 99)['title'] == 'a' * 99 and '…' in name_cell('a' * 99)['text']
    assert len(shortened('一二三四五六七八九十', 60)) <= 6


def test_samples_shared_with_the_training_are_said_above_the_values():
    notes = Page._warnings(None, {'shared with training': 'test.txt: 1 of 5 images is in train.txt too'})
    assert notes == ['shared with training: test.txt: 1 of 5 images is in train.txt too']
    assert Page._warnings(None, {}) == []
