"""The HTML page of runs.py folds, and metrics over the joined predictions of all folds. Imports torch."""

import heapq
import math
from collections import Counter

import numpy as np

from scripts.run_commands.seeds import summary
from utils.base.atomic_write import atomic_writer
from utils.base.language import deferred, translate
from utils.base.text_table import number_text
from utils.html_report.class_labels import name_cell
from utils.html_report.confusion_matrix import confused_pairs
from utils.html_report.intervals import matrix_intervals, matrix_metrics
from utils.html_report.page import WORST_NOTES, environment
from utils.html_report.predictions_table import TRANSLATED_COLUMNS, GroupedSums, read_header, read_predictions
from utils.html_report.sections import confused_head, count_cell, matrix_section, share_cell, table, value_cell
from utils.html_report.task_reports import report_of
from utils.statistics.bootstrap_metrics import cell_to_float, select_sum_metric, sum_metric_intervals
from utils.statistics.significance import SIGNIFICANCE_LEVEL
from utils.tasks.tasks import TASKS, task_named

MAX_WORST_SAMPLES = 200
MAX_MATRIX_CLASSES = 1000
HIDDEN_PREFIXES = ('intersection/', 'union/', 'truth/', 'score/', 'loss_')
MACRO_METRICS = ('acc', 'recall_macro', 'precision_macro', 'f1_macro')


def joined_metrics(path, task):
    """Return the metrics over all rows of predictions.csv: dict from a name to (value, low, high), float.

    The intervals are those of `sum_metric_intervals` and `matrix_intervals`. Metrics that rank the scores of all
    samples (auroc, map) are left out: scores of different networks are not on one scale.
    """
    header = read_header(path)
    names = [*task_named(task).sum_metrics, *(['loss'] if 'loss' in header else [])]
    measures = [select_sum_metric(name, task, header) for name in names]
    sums = None
    for cells in read_predictions(path):
        rows = [measure.row(cells) for measure in measures]
        sums = sums or [GroupedSums(len(row), seed=0) for row in rows]
        for grouped, row in zip(sums, rows, strict=True):
            grouped.add(row)
    found = {}
    for measure, grouped in zip(measures, sums, strict=True):
        rows = grouped.rows()
        bounds, _ = sum_metric_intervals(measure, rows)
        found[measure.name] = float(measure.value(rows.sum(0))), *map(float, bounds[0])
    matrix, names = matrix_of(path, task)
    if matrix is not None:
        known, value, counts = matrix_metrics(matrix, names)
        bounds, _ = matrix_intervals(matrix, names)
        with np.errstate(divide='ignore', invalid='ignore'):
            exact = value(counts[None])[0]
        found |= {name: (float(exact[i]), *map(float, bounds[name])) for i, name in enumerate(known)
                  if name in MACRO_METRICS}  # fmt: skip
    return found


def matrix_of(path, task):
    """Return the confusion matrix (int64 array (K, K), truth by prediction) and class names; None for other tasks."""
    if task not in TASKS or TASKS[task].target != 'label':
        return None, []
    counts = Counter(
        (cells['target'], cells['prediction']) for cells in read_predictions(path) if cells['correct'] != ''
    )
    names = {name for pair in counts for name in pair}
    names = sorted(names, key=int) if all(map(str.isdecimal, names)) else sorted(names)
    if not names or len(names) > MAX_MATRIX_CLASSES:
        return None, []
    places, matrix = {name: place for place, name in enumerate(names)}, np.zeros((len(names),) * 2, np.int64)
    for (truth, prediction), count in counts.items():
        matrix[places[truth], places[prediction]] = count
    return matrix, names


def write_page(page, path, runs, tests, values, metrics):
    """Write the page.

    Args:
        page: Path of the page.
        path: Path of the joined predictions.csv.
        runs: list of Run, tests: list of pairing.Test, one per run.
        values: values of the best epochs (dict from a name to a list of float, one per run).
        metrics: what `joined_metrics` returned.
    """
    task = tests[0].task
    matrix, names = matrix_of(path, task)
    sections = [_table_of_folds(runs, tests, values), _table_of_metrics(metrics)]
    if matrix is not None:
        section = matrix_section(matrix, names, _table_of_pairs(matrix, names))
        sections.append(section | {'title': translate('Confusion matrix of all samples')})
    if report_of(task) is not None:
        sections.append(_table_of_worst(path, task))
    text = (
        environment()
        .get_template('folds.html')
        .render(
            title=f'{runs[0].name} ... {runs[-1].name}',
            count=sum(int(test.head.get('samples', 0)) for test in tests),
            folds=len(runs),
            task=task,
            sections=sections,
        )
    )
    with atomic_writer(page) as file:
        file.write(text)


