"""Plots of a page: matplotlib's SVG, whose colours are the page's own, so that they are readable in the dark too."""

import io
import re
import warnings
from contextlib import contextmanager

import numpy as np

from utils.drawing.matplotlib_import import import_matplotlib

# Drawn in these, which nothing else has, and then named as the page's style sheet names them.
INK, FAINT, PAPER, MAIN, OTHER, BAD = '#010203', '#010204', '#010205', '#010206', '#010207', '#010208'
VARIABLES = {INK: '--ink', FAINT: '--line', PAPER: '--paper', MAIN: '--main', OTHER: '--other', BAD: '--bad'}
LINES = [f'#0102{10 + index}' for index in range(8)]
VARIABLES |= {colour: f'--line{index}' for index, colour in enumerate(LINES)}
DASHES = ('-', '--', '-.', ':')
SIZE = (4.6, 3.7)  # inches
MOST_POINTS = 2000
MOST_STEPS = 400  # points of a curve


@contextmanager
def _axes(**labels):
    """Give axes to draw into; `labels` are for matplotlib.axes.Axes.set."""
    mpl = import_matplotlib()
    from matplotlib.figure import Figure

    colours = dict.fromkeys(('text.color', 'axes.labelcolor', 'xtick.color', 'ytick.color'), INK)
    style = {'svg.fonttype': 'none', 'svg.hashsalt': 'danlu', 'axes.edgecolor': FAINT, 'grid.color': FAINT, **colours}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph')  # the browser draws what matplotlib's font lacks
        figure = Figure(figsize=SIZE, layout='constrained')
        axes = figure.add_subplot()
        axes.set(**labels)
        axes.grid(lw=0.6)
        axes.set_axisbelow(True)
        axes.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        axes.spines[['top', 'right']].set_visible(False)
        yield axes


def _svg(axes):
    """Return the figure of axes as an SVG element (str) to stand in a page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
    axes.figure.savefig(buffer, format='svg', metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<(g|text) id="[a-z]+_?\d*(_\d+)?"', r'<\1', text)  # each figure has the same ones
    text = re.sub(r'<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg class="plot" role="img" viewBox="\1">', text, count=1)
    text = re.sub(r'font: ([\d.]+)px [^;"]*', r'font-size: \1px', text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f'var({variable})')
    return re.sub(r'\n\s*', '\n', text)


def lines(curves, diagonal=False, **labels):
    """Return a plot of curves over 0..1.

    Args:
        curves: list of (x, y), arrays; the page's colours in turn.
        diagonal: draw what chance gives.
        labels: xlabel and ylabel.
    """
    with _axes(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), **labels) as axes:
        if diagonal:
            axes.plot([0, 1], [0, 1], color=FAINT, lw=1.2, ls='--')
        for index, (x, y) in enumerate(curves):
            keep = _thinned(len(x))
            dash = DASHES[index // len(LINES) % len(DASHES)]
            axes.plot(x[keep], y[keep], color=LINES[index % len(LINES)], lw=1.6, ls=dash)
        return _svg(axes)


def over_epochs(curves, log=False):
    """Return a plot of curves over the epochs of several runs.

    Args:
        curves: list of (number of the run, dashed, epochs, values, best): bool, lists, and the epoch that has a mark or
            None; nan leaves a gap.
        log: draw a logarithmic scale.
    """
    import_matplotlib()
    from matplotlib.ticker import MaxNLocator

    with _axes(xlabel='epoch', yscale='log' if log else 'linear') as axes:
        for number, dashed, epochs, values, best in curves:
            look = {'color': LINES[number % len(LINES)], 'alpha': 0.75 if dashed else 1}
            dash = '--' if dashed else '-'
            axes.plot(
                epochs, values, ls=dash, lw=1.1 if dashed else 1.8, marker='.', ms=5 if len(epochs) < 30 else 1, **look
            )
            if best in epochs:
                axes.plot(best, values[epochs.index(best)], 'o', ms=8, mfc='none', mew=1.8, **look)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        return _svg(axes)


def _thinned(count):
    return np.unique(np.linspace(0, count - 1, min(count, MOST_STEPS)).round().astype(int))


def reliability(edges, confidence, accuracy, shares):
    """Return a reliability diagram: accuracy by confidence, beside what it would be, and how many samples there are.

    Args:
        edges: (B + 1,) of the bins; confidence, accuracy: (B,) means, nan where there is no sample; shares: (B,).
    """
    with _axes(xlim=(0, 1), ylim=(0, 1.02), xlabel='confidence', ylabel='share that is right') as axes:
        width = np.diff(edges)
        axes.bar(edges[:-1], np.nan_to_num(shares), width, align='edge', color=FAINT, lw=0)
        axes.plot([0, 1], [0, 1], color=INK, lw=1, ls='--')
        there = np.isfinite(accuracy)
        low, high = np.minimum(confidence, accuracy)[there], np.maximum(confidence, accuracy)[there]
        axes.vlines(confidence[there], low, high, color=BAD, lw=2)
        axes.plot(confidence[there], accuracy[there], color=MAIN, marker='o', ms=4.5, lw=1.4)
        return _svg(axes)


def histogram(values, xlabel, ylabel='samples', reference=None, bins=40):
    """Return a histogram of values (N,); with a line at `reference`."""
    values = values[np.isfinite(values)]
    with _axes(xlabel=xlabel, ylabel=ylabel) as axes:
        axes.hist(values, bins=min(bins, max(5, int(len(values) ** 0.5))), color=MAIN)
        if reference is not None:
            axes.axvline(reference, color=INK, lw=1, ls='--')
        return _svg(axes)


def points(x, y, same=False, level=None, **labels):
    """Return a plot of points.

    Args:
        x, y: (N,) arrays, of which at most MOST_POINTS are drawn: give them in no order.
        same: draw the line on which they are equal.
        level: draw a horizontal line here, or None.
        labels: xlabel and ylabel.
    """
    there = np.flatnonzero(np.isfinite(x) & np.isfinite(y))[:MOST_POINTS]
    x, y = x[there], y[there]
    with _axes(**labels) as axes:
        axes.plot(x, y, '.', color=MAIN, ms=4 if len(x) > 300 else 6, alpha=0.6, mew=0)
        if same and len(x):
            ends = [min(x.min(), y.min()), max(x.max(), y.max())]
            axes.plot(ends, ends, color=INK, lw=1, ls='--')
        if level is not None:
            axes.axhline(level, color=INK, lw=1, ls='--')
        return _svg(axes)
