"""Names in .csv files are escaped for spreadsheets and unescaped by readers."""

import csv

import pytest

from utils.base.csv_text import escape_cell, unescape_cell
from utils.html_report.predictions_table import read_predictions


@pytest.mark.parametrize(
    ('name', 'cell'),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ('@SUM(1)', "'@SUM(1)"),
        ('+a', "'+a"),
        ('-a/b.png', "'-a/b.png"),
        ('\t=1', "'\t=1"),
        ("'=1", "''=1"),
        ('\r=1', "'\r=1"),
        ('\n=1', "'\n=1"),
        ('＝1', "'＝1"),
        ('-1_000', "'-1_000"),
        ('+1e5', '+1e5'),
        ('-inf', '-inf'),
        ("-1|'x'!A0", "'-1|'x'!A0"),
        ("'-1", "''-1"),
        ('-1.5', '-1.5'),
        ("'quoted'", "'quoted'"),
        ('cat', 'cat'),
        ('', ''),
    ],
)
def test_formulas_are_text(name, cell):
    assert (escape_cell(name), unescape_cell(cell)) == (cell, name)


def test_the_page_has_the_names(tmp_path):
    with open(tmp_path / 'x.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([['name', 'target'], [escape_cell('=a'), '-1']])
    assert list(read_predictions(tmp_path / 'x.csv')) == [{'name': '=a', 'target': '-1'}]
