"""Tables, charts and galleries: the parts of sections, as dicts for the template."""

import math

from markupsafe import Markup

from utils.base.language import deferred, translate
from utils.base.text_table import number_text
from utils.html_report.confusion_matrix import matrix_layout

TITLES = {
    'errors': deferred('Errors'),
    'uncertain': deferred('Least certain right predictions'),
    'worst': deferred('Worst samples'),
    'best': deferred('Best samples'),
    'median': deferred('Median samples'),
    'others': deferred('Random samples'),
}
WORST_GROUPS, OTHER_GROUPS = ('errors', 'worst'), ('uncertain', 'best', 'median', 'others')
# Samples shown before a click on "more": of WORST_GROUPS, and of OTHER_GROUPS.
FIRST_CARDS = (16, 8)
FIRST_WIDE = (4, 2)
# Keys of result.txt and summary.txt, which pages show in their language.
FACT_NAMES = (
    deferred('checkpoint'),
    deferred('checkpoint sha256'),
    deferred('epoch'),
    deferred('list'),
    deferred('list sha256'),
    deferred('samples'),
    deferred('contents sha256'),
    deferred('samples hashed'),
    deferred('contents since the run'),
    deferred('verdict'),
    deferred('compared with recorded values'),
    deferred('changed since'),
    deferred('batch size, device, threads'),
    deferred('date'),
    deferred('test-time augmentation'),
    deferred('outputs for the probe'),
    deferred('code'),
    deferred('command'),
    deferred('directory'),
    deferred('code sha256'),
    deferred('source sha256'),
    deferred('git commit'),
    deferred('trained on'),
    deferred('trained on sha256'),
    deferred('shared with training'),
    deferred('predicted'),
    deferred('damaged'),
    deferred('ensemble of'),
    deferred('ensemble sha256'),
)


def value_cell(value, bounds=None):
    """Return the table cell (dict) of a value of result.txt, with its confidence interval (low, high) if known."""
    known = isinstance(value, float | int) and math.isfinite(value)
    cell = {'text': number_text(value) if known else '–', 'value': repr(value), 'sort': value if known else None}
    if known and bounds is not None and all(map(math.isfinite, bounds)):
        low, high = (number_text(float(bound)) for bound in bounds)
        cell['interval'] = f'{low}\xa0– {high}'  # the line may break only after the dash
    return cell


def named_facts(facts):
    """Return the facts of result.txt or summary.txt (dict of str) with their names in the current language."""
    return {translate(name) if name in FACT_NAMES else name: value for name, value in facts.items()}


def count_cell(count):
    """Return the table cell (dict) of a count."""
    return {'text': f'{count:,}', 'value': str(count), 'sort': int(count)}


def share_cell(share):
    """Return the table cell (dict) of a share in 0..1, as a percentage."""
    return {'text': f'{share:.1%}', 'sort': float(share)}


def table(title, head, rows, note=''):
    """Return a section with a table: head (list of str), rows (list of lists of cells or str)."""
    return {'kind': 'table', 'title': title, 'head': head, 'rows': rows, 'note': note}


def confused_head(unit):
    """Return the head (list of str) of a table of confused classes; `unit`: what is counted, samples or pixels."""
    return [translate('truth'), translate('prediction'), unit, translate('of the true class')]


def chart(title, svg, note='', legend=()):
    """Return a chart of a section: svg (str) of utils.html_report.svg_plots, legend [(number of the line, text)]."""
    return {'title': title, 'svg': Markup(svg), 'note': note, 'legend': list(legend)}


def matrix_section(matrix, names, confused, note=''):
    """Return the section of a confusion matrix.

    Args:
        matrix: (K, K) int: truth by prediction; names: names of the classes (list of str).
        confused: the section of a table that stands beside the matrix.
        note: text below the title (str).
    """
    layout, title = matrix_layout(matrix, names), translate('Confusion matrix')
    return {'kind': 'matrix', 'title': title, 'matrix': layout, 'note': note, 'beside': confused}


def chart_section(title, charts, note=''):
    """Return a section with charts (list of what `chart` returned) side by side."""
    return {'kind': 'charts', 'title': title, 'charts': charts, 'note': note}


def sample_galleries(page, groups=(*WORST_GROUPS, *OTHER_GROUPS), wide=False):
    """Return a section for each of the `groups` (names) that has drawn samples; `wide`: one row per sample."""
    return [
        {
            'kind': 'gallery',
            'title': translate(TITLES[name]),
            'note': translate(page.group_notes.get(name, '')),
            'cards': [page.card(index, name) for index in indices],
            'wide': wide,
            'small': page.has_small_images,
            'first': (FIRST_WIDE if wide else FIRST_CARDS)[name not in WORST_GROUPS],
        }
        for name, indices in page.groups.items()
        if name in groups
    ]
