"""Names in .csv files, written so that a spreadsheet shows them as text and computes nothing. Imports no torch."""

import re

# With which a spreadsheet takes a cell for a formula; Excel in Chinese and Japanese also the full-width signs.
SIGNS = ('=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠')
NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)', re.ASCII)


def cell_of(text):
    """Return a class's or a file's name (str) as it stands in a .csv: with an apostrophe before what is a formula."""
    return f"'{text}" if text.lstrip("'").startswith(SIGNS) and not _is_number(text) else text


def text_of(cell):
    """Return the name (str) that a cell of a .csv (str) stands for: the inverse of `cell_of`."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(SIGNS) else cell


def cells_of(values):
    """Return the cells (list) of a row of a .csv: each str as `cell_of` has it, other values as they are."""
    return [cell_of(value) if isinstance(value, str) else value for value in values]


def _is_number(text):
    return NUMBER.fullmatch(text) is not None
