"""A confusion matrix as a picture that is read for 2 classes and for 100, and which classes are confused most."""

import numpy as np

MOST_CLASSES = 100  # of more, those with the most mistakes are drawn
LETTER = 7.0  # pixels of width of a letter, about
WIDE = 11.5  # and of one as wide as high, as in Chinese
LONGEST = 130  # pixels of a class's name beside the matrix
NUMBERS_UP_TO = 20  # classes with their counts in the cells
PAIRS = 15


def confused_pairs(matrix, names):
    """Return the pairs that are confused most: dicts with truth, said (indices), count and share of the truth."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind='stable')[:PAIRS]
    pairs = [(int(place // len(names)), int(place % len(names))) for place in order]
    return [
        {'truth': i, 'said': j, 'count': int(wrong[i, j]), 'share': wrong[i, j] / matrix[i].sum()}
        for i, j in pairs
        if wrong[i, j]
    ]


def drawn_matrix(matrix, names):
    """Return what the template draws (dict): cells, names and sizes; of more than MOST_CLASSES those most mistaken.

    Args:
        matrix: (K, K) int: truth by prediction.
        names: of the classes (list of str).
    """
    classes, left_out = np.arange(len(names)), 0
    if len(names) > MOST_CLASSES:
        mistakes = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
        classes = np.sort(np.argsort(-mistakes, kind='stable')[:MOST_CLASSES])
        left_out = len(names) - MOST_CLASSES
    rows = matrix.sum(1)
    count = len(classes)
    side = 46 if count <= 12 else 34 if count <= NUMBERS_UP_TO else 18 if count <= 50 else 10  # all are to fit
    labels = [_shortened(names[index]) for index in classes]
    margin = 14 + max(_width(label) for label in labels)
    part = matrix[np.ix_(classes, classes)]
    cells = []
    for row, column in zip(*part.nonzero(), strict=True):
        share = part[row, column] / rows[classes[row]]
        cells.append({
            'x': int(margin + column * side), 'y': int(margin + row * side), 'right': bool(row == column),
            'share': float(share), 'depth': round(0.08 + 0.92 * float(share) ** 0.6, 3),
            'count': int(part[row, column]), 'truth': int(classes[row]), 'said': int(classes[column]),
        })  # fmt: skip
    return {
        'cells': cells,
        'labels': labels,
        'all_names': names,
        'side': side,
        'letters': 11 if side > 10 else 9,
        'margin': margin,
        'size': margin + count * side + 2,
        'span': count * side,
        'numbers': count <= NUMBERS_UP_TO,
        'left_out': left_out,
    }


def short_count(count):
    """Return a count in at most four characters (str), as fits into a cell."""
    for limit, divisor, unit in ((10_000, 1, ''), (10_000_000, 1_000, 'k'), (10_000_000_000, 1_000_000, 'M')):
        if count < limit:
            return (
                f'{count // divisor}{unit}' if divisor == 1 or count >= 10 * divisor else f'{count / divisor:.1f}{unit}'
            )
    return f'{count:.0e}'


def _width(text):
    return sum(LETTER if ord(letter) < 0x1100 else WIDE for letter in text)


def _shortened(text):
    if _width(text) <= LONGEST:
        return text
    while _width(text + '…') > LONGEST:
        text = text[:-1]
    return text + '…'
