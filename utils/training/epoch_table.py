"""The values of the epochs as aligned columns under one header, for a terminal or a notebook cell."""

import sys

from utils.base.notebook import is_notebook
from utils.base.terminal import is_watched, styled
from utils.base.text_table import GAP, number_text, pad_cell, span_text, terminal_width, total_columns
from utils.drawing.curves import details

VALUE_COLUMNS = 9  # of the longest number with four significant digits, 1.234e-05
CELL_COLUMNS = 100  # width of a notebook cell
BEST = 'best'  # mark of the best epoch so far, in the last column, which has no heading


class EpochTable:
    """Prints one row per epoch. What does not fit into the width is dropped by importance, so that no row is wrapped.

    The columns are those of the first row; history.csv has all values. A new header is printed if the width of the
    terminal changes.
    """

    def __init__(self):
        self.columns, self.width = None, None

    def lines(self, row, epochs, monitor, best):
        """Return the row of an epoch as text (str), with the header above the first one.

        Args:
            row: the values (dict).
            epochs: total number of epochs (int).
            monitor: name of the monitored value.
            best: whether the epoch is the best one so far (bool).
        """
        cells = cells_of(row, epochs, monitor)
        width = CELL_COLUMNS if is_notebook() else terminal_width()
        header = []
        if self.columns is None or width != self.width:
            self.columns, self.width = fitting_columns(cells, monitor, width), width
            header = [_line({name: name for name in self.columns}, self.columns)]
        line = _line(cells, self.columns)
        return '\n'.join([*header, line + f'{GAP}{styled(BEST, "bold", "green")}' * best])


def is_shown():
    """Return whether epochs are printed as a table (bool): on a terminal that a person watches, and in a notebook."""
    return is_watched(sys.stdout) or is_notebook()


def cells_of(row, epochs, monitor):
    """Return the cells (dict from a column to str) of an epoch's values (dict), in the order of the columns."""
    values = [name for name in row if name.startswith(('train/', 'val/')) and (name == monitor or not details(name))]
    main = monitor.partition('/')[2]
    titles = list(dict.fromkeys(['loss', main, *(name.partition('/')[2] for name in values)]))
    values.sort(key=lambda name: (titles.index(name.partition('/')[2]), name.startswith('val/')))
    cells = {'epoch': f'{row["epoch"]:>{len(str(epochs))}}/{epochs}'}
    cells |= {name: number_text(row[name]) for name in values}
    cells |= {'lr': number_text(row['lr'], trimmed=True)} if 'lr' in row else {}
    cells |= {'img/s': f'{row["images_per_second"]:,.0f}', 'wait': f'{row["data_wait"]:.0%}'}
    cells |= {'GPU GiB': f'{row["gpu_memory_gib"]:.1f}'} if 'gpu_memory_gib' in row else {}
    return cells | {'time': span_text(row['seconds'])}


def fitting_columns(cells, monitor, width):
    """Return the columns that fit into `width` (None: all) with their widths (dict), the least important dropped."""
    main = monitor.partition('/')[2]
    important = ['epoch', monitor, 'train/loss', 'time', 'val/loss', f'train/{main}', 'img/s', 'lr']
    least = {'img/s': len('10,000'), 'lr': VALUE_COLUMNS, 'time': len('59:59 min')}
    columns = {}
    for name, text in cells.items():
        enough = least.get(name, VALUE_COLUMNS if name.startswith(('train/', 'val/')) else 0)
        columns[name] = max(len(name), len(text), enough)
    order = [name for name in important if name in columns]
    order += sorted((name for name in columns if name not in order), key=lambda name: not name.startswith('val/'))
    while width and len(order) > 1 and total_columns({**columns, BEST: len(BEST)}) > width:
        del columns[order.pop()]
    return columns


def _line(cells, columns):
    """Return a row (str) with right-aligned cells (dict); '-' for a value that the epoch lacks."""
    return GAP.join(pad_cell(cells.get(name, '-'), width, right=True) for name, width in columns.items())
