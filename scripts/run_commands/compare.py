"""Compare runs: options that differ, curves, metrics with confidence intervals, samples: runs.py compare A B C.

Each of A, B, C is a run (the newest test of its best.pth is used), a checkpoint, or the directory of a test. --html
writes the comparison as one self-contained HTML file.
"""

import math
from pathlib import Path

from scripts.run_commands.comparison import difference_rows, find_sides, find_test_sets, option_rows, overview
from scripts.run_commands.pairing import select_cells
from utils.base.language import ENGLISH, PAGE_LANGUAGE, page_language, translate, use_language
from utils.base.text_table import count_text, number_text, printable, table, terminal_width, wrap_lines
from utils.options.arguments import number as number_type
from utils.statistics.significance import SIGNIFICANCE_LEVEL

DEFAULT_SAMPLES = 10
DEFAULT_PAGE_SAMPLES = 24
KEPT_NAME_COLUMNS = 40  # of a run, before other columns are dropped on a narrow terminal


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('runs', nargs='+', metavar='RUN', help='runs, checkpoints, or directories of tests')
    parser.add_argument('--html', type=Path, metavar='FILE', help='write an HTML page to this file')
    parser.add_argument('--lang', **PAGE_LANGUAGE)
    parser.add_argument('--show', type=number_type(int, low=0), metavar='N',
                        help=f'number of samples shown side by side, by disagreement (default: {DEFAULT_SAMPLES}, with '
                             f'--html {DEFAULT_PAGE_SAMPLES})')  # fmt: skip
    parser.add_argument('--seed', default=0, type=number_type(int, low=0), metavar='N', help='seed of the bootstrap')


def run(args):
    """Compare the runs, and print the result or write the page."""
    if args.html:
        from utils.html_report.templating import environment

        environment()  # fails before the work if Jinja2 is missing
    with use_language(page_language(args.lang) if args.html else ENGLISH):
        sides = find_sides(args.runs, args.checkpoints_dir)
        test_sets, notes = find_test_sets(sides, args.seed)
        if args.html:
            from scripts.run_commands.compare_page import write_page  # imports torch

            write_page(args.html, sides, test_sets, notes, DEFAULT_PAGE_SAMPLES if args.show is None else args.show)
            print(f'comparison of {count_text(len(sides), "run")}: {args.html}')
            return
    for lines in (*_differences(sides), *(part for each in test_sets for part in _test_set_lines(each, args)), notes):
        if lines:
            print(*(wrap_lines(printable(line), terminal_width()) for line in lines), '', sep='\n')


def _table(head, rows, right=(), **widths):
    return table(head, rows, terminal_width(), flexible=head, right=right, **widths)[0]


def _differences(sides):
    """Return tables (list of lists of str) with the outcome of the runs and the differences between them."""
    letters, (head, rows) = [side.letter for side in sides], overview(sides)
    first = {'droppable': ('started', 'time', 'monitor'), 'kept': {'run': KEPT_NAME_COLUMNS}}
    tables = [_table(head, rows, right=('epochs', 'best epoch'), **first)]
    for title, found in (('options', option_rows(sides)), ('code and data', difference_rows(sides))):
        tables.append(_table([title, *letters], found) if found else [f'{title}: no difference'])
    return tables


def _test_set_lines(test_set, args):
    """Yield the results on one test set: metrics, differences, and samples (lists of str)."""
    sides, first = test_set.sides, test_set.sides[0].test
    letters = [side.letter for side in sides]
    count, name = int(first.head.get('samples', 0)), first.head.get('list', 'an unknown list')
    rows = [[metric, *map(_value, test_set.values[metric], test_set.bounds_of(metric))] for metric in test_set.names]
    yield [f'{", ".join(letters)}: {count_text(count, "sample")} of {name}', *_table(['metric', *letters], rows)]
    if len(sides) < 2:
        return
    yield difference_texts(test_set)
    limit = min(DEFAULT_SAMPLES if args.show is None else args.show, test_set.disagreements)
    lines = [f'samples on which they disagree: {test_set.disagreements:,}' + (f', the first {limit}:' if limit else '')]
    if limit:
        indices = test_set.order[:limit].tolist()
        cells = [select_cells(side.test, indices) for side in sides]
        lines += _table(['name', 'truth', *letters], [sample_row(i, cells, test_set) for i in indices])
    yield lines


def _value(value, bounds):
    """Return a value with its confidence interval (str)."""
    text = '-' if math.isnan(value) else number_text(value)
    known = bounds is not None and not any(map(math.isnan, bounds))
    return text + (f' ({number_text(bounds[0])} to {number_text(bounds[1])})' if known else '')


def difference_texts(test_set):
    """Return a sentence (str) for each metric and each side but the first: its difference to the first side."""
    first, *others = (side.letter for side in test_set.sides)
    return [
        difference_text(name, first, other, gap)
        for name, gaps in test_set.gaps.items()
        for other, gap in zip(others, gaps, strict=True)
    ]


def difference_text(name, first, other, gap):
    """Return the difference in a metric between two sides as a sentence (str); `gap`: see TestSet."""
    if math.isnan(gap['gap']) or math.isnan(gap['low']):
        names = {'name': name, 'other': other, 'first': first}
        return translate('{name}: the difference of {other} to {first} is undefined', **names)
    p = f'p = {number_text(gap["p"])}' if gap['p'] >= 0.001 else 'p < 0.001'
    verdict = translate('better') if gap['better'] else translate('worse')
    return translate(
        '{name}: {other} against {first} {gap} ({level} confidence interval {low} to {high}, {p}): {verdict}',
        name=name,
        other=other,
        first=first,
        level=f'{1 - SIGNIFICANCE_LEVEL:.0%}',
        **{key: number_text(gap[key], signed=True) for key in ('gap', 'low', 'high')},
        p=p,
        verdict=translate('not significant') if gap['p'] >= SIGNIFICANCE_LEVEL else verdict,
    )


def sample_row(index, cells, test_set):
    """Return the row (list of str) of a sample: name, truth, and the prediction of each side, or its quality.

    Args:
        index: index of the sample (int).
        cells: for each side, the dict that select_cells returned.
        test_set: the TestSet.
    """
    own = [of_side[index] for of_side in cells]
    truth = ' '.join(text for name, text in own[0].items() if name == 'target' or name.startswith('target/'))
    predictions = [
        ' '.join(text for name, text in each.items() if name == 'prediction' or name.startswith('prediction/'))
        for each in own
    ]
    if not any(predictions):  # a mask or an image: the table has its quality only
        predictions = [number_text(quality) for quality in test_set.quality[index]]
    return [own[0]['name'], truth, *predictions]