def _table_of_folds(runs, tests, values):
    """Return the section with a row for each run, and rows with the mean and deviation over the runs."""
    rows = [
        [run.name, count_cell(int(test.head.get('samples', 0))), *(value_cell(each[i]) for each in values.values())]
        for i, (run, test) in enumerate(zip(runs, tests, strict=True))
    ]
    found = [summary(each, name) for name, each in values.items()]
    rows.append([translate('mean'), '', *(value_cell(each['mean'], (each['low'], each['high'])) for each in found)])
    rows.append([translate('standard deviation'), '', *(value_cell(each['deviation']) for each in found)])
    note = translate(
        'Values of the best epoch by {monitor}. The {level} interval of the mean is by the t distribution; the '
        'interval is approximate, as the runs share training data.',
        monitor=runs[0].monitor,
        level=f'{1 - SIGNIFICANCE_LEVEL:.0%}',
    )
    return table(translate('Folds'), [translate('run'), translate('samples'), *values], rows, note)


def _table_of_metrics(metrics):
    """Return the section of the metrics over all samples."""
    rows = [[name, value_cell(value, (low, high))] for name, (value, low, high) in metrics.items()]
    note = translate(
        'Each sample is predicted by the run that was not trained on it; {level} intervals over the samples: by Wilson '
        '(1927) for the proportion of right samples, else by bootstrap.',
        level=f'{1 - SIGNIFICANCE_LEVEL:.0%}',
    )
    return table(translate('All samples'), [translate('metric'), translate('value')], rows, note)


def _table_of_pairs(matrix, names):
    """Return the table of the most confused pairs of classes."""
    pairs = confused_pairs(matrix, names)
    rows = [
        [
            *(name_cell(names[pair[key]]) for key in ('truth', 'predicted')),
            count_cell(pair['count']),
            share_cell(pair['share']),
        ]
        for pair in pairs
    ]
    note = '' if rows else translate('No sample was misclassified.')
    return table(translate('Most confused classes'), confused_head(translate('samples')), rows, note)


def _table_of_worst(path, task):
    """Return the section of the worst samples."""
    header = read_header(path)
    badness = report_of(task).badness(header)
    ranked = ((badness(cells), -index, cells) for index, cells in enumerate(read_predictions(path)))
    worst = heapq.nlargest(MAX_WORST_SAMPLES, ranked, key=lambda each: each[:2])
    columns = [name for name in header if not name.startswith(HIDDEN_PREFIXES)]
    kind = TASKS[task].target
    rows = [[sample_cell(cells[name], name, kind) for name in columns] for _, _, cells in worst]
    of_class = deferred('The samples with the lowest probability of the true class.')
    note = translate(WORST_NOTES.get(kind, of_class))
    head = [translate(name) if name in TRANSLATED_COLUMNS else name for name in columns]
    return table(translate('Worst samples'), head, rows, note)


def sample_cell(text, column, kind):
    """Return the table cell (str or dict) of a cell of predictions.csv.

    Args:
        text: str.
        column: name of its column (str).
        kind: kind of the task's target (str): utils.tasks.tasks.Task.target.
    """
    if column in ('name', 'fold'):
        return text
    if column in ('target', 'prediction') and kind in ('label', 'labels'):
        names = [name_cell(name)['text'] for name in (text.split('|') if kind == 'labels' else [text]) if name]
        return {'text': ', '.join(names) or translate('none'), 'title': text}
    value = cell_to_float(text)
    if not math.isfinite(value):
        return {'text': '–', 'sort': None}
    if column == 'correct':
        return {'text': translate('yes') if value else translate('no'), 'sort': value}
    return {'text': text if text.isdecimal() else number_text(value), 'sort': value}
