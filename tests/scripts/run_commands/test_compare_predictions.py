"""runs.py compare-predictions: two tests paired by sample, what chance gives, and pictures of what changed."""

import csv
import itertools
import json
import math
import re
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from eval import write_result
from loss import select_loss
from metrics import select_metrics
from scripts import runs
from scripts.run_commands.pairing import Test, read_pairs, shared_header
from utils.base.errors import DanluError
from utils.drawing.colours import class_colours
from utils.evaluation.predictions import predictions_file
from utils.statistics.bootstrap_metrics import select_sum_metric
from utils.statistics.significance import mcnemar, paired_bootstrap
from utils.tasks.tasks import TASKS
from utils.training.engine import Engine

NAMES = ['牛', 'dog', 'ant, "red"']


class Ready(Engine):
    """Takes batches that are (predictions, targets) already."""

    def step(self, batch):
        return batch[0], *batch


def make_test(folder, task, predictions, targets, name_of='p{}.png'.format, **given):
    """Write the directory of a test, as eval.py does, and return it (Path)."""
    known = {
        'task': task, 'loss': None, 'loss_args': None, 'ignore_index': None, 'label_smoothing': 0.0,
        'class_weights': None, 'metrics': None, 'num_classes': None, 'class_names': None, 'num_targets': None,
        'target_columns': None, 'image_size': [16, 16], 'mean': [0.0], 'std': [1.0], 'print_freq': 100, **given,
    }  # fmt: skip
    args = SimpleNamespace(**known)
    args.loss = {'classification': 'ce', 'multilabel': 'bce', 'segmentation': 'ce', 'regression': 'mse'}.get(task, 'l1')
    engine = Ready(args, nn.Identity(), select_loss(args), torch.device('cpu'))
    folder.mkdir(parents=True)
    with predictions_file(folder / 'predictions.csv', engine, name_of) as rows:
        results, seen = engine.evaluate(
            list(zip(predictions.split(7), targets.split(7), strict=True)), select_metrics(args),
            lambda first, _, *batch: rows.add(first, *batch),
        )  # fmt: skip
    head = {
        'checkpoint': str(folder.parent.with_suffix('.pth')), 'epoch': '3', 'list': 'val.txt', 'list sha256': 'ab' * 32,
        'samples': str(seen), 'date': '2026-11-21 10:00:00 +0100', 'directory': '/',
    }  # fmt: skip
    write_result(folder / 'result.txt', results, head)
    (folder / 'args.txt').write_text(f'# python eval.py @x\n--task={task}\n', encoding='utf-8')
    return folder


def logits_for(predicted, classes=3, sure=4.0):
    """Return logits (N, K) whose largest are those of the classes `predicted` (list of int)."""
    return nn.functional.one_hot(torch.tensor(predicted), classes) * sure


@pytest.fixture
def two(tmp_path):
    """Return two tests of a classification: 2 samples go from right to wrong, 5 the other way, of 12."""
    targets = [0, 1, 2] * 4
    said = [list(targets), list(targets)]
    for side, wrong in ((0, [2, 5, 8, 9, 10, 11]), (1, [0, 1, 11])):
        for index in wrong:
            said[side][index] = (targets[index] + 1) % 3
    folders = [tmp_path / f'run{side}' / 'best' / 'val_x' for side in (0, 1)]
    given = {'num_classes': 3, 'class_names': NAMES}
    for folder, one in zip(folders, said, strict=True):
        make_test(folder, 'classification', logits_for(one), torch.tensor(targets), **given)
    return folders


def compare_predictions(capsys, *words):
    """Run runs.py compare-predictions and return what it printed."""
    runs.main(['compare-predictions', *map(str, words)])
    return capsys.readouterr().out


def changed(path, *replacements):
    """Replace texts in a file."""
    text = path.read_text(encoding='utf-8')
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding='utf-8', newline='')


# --- statistics


