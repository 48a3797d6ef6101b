"""Names in .csv files, written so that a spreadsheet shows them as text and computes nothing. Imports no torch."""

import re

# With which a spreadsheet takes a cell for a formula; Excel in Chinese and Japanese also the full-width signs.
FORMULA_SIGNS = ('=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠')
NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)', re.ASCII)


def escape_cell(text):
    """Return a class's or a file's name (str) as it stands in a .csv: with an apostrophe before what is a formula."""
    return f"'{text}" if text.lstrip("'").startswith(FORMULA_SIGNS) and not _is_number(text) else text


def unescape_cell(cell):
    """Return the name (str) that a cell of a .csv (str) stands for: the inverse of `escape_cell`."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA_SIGNS) else cell


def escape_row(values):
    """Return the cells (list) of a row of a .csv: each str as `escape_cell` has it, other values as they are."""
    return [escape_cell(value) if isinstance(value, str) else value for value in values]


def _is_number(text):
    return NUMBER.fullmatch(text) is not None
