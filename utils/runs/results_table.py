"""The table that a test prints: values per class, if there are few classes, and overall values. Imports no torch."""

import math

from utils.base.language import translate
from utils.base.terminal import styled
from utils.base.text_table import number_text, pad_cell, table, width_of

MAX_CLASS_ROWS = 20


def result_lines(results, main=None, width=None):
    """Return the values of a test as lines (list of str), in the current language.

    Args:
        results: dict from a name to a float; 'f1/cat' is the value of a class.
        main: name of the monitored value, which comes first, or None.
        width: columns of the terminal, or None without a terminal.
    """
    overall = [name for name in results if '/' not in name]
    overall.sort(key=lambda name: (name != main, name.partition('_')[0] == 'loss'))
    longest = max(map(width_of, overall), default=0) + 1
    figures = {name: value_text(results[name]) for name in overall}
    wide = max(map(len, figures.values()), default=0)
    lines = class_lines(results, width)
    for name, text in figures.items():
        line = f'  {pad_cell(f"{name}:", longest)} {text:>{wide}}'
        lines.append(styled(line, 'bold') if name == main else line)
    return lines


def class_lines(results, width=None):
    """Return a table of the values per class (list of str), or one line with their number if there are many."""
    names = [name.partition('/') for name in results if '/' in name]
    kinds, classes = (list(dict.fromkeys(each)) for each in ([n[0] for n in names], [n[2] for n in names]))
    if not classes:
        return []
    if len(classes) > MAX_CLASS_ROWS:
        text = translate(
            'values per class ({count:,} classes): {kinds}, in result.txt', count=len(classes), kinds=', '.join(kinds)
        )
        return [f'  {text}', '']
    rows = [[entry, *(value_text(results.get(f'{kind}/{entry}')) for kind in kinds)] for entry in classes]
    lines, left_out = table(
        ['', *kinds], rows, width and width - 2, flexible=('',), droppable=tuple(reversed(kinds[1:])), right=kinds
    )
    note = translate('({names}: in result.txt)', names=', '.join(left_out))
    return [f'  {line}' for line in lines] + [f'  {note}'] * bool(left_out) + ['']


def value_text(value):
    """Return a value (float or None) with about four digits (str), '-' for None."""
    return '-' if value is None or math.isnan(value) else number_text(value)
