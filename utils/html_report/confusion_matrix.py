"""The layout of a confusion matrix, readable for 2 to 100 classes, and the most confused classes."""

import numpy as np

from utils.html_report.class_labels import MAX_LABEL_WIDTH, shortened, text_width

MAX_CLASSES = 100  # of more classes, those with the most errors are drawn
MAX_CLASSES_WITH_COUNTS = 20  # with a number in each cell
MAX_PAIRS = 15


def confused_pairs(matrix, names):
    """Return the most confused pairs of classes: dicts with truth, predicted (indices), count, share of the truth."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind='stable')[:MAX_PAIRS]
    pairs = [divmod(int(position), len(names)) for position in order]
    return [
        {'truth': i, 'predicted': j, 'count': int(wrong[i, j]), 'share': wrong[i, j] / matrix[i].sum()}
        for i, j in pairs
        if wrong[i, j]
    ]


def matrix_layout(matrix, names):
    """Return cells, labels and sizes in pixels (dict) for the template.

    Args:
        matrix: (K, K) int: truth by prediction.
        names: names of the classes (list of str).
    """
    classes, left_out = np.arange(len(names)), 0
    if len(names) > MAX_CLASSES:
        errors = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
        classes = np.sort(np.argsort(-errors, kind='stable')[:MAX_CLASSES])
        left_out = len(names) - MAX_CLASSES
    rows = matrix.sum(1)
    count = len(classes)
    side = 46 if count <= 12 else 34 if count <= MAX_CLASSES_WITH_COUNTS else 18 if count <= 50 else 10
    labels = [shortened(names[index], MAX_LABEL_WIDTH) for index in classes]
    margin = 14 + max(text_width(label) for label in labels)
    drawn = matrix[np.ix_(classes, classes)]
    cells = []
    for row, column in zip(*drawn.nonzero(), strict=True):
        share = drawn[row, column] / rows[classes[row]]
        cells.append({
            'x': int(margin + column * side), 'y': int(margin + row * side), 'right': bool(row == column),
            'share': float(share), 'opacity': round(0.08 + 0.92 * float(share) ** 0.6, 3),
            'count': int(drawn[row, column]), 'truth': int(classes[row]), 'predicted': int(classes[column]),
        })  # fmt: skip
    return {
        'cells': cells,
        'labels': labels,
        'all_names': names,
        'side': side,
        'font_size': 11 if side > 10 else 9,
        'margin': margin,
        'size': margin + count * side + 2,
        'span': count * side,
        'has_counts': count <= MAX_CLASSES_WITH_COUNTS,
        'left_out': left_out,
    }


def short_count(count):
    """Return a count in at most four characters (str) for a cell."""
    for limit, divisor, unit in ((10_000, 1, ''), (10_000_000, 1_000, 'k'), (10_000_000_000, 1_000_000, 'M')):
        if count < limit:
            return (
                f'{count // divisor}{unit}' if divisor == 1 or count >= 10 * divisor else f'{count / divisor:.1f}{unit}'
            )
    return f'{count:.0e}'
