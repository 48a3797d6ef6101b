"""Compare several runs: what differs, curves, metrics with intervals, samples side by side: runs.py compare A B C.

With --html all of it is one page, a file that opens anywhere. Each of A, B, C is a run (then the newest test of its
best.pth counts), a checkpoint of one, or the directory of a test.
"""

import math
from pathlib import Path

from scripts.run_commands.comparison import cells_of, find_sides, find_test_sets, option_rows, other_rows, overview
from scripts.run_commands.pairing import reading_predictions
from utils.base.text_table import number_text, printable, table, terminal_width
from utils.options.arguments import number as number_type
from utils.statistics.significance import SIGNIFICANCE_LEVEL

SHOWN = 10
PICTURES = 24


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument('runs', nargs='+', metavar='RUN', help='runs, checkpoints, or directories of tests')
    parser.add_argument('--html', type=Path, metavar='FILE', help='write a page')
    parser.add_argument('--show', type=number_type(int, low=0), metavar='N',
                        help=f'samples side by side, those first on which they disagree (default: {SHOWN}, in a page '
                             f'{PICTURES})')  # fmt: skip
    parser.add_argument('--seed', default=0, type=number_type(int, low=0), metavar='N', help='of the bootstrap')


def run(args):
    """Compare, and print or write the page."""
    if args.html:
        from utils.html_report.page import environment

        environment()  # without which there is no page: before the work, not behind it
    sides = find_sides(args.runs, args.checkpoints_dir)
    with reading_predictions([side.test for side in sides if side.test is not None]):
        _compare(sides, args)


def _compare(sides, args):
    """Compare Sides, and print or write the page."""
    sets, notes = find_test_sets(sides, args.seed)
    if args.html:
        from scripts.run_commands.compare_page import write_page  # with it comes torch

        write_page(args.html, sides, sets, notes, PICTURES if args.show is None else args.show)
        print(f'written: {args.html}')
        return
    for lines in (*_differences(sides), *(part for each in sets for part in _tested(each, args)), notes):
        if lines:
            print(*map(printable, lines), '', sep='\n')


def _table(head, rows, right=()):
    return table(head, rows, terminal_width(), flexible=head, right=right)[0]


def _differences(sides):
    """Return tables (list of lists of str): how the runs went, and in what they differ."""
    letters, (head, rows) = [side.letter for side in sides], overview(sides)
    tables = [_table(head, rows, right=('epochs', 'in epoch'))]
    for title, found in (('options', option_rows(sides)), ('code and data', other_rows(sides))):
        tables.append(_table([title, *letters], found) if found else [f'{title}: no difference'])
    return tables


def _tested(tested, args):
    """Return what came out of the tests of one test set: lists of lines (list of str)."""
    sides, first = tested.sides, tested.sides[0].test
    letters = [side.letter for side in sides]
    count, where = int(first.head.get('samples', 0)), first.head.get('list', 'an unknown list')
    rows = [
        [name, *(_value(*each) for each in zip(tested.values[name], _bounds(tested, name), strict=True))]
        for name in tested.names
    ]
    yield [f'{" and ".join(letters)}: {count:,} samples of {where}', *_table(['metric', *letters], rows)]
    if len(sides) < 2:
        return
    yield [gap_text(name, letters[0], side.letter, gap)
           for name, gaps in tested.gaps.items()
           for side, gap in zip(sides[1:], gaps, strict=True)]  # fmt: skip
    shown = min(SHOWN if args.show is None else args.show, tested.disagreed)
    lines = [f'samples on which they disagree: {tested.disagreed:,}' + (f', the first {shown}:' if shown else '')]
    if shown:
        indices = tested.order[:shown].tolist()
        cells = [cells_of(side.test, indices) for side in sides]
        lines += _table(['name', 'truth', *letters], [sample_row(i, cells, tested) for i in indices])
    yield lines


def _bounds(tested, name):
    return tested.bounds.get(name) or [None] * len(tested.sides)


def _value(value, bounds):
    """Return a value with its interval as text (str)."""
    text = '-' if math.isnan(value) else number_text(value)
    known = bounds is not None and not any(map(math.isnan, bounds))
    return text + (f' ({number_text(bounds[0])} to {number_text(bounds[1])})' if known else '')


def gap_text(name, first, other, gap):
    """Return what is to be said of the gap of a metric from one side to another (str)."""
    if math.isnan(gap['gap']) or math.isnan(gap['low']):
        return f'{name}: there is no gap of {other} to {first} to judge'
    p = f'p = {gap["p"]:.2g}' if gap['p'] >= 0.001 else 'p < 0.001'
    verdict = 'within what chance gives' if gap['p'] >= SIGNIFICANCE_LEVEL else 'better' if gap['better'] else 'worse'
    between = f'{1 - SIGNIFICANCE_LEVEL:.0%} interval {gap["low"]:+.4g} to {gap["high"]:+.4g}'
    return f'{name}: {other} against {first} {gap["gap"]:+.4g} ({between}, {p}): {verdict}'


def sample_row(index, cells, tested):
    """Return the row (list of str) of a sample: name, truth, and what each side said, or how good it was.

    Args:
        index: of the sample (int).
        cells: for each side the dict that cells_of returned.
        tested: the TestSet.
    """
    own = [of_side[index] for of_side in cells]
    truth = ' '.join(text for name, text in own[0].items() if name == 'target' or name.startswith('target/'))
    said = [' '.join(text for name, text in each.items() if name == 'prediction' or name.startswith('prediction/'))
            for each in own]  # fmt: skip
    if not any(said):  # pixels, of which only the quality is in the table
        said = [number_text(quality) for quality in tested.quality[index]]
    return [own[0]['name'], truth, *said]
