"""The sections of regression tests."""

import numpy as np

from utils.base.language import joined, translate
from utils.base.text_table import number_text
from utils.html_report import svg_plots
from utils.html_report.class_labels import name_cell, shortened
from utils.html_report.sections import chart, chart_section, sample_galleries, table
from utils.tasks.tasks import target_names

MAX_PLOTTED_TARGETS = 6


def regression(page):
    """Return the sections of regression: plots and a table of the errors of each target, and samples."""
    values = {column['name']: column['values'] for column in page.rows}
    suffixes = [name.removeprefix('target') for name in values if name == 'target' or name.startswith('target/')]
    order = np.random.default_rng(0).permutation(len(page.shown))  # plots draw the first MAX_POINTS
    sections, rows = [], []
    for suffix in suffixes:
        truth, predicted = (np.array(values[name + suffix], dtype=float)[order] for name in ('target', 'prediction'))
        error, name = predicted - truth, suffix.removeprefix('/') or (target_names(page.args) or [''])[0]
        rows.append([name_cell(name or translate('target')), *_error_cells(error, truth)])
        if len(sections) < MAX_PLOTTED_TARGETS:
            sections.append(chart_section(_title(shortened(name)), _charts(truth, predicted, error, shortened(name))))
    notes, counts = [], {'shown': MAX_PLOTTED_TARGETS, 'count': len(suffixes)}
    if len(order) < page.count:
        notes.append(translate('Computed from the {count:,} samples in this page.', count=len(order)))
    if len(suffixes) > MAX_PLOTTED_TARGETS:
        notes.append(translate('The first {shown} of {count} targets are plotted.', **counts))
    samples = sample_galleries(page)
    return [*sections, table(translate('Errors by target'), _head(), rows, joined(notes)), *samples]


def _title(name):
    """Return the title of the plots of a target (str); name: '' for the only one."""
    if name:
        return translate('Predicted against true: target {name}', name=name)
    return translate('Predicted against true')


def _head():
    """Return the head of the table of errors (list of str)."""
    return [
        translate('target'),
        translate('mean error'),
        translate('mean absolute error'),
        translate('median absolute error'),
        translate('95th percentile'),
        translate('largest'),
        translate('standard deviation of the target'),
    ]


def _charts(truth, predicted, error, name):
    true, gap = translate('true {name}', name=name).rstrip(), translate('predicted − true')
    said = translate('predicted {name}', name=name).rstrip()
    return [
        chart(
            translate('Predicted and true'),
            svg_plots.points(truth, predicted, diagonal=True, xlabel=true, ylabel=said),
        ),
        chart(translate('Distribution of the errors'), svg_plots.histogram(error, gap, translate('samples'), 0.0)),
        chart(
            translate('Errors by true value'),
            svg_plots.points(truth, error, level=0.0, xlabel=true, ylabel=gap),
        ),
    ]


def _error_cells(error, truth):
    """Return the table cells of a target's errors (N,)."""
    finite = np.isfinite(error)
    if not finite.any():
        return ['–'] * 6
    size, error = np.abs(error[finite]), error[finite]
    numbers = [error.mean(), size.mean(), np.median(size), np.percentile(size, 95), size.max(), np.nanstd(truth)]
    return [{'text': number_text(value), 'sort': float(value)} for value in numbers]
