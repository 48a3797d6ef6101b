"""Curves over the epochs of one run or several, for pages."""

import math

from utils.base.language import deferred, joined, translate
from utils.drawing.curves import LOG, finite_values, panels_of
from utils.html_report.sections import chart, chart_section
from utils.html_report.svg_plots import over_epochs
from utils.runs.run import Run, as_number
from utils.tasks.tasks import is_loss

NOTE = deferred('Solid lines: validation. Dashed lines: training. A ring marks the epoch of best.pth.')


def numeric_history(run):
    """Return the epochs of a utils.runs.run.Run: list of rows (dicts of float, and of 'epoch', int)."""
    rows = [row for row in run.history if row['epoch'].isdecimal()]
    numbers = [{name: as_number(text) for name, text in row.items()} for row in rows]
    known = [{name: value for name, value in row.items() if value is not None} for row in numbers]
    return [row | {'epoch': int(row['epoch'])} for row in known]


def epoch_charts(runs, max_charts=None):
    """Return a chart of each metric, training dashed, validation solid, and of the learning rate if it changes.

    Args:
        runs: list of utils.runs.run.Run, one line colour each; the first one's monitored value follows the loss.
        max_charts: maximum number of charts, or None.
    """
    rows = [numeric_history(run) for run in runs]
    all_rows = [row for of_run in rows for row in of_run]
    changes = len({row.get('lr') for row in all_rows}) > 1
    rates = [_chart(translate('learning rate'), ('lr',), runs, rows)] if changes else []
    titles = panels_of(all_rows, runs[0].monitor)[: None if max_charts is None else max_charts - len(rates)]
    found = [_chart(title, (f'train/{title}', f'val/{title}'), runs, rows) for title in titles]
    return [each for each in (*found, *rates) if each is not None]


def _chart(title, names, runs, rows):
    """Return the chart of the columns `names` of the histories, the last solid; None if no run has a value."""
    curves = []
    for number, (run, history) in enumerate(zip(runs, rows, strict=True)):
        best = run.best or {}
        for name in names:
            values = finite_values(history, name)
            if not all(map(math.isnan, values)):
                mark = best.get('epoch') if name == run.monitor else None
                curves.append((number, name != names[-1], [row['epoch'] for row in history], values, mark))
    drawn = [value for *_, values, _ in curves for value in values if not math.isnan(value)]
    log = is_loss(title) and bool(drawn) and min(drawn) > 0 and max(drawn) > LOG * min(drawn)
    return chart(title, over_epochs(curves, log)) if curves else None


def training_curves(checkpoint):
    """Return the section of the curves of the run of a checkpoint: [section], or [] if it is not in a run's directory.

    Args:
        checkpoint: path (Path) of the checkpoint.
    """
    run = Run(checkpoint.absolute().parent)
    charts = epoch_charts([run], max_charts=3) if run.has_args and run.history else []
    note = joined([translate(NOTE), translate('curves.png has all values.')])
    return [chart_section(translate('Training curves'), charts, note)] if charts else []
