"""Tables with aligned columns, numbers and durations as text."""

import os
import re
import sys
import unicodedata
from itertools import accumulate

from utils.base.middle_cut import cut_middle

GAP = '  '
COMMAND = re.compile(r'\b(python|torchrun|bash) ')  # at the beginning of a command to copy
MIN_CELL_COLUMNS = 8  # minimum width of a shortened cell, in terminal columns


def printable(text):
    """Return text (str) with control and unprintable characters replaced by '?'."""
    return ''.join(char if char.isprintable() else ' ' if char in '\t\n' else '?' for char in str(text))


def width_of(text):
    """Return the width of a text in terminal columns (int): Chinese characters take two, combining characters none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in 'WF') for char in text)


def truncate_cell(text, width):
    """Return a text of at most `width` columns, cut with an ellipsis if it is longer."""
    if width_of(text) <= width:
        return text
    taken = accumulate(map(width_of, text))
    return text[: sum(1 for columns in taken if columns < width)] + '…'


def truncate_middle(text, width):
    """Return a text of at most `width` columns, with an ellipsis for its middle if it is longer."""
    return cut_middle(text, width, width_of)


def pad_cell(text, width, right=False):
    """Return a text padded with blanks to `width` columns; `right` aligns it on the right, for numbers."""
    blanks = ' ' * (width - width_of(text))
    return blanks + text if right else text + blanks


def terminal_width():
    """Return the width of the terminal of stdout in columns, or None if stdout is not a terminal."""
    if not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns or None


def join_known(*parts):
    """Return those of the parts that are known, neither None nor empty, joined by commas (str)."""
    return ', '.join(str(part) for part in parts if part)


def wrap_lines(text, width):
    """Return a text (str) whose lines are broken at blanks to `width` columns, with indented continuations.

    Lines with a command stay whole, so that they can be copied, and so do all lines if `width` is None.
    """
    if width is None:
        return text
    lines = []
    for line in text.split('\n'):
        lines.append(line)
        if width_of(line) <= width or COMMAND.search(line):
            continue
        before = ' ' * (len(line) - len(line.lstrip(' ')))
        first, *words = line.lstrip(' ').split(' ')
        lines[-1] = before + first
        for word in words:
            if width_of(f'{lines[-1]} {word}') <= width:
                lines[-1] += f' {word}'
            else:
                lines.append(f'{before}  {word}')
    return '\n'.join(lines)


def print_line(text):
    """Print a text (str), with lines broken to fit the terminal: see wrap_lines."""
    print(wrap_lines(text, terminal_width()))


def table(head, rows, width=None, flexible=(), droppable=(), right=(), kept=None):
    """Return a table as lines (list of str), and the dropped columns (list of str).

    Args:
        head: names of the columns (list of str).
        rows: lists of str.
        width: available terminal columns, or None for any width.
        flexible: names of columns that are shortened if the table is too wide, in this order.
        droppable: names of columns that are dropped if that is not enough, in this order.
        right: names of right-aligned columns.
        kept: minimum widths of flexible columns before others are dropped (dict from name to int, default
            MIN_CELL_COLUMNS). A column with a pair of widths is shortened in the middle, and to the second width
            before the other columns get less than theirs.
    """
    cells = [[printable(cell) for cell in row] for row in [head, *rows]]
    widths = {name: max(width_of(row[i]) for row in cells) for i, name in enumerate(head)}
    dropped = []
    least = {name: min(widths[name], max(MIN_CELL_COLUMNS, width_of(name))) for name in flexible if name in widths}
    pairs = {name: few if isinstance(few, tuple) else (few, few) for name, few in (kept or {}).items()}
    cuts = {name: truncate_middle for name, few in (kept or {}).items() if isinstance(few, tuple)}
    if width is not None:
        enough, fewer = (
            {name: max(few, min(widths[name], pairs.get(name, (0, 0))[place])) for name, few in least.items()}
            for place in (0, 1)
        )
        for name in [name for name in droppable if name in widths]:
            if total_columns({**widths, **enough}) > width:
                dropped.append(name)
                del widths[name]
        for lowest in (enough, fewer, least):
            for name, columns in ((name, lowest[name]) for name in lowest if name in widths):
                widths[name] = max(columns, widths[name] - max(0, total_columns(widths) - width))
    lines = []
    for row in cells:
        shown = [(name, cell) for name, cell in zip(head, row, strict=True) if name in widths]
        shortened = [(name, cuts.get(name, truncate_cell)(cell, widths[name])) for name, cell in shown]
        line = GAP.join(pad_cell(cell, widths[name], name in right) for name, cell in shortened)
        lines.append(line.rstrip())
    return lines, dropped


def total_columns(widths):
    """Return the width (int) of a table with columns of these widths (dict)."""
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def number_text(value, digits=4, signed=False, trimmed=False):
    """Return a number as people read it (str): 0.9812, 12.30, 1.235e+04. Files have all digits.

    numberText in utils/html_report/templates/elements.js returns the same.

    Args:
        value: float, or None for ''.
        digits: number of significant digits.
        signed: with a plus sign, for differences.
        trimmed: without zeros at the end, for values that are often round, such as learning rates and targets.
    """
    if value is None:
        return ''
    return f'{value:{"+" * signed}{"#" * (not trimmed)}.{digits}g}'.removesuffix('.')


def short_option(text):
    """Return the value of an option (str): a float with at most four significant digits, other text unchanged."""
    if not re.fullmatch(r'-?\d+\.\d+(e[-+]?\d+)?', text):
        return text
    short = number_text(float(text), trimmed=True)
    return text if float(short) == float(text) else short


def distinct_number_texts(values):
    """Return values (list of float) with four significant digits, or as many more as different values need (list)."""
    for digits in range(4, 18):
        texts = [number_text(value, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def span_text(seconds):
    """Return a duration (float, seconds, or None) as text (str): 4.2 s, 12:30 min, 3:05 h, 2 d 4 h."""
    if seconds is None:
        return ''
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 3600:
        return f'{int(seconds // 60)}:{int(seconds % 60):02d} min'
    return f'{minutes // 60}:{minutes % 60:02d} h' if minutes < 48 * 60 else f'{hours // 24} d {hours % 24} h'


def size_text(count):
    """Return a number of bytes as text (str): '1.2 MB'; 1 MB are 1,000,000 bytes, as disks are sold."""
    for unit in ('B', 'kB', 'MB', 'GB'):
        if count < 1000 or unit == 'GB':
            return f'{count:,.0f} {unit}' if unit == 'B' or count >= 100 else f'{count:.1f} {unit}'
        count /= 1000
    return None


def count_text(count, one, many=None):
    """Return a count with its noun as text (str): '1 file', '1,200 files'."""
    return f'{count:,} {one if count == 1 else many or one + "s"}'
