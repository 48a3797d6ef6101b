"""Compare two tests sample by sample and test the difference for significance: runs.py compare-predictions A B.

Both tests must have the same test set. A and B are runs (the newest test of best.pth is used), checkpoints (their
newest test) or directories of tests.
"""

import csv
from itertools import islice
from pathlib import Path

import numpy as np

from scripts.run_commands.pairing import (
    check_same_test_set,
    find_test,
    header_of,
    pairs,
    parse_cells,
    read_pairs,
    shared_header,
)
from utils.base.atomic_write import atomic_writer
from utils.base.csv_text import escape_cell
from utils.base.errors import DanluError
from utils.base.regular_files import resolved
from utils.base.text_table import count_text, number_text, printable, table, terminal_width, wrap_lines
from utils.options.arguments import number as number_type
from utils.runs.results import warning_on
from utils.statistics.bootstrap_metrics import (
    cell_to_float,
    lower_is_better,
    sample_quality,
    select_sum_metric,
    target_column_names,
)
from utils.statistics.significance import SIGNIFICANCE_LEVEL, mcnemar, paired_bootstrap
from utils.tasks.tasks import task_named

DEFAULT_SAMPLES = 10
MAX_SHEET_SAMPLES = 24
DIRECTIONS = {True: ('right to wrong', 'wrong to right'), False: ('worse', 'better')}  # key: right or wrong samples


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('a', metavar='A', help='a run, a checkpoint, or the directory of a test')
    parser.add_argument('b', metavar='B', help='the run, checkpoint or test to compare A with')
    parser.add_argument('--metric', metavar='NAME', help='a metric of result.txt, or a column of predictions.csv')
    parser.add_argument(
        '--show',
        default=DEFAULT_SAMPLES,
        type=number_type(int, low=0),
        metavar='N',
        help=f'number of samples printed in each direction (default: {DEFAULT_SAMPLES})',
    )
    parser.add_argument('--csv', type=Path, metavar='FILE', help='write all samples that changed to this file')
    parser.add_argument(
        '--sheet',
        nargs='?',
        const='',
        metavar='FILE.png',
        help='draw the samples that changed most (default: a file beside the test of B)',
    )
    parser.add_argument('--seed', default=0, type=number_type(int, low=0), metavar='N', help='seed of the bootstrap')


def run(args):
    """Compare the tests, print the result, and write the files that the options name."""
    a, b = (find_test(wanted, args.checkpoints_dir) for wanted in (args.a, args.b))
    if resolved(a.directory) == resolved(b.directory):
        raise DanluError(f'A and B are the same test: {a.directory}')
    check_same_test_set(a, b)
    header = shared_header(a, b)
    measure = select_sum_metric(args.metric, a.task, header)
    right_or_wrong = 'correct' in header
    quality = sample_quality(a.task, header)
    (sums_a, sums_b), (quality_a, quality_b) = read_pairs(a, b, [measure.row, lambda cells: [quality(cells)]])
    changes = np.nan_to_num((quality_b - quality_a)[:, 0])
    if lower_is_better(task_named(a.task).quality, a.task):
        changes = -changes
    _print_heads(a, b)
    _print_changes(a, b, changes, right_or_wrong, args.show)
    _print_difference(a, b, measure, (sums_a, sums_b), changes, args)
    if args.csv:
        _write_csv(args.csv, a, b, changes, right_or_wrong)
    if args.sheet is not None:
        path = Path(args.sheet) if args.sheet else b.directory / f'flips_from_{a.name.replace("/", "_")}.png'
        _draw(path, a, b, changes, right_or_wrong)


def _print_heads(a, b):
    """Print the names of the tests and of the test set."""
    for letter, test in zip('AB', (a, b), strict=True):
        print(f'{letter}: {printable(test.name)}, epoch {test.head.get("epoch")}, {printable(test.directory)}')
        if warning := warning_on(test.head):
            print(printable(f'{warning[:1]} {letter} {warning[2:]}'))
    print(
        f'{count_text(int(a.head.get("samples", 0)), "sample")} of {printable(a.head.get("list", "an unknown list"))}'
    )


def _largest_changes(changes, right_or_wrong, limit):
    """Return (direction, number of samples, indices of at most `limit` samples) for both directions of change."""
    found = []
    for direction, signed in zip(DIRECTIONS[right_or_wrong], (-changes, changes), strict=True):
        count = int((signed > 0).sum())
        order = np.argsort(-signed, kind='stable')[: min(limit, count)]
        found.append((direction, count, order.tolist()))
    return found


def _select_pairs(a, b, wanted):
    """Return the cells of some samples: dict from an index to (cells of a, cells of b)."""
    wanted = set(wanted)
    until = islice(pairs(a, b), max(wanted, default=-1) + 1)
    return {index: (of_a, of_b) for index, of_a, of_b in until if index in wanted}


