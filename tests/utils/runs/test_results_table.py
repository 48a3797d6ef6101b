"""What a test prints at its end."""

import math

from utils.base.text_table import width_of
from utils.runs import results_table
from utils.runs.results_table import result_lines

RESULTS = {
    'loss': 0.25, 'loss_ce': 0.125, 'miou': 2 / 3, 'pixel_acc': 0.987654, 'iou/牛': 0.5, 'iou/dog/wolf': math.nan,
    'f1_macro': 1e-5, 'f1/牛': 1.0, 'f1/dog/wolf': 0.25, 'loss_dice': 12345.678,
}  # fmt: skip


def test_values_stand_below_each_other_the_one_that_counts_first_and_losses_last():
    lines = result_lines(RESULTS, 'miou')
    assert lines[lines.index('') + 1 :] == [
        '  miou:         0.6667',
        '  pixel_acc:    0.9877',
        '  f1_macro:  1.000e-05',
        '  loss:         0.2500',
        '  loss_ce:      0.1250',
        '  loss_dice: 1.235e+04',
    ]


def test_the_value_that_counts_is_bold_where_somebody_looks(monkeypatch):
    monkeypatch.setattr(results_table, 'styled', lambda text, style: f'<{style}>{text}')
    assert result_lines({'loss': 1.0, 'acc': 0.5}, 'acc') == ['<bold>  acc:  0.5000', '  loss:  1.000']


def test_few_classes_have_a_line_each():
    lines = result_lines(RESULTS, 'miou')
    assert lines[: lines.index('')] == [
        '               iou      f1',
        '  牛        0.5000   1.000',
        '  dog/wolf       -  0.2500',
    ]
    assert len({width_of(line) for line in lines[1:3]}) == 1


def test_many_classes_have_one_line_together():
    results = {'acc': 0.5} | {f'{kind}/{k}': 0.5 for kind in ('acc_class', 'f1') for k in range(21)}
    assert result_lines(results) == [
        '  values per class (21 classes): acc_class, f1, in result.txt',
        '',
        '  acc: 0.5000',
    ]


def test_the_table_keeps_to_the_terminal():
    results = {f'{kind}/{k * 30}': 0.5 for kind in ('acc_class', 'precision', 'recall', 'f1') for k in 'ab'}
    lines = result_lines({'acc': 0.5, **results}, 'acc', 40)
    assert all(width_of(line) <= 40 for line in lines)
    assert 'f1: in result.txt)' in lines[3]
    assert result_lines(results, None, 200)[1].startswith(f'  {"a" * 30}  ')


def test_values_over_all_alone():
    assert result_lines({'mae': 3.0, 'loss': 2.0}, 'rmse') == ['  mae:  3.000', '  loss: 2.000']
    assert result_lines({}) == []
