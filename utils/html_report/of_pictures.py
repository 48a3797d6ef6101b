"""The sections of tasks whose outputs are as large as their pictures."""

import numpy as np

from utils.html_report import figures
from utils.html_report.matrix import confused_pairs, drawn_matrix
from utils.html_report.sections import cell, chart, charts, count_cell, galleries, table


def segmentation(page):
    """Return the sections of segmentation."""
    matrix, names = page.matrix, page.class_names
    hits, truth, said = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    rows = []
    for index, name in enumerate(names):
        if index == page.args.ignore_index:
            continue
        key = f'iou/{name}'
        with np.errstate(divide='ignore', invalid='ignore'):
            recall, precision = float(hits[index] / truth[index]), float(hits[index] / said[index])
        rows.append([
            {'text': name, 'colour': page.hex_colours[index]},
            {'text': f'{truth[index] / max(1, truth.sum()):.2%}', 'sort': int(truth[index])},
            cell(page.results.get(key, np.nan), page.interval(key)) | {'bar': True},
            cell(recall),
            cell(precision),
        ])  # fmt: skip
    pairs = [
        [{'text': names[p['truth']], 'colour': page.hex_colours[p['truth']]},
         {'text': names[p['said']], 'colour': page.hex_colours[p['said']]},
         count_cell(p['count']), {'text': f'{p["share"]:.1%}', 'sort': float(p['share'])}]
        for p in confused_pairs(matrix, names)
    ]  # fmt: skip
    those = figures.histogram(page.columns['miou'], 'mIoU of a picture', 'pictures')
    legend = {'kind': 'legend', 'title': 'Classes', 'note': '', 'classes': page.legend}
    return [
        legend,
        *galleries(page, wide=True),
        table('By class', ['class', 'share of the pixels', 'IoU', 'recall', 'precision'], rows),
        {'kind': 'matrix', 'title': 'Confusion matrix', 'matrix': drawn_matrix(matrix, names), 'note': 'Of pixels.'},
        table('Most confused', ['truth', 'taken for', 'pixels', 'share of the truth'], pairs),
        charts('How the pictures differ', [chart('mIoU by picture', those)]),
    ]


def restoration(page):
    """Return the sections of restoration."""
    those = []
    for name, title in (('psnr', 'PSNR of a picture in dB'), ('ssim', 'SSIM of a picture')):
        if np.isfinite(page.columns[name]).any():
            those.append(chart(title, figures.histogram(page.columns[name], title, 'pictures')))
    scale = page.error_scale
    legend = [] if scale is None else [
        {'kind': 'scale', 'title': 'Error map', 'high': f'{scale / 255:.3f}',
         'note': 'Mean absolute error over the channels of pixels in 0..1: black 0, the lightest '
                 f'{scale / 255:.3f} or more.'}
    ]  # fmt: skip
    return [*legend, *galleries(page, wide=True), charts('How the pictures differ', those)]
