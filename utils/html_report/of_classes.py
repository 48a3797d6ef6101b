"""The sections of tasks that give each sample a class, or several."""

import numpy as np

from utils.html_report import figures
from utils.html_report.matrix import confused_pairs, drawn_matrix
from utils.html_report.scores import best_threshold, curves
from utils.html_report.sections import cell, chart, charts, count_cell, galleries, table

BINS = 15  # of confidence: Guo et al. 2017, On calibration of modern neural networks
MOST_CURVES = 8
MOST_ROWS = 1000  # classes in a table


def classification(page):
    """Return the sections of classification."""
    matrix, names = page.matrix, page.class_names
    found = {index: curves(*both) for index, both in _histograms(page)}
    confused = [] if matrix is None else [
        {'kind': 'matrix', 'title': 'Confusion matrix', 'matrix': drawn_matrix(matrix, names), 'note': ''},
        _confused(matrix, names),
    ]  # fmt: skip
    return [
        *galleries(page),
        *confused,
        _classes(page, found),
        _calibration(page),
        *_curves(page, found),
    ]


def multilabel(page):
    """Return the sections of multilabel."""
    found, rows = {}, []
    for index, (without, having) in _histograms(page):
        name, found[index] = page.class_names[index], curves(without, having)
        threshold, f1 = best_threshold(without, having)
        values = [(key, page.results.get(f'{key}/{name}', np.nan)) for key in ('ap', 'f1')]
        rows.append([
            name,
            count_cell(int(having.sum())),
            *(cell(value, page.interval(f'{key}/{name}')) for key, value in values),
            cell(threshold),
            cell(f1),
        ])  # fmt: skip
    head = ['class', 'samples with it', 'AP', 'F1 at 0.5', 'best threshold', 'F1 there']
    note = 'The best threshold is found on this test set: take it from validation data before you rely on it.'
    return [*galleries(page), table('By class', head, rows[:MOST_ROWS], note), *_curves(page, found)]


def _histograms(page):
    """Yield (class, (counts without it, counts with it)) of each class; nothing where no scores were counted."""
    if page.scores is not None:
        yield from ((index, page.scores[:, index]) for index in range(page.scores.shape[1]))


def _confused(matrix, names):
    """Return the table of the pairs that are confused most; each of its rows filters the samples."""
    rows = [
        [
            {'text': names[pair['truth']], 'pair': [pair['truth'], pair['said']]},
            names[pair['said']],
            count_cell(pair['count']),
            {'text': f'{pair["share"]:.1%}', 'sort': float(pair['share'])},
        ]
        for pair in confused_pairs(matrix, names)
    ]
    note = '' if rows else 'No sample was taken for another class.'
    return table('Most confused', ['truth', 'taken for', 'samples', 'share of the truth'], rows, note)


def _classes(page, found):
    """Return the table of the classes."""
    rows = []
    for index, name in enumerate(page.class_names[:MOST_ROWS]):
        hits, truth, said = (counts[index] for counts in page.class_counts)
        with np.errstate(divide='ignore', invalid='ignore'):
            precision, f1 = float(hits / said), float(2 * hits / (truth + said))
        key = f'acc_class/{name}'
        recall = page.results.get(key, float(hits / truth) if truth else np.nan)
        area = page.results.get(f'auroc/{name}', found[index]['auroc'] if index in found else np.nan)
        rows.append([
            name,
            count_cell(int(truth)),
            cell(recall, page.interval(key)),
            cell(precision, page.interval(f'precision/{name}')),
            cell(f1, page.interval(f'f1/{name}')),
            cell(area, page.interval(f'auroc/{name}')),
        ])  # fmt: skip
    head = ['class', 'samples', 'recall', 'precision', 'F1', 'AUROC']
    return table('By class', head, rows, 'Recall is acc_class of result.txt. AUROC is of the class against the rest.')


def calibration(confidence, correct):
    """Return the expected calibration error (float) and the means of BINS bins of equal width.

    Args:
        confidence, correct: (N,) float64, of samples that count.

    Returns:
        error, edges (BINS + 1,), mean confidence, share that is right and share of all samples, (BINS,) each.
    """
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(divide='ignore', invalid='ignore'):
        means = [np.bincount(place, values, minlength=BINS) / counts for values in (confidence, correct)]
    shares = counts / max(1, len(place))
    return float(np.nansum(shares * np.abs(means[0] - means[1]))), edges, *means, shares


def _calibration(page):
    """Return the reliability diagram."""
    confidence, correct = (page.columns[name] for name in ('confidence', 'correct'))
    counted = np.isfinite(correct) & np.isfinite(confidence)
    confidence, correct = confidence[counted], correct[counted]
    error, *parts = calibration(confidence, correct)
    gap = float(confidence.mean() - correct.mean()) if len(correct) else 0.0
    sure = 'surer than it is right' if gap > 0 else 'less sure than it is right'
    note = (
        f'Expected calibration error {error:.4f} ({BINS} bins). On average the network is {abs(gap):.1%} {sure}. On '
        'the dashed line it would be right as often as it says; the grey bars are the share of the samples.'
    )
    svg = figures.reliability(*parts)
    right = figures.histogram(confidence[correct == 1], 'confidence where it is right', reference=None)
    those = [chart('Reliability', svg, note), chart('Confidence, right', right)]
    if (correct == 0).any():
        those.append(
            chart('Confidence, wrong', figures.histogram(confidence[correct == 0], 'confidence where it is wrong'))
        )
    return charts('How far its confidence can be trusted', those)


def _curves(page, found):
    """Return the section of ROC and precision-recall curves; of many classes those that are told apart least well."""
    there = [index for index, curve in found.items() if np.isfinite(curve['ap'])]
    if page.kind == 'label' and len(page.class_names) == 2:
        there = [index for index in there if index == 1]
    if not there:
        return []
    worst = sorted(sorted(there, key=lambda index: found[index]['ap'])[:MOST_CURVES])
    note = (
        f'The {MOST_CURVES} classes of the lowest average precision, of {len(there)}.'
        if len(there) > len(worst)
        else ''
    )
    names = page.class_names

    def value_of(key, index):
        return page.results.get(f'{key}/{names[index]}', found[index][key])

    roc = [(found[i]['false_positive_rate'], found[i]['true_positive_rate']) for i in worst]
    ranked = [(found[i]['recall'], found[i]['precision']) for i in worst]
    legends = [
        [(line, f'{names[i]}: {name} {value_of(key, i):.4f}') for line, i in enumerate(worst)]
        for key, name in (('auroc', 'AUROC'), ('ap', 'AP'))
    ]
    titles = {'xlabel': 'share of the others that is taken for it', 'ylabel': 'share of it that is found'}
    return [
        charts(
            'ROC and precision-recall, each class against the rest',
            [
                chart('ROC', figures.lines(roc, diagonal=True, **titles), '', legends[0]),
                chart('Precision-recall', figures.lines(ranked, xlabel='recall', ylabel='precision'), '', legends[1]),
            ],
            note,
        )
    ]