@pytest.mark.parametrize(('first', 'second'), [(0, 1), (0, 5), (3, 10), (10, 3), (6, 6), (0, 0), (40, 80), (900, 1000)])
def test_mcnemar_is_the_exact_binomial_test(first, second):
    count, fewer = first + second, min(first, second)
    expected = min(1.0, 2 * sum(math.comb(count, k) for k in range(fewer + 1)) / 2**count)
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_is_what_swapping_both_tests_sample_by_sample_gives():
    """Every way of swapping the 10 samples that changed; the share with a gap as large."""
    changes = np.array([1] * 8 + [-1] * 2)
    gaps = [abs((changes * signs).sum()) for signs in itertools.product((-1, 1), repeat=10)]
    assert mcnemar(8, 2) == pytest.approx(np.mean(np.array(gaps) >= 6))


def test_mcnemar_of_very_many_samples_is_quick_and_no_overflow():
    z = (900 - 1) / math.sqrt(600_900)
    assert mcnemar(300_000, 300_900) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-3)
    assert mcnemar(0, 10**6) == 0.0


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def with_ones(numbers):
    return np.stack([numbers, np.ones(len(numbers))], axis=1)


def test_the_bootstrap_is_that_of_all_resamples():
    """All 6 ** 6 of them, of a metric that is no mean of the samples."""
    a, b = np.array([0.1, 0.5, 0.9, 0.3, 0.2, 0.7]), np.array([0.2, 0.4, 1.3, 0.8, 0.1, 0.75])
    draws = np.array(list(itertools.product(range(6), repeat=6)))
    gaps = np.sqrt(b[draws].mean(1)) - np.sqrt(a[draws].mean(1))
    found = paired_bootstrap(with_ones(a), with_ones(b), lambda sums: np.sqrt(mean(sums)), resamples=40_000)
    assert found['gap'] == pytest.approx(np.sqrt(b.mean()) - np.sqrt(a.mean()))
    spread = gaps.std()
    assert [found['low'], found['high']] == pytest.approx(np.percentile(gaps, [2.5, 97.5]).tolist(), abs=0.05 * spread)
    assert found['p'] == pytest.approx(2 * min((gaps <= 0).mean(), (gaps >= 0).mean()), abs=0.01)
    assert paired_bootstrap(with_ones(a), with_ones(b), mean, seed=1) != paired_bootstrap(
        with_ones(a), with_ones(b), mean
    )
    assert paired_bootstrap(with_ones(a), with_ones(b), mean) == paired_bootstrap(with_ones(a), with_ones(b), mean)


def test_the_interval_of_right_and_wrong_is_that_of_the_binomial():
    """By counts of the four kinds of samples, and drawn one by one where each sample is a kind of its own."""
    a, b = np.repeat([1.0, 1.0, 0.0, 0.0], [700, 60, 100, 140]), np.repeat([1.0, 0.0, 1.0, 0.0], [700, 60, 100, 140])
    deviation = math.sqrt((160 / 1000 - 0.04**2) / 1000)
    own_kind = np.arange(1000)[:, None]
    for both in ((with_ones(a), with_ones(b)), [np.hstack([with_ones(n), own_kind]) for n in (a, b)]):
        found = paired_bootstrap(*both, mean)
        assert found['gap'] == pytest.approx(0.04)
        assert found['low'] == pytest.approx(0.04 - 1.96 * deviation, abs=0.0015)
        assert found['high'] == pytest.approx(0.04 + 1.96 * deviation, abs=0.0015)
        assert found['p'] == pytest.approx(mcnemar(60, 100), abs=0.003)


def test_what_is_equal_is_within_chance():
    numbers = with_ones(np.random.default_rng(0).random(50))
    assert paired_bootstrap(numbers, numbers, mean)['p'] == 1.0


# --- the metrics of result.txt from the columns


