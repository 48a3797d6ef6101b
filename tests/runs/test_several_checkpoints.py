"""eval.py with several checkpoints: one table, and their ensemble."""

import contextlib
import csv
import io
import re
import shutil
from pathlib import Path

import pytest
import torch

import eval as eval_py
from eval import load_predictor
from utils.base.errors import DanluError
from utils.base.text_table import number_text
from utils.statistics.significance import mcnemar


@pytest.fixture(scope='module')
def checkpoints(list_run, list_data, train_here, tmp_path_factory):
    """Return the checkpoints of three runs on `list_data`; the third one has another mean and model."""
    folder = tmp_path_factory.mktemp('several')
    words = [*list_data, '--epochs', 1, '--checkpoints_dir', folder, '--num_workers', 0]
    second = train_here(*words, '--seed', 1, '--save_prefix', 'second')
    third = train_here(*words, '--model_type', 'mlp', '--mean', 0.5, '--std', 0.5, '--save_prefix', 'third')
    shutil.copytree(list_run.directory, folder / 'first', ignore=shutil.ignore_patterns('best'))
    return [path / 'best.pth' for path in (folder / 'first', second.directory, third.directory)]


def run(*words):
    """Call eval.main and return what it prints (str)."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        eval_py.main([*map(str, words), '--device', 'cpu', '--num_workers', '0'])
    return printed.getvalue()


def rows_of(directory):
    with open(directory / 'predictions.csv', newline='', encoding='utf-8-sig') as file:
        return list(csv.DictReader(file))


def values_of(path):
    lines = path.read_text(encoding='utf-8').splitlines()
    head = dict(line.removeprefix('# ').split(': ', 1) for line in lines if line.startswith('# '))
    return head, dict(line.split(': ', 1) for line in lines if not line.startswith('# '))


@pytest.fixture(scope='module')
def tested(checkpoints):
    """Return what a test of the checkpoints and their ensemble prints, and the directory of the ensemble."""
    printed = run('--load_model_path', *checkpoints, '--ensemble')
    return printed, Path(re.search('^results of the ensemble: (.*)$', printed, re.MULTILINE)[1])


def mean_probabilities(checkpoints, images):
    return torch.stack([load_predictor(path, device='cpu').predict(images) for path in checkpoints]).mean(0)


def test_each_is_tested_by_itself_and_listed_in_one_table(checkpoints, tested):
    printed, _ = tested
    lines = printed[printed.index('\n  checkpoint') :].splitlines()
    accuracies = []
    for path in checkpoints:
        head, values = values_of(path.parent / 'best' / 'val_val_exp' / 'result.txt')
        assert head['checkpoint'] == str(path)
        [line] = [line for line in lines if line[2:].startswith(f'{path.parent.name}/best.pth ')]
        assert all(number_text(float(values[name])) in line for name in ('acc', 'loss'))
        accuracies.append((float(values['acc']), line.startswith('* ')))
    [_, values] = values_of(tested[1] / 'ensemble.txt')
    accuracies.append((float(values['acc']), any(line.startswith('* ensemble of 3') for line in lines)))
    assert [starred for _, starred in accuracies].count(True) == 1
    assert max(accuracies)[0] == next(value for value, starred in accuracies if starred)


def test_the_ensemble_averages_probabilities(checkpoints, tested, list_data):
    _, directory = tested
    assert directory == checkpoints[0].parent / 'best' / 'ensemble_val_val_exp'
    rows, folder = rows_of(directory), Path(list_data[list_data.index('--val_list') + 1]).parent
    expected = mean_probabilities(checkpoints, [folder / row['name'] for row in rows])
    names = ['ant', 'cat', 'yak']
    for row, probabilities in zip(rows, expected, strict=True):
        assert row['prediction'] == names[probabilities.argmax()]
        assert float(row['confidence']) == pytest.approx(probabilities.max().item(), rel=1e-4)
    head, values = values_of(directory / 'ensemble.txt')
    assert head['ensemble of'] == ', '.join(map(str, checkpoints))
    assert float(values['acc']) == pytest.approx(sum(row['correct'] == '1' for row in rows) / len(rows))


def test_it_is_compared_with_the_best_single_one(checkpoints, tested):
    printed, directory = tested
    tests = {path: rows_of(path.parent / 'best' / 'val_val_exp') for path in checkpoints}
    best = max(tests, key=lambda path: sum(row['correct'] == '1' for row in tests[path]))
    pairs = [(a['correct'], b['correct']) for a, b in zip(tests[best], rows_of(directory), strict=True)]
    p = mcnemar(pairs.count(('1', '0')), pairs.count(('0', '1')))
    gap = (pairs.count(('0', '1')) - pairs.count(('1', '0'))) / len(pairs)
    [line] = [line for line in printed.splitlines() if line.startswith('ensemble of 3 against ')]
    assert f'against {best.parent.name}/best.pth, the best single checkpoint: acc {gap:+#.4g}, ' in line
    assert f"(p = {p:#.4g}, McNemar's exact test)" in line
    assert 'was chosen on this test set, which favours it' in printed
    assert line in values_of(directory / 'ensemble.txt')[0]['against the best']


def test_without_ensemble_there_is_the_table_alone(checkpoints):
    printed = run('--load_model_path', *checkpoints[:2], '--save_prefix', 'pair')
    assert printed.count('/best.pth  ') >= 2
    assert 'ensemble' not in printed
    assert not (checkpoints[0].parent / 'best' / 'ensemble_val_val_pair').exists()


def test_an_ensemble_predicts_images_without_targets(checkpoints, predict_here, list_data):
    folder = Path(list_data[list_data.index('--val_list') + 1]).parent
    images = [folder / 'val0.png', folder / 'val1.png']
    words = ['--load_model_path', *checkpoints, '--ensemble', '--tta', 'flip', '--no_report', '--predict', *images]
    done = predict_here(*words)
    assert done.directory.name == 'ensemble_predict_val0_exp'
    assert done.summary['ensemble of'] == ', '.join(map(str, checkpoints))
    expected = torch.stack([load_predictor(path, device='cpu', tta='flip').predict(images) for path in checkpoints])
    for row, probabilities in zip(done.rows, expected.mean(0), strict=True):
        assert float(row['confidence']) == pytest.approx(probabilities.max().item(), rel=1e-4)


def test_what_is_refused(checkpoints, mask_run, capsys):
    for words, why in (
        (checkpoints[:1], '--ensemble: needs several checkpoints'),
        (checkpoints[:1] * 2, '--load_model_path: a checkpoint is named twice'),
        ([*checkpoints[:2], '--code', 'both'], '--code: only with one checkpoint'),
        ([*checkpoints[:2], '--result_dir', 'x'], '--result_dir: each of several checkpoints'),
    ):
        with pytest.raises(SystemExit):
            run('--load_model_path', *words, '--ensemble')
        assert f'argument {why}' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run('--load_model_path', *checkpoints, '--predict', checkpoints[0])
    assert 'with several checkpoints give --ensemble' in capsys.readouterr().err
    other = mask_run.directory / 'best.pth'
    with pytest.raises(DanluError, match='differ in --task: classification, segmentation'):
        run('--load_model_path', checkpoints[0], other, '--ensemble', '--predict', checkpoints[0])
    with pytest.raises(DanluError, match='differ in --task: classification, segmentation'):
        run('--load_model_path', checkpoints[0], other, '--ensemble', '--save_prefix', 'unlike')
    assert not list(checkpoints[0].parent.glob('best/*_unlike'))  # refused before the first test


@pytest.mark.slow('tests three checkpoints and their ensemble again')
def test_the_record_of_an_ensemble_repeats_it(tested):
    _, directory = tested
    printed = run(f'@{directory / "args.txt"}')
    assert f'results of the ensemble: {directory}\n' in printed
    assert (directory / 'ensemble.1.txt').is_file()
    assert values_of(directory / 'ensemble.1.txt')[1] == values_of(directory / 'ensemble.txt')[1]
