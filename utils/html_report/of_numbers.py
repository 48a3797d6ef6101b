"""The sections of regression."""

import numpy as np

from utils.html_report import figures
from utils.html_report.sections import chart, charts, galleries, table
from utils.tasks.tasks import target_names

MOST_TARGETS = 6  # that are drawn


def regression(page):
    """Return the sections of regression: predicted against true and the errors of each target, and samples."""
    values = {column['name']: column['values'] for column in page.rows}
    ends = [name.removeprefix('target') for name in values if name == 'target' or name.startswith('target/')]
    order = np.random.default_rng(0).permutation(len(page.shown))  # plots take the first
    sections, rows = [], []
    for end in ends:
        truth, said = (np.array(values[part + end], dtype=float)[order] for part in ('target', 'prediction'))
        error, name = said - truth, end.removeprefix('/') or (target_names(page.args) or [''])[0]
        rows.append([name or 'the number', *_spread(error, truth)])
        if len(sections) < MOST_TARGETS:
            title = f'Predicted against true: target {name}' if name else 'Predicted against true'
            sections.append(charts(title, _charts(truth, said, error)))
    head = [
        'target',
        'mean error',
        'mean absolute error',
        'median absolute error',
        '95% are within',
        'largest',
        'deviation of the truth',
    ]
    note = f'Of the {len(order):,} samples in this page.' if len(order) < page.count else ''
    left = f' The first {MOST_TARGETS} of {len(ends)} targets are plotted.' if len(ends) > MOST_TARGETS else ''
    return [*sections, table('Errors', head, rows, note + left), *galleries(page)]


def _charts(truth, said, error):
    return [
        chart('Predicted and true', figures.points(truth, said, same=True, xlabel='true', ylabel='predicted')),
        chart('Errors', figures.histogram(error, 'predicted − true', reference=0.0)),
        chart(
            'Errors by what is true', figures.points(truth, error, level=0.0, xlabel='true', ylabel='predicted − true')
        ),
    ]


def _spread(error, truth):
    """Return cells on a target's errors (N,)."""
    there = np.isfinite(error)
    if not there.any():
        return ['–'] * 6
    size, error = np.abs(error[there]), error[there]
    numbers = [error.mean(), size.mean(), np.median(size), np.percentile(size, 95), size.max(), np.nanstd(truth)]
    return [{'text': f'{value:.4g}', 'sort': float(value)} for value in numbers]