def random_test(folder, task, seed):
    """Return a test of random predictions; the targets do not depend on the seed."""
    random, truth = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(99)
    given = {'num_classes': 3, 'class_names': NAMES}
    if task == 'classification':
        data = torch.rand(31, 3, generator=random), torch.randint(0, 3, (31,), generator=truth)
        given['ignore_index'] = 2
    elif task == 'multilabel':
        data = torch.rand(31, 3, generator=random) - 0.5, (torch.rand(31, 3, generator=truth) > 0.5).float()
    elif task == 'segmentation':
        data = torch.rand(31, 3, 16, 16, generator=random), torch.randint(0, 3, (31, 16, 16), generator=truth)
        data[1][5], given['ignore_index'] = 2, 2  # a picture of which nothing counts
    elif task == 'regression':
        data, given = (
            (torch.rand(31, 2, generator=random), torch.rand(31, 2, generator=truth) + 500),
            {'num_targets': 2},
        )
    else:
        data, given = [torch.rand(31, 3, 16, 16, generator=g) for g in (random, truth)], {}
    return Test(make_test(folder, task, *data, **given))


@pytest.mark.parametrize('task', TASKS)
def test_the_measures_are_the_values_of_result_txt(task, tmp_path):
    a, b = (random_test(tmp_path / name, task, seed) for seed, name in enumerate('ab'))
    header = shared_header(a, b)
    measures = [select_sum_metric(name, task, header) for name in (*TASKS[task].sum_metrics, 'loss')]
    for measure, sums in zip(measures, read_pairs(a, b, [m.row for m in measures]), strict=True):
        for test, of_one in zip((a, b), sums, strict=True):
            assert len(of_one) == 31
            value = float(measure.value(of_one.sum(0)))
            assert value == pytest.approx(float(test.values[measure.name]), rel=1e-5), measure.name
        assert a.values[measure.name] != b.values[measure.name]
    chosen = select_sum_metric(None, task, header)
    assert chosen.name == TASKS[task].sum_metrics[0]


