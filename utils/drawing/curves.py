"""curves.png: loss and metrics of training and validation over the epochs, with the learning rate below."""

import math
import os
import re
from pathlib import Path
from statistics import median

from utils.base.regular_files import made_regular, read_regular_text
from utils.base.text_table import number_text
from utils.base.write_errors import wrap_write_errors
from utils.drawing.fonts import families_of, missing_characters
from utils.drawing.matplotlib_import import import_matplotlib
from utils.tasks.tasks import is_loss

# Okabe and Ito 2008, Color Universal Design: distinguishable by colour-blind readers.
COLOURS = {'train': '#0072B2', 'val': '#D55E00'}
BEST, RESUMED, LR = '#009E73', '#777777', '#555555'
MARKED = 30  # up to this number of epochs each epoch has a marker
COLUMNS = 3
LOG = 50  # a loss with a larger ratio of maximum and minimum gets a logarithmic scale
OUTLIER_FACTOR = 20  # values larger than this times the median are cut off
DETAILS = ('/precision_macro', '/recall_macro')


def details(name):
    """Return whether a value has no panel because its mean (f1_macro) has one (bool)."""
    return name.endswith(DETAILS)


def resumptions(log):
    """Return the epochs after which a run was resumed (list of int, 0: during the first), from the text of its log.txt.

    Resumptions that were followed by one from an earlier epoch are left out, as their epochs were trained again.
    """
    found = []
    for line in re.findall(r'^resumed after (.*)', log, re.M):
        epoch = re.match(r'epoch (\d+)', line)
        after = int(epoch[1]) if epoch else 0
        found = [*(earlier for earlier in found if earlier < after), after]
    return found


def panels_of(history, monitor=None):
    """Return the titles of the panels (list of str, 'loss' for train/loss and val/loss).

    The order is: the loss, the monitored value, other values, the terms of a sum of losses.

    Args:
        history: rows (dicts).
        monitor: name of a value that always has a panel; or None.
    """
    names = dict.fromkeys(name for row in history for name in row if name.startswith(('train/', 'val/')))
    means = {name.partition('/')[0] for name in names if name.endswith('/f1_macro')}
    shown = [name for name in names if name == monitor or not (details(name) and name.partition('/')[0] in means)]
    titles = list(dict.fromkeys(name.partition('/')[2] for name in shown))
    chosen = (monitor or '').partition('/')[2]
    return sorted(titles, key=lambda title: (title != 'loss', title != chosen, is_loss(title)))


def draw_run(directory, history, selection=None):
    """Draw curves.png of a run, with the resumptions in its log.txt.

    Args:
        directory: of the run (Path).
        history: rows (dicts).
        selection: utils.training.checkpoint_selector.CheckpointSelector, or None to mark no best epoch.
    """
    log = directory / 'log.txt'
    resumed = resumptions(read_regular_text(log, errors='replace') if log.exists() else '')
    best = None if selection is None else selection.best_epoch_of(history)
    draw_curves(history, directory / 'curves.png', best, resumed, directory.resolve().name)


def draw_curves(history, path, best=None, resumed=(), title=''):
    """Draw `figure_of` the same arguments to a PNG file, which is replaced atomically."""
    path = Path(path)
    partial = path.with_name(path.stem + '.partial.png')
    figure = figure_of(history, best, resumed, title)
    with wrap_write_errors(path):
        figure.savefig(made_regular(partial), dpi=100)
        os.replace(partial, path)


def figure_of(history, best=None, resumed=(), title=''):
    """Return a matplotlib Figure: a panel per value with training and validation, and the learning rate below them.

    Args:
        history: rows (dicts) with 'epoch' and values named 'train/loss', 'val/loss', 'lr' ...; nan leaves a gap.
        best: (name of the monitored value, best epoch), or None.
        resumed: the epochs (list of int) after which the run was resumed.
        title: of the figure (str).
    """
    # Imported on use, as this takes a second. No pyplot, which has windows and global state.
    matplotlib = import_matplotlib()
    from matplotlib.figure import Figure

    titles = panels_of(history, best and best[0])
    # Names of runs and metrics may be Chinese.
    with matplotlib.rc_context({'font.family': families_of([title, *titles])}):
        figure = Figure(layout='constrained')
        _fill(figure, titles, history, best, resumed)
        _head(figure, history, best, resumed, _drawable(title))
    return figure


def _drawable(text):
    """Return a text (str) with '?' for characters that no installed font has."""
    missing = missing_characters(text)
    return ''.join('?' if character in missing else character for character in text)


