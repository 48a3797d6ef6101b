"""The sections of regression tests."""

import numpy as np

from utils.html_report import svg_plots
from utils.html_report.sections import chart, chart_section, sample_galleries, table
from utils.tasks.tasks import target_names

MAX_PLOTTED_TARGETS = 6
HEAD = ['target', 'mean error', 'mean absolute error', 'median absolute error', '95th percentile', 'largest',
        'standard deviation of the target']  # fmt: skip


def regression(page):
    """Return the sections of regression: plots and a table of the errors of each target, and samples."""
    values = {column['name']: column['values'] for column in page.rows}
    suffixes = [name.removeprefix('target') for name in values if name == 'target' or name.startswith('target/')]
    order = np.random.default_rng(0).permutation(len(page.shown))  # plots draw the first MAX_POINTS
    sections, rows = [], []
    for suffix in suffixes:
        truth, predicted = (np.array(values[name + suffix], dtype=float)[order] for name in ('target', 'prediction'))
        error, name = predicted - truth, suffix.removeprefix('/') or (target_names(page.args) or [''])[0]
        rows.append([name or 'target', *_error_cells(error, truth)])
        if len(sections) < MAX_PLOTTED_TARGETS:
            title = f'Predicted against true: target {name}' if name else 'Predicted against true'
            sections.append(chart_section(title, _charts(truth, predicted, error, name)))
    note = f'Computed from the {len(order):,} samples in this page.' if len(order) < page.count else ''
    if len(suffixes) > MAX_PLOTTED_TARGETS:
        note += f' The first {MAX_PLOTTED_TARGETS} of {len(suffixes)} targets are plotted.'
    samples = sample_galleries(page)
    return [*sections, table('Errors by target', HEAD, rows, note), *samples]


def _charts(truth, predicted, error, name):
    true, said, gap = f'true {name}'.rstrip(), f'predicted {name}'.rstrip(), 'predicted − true'
    return [
        chart('Predicted and true', svg_plots.points(truth, predicted, diagonal=True, xlabel=true, ylabel=said)),
        chart('Errors', svg_plots.histogram(error, gap, reference=0.0)),
        chart('Errors by true value', svg_plots.points(truth, error, level=0.0, xlabel=true, ylabel=gap)),
    ]


def _error_cells(error, truth):
    """Return the table cells of a target's errors (N,)."""
    finite = np.isfinite(error)
    if not finite.any():
        return ['–'] * 6
    size, error = np.abs(error[finite]), error[finite]
    numbers = [error.mean(), size.mean(), np.median(size), np.percentile(size, 95), size.max(), np.nanstd(truth)]
    return [{'text': f'{value:.4g}', 'sort': float(value)} for value in numbers]