@pytest.mark.parametrize('task', TASKS)
def test_every_task_can_be_compared(task, tmp_path, capsys):
    a, b = (random_test(tmp_path / name, task, seed).directory for seed, name in enumerate('ab'))
    out = compare_predictions(capsys, a, b, '--csv', tmp_path / 'all.csv')
    assert '31 samples of val.txt' in out
    ways = ('right to wrong', 'wrong to right') if task in ('classification', 'multilabel') else ('worse', 'better')
    counts = {way: int(re.search(rf'{way}: (\d+)', out)[1]) for way in ways}
    assert all(counts.values())
    with open(tmp_path / 'all.csv', newline='', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    assert {way: [row['change'] for row in rows].count(way) for way in ways} == counts
    column = {'segmentation': 'miou', 'restoration': 'psnr', 'regression': 'loss'}.get(task, 'correct')
    for row in rows:
        assert row['name'] == f'p{row["index"]}.png'
        gain = float(row[f'B {column}']) - float(row[f'A {column}'])
        if task != 'regression':  # whose samples are ranked by their absolute error
            assert (gain > 0) == (row['change'] == ways[1])
    assert re.search(r'the difference of \S+ is (not )?significant \(p [=<] [\d.e-]+, ', out)


# --- what is printed


def test_changes_are_counted_listed_and_tested(two, tmp_path, capsys):
    out = compare_predictions(capsys, *two, '--csv', tmp_path / 'flips.csv')
    assert 'right to wrong: 2, wrong to right: 5, no change: 5' in out
    assert out.splitlines()[:3] == [
        f'A: run0/best, epoch 3, {two[0]}',
        f'B: run1/best, epoch 3, {two[1]}',
        '12 samples of val.txt',
    ]
    listed = [line.split()[0] for line in out.splitlines() if line.startswith('  p')]
    assert listed == ['p0.png', 'p1.png', 'p2.png', 'p5.png', 'p8.png', 'p9.png', 'p10.png']
    assert re.search(r'^  p0.png +牛 +牛 +dog$', out, re.M)
    assert 'acc: A 0.5000, B 0.7500' in out
    p = 2 * (1 + 7 + 21) / 2**7
    verdict = f"the difference of 0.2500 is not significant (p = {p:#.4g}, McNemar's exact test on the 7 samples that"
    assert verdict in out
    with open(tmp_path / 'flips.csv', newline='', encoding='utf-8-sig') as file:
        rows = list(csv.DictReader(file))
    assert [row['name'] for row in rows] == ['p0.png', 'p1.png', 'p2.png', 'p5.png', 'p8.png', 'p9.png', 'p10.png']
    assert {key: rows[2][key] for key in ('change', 'index', 'target', 'A prediction', 'B prediction')} == {
        'change': 'wrong to right', 'index': '2', 'target': NAMES[2], 'A prediction': '牛', 'B prediction': NAMES[2],
    }  # fmt: skip
    assert '(the first 1 of 5)' in compare_predictions(capsys, *two, '--show', 1)


def test_a_large_difference_is_significant(tmp_path, capsys):
    targets = torch.arange(60) % 3
    wrong = (targets + (torch.arange(60) < 30)) % 3
    a, b = (
        make_test(tmp_path / name, 'classification', logits_for(said.tolist()), targets, num_classes=3)
        for name, said in (('a', wrong), ('b', targets))
    )
    out = compare_predictions(capsys, a, b)
    assert 'wrong to right: 30' in out
    assert 'the difference of 0.5000 is significant (p < 0.001, McNemar' in out
    out = compare_predictions(capsys, b, a, '--metric', 'loss')
    assert re.search(r'difference: \+\S+, 95% confidence interval \+', out)
    assert 'is significant (p < 0.001, paired bootstrap)' in out


def test_a_mean_that_is_not_the_one_of_result_txt_is_called_so(two, capsys):
    changed(two[0] / 'result.txt', ('\nloss: ', '\nloss: 1'))
    out = compare_predictions(capsys, *two, '--metric', 'loss')
    assert 'A: this is the mean over samples; result.txt has ' in out
    assert 'of B, this is' not in out


# --- which tests are meant


def test_a_run_and_a_checkpoint_stand_for_their_newest_test(two, tmp_path, capsys):
    for folder in two:
        folder.parent.with_suffix('.pth').touch()
        (folder.parent.parent / 'args.txt').write_text('# python train.py @x\n--lr=1\n', encoding='utf-8')
    newer = two[1].with_name('val_x_2')
    shutil.copytree(two[1], newer)
    changed(newer / 'result.txt', ('10:00:00', '11:00:00'))
    # A third one, which only the ledger knows of.
    elsewhere = tmp_path / 'elsewhere'
    shutil.copytree(two[1], elsewhere)
    changed(elsewhere / 'result.txt', ('10:00:00', '12:00:00'))
    for words in (['run0', 'run1'], [two[0].parent.with_suffix('.pth'), 'run1/best.pth']):
        out = compare_predictions(capsys, *words, '--checkpoints_dir', tmp_path)
        assert out.splitlines()[:2] == [f'A: run0/best, epoch 3, {two[0]}', f'B: run1/best, epoch 3, {newer}']
    line = {
        'values': {'acc': 0.5}, 'checkpoint': 'run1/best.pth', 'directory': str(tmp_path), 'result_dir': str(elsewhere)
    }  # fmt: skip
    (tmp_path / 'ledger.jsonl').write_text(json.dumps(line) + '\n', encoding='utf-8')
    assert f'B: run1/best, epoch 3, {elsewhere}\n' in compare_predictions(
        capsys, 'run0', 'run1', '--checkpoints_dir', tmp_path
    )


def test_what_was_never_tested_is_told_how(two, tmp_path):
    run = tmp_path / 'run2'
    run.mkdir()
    for name in ('best.pth', 'args.txt'):
        (run / name).touch()
    with pytest.raises(
        DanluError, match=r'run2/best.pth was never tested; .* eval.py --load_model_path .*run2/best.pth'
    ):
        runs.main(['compare-predictions', str(two[0]), 'run2', '--checkpoints_dir', str(tmp_path)])


def test_a_test_of_an_older_version_is_told_how_to_get_its_predictions(two):
    (two[1] / 'predictions.csv').unlink()
    with pytest.raises(
        DanluError, match='has no predictions.csv .*: python eval.py ' + re.escape(shlex.quote(f'@{two[1]}/args.txt'))
    ):
        runs.main(['compare-predictions', *map(str, two)])


def test_a_test_is_not_compared_with_itself(two):
    with pytest.raises(DanluError, match='A and B are the same test'):
        runs.main(['compare-predictions', str(two[0]), str(two[0] / 'result.txt')])


@pytest.mark.parametrize(
    ('name', 'replaced', 'said'),
    [
        ('result.txt', ('list sha256: ab', 'list sha256: cd'), 'list sha256: abababababab... and cdababababab...'),
        ('result.txt', ('samples: 12', 'samples: 11'), 'samples: 12 and 11'),
        ('args.txt', ('classification', 'multilabel'), 'for task classification and run1/best for multilabel'),
        ('predictions.csv', ('p3.png', 'q3.png'), r"sample 3 \(p3.png\) has the name 'p3.png' in .* and 'q3.png' in"),
        (
            'predictions.csv',
            ('p3.png,牛,', 'p3.png,dog,'),
            r"sample 3 \(p3.png\) has the target '牛' in .* and 'dog' in",
        ),
        ('predictions.csv', ('\np11.png', '\np11.png,"ant, ""red""",dog,0,1,1,1\np12.png'), 'ends after 12 samples'),
        ('predictions.csv', ('confidence', 'certainty'), r'different columns \(confidence, certainty\)'),
    ],
)
def test_different_test_sets_are_refused_with_what_differs(two, name, replaced, said):
    changed(two[1] / name, replaced)
    with pytest.raises(DanluError, match=said):
        runs.main(['compare-predictions', *map(str, two)])


@pytest.mark.parametrize(
    ('replaced', 'reason'),
    [
        (('p3.png,牛,牛,1', 'p3.png,牛,牛,yes'), "ValueError: could not convert string to float: 'yes'"),
        (('p3.png,牛,', 'p3.png,牛'), 'sample 3 has 6 cells, not 7'),
        (('name,target,', 'name,truth,'), 'there is no column target'),
    ],
)
@pytest.mark.parametrize('command', ['compare', 'compare-predictions'])
def test_a_damaged_file_is_reported_in_one_line(two, tmp_path, command, replaced, reason):
    for test in two:
        (test.parents[1] / 'best.pth').touch()
        changed(test / 'predictions.csv', replaced)
    with pytest.raises(DanluError, match=rf'predictions\.csv is damaged or was changed \({reason}') as raised:
        runs.main([command, *map(str, two), '--checkpoints_dir', str(tmp_path)])
    assert '\n' not in str(raised.value)


def test_a_file_in_another_encoding_is_damaged(two):
    path = two[1] / 'predictions.csv'
    path.write_bytes(path.read_text(encoding='utf-8-sig').encode('latin-1', 'replace').replace(b'p5', b'\xff'))
    with pytest.raises(DanluError, match=r'run1/.*predictions\.csv is damaged or was changed \(UnicodeDecodeError'):
        runs.main(['compare-predictions', *map(str, two)])


@pytest.mark.parametrize('error', [ValueError, KeyError, OverflowError])
def test_errors_of_the_comparison_itself_are_not_called_damage(two, tmp_path, monkeypatch, error):
    for test in two:
        (test.parents[1] / 'best.pth').touch()

    def fail(*_):
        raise error('a bug')

    monkeypatch.setattr('utils.statistics.paired_difference.paired_bootstrap', fail)
    monkeypatch.setattr('scripts.run_commands.compare_predictions.paired_bootstrap', fail)
    for command in ('compare', 'compare-predictions'):
        with pytest.raises(error, match='a bug'):
            runs.main([command, *map(str, two), '--checkpoints_dir', str(tmp_path)])


def test_the_earlier_name_of_the_command_is_an_alias(two, capsys):
    runs.main(['flips', *map(str, two)])
    assert capsys.readouterr().out == compare_predictions(capsys, *two)


def test_a_wrong_metric_is_answered_with_those_that_there_are(two):
    with pytest.raises(
        DanluError, match=r'--metric miou: .* the columns for acc, and for the means of correct, confidence'
    ):
        runs.main(['compare-predictions', *map(str, two), '--metric', 'miou'])


# --- the sheet


@pytest.fixture(scope='module')
def digit_tests(train_here, eval_here, tmp_path_factory):
    """Return tests of two runs on the digits."""
    folder, tests = tmp_path_factory.mktemp('digit_tests'), []
    for seed in (1, 2):
        words = [
            '--epochs',
            1,
            '--max_steps',
            60,
            '--seed',
            seed,
            '--save_prefix',
            f's{seed}',
            '--checkpoints_dir',
            folder,
        ]
        run = train_here(*words, '--model_type', 'mlp')
        tests.append(eval_here('--load_model_path', run.directory / 'best.pth').directory)
    return tests


def test_a_sheet_shows_the_pictures_of_what_changed(digit_tests, capsys):
    out = compare_predictions(capsys, *digit_tests, '--sheet')
    path = digit_tests[1] / 'flips_from_mlp_s1_best.png'
    assert f'drawn: {path}\n' in out
    sheet = np.asarray(Image.open(path))
    with np.load('data/digits.npz') as file:
        images = file['test_images']
    listed = [int(line.split()[0]) for line in out.splitlines() if re.match(r'  \d{5} ', line)]
    assert len(listed) == 20
    for index in (listed[0], listed[9], listed[19]):
        digit = images[index].reshape(28, 28).repeat(4, 0).repeat(4, 1)
        assert contains(sheet[..., 0], digit), f'sample {index} is in it'
    unchanged = next(index for index in range(1000) if index not in listed)
    assert not contains(sheet[..., 0], images[unchanged].reshape(28, 28).repeat(4, 0).repeat(4, 1))


def contains(sheet, picture):
    """Return whether a picture (H, W) stands somewhere in a sheet."""
    windows = np.lib.stride_tricks.sliding_window_view(sheet, picture.shape[1], axis=1)
    rows = (windows[: 1 - len(picture)] == picture[0]).all(-1)
    tall, wide = picture.shape
    return any((sheet[y : y + tall, x : x + wide] == picture).all() for y, x in zip(*rows.nonzero(), strict=True))


@pytest.mark.slow('two runs and their tests')
def test_a_sheet_of_masks_has_input_truth_and_both_predictions(
    mask_run, train_here, eval_here, mask_data, tmp_path, capsys
):
    run = train_here(*mask_data, '--epochs', 1, '--lr', 0.03, '--seed', 3, '--checkpoints_dir', tmp_path)
    a, b = (eval_here('--load_model_path', one.directory / 'best.pth').directory for one in (mask_run, run))
    path = tmp_path / 'sheet.png'
    out = compare_predictions(capsys, a, b, '--sheet', path, '--metric', 'pixel_acc')
    assert 'pixel_acc: A ' in out
    sheet = np.asarray(Image.open(path))
    folder = mask_data[mask_data.index('--val_list') + 1].replace('val.txt', '')
    colours = np.vstack([class_colours(3), [[0] * 3] * 5])
    shown = [line.split()[0] for line in out.splitlines() if line.startswith('  val')]
    assert len(shown) >= 3
    for name in shown:
        mask = np.asarray(Image.open(f'{folder}{name.replace(".png", "_mask.png")}'))
        truth = colours[mask].astype(np.uint8).repeat(6, 0).repeat(6, 1)  # 24 pixels wide, so six times as large
        assert contains(sheet[..., 0], truth[..., 0]), name


def test_no_sheet_of_features_and_none_where_nothing_changed(two, tmp_path, capsys):
    same = tmp_path / 'same'
    shutil.copytree(two[0], same)
    out = compare_predictions(capsys, two[0], same, '--sheet')
    assert 'no sheet: no sample changed' in out
    assert 'the difference of 0.000 is not significant (p = 1.000, ' in out
