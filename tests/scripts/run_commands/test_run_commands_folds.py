"""runs.py folds: mean and interval over the runs of a cross-validation, and the joined predictions."""

import csv
import json
import math
import statistics

import pytest

from scripts.run_commands.folds_page import sample_cell
from utils.base.text_table import number_text
from utils.statistics.significance import mean_interval

VALUES = [0.75, 0.5, 1.0]  # val/acc
ROWS = [['a b 0 0.6 0.4 0.92', 'b b 1 0.9 0.9 0.11', 'a a 1 0.7 0.7 0.36', 'a a 1 0.8 0.8 0.22'],
        ['a b 0 0.9 0.1 2.3', 'b b 1 0.6 0.6 0.51'], ['b b 1 0.8 0.8 0.22']]  # fmt: skip
HEADER = ['name', 'target', 'prediction', 'correct', 'confidence', 'target_probability', 'loss']


@pytest.fixture
def folds(maker):
    """Return the directories of three runs, each tested on its validation data."""
    return [make_fold(maker, number, VALUES[number - 1], ROWS[number - 1]) for number in (1, 2, 3)]


def make_fold(maker, number, value, rows, names=None, **options):
    """Make a run whose test has these rows of predictions.csv, and return its directory."""
    lists = {f'{part}_list': f'/data/fold_{number}/{part}.txt' for part in ('train', 'val')}
    run = maker.run(f'lenet_exp_fold{number}', [0.1, value], save_prefix=f'exp_fold{number}', data_type='list',
                    **{**lists, **options})  # fmt: skip
    record = json.loads((run / 'record.json').read_text())
    record['data']['val']['sha256'] = f'{number}' * 64
    (run / 'record.json').write_text(json.dumps(record))
    directory = maker.test(run, {'acc': value, 'loss': 0.5}, data_sha256=f'{number}' * 64, samples=len(rows))
    text = (directory / 'result.txt').read_text()
    (directory / 'result.txt').write_text(text.replace('samples: 1000', f'samples: {len(rows)}'))
    (directory / 'args.txt').write_text('# python eval.py \n--task=classification\n')
    with open(directory / 'predictions.csv', 'w', newline='', encoding='utf-8-sig') as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        names = names or [f'=photo{number}{index}.jpg' for index in range(len(rows))]
        writer.writerows([f"'{name}", *row.split()] for name, row in zip(names, rows, strict=True))
    return run


def read(path):
    with open(path, newline='', encoding='utf-8-sig') as file:
        return list(csv.DictReader(file))


def test_the_table_is_over_the_runs_and_the_metrics_over_all_samples(folds, call, maker):
    done = call('folds', 'lenet_exp_fold*')
    assert done.status == 0
    assert done.lines[0] == 'lenet_exp_fold1 ... lenet_exp_fold3: 3 folds; values of the best epoch by val/acc'
    (row,) = [line.split() for line in done.lines if line.startswith('val/acc ')]
    mean, deviation, low, high = mean_interval(VALUES)
    assert (mean, deviation) == pytest.approx((0.75, statistics.stdev(VALUES)))
    assert high > 1 and row[1:6] == [*map(number_text, (mean, deviation, low)), '..', number_text(1.0)], 'a proportion'
    correct = [row.split()[2] == '1' for rows in ROWS for row in rows]
    (pooled,) = [line for line in done.lines if line.startswith('  acc ')]
    assert pooled.startswith(f'  acc {number_text(sum(correct) / len(correct))}, 95% interval 0.')
    assert f'written: {maker.root / "lenet_exp_folds" / "predictions.csv"}' in done.lines


def test_the_joined_file_has_each_sample_once_with_its_run(folds, call, maker):
    call('folds', 'lenet_exp_fold*')
    rows = read(maker.root / 'lenet_exp_folds' / 'predictions.csv')
    assert [row['fold'] for row in rows] == [f'lenet_exp_fold{n}' for n in (1, 1, 1, 1, 2, 2, 3)]
    assert [' '.join([*row.values()][1:-1]) for row in rows] == [row for rows in ROWS for row in rows]
    assert rows[0]['name'] == "'=photo10.jpg"
    page = (maker.root / 'lenet_exp_folds' / 'report.html').read_text(encoding='utf-8')
    assert '=photo20.jpg' in page
    assert 'Confusion matrix of all samples' in page
    assert page.index('=photo20.jpg') < page.index('=photo10.jpg')  # the worst sample comes first


def test_json_has_the_value_of_each_run(folds, call, tmp_path):
    found = json.loads(call('folds', *map(str, reversed(folds)), '--json', '--out', tmp_path / 'out').text)
    assert found['runs'] == ['lenet_exp_fold1', 'lenet_exp_fold2', 'lenet_exp_fold3']
    assert found['values']['val/acc']['each'] == VALUES
    assert found['joined']['acc']['value'] == pytest.approx(5 / 7)
    assert found['joined']['loss']['value'] == pytest.approx(math.fsum([0.92, 0.11, 0.36, 0.22, 2.3, 0.51, 0.22]) / 7)
    assert found['joined']['f1_macro']['value'] == pytest.approx((2 * 2 / (4 + 2) + 2 * 3 / (3 + 5)) / 2)
    assert (tmp_path / 'out' / 'report.html').is_file()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'lr': 0.5}, 'the runs differ in more than the fold: lr'),
        ({'names': ['=photo10.jpg']}, '=photo10.jpg is in the validation data of lenet_exp_fold1 and of lenet_exp_f'),
    ],
)  # fmt: skip
def test_runs_that_are_no_folds_of_one_split_are_refused(folds, call, maker, change, message):
    make_fold(maker, 4, 0.5, ROWS[2], **change)
    done = call('folds', 'lenet_exp_fold*')
    assert done.status == 2
    assert message in done.error
    assert not (maker.root / 'lenet_exp_folds' / 'predictions.csv').exists()


def test_a_run_that_has_not_ended_or_was_not_tested_is_named(folds, call, maker):
    (folds[1] / 'best' / 'val_test_exp' / 'result.txt').unlink()
    assert 'lenet_exp_fold2/best.pth was never tested on its validation data' in call('folds', 'lenet_exp_fold*').error
    text = (folds[0] / 'args.txt').read_text()
    (folds[0] / 'args.txt').write_text(text.replace('--epochs=2', '--epochs=9'))
    assert 'lenet_exp_fold1 is killed' in call('folds', 'lenet_exp_fold*').error
    assert 'a cross-validation has two or more runs' in call('folds', 'lenet_exp_fold1').error


def test_a_run_validated_on_the_data_of_another_is_named(folds, call):
    record = (folds[0] / 'record.json').read_text()
    (folds[2] / 'record.json').write_text(record)
    assert 'lenet_exp_fold1 and lenet_exp_fold3 were validated on the same data' in call('folds', 'lenet*').error


def test_the_worst_samples_are_written_for_readers():
    assert sample_cell('a|b', 'prediction', 'labels')['text'] == 'a, b'
    assert sample_cell('', 'prediction', 'labels')['text'] == 'none'
    assert sample_cell('cat', 'target', 'label')['text'] == 'cat'
    assert sample_cell('0', 'correct', 'label')['text'] == 'no'
    assert sample_cell('345.6789', 'target', 'numbers') == {'text': '345.7', 'sort': 345.6789}
    assert sample_cell('172800', 'pixels', 'mask')['text'] == '172800'
    assert sample_cell('', 'loss', 'mask') == {'text': '–', 'sort': None}
