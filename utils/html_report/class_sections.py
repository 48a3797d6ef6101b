"""The sections of classification and multilabel tests."""

import numpy as np

from utils.base.language import joined, translate
from utils.base.text_table import number_text
from utils.html_report import svg_plots
from utils.html_report.class_labels import name_cell, shortened
from utils.html_report.confusion_matrix import confused_pairs
from utils.html_report.score_histograms import best_threshold, roc_pr_curves
from utils.html_report.sections import (
    OTHER_GROUPS,
    WORST_GROUPS,
    chart,
    chart_section,
    confused_head,
    count_cell,
    matrix_section,
    sample_galleries,
    share_cell,
    table,
    value_cell,
)

CONFIDENCE_BINS = 15  # as in Guo et al. 2017, On calibration of modern neural networks
MAX_CURVES = 8
MAX_TABLE_ROWS = 1000


def classification(page):
    """Return the sections of classification."""
    matrix, names = page.matrix, page.class_names
    curves = {index: roc_pr_curves(*both) for index, both in _histograms(page)}
    confusion = [] if matrix is None else [matrix_section(matrix, names, _confused_classes(matrix, names))]
    return [
        *confusion,
        _class_table(page, curves),
        *sample_galleries(page, WORST_GROUPS),
        _calibration_section(page),
        *_curve_sections(page, curves),
        *sample_galleries(page, OTHER_GROUPS),
    ]


def multilabel(page):
    """Return the sections of multilabel."""
    curves, rows = {}, []
    for index, (negatives, positives) in _histograms(page):
        name, curves[index] = page.class_names[index], roc_pr_curves(negatives, positives)
        threshold, f1 = best_threshold(negatives, positives)
        values = [(key, page.results.get(f'{key}/{name}', np.nan)) for key in ('ap', 'f1')]
        rows.append([
            name_cell(name),
            count_cell(int(positives.sum())),
            *(value_cell(value, page.interval(f'{key}/{name}')) for key, value in values),
            value_cell(threshold),
            value_cell(f1),
        ])  # fmt: skip
    head = [
        translate('class'),
        translate('positive samples'),
        'AP',
        translate('F1 at 0.5'),
        translate('best threshold'),
        translate('F1 at best threshold'),
    ]
    note = translate('The best threshold was found on this test set. For use elsewhere, choose it on validation data.')
    return [
        table(translate('Classes'), head, rows[:MAX_TABLE_ROWS], note),
        *sample_galleries(page, WORST_GROUPS),
        *_curve_sections(page, curves),
        *sample_galleries(page, OTHER_GROUPS),
    ]


def _histograms(page):
    """Yield (class index, (histogram of negatives, of positives)) of each class, if scores were counted."""
    if page.scores is not None:
        yield from ((index, page.scores[:, index]) for index in range(page.scores.shape[1]))


def _confused_classes(matrix, names):
    """Return the table of the most confused pairs of classes; a click on a row filters the samples."""
    rows = [
        [
            name_cell(names[pair['truth']]) | {'pair': [pair['truth'], pair['predicted']]},
            name_cell(names[pair['predicted']]),
            count_cell(pair['count']),
            share_cell(pair['share']),
        ]
        for pair in confused_pairs(matrix, names)
    ]
    note = '' if rows else translate('No sample was misclassified.')
    return table(translate('Most confused classes'), confused_head(translate('samples')), rows, note)


def _class_table(page, curves):
    """Return the table of the classes."""
    rows = []
    for index, name in enumerate(page.class_names[:MAX_TABLE_ROWS]):
        hits, truth, predicted = (counts[index] for counts in page.class_counts)
        with np.errstate(divide='ignore', invalid='ignore'):
            precision, f1 = float(hits / predicted), float(2 * hits / (truth + predicted))
        key = f'acc_class/{name}'
        recall = page.results.get(key, float(hits / truth) if truth else np.nan)
        auroc = page.results.get(f'auroc/{name}', curves[index]['auroc'] if index in curves else np.nan)
        rows.append([
            name_cell(name),
            count_cell(int(truth)),
            value_cell(recall, page.interval(key)),
            value_cell(precision, page.interval(f'precision/{name}')),
            value_cell(f1, page.interval(f'f1/{name}')),
            value_cell(auroc, page.interval(f'auroc/{name}')),
        ])  # fmt: skip
    head = [translate('class'), translate('samples'), translate('recall'), translate('precision'), 'F1', 'AUROC']
    note = translate('Recall is acc_class in result.txt. AUROC is one class against the rest.')
    return table(translate('Classes'), head, rows, note)