def _print_changes(a, b, changes, right_or_wrong, limit):
    """Print the numbers of samples that changed in each direction, and the samples that changed most."""
    largest = _largest_changes(changes, right_or_wrong, limit)
    cells = _select_pairs(a, b, [index for _, _, indices in largest for index in indices])
    unchanged = int((changes == 0).sum())
    counts = ', '.join(f'{direction}: {count:,}' for direction, count, _ in largest)
    print(f'{counts}, {"no change" if right_or_wrong else "the same"}: {unchanged:,}')
    for direction, count, indices in largest:
        if not indices:
            continue
        which = 'first' if right_or_wrong else 'largest'
        print(f'\n{direction}' + (f' (the {which} {len(indices)} of {count:,})' if len(indices) < count else ''))
        head, rows = parse_cells(a, lambda both: _rows(both, a.task), [cells[index] for index in indices])
        for line in table(head, rows, terminal_width(), flexible=('name', 'truth'), right=('A', 'B'))[0]:
            print(f'  {line}')
    print()


def _rows(cells, task):
    """Return the head (list of str) and rows of the table of samples; `cells`: list of (cells of a, cells of b)."""
    own = task_named(task)
    column = own.quality
    if own.has_class_names:
        return ['name', 'truth', 'A predicts', 'B predicts'], [
            [of_a['name'], of_a['target'], of_a['prediction'], of_b['prediction']] for of_a, of_b in cells
        ]
    if column in cells[0][0]:
        return ['name', f'A {column}', f'B {column}'], [
            [of_a['name'], *(number_text(cell_to_float(c[column])) for c in (of_a, of_b))] for of_a, of_b in cells
        ]
    suffixes = [name.removeprefix('target') for name in target_column_names(cells[0][0])]
    return ['name', 'truth', 'A', 'B'], [
        [of_a['name'], *('; '.join(number_text(float(c[f'{name}{end}'])) for end in suffixes) for name, c in each)]
        for of_a, of_b in cells
        for each in [(('target', of_a), ('prediction', of_a), ('prediction', of_b))]
    ]


def _print_difference(a, b, measure, sums, changes, args):
    """Print the difference in the metric, its confidence interval, and whether it is significant."""
    found = paired_bootstrap(*sums, measure.value, args.seed)
    values = [float(measure.value(each.sum(0))) for each in sums]
    print(f'{measure.name}: A {number_text(values[0])}, B {number_text(values[1])}')
    for letter, test, value in zip('AB', (a, b), values, strict=True):
        printed = test.values.get(measure.name)
        if printed is not None and not np.isclose(float(printed), value, rtol=1e-4, atol=1e-7, equal_nan=True):
            print(f'  {letter}: this is the mean over samples; result.txt has {number_text(float(printed))}')
    p, test = found['p'], 'paired bootstrap'
    if measure.name in ('acc', 'exact_match'):
        worse, better = int((changes < 0).sum()), int((changes > 0).sum())
        p, test = mcnemar(worse, better), f"McNemar's exact test on the {worse + better:,} samples that changed"
    if np.isnan(found['gap']):
        print('the difference is undefined: the metric of A or B is nan')
        return
    gap, low, high = (number_text(found[key], signed=True) for key in ('gap', 'low', 'high'))
    lines = [f'difference: {gap}, {1 - SIGNIFICANCE_LEVEL:.0%} confidence interval {low} to {high} (paired bootstrap, '
             f'{found["resamples"]:,} resamples)']  # fmt: skip
    verdict = 'significant' if p < SIGNIFICANCE_LEVEL else 'not significant'
    p_text = f'p = {number_text(p)}' if p >= 0.001 else 'p < 0.001'
    lines.append(f'the difference of {number_text(abs(found["gap"]))} is {verdict} ({p_text}, {test})')
    lines.append('(significance accounts for the choice of test samples, not for the variation between training seeds)')
    print(wrap_lines('\n'.join(lines), terminal_width()))


def _write_csv(path, a, b, changes, right_or_wrong):
    """Write a row with the direction of change and the columns of both tests for each sample that changed."""
    columns = header_of(b)
    with atomic_writer(path) as file:
        file.write('\ufeff')
        writer, head = csv.writer(file), None
        for index, of_a, of_b in pairs(a, b):
            if not changes[index]:
                continue
            if head is None:
                shared = ['name', *target_column_names(of_a)]
                own = [name for name in of_a if name not in shared and name in columns]
                head = ['change', 'index', *shared, *(f'{side} {name}' for name in own for side in 'AB')]
                writer.writerow(head)
            direction = DIRECTIONS[right_or_wrong][int(changes[index] > 0)]
            cells = [c[name] for name in own for c in (of_a, of_b)]
            writer.writerow([direction, index, *(escape_cell(of_a[name]) for name in shared), *map(escape_cell, cells)])
    print(f'written: {path}')


def _draw(path, a, b, changes, right_or_wrong):
    """Draw the samples that changed most."""
    from scripts.run_commands.sheet import draw_sheet  # imports torch

    largest = [each for each in _largest_changes(changes, right_or_wrong, MAX_SHEET_SAMPLES // 2) if each[2]]
    if not largest:
        print('no sheet: no sample changed')
        return
    cells = _select_pairs(a, b, [index for _, _, indices in largest for index in indices])
    draw_sheet(path, a, b, largest, cells)
    print(f'drawn: {path}')
