"""The parts that sections are made of."""

import math

from markupsafe import Markup

TITLES = {
    'worst': 'Worst samples',
    'best': 'Best samples',
    'median': 'Samples in the middle',
    'others': 'Others, drawn by chance',
}


def figure(value):
    """Return a value of result.txt as a page shows it (str): four digits behind the point, as eval.py prints it."""
    if not isinstance(value, float | int) or not math.isfinite(value):
        return str(value)
    return f'{value:.4f}' if 1e-3 <= abs(value) < 1e5 or value == 0 else f'{value:.3e}'


def cell(value, bounds=None):
    """Return the cell of a table (dict) for a value of result.txt, with its interval (low, high) where it has one."""
    known = isinstance(value, float | int) and math.isfinite(value)
    found = {'text': figure(value) if known else '–', 'value': repr(value), 'sort': value if known else None}
    if known and bounds is not None and all(map(math.isfinite, bounds)):
        found['interval'] = (
            f'{figure(float(bounds[0]))}\xa0– {figure(float(bounds[1]))}'  # may be broken behind the dash
        )
    return found


def count_cell(count):
    """Return the cell of a table (dict) for a count."""
    return {'text': f'{count:,}', 'value': str(count), 'sort': int(count)}


def table(title, head, rows, note=''):
    """Return a section with a table: head (list of str), rows (list of lists of cells or str)."""
    return {'kind': 'table', 'title': title, 'head': head, 'rows': rows, 'note': note}


def chart(title, svg, note='', legend=()):
    """Return a chart of a section: svg from utils.html_report.figures, legend [(number of the line, text)]."""
    return {'title': title, 'svg': Markup(svg), 'note': note, 'legend': list(legend)}


def charts(title, those, note=''):
    """Return a section with charts side by side."""
    return {'kind': 'charts', 'title': title, 'charts': those, 'note': note}


def galleries(page, wide=False):
    """Return a section for each group of samples that are drawn, the worst first; `wide`: a row for each."""
    return [
        {
            'kind': 'gallery',
            'title': TITLES[name],
            'note': page.group_notes.get(name, ''),
            'cards': [page.card(index, name) for index in indices],
            'wide': wide,
            'small': page.small,
        }
        for name, indices in page.groups.items()
    ]
