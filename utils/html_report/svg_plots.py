"""Plots as SVG by matplotlib, with the CSS colours of the page, so that they suit its light and its dark theme."""

import io
import re
import warnings
from contextlib import contextmanager

import numpy as np

from utils.base.language import translate
from utils.drawing.matplotlib_import import import_matplotlib

# Placeholder colours; CSS variables of the page replace them in the SVG.
INK, FAINT, PAPER, MAIN, OTHER, BAD = '#010203', '#010204', '#010205', '#010206', '#010207', '#010208'
VARIABLES = {INK: '--ink', FAINT: '--line', PAPER: '--paper', MAIN: '--main', OTHER: '--other', BAD: '--bad'}
LINES = [f'#0102{10 + index}' for index in range(8)]
VARIABLES |= {colour: f'--line{index}' for index, colour in enumerate(LINES)}
DASHES = ('-', '--', '-.', ':')
PLOT_INCHES = (4.6, 3.7)  # inches
MAX_POINTS = 2000
MAX_CURVE_POINTS = 400  # points of a curve
MIN_BINS, MAX_BINS = 5, 40  # of a histogram


@contextmanager
def _axes(**labels):
    """Yield axes to draw into; `labels`: arguments of matplotlib.axes.Axes.set."""
    mpl = import_matplotlib()
    from matplotlib.figure import Figure

    colours = dict.fromkeys(('text.color', 'axes.labelcolor', 'xtick.color', 'ytick.color'), INK)
    style = {'svg.fonttype': 'none', 'svg.hashsalt': 'danlu', 'axes.edgecolor': FAINT, 'grid.color': FAINT, **colours}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Glyph')  # the text is drawn by the browser, with its own fonts
        figure = Figure(figsize=PLOT_INCHES, layout='constrained')
        axes = figure.add_subplot()
        axes.set(**labels)
        axes.grid(lw=0.6)
        axes.set_axisbelow(True)
        axes.patch.set_alpha(0)
        figure.patch.set_alpha(0)
        axes.spines[['top', 'right']].set_visible(False)
        yield axes


def _svg(axes):
    """Return the figure of axes as an SVG element (str) for an HTML page."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
    axes.figure.savefig(buffer, format='svg', metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<(g|text) id="[a-z]+_?\d*(_\d+)?"', r'<\1', text)  # the same ids in each figure
    text = re.sub(r'<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>', '', text, flags=re.DOTALL)
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg class="plot" role="img" viewBox="\1">', text, count=1)
    text = re.sub(r'font: ([\d.]+)px [^;"]*', r'font-size: \1px', text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f'var({variable})')
    return re.sub(r'\n\s*', '\n', text)


def lines(curves, diagonal=False, **labels):
    """Return a plot of curves over 0..1.

    Args:
        curves: list of (x, y), arrays.
        diagonal: draw the line x = y.
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
        curves: list of (number of the run, dashed, epochs, values, best): int, bool, two lists (nan leaves a gap), and
            the epoch to mark or None.
        log: use a logarithmic scale.
    """
    import_matplotlib()
    from matplotlib.ticker import MaxNLocator

    with _axes(xlabel=translate('epoch'), yscale='log' if log else 'linear') as axes:
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
    return np.unique(np.linspace(0, count - 1, min(count, MAX_CURVE_POINTS)).round().astype(int))


def reliability(edges, confidence, accuracy, shares):
    """Return a reliability diagram: accuracy by confidence, the line of perfect calibration, and shares of samples.

    Args:
        edges: (B + 1,) of the bins; confidence, accuracy: (B,) means, nan for empty bins; shares: (B,).
    """
    with _axes(xlim=(0, 1), ylim=(0, 1.02), xlabel=translate('confidence'), ylabel=translate('accuracy')) as axes:
        width = np.diff(edges)
        axes.bar(edges[:-1], np.nan_to_num(shares), width, align='edge', color=FAINT, lw=0)
        axes.plot([0, 1], [0, 1], color=INK, lw=1, ls='--')
        known = np.isfinite(accuracy)
        low, high = np.minimum(confidence, accuracy)[known], np.maximum(confidence, accuracy)[known]
        axes.vlines(confidence[known], low, high, color=BAD, lw=2)
        axes.plot(confidence[known], accuracy[known], color=MAIN, marker='o', ms=4.5, lw=1.4)
        return _svg(axes)


def histogram(values, xlabel, ylabel, reference=None):
    """Return a histogram of values (N,), with a vertical line at `reference`."""
    values = values[np.isfinite(values)]
    with _axes(xlabel=xlabel, ylabel=ylabel) as axes:
        axes.hist(values, bins=min(MAX_BINS, max(MIN_BINS, int(len(values) ** 0.5))), color=MAIN)
        if reference is not None:
            axes.axvline(reference, color=INK, lw=1, ls='--')
        return _svg(axes)


def points(x, y, diagonal=False, level=None, **labels):
    """Return a scatter plot.

    Args:
        x, y: (N,) arrays in random order; the first MAX_POINTS are drawn.
        diagonal: draw the line x = y.
        level: y of a horizontal line, or None.
        labels: xlabel and ylabel.
    """
    finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))[:MAX_POINTS]
    x, y = x[finite], y[finite]
    with _axes(**labels) as axes:
        axes.plot(x, y, '.', color=MAIN, ms=4 if len(x) > 300 else 6, alpha=0.6, mew=0)
        if diagonal and len(x):
            ends = [min(x.min(), y.min()), max(x.max(), y.max())]
            axes.plot(ends, ends, color=INK, lw=1, ls='--')
        if level is not None:
            axes.axhline(level, color=INK, lw=1, ls='--')
        return _svg(axes)