def calibration(confidence, correct):
    """Return the expected calibration error (float) and the means of B = CONFIDENCE_BINS bins of equal width.

    Args:
        confidence, correct: (N,) float64, without ignored samples.

    Returns:
        error; edges of the bins, (B + 1,); mean confidence, accuracy and share of all samples, (B,) each.
    """
    edges = np.linspace(0, 1, CONFIDENCE_BINS + 1)
    bins = np.clip(np.ceil(confidence * CONFIDENCE_BINS).astype(int) - 1, 0, CONFIDENCE_BINS - 1)
    counts = np.bincount(bins, minlength=CONFIDENCE_BINS)
    with np.errstate(divide='ignore', invalid='ignore'):
        means = [np.bincount(bins, values, minlength=CONFIDENCE_BINS) / counts for values in (confidence, correct)]
    shares = counts / max(1, len(bins))
    return float(np.nansum(shares * np.abs(means[0] - means[1]))), edges, *means, shares


def _calibration_section(page):
    """Return the reliability diagram and the histograms of the confidence."""
    confidence, correct = (page.columns[name] for name in ('confidence', 'correct'))
    counted = np.isfinite(correct) & np.isfinite(confidence)
    confidence, correct = confidence[counted], correct[counted]
    error, *bins = calibration(confidence, correct)
    gap = float(confidence.mean() - correct.mean()) if len(correct) else 0.0
    notes = [
        translate('Expected calibration error {error} ({bins} bins).', error=number_text(error), bins=CONFIDENCE_BINS),
        translate('The mean confidence is {gap:.1%} above the accuracy.', gap=gap)
        if gap > 0
        else translate('The mean confidence is {gap:.1%} below the accuracy.', gap=-gap),
        translate('The dashed line is perfect calibration; grey bars are the share of the samples in each bin.'),
    ]
    titles = {1: translate('Confidence of right predictions'), 0: translate('Confidence of wrong predictions')}
    charts = [chart(translate('Reliability diagram'), svg_plots.reliability(*bins), joined(notes))]
    for outcome, title in titles.items():
        if outcome or (correct == outcome).any():
            plot = svg_plots.histogram(confidence[correct == outcome], translate('confidence'), translate('samples'))
            charts.append(chart(title, plot))
    return chart_section(translate('Calibration'), charts)


def _curve_sections(page, curves):
    """Return the section of ROC and precision-recall curves ([] without scores), of the classes with the lowest AP."""
    known = [index for index, curve in curves.items() if np.isfinite(curve['ap'])]
    if page.target_kind == 'label' and len(page.class_names) == 2:
        known = [index for index in known if index == 1]
    if not known:
        return []
    worst = sorted(sorted(known, key=lambda index: curves[index]['ap'])[:MAX_CURVES])
    notes = [translate('Each class against the rest.')]
    if len(known) > len(worst):
        both = {'shown': MAX_CURVES, 'count': len(known)}
        notes.append(translate('The {shown} of {count} classes with the lowest average precision.', **both))
    names = page.class_names

    def legend(key, title):
        values = [page.results.get(f'{key}/{names[i]}', curves[i][key]) for i in worst]
        return [(line, f'{shortened(names[i])}: {title} {number_text(values[line])}') for line, i in enumerate(worst)]

    roc = [(curves[i]['false_positive_rate'], curves[i]['true_positive_rate']) for i in worst]
    ranked = [(curves[i]['recall'], curves[i]['precision']) for i in worst]
    rates = {'xlabel': translate('false positive rate'), 'ylabel': translate('true positive rate')}
    titles = {'xlabel': translate('recall'), 'ylabel': translate('precision')}
    charts = [
        chart('ROC', svg_plots.lines(roc, diagonal=True, **rates), '', legend('auroc', 'AUROC')),
        chart(translate('Precision-recall'), svg_plots.lines(ranked, **titles), '', legend('ap', 'AP')),
    ]
    return [chart_section(translate('ROC and precision-recall'), charts, joined(notes))]
