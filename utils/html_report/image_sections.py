"""The sections of segmentation and restoration tests."""

import numpy as np

from utils.base.language import translate
from utils.base.text_table import number_text
from utils.html_report import svg_plots
from utils.html_report.class_labels import name_cell
from utils.html_report.confusion_matrix import confused_pairs
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


def segmentation(page):
    """Return the sections of segmentation."""
    matrix, names = page.matrix, page.class_names
    hits, truth, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    rows = []
    for index, name in enumerate(names):
        if index == page.args.ignore_index:
            continue
        key = f'iou/{name}'
        with np.errstate(divide='ignore', invalid='ignore'):
            recall, precision = float(hits[index] / truth[index]), float(hits[index] / predicted[index])
        rows.append([
            name_cell(name) | {'colour': page.hex_colours[index]},
            {'text': f'{truth[index] / max(1, truth.sum()):.2%}', 'sort': int(truth[index])},
            value_cell(page.results.get(key, np.nan), page.interval(key)) | {'bar': True},
            value_cell(recall),
            value_cell(precision),
        ])  # fmt: skip
    pairs = [
        [*(name_cell(names[pair[key]]) | {'colour': page.hex_colours[pair[key]]} for key in ('truth', 'predicted')),
         count_cell(pair['count']), share_cell(pair['share'])]
        for pair in confused_pairs(matrix, names)
    ]  # fmt: skip
    head = [translate('class'), translate('share of the pixels'), 'IoU', translate('recall'), translate('precision')]
    confused = table(translate('Most confused classes'), confused_head(translate('pixels')), pairs)
    histogram = svg_plots.histogram(page.columns['miou'], translate('mIoU of an image'), translate('images'))
    return [
        table(translate('Classes'), head, rows),
        matrix_section(matrix, names, confused, translate('In pixels.')),
        {'kind': 'legend', 'title': translate('Colours'), 'note': '', 'classes': page.legend},
        *sample_galleries(page, WORST_GROUPS, wide=True),
        chart_section(translate('Distribution over images'), [chart('mIoU', histogram)]),
        *sample_galleries(page, OTHER_GROUPS, wide=True),
    ]


def restoration(page):
    """Return the sections of restoration."""
    charts = []
    for name, title in (('psnr', translate('PSNR of an image in dB')), ('ssim', translate('SSIM of an image'))):
        if np.isfinite(page.columns[name]).any():
            charts.append(chart(title, svg_plots.histogram(page.columns[name], title, translate('images'))))
    scale = page.error_scale
    legend = [] if scale is None else [
        {'kind': 'scale', 'title': translate('Error map'), 'high': number_text(scale / 255),
         'note': translate('Absolute error, averaged over the channels, of pixels in 0..1. Black is 0; the lightest '
                           'colour is {highest} or more.', highest=number_text(scale / 255))}
    ]  # fmt: skip
    return [
        *legend,
        *sample_galleries(page, WORST_GROUPS, wide=True),
        chart_section(translate('Distribution over images'), charts),
        *sample_galleries(page, OTHER_GROUPS, wide=True),
    ]
