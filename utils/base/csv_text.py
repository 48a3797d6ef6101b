"""Names in .csv files, escaped so that a spreadsheet does not read them as formulas. Imports no torch."""

import re

# Spreadsheets read cells that begin with these as formulas; Excel in Chinese and Japanese reads full-width signs too.
FORMULA_SIGNS = ('=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠')
NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)', re.ASCII)


def escape_cell(text):
    """Return the cell for the name of a class or file (str), with an apostrophe before a formula."""
    return f"'{text}" if text.lstrip("'").startswith(FORMULA_SIGNS) and not _is_number(text) else text


def unescape_cell(cell):
    """Return the name (str) of a cell (str): the inverse of `escape_cell`."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA_SIGNS) else cell


def escape_row(values):
    """Return a row (list) with each str escaped (see `escape_cell`) and other values unchanged."""
    return [escape_cell(value) if isinstance(value, str) else value for value in values]


def _is_number(text):
    return NUMBER.fullmatch(text) is not None
