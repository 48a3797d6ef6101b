"""The table of epochs on a terminal."""

import re

import pytest

from utils.training import epoch_table
from utils.training.epoch_table import EpochTable

ROW = {
    'epoch': 3, 'train/loss': 0.0123456, 'train/acc': 0.5, 'train/f1_macro': 0.123456, 'val/loss': 2.345678,
    'val/acc': 0.976, 'val/f1_macro': 1.0, 'val/recall_macro': 0.9, 'lr': 5e-05, 'images_per_second': 8512.4,
    'data_wait': 0.07, 'seconds': 754.0,
}  # fmt: skip


@pytest.fixture
def lines_of(monkeypatch):
    """Return a function: rows and widths of the terminal -> all lines that one table prints."""

    def lines(rows, widths, monitor='val/acc', best=True):
        table, printed = EpochTable(), []
        for row, width in zip(rows, widths, strict=True):
            monkeypatch.setattr(epoch_table, 'terminal_width', lambda width=width: width)
            printed += table.lines(row, 100, monitor, best).split('\n')
        return printed

    return lines


def test_columns_are_aligned_below_one_header(lines_of):
    header, *rows = lines_of([ROW, {**ROW, 'epoch': 100, 'train/loss': 1e-7}], [80, 80])
    assert header == '  epoch  train/loss   val/loss  train/acc    val/acc   img/s       time'
    assert rows == [
        '  3/100     0.01235      2.346     0.5000     0.9760   8,512  12:34 min  best',
        '100/100   1.000e-07      2.346     0.5000     0.9760   8,512  12:34 min  best',
    ]


@pytest.mark.parametrize('width', range(30, 170))
def test_no_line_is_wrapped_and_what_matters_stays(lines_of, width):
    header, row = lines_of([ROW], [width])
    assert len(row) <= width and len(header) <= width
    assert '0.9760' in row and row.endswith('  best')
    if width >= 60:
        assert {'epoch', 'train/loss', 'val/loss', 'val/acc', 'time'} <= {*header.split()}


def test_a_wide_terminal_shows_all_but_details(lines_of):
    header, _ = lines_of([ROW], [200])
    shown = re.split('  +', header.strip())
    assert shown == ['epoch', 'train/loss', 'val/loss', 'train/acc', 'val/acc', 'train/f1_macro', 'val/f1_macro', 'lr',
                     'img/s', 'wait', 'time']  # fmt: skip


def test_values_of_the_validation_are_kept_before_those_of_the_training(lines_of):
    header, _ = lines_of([ROW], [108])
    assert 'val/f1_macro' in header and 'train/f1_macro' not in header


def test_the_monitored_value_is_shown_even_if_it_is_a_detail(lines_of):
    header, row = lines_of([ROW], [40], monitor='val/recall_macro', best=False)
    assert 'val/recall_macro' in header and '0.9000' in row


def test_another_width_gets_another_header(lines_of):
    lines = lines_of([ROW] * 4, [80, 80, 50, 50])
    assert [line.split()[0] for line in lines] == ['epoch', '3/100', '3/100', 'epoch', '3/100', '3/100']
    assert max(map(len, lines[3:])) <= 50


def test_a_value_that_an_epoch_lacks_is_a_dash(lines_of):
    row = {name: value for name, value in ROW.items() if name != 'val/loss'}
    lines = lines_of([ROW, row], [80, 80])
    assert lines[2].split()[:4] == ['3/100', '0.01235', '-', '0.5000'] and len(lines) == 3