def _fill(figure, titles, history, best, resumed):
    """Draw the panels of `titles` (list of str), with the learning rate below all columns."""
    has_lr = any('lr' in row for row in history)
    columns = max(1, min(COLUMNS if len(titles) != 4 else 2, len(titles)))
    rows = -(-len(titles) // columns)
    heights = [1] * rows + [0.42] * has_lr
    figure.set_size_inches(max(6.4, 4.2 * columns), 0.7 + 2.9 * sum(heights))
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for column in range(columns):
        upper = None
        own = titles[column::columns]
        for row, name in enumerate(own):
            upper = figure.add_subplot(grid[row, column], sharex=upper)
            _draw_panel(upper, history, name, best)
            _mark(upper, best, resumed)
        if has_lr and columns == 1:  # the panel above needs no numbers of epochs
            _draw_lr(figure.add_subplot(grid[-1, 0], sharex=upper), history, best, resumed)
        _set_epochs(figure.axes[-(len(own) + (has_lr and columns == 1)) :], history)
    if has_lr and columns > 1:
        _draw_lr(figure.add_subplot(grid[-1, :]), history, best, resumed)
        _set_epochs(figure.axes[-1:], history)


def _draw_panel(axes, history, title, best):
    """Draw the training and validation curves of a value, with a marker at the best epoch if it is monitored."""
    drawn = []
    for split, colour in COLOURS.items():
        name = f'{split}/{title}'
        if not any(name in row for row in history):
            continue
        values = _draw_line(axes, history, name, colour)
        drawn += [value for value in values if math.isfinite(value)]
        if best and best[0] == name:
            place = [row['epoch'] for row in history].index(best[1])
            axes.plot(best[1], values[place], 'o', ms=7, mfc='none', mec=BEST, mew=1.8, zorder=4)
    axes.set_title(_drawable(title), fontsize=11)
    if not drawn:
        axes.text(0.5, 0.5, 'no number in any epoch', transform=axes.transAxes, ha='center', color=RESUMED)
    elif is_loss(title) and len(drawn) > 2 and min(drawn) > 0 and max(drawn) > LOG * min(drawn):
        axes.set_yscale('log')
    else:
        outlier_limits(axes, drawn)


def finite_values(history, name):
    """Return a value of each row of a history (list of float), nan where it is missing or not finite."""
    values = (row.get(name, math.nan) for row in history)
    return [value if math.isfinite(value) else math.nan for value in values]


def _draw_line(axes, history, name, colour):
    """Draw one value over the epochs and return its values (list of float, nan if missing)."""
    values = finite_values(history, name)
    epochs = [row['epoch'] for row in history]
    around = [math.nan, *values, math.nan]
    # A line needs two points: isolated values get a marker.
    alone = [i for i in range(len(values)) if math.isnan(around[i]) and math.isnan(around[i + 2])]
    marked = range(len(values)) if len(values) <= MARKED else alone
    axes.plot(epochs, values, color=colour, lw=1.4, marker='o', ms=3.2, markevery=list(marked))
    return values


def outlier_limits(axes, values):
    """Cut outliers off, such as a first epoch, and write how many: they would flatten all other values."""
    usual = median(map(abs, values))
    kept = [value for value in values if abs(value) <= OUTLIER_FACTOR * usual]
    if not usual or len(values) < 4 or len(kept) == len(values):
        return
    low, high = min(kept), max(kept)
    margin = 0.05 * (high - low) or 0.05 * usual
    axes.set_ylim(low - margin, high + margin)
    above, below = sum(value > high for value in values), sum(value < low for value in values)
    for text, edge, side in ((f'▲ {above} beyond', 0.97, 'top'), (f'▼ {below} beyond', 0.03, 'bottom')):
        if above if side == 'top' else below:
            axes.text(0.97, edge, text, transform=axes.transAxes, fontsize=8, color=RESUMED, ha='right', va=side)


def _draw_lr(axes, history, best, resumed):
    """Draw the learning rate, with the marks of the panels."""
    values = [value for value in _draw_line(axes, history, 'lr', LR) if not math.isnan(value)]
    small = sum(value < max(values) / LOG for value in values)
    if small > len(values) / 4 and min(values) > 0:  # steps down, whose later values would lie on the axis
        axes.set_yscale('log')
    elif values and min(values) >= 0:
        axes.set_ylim(0, max(values) * 1.15 or 1)
    axes.set_ylabel('lr', fontsize=9)
    axes.tick_params(labelsize=8)
    _mark(axes, best, resumed)


def _mark(axes, best, resumed):
    """Draw the grid, the best epoch and the resumptions of a panel."""
    axes.grid(alpha=0.3)
    for after in resumed:
        axes.axvline(after + 0.5, color=RESUMED, lw=0.9, ls=':', zorder=1)
    if best:
        axes.axvline(best[1], color=BEST, lw=1, ls='--', zorder=1)


def _set_epochs(column, history):
    """Set the shared epoch axis of a column of panels: integers, with labels at the lowest panel only."""
    from matplotlib.ticker import MaxNLocator

    first, last = history[0]['epoch'], history[-1]['epoch']
    margin = max(0.5, 0.02 * (last - first)) if last - first < MARKED else 0.02 * (last - first)
    column[-1].set_xlim(first - margin, last + margin)
    column[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    column[-1].set_xlabel('epoch', fontsize=9)
    for axes in column[:-1]:
        axes.tick_params(labelbottom=False)


def _head(figure, history, best, resumed, title):
    """Write the title, the best epoch's value and the legend."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, lw=2, label=split)
        for split, colour in COLOURS.items()
        if any(name.startswith(f'{split}/') for row in history for name in row)
    ]
    if best:
        value = next(row[best[0]] for row in history if row['epoch'] == best[1])
        label = f'best: {best[0]} {number_text(value)} in epoch {best[1]}'
        handles.append(Line2D([], [], color=BEST, ls='--', marker='o', mfc='none', mew=1.8, label=label))
    if resumed:
        label = 'resumed' + (f' ({len(resumed)} times)' if len(resumed) > 1 else '')
        handles.append(Line2D([], [], color=RESUMED, ls=':', lw=1.5, label=label))
    figure.legend(handles=handles, loc='outside upper center', ncols=len(handles), frameon=False, fontsize=9,
                  title=title, title_fontsize=12)  # fmt: skip
