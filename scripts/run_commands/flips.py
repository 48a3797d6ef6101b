"""What changed from test A to test B, sample by sample, and whether the gap is noise: runs.py flips A B.

Both tests must be of one test set. A and B are runs (then the newest test of best.pth), checkpoints (their newest test)
or directories of results.
"""

import csv
from itertools import islice
from pathlib import Path

import numpy as np

from scripts.run_commands.pairing import check_alike, find_test, pairs, read_pairs, reading_predictions, shared_header
from utils.base.atomic_write import atomic_writer
from utils.base.csv_text import escape_cell
from utils.base.errors import DanluError
from utils.base.regular_files import resolved
from utils.base.text_table import number_text, printable, table, terminal_width
from utils.options.arguments import number as number_type
from utils.statistics.bootstrap_metrics import cell_to_float, lower_is_better, select_sum_metric, target_column_names
from utils.statistics.significance import SIGNIFICANCE_LEVEL, mcnemar, paired_bootstrap

SHOWN = 10
# What a sample is better or worse by, where it is neither right nor wrong; the mean of a regression's absolute errors.
OF_SAMPLE = {'segmentation': 'miou', 'restoration': 'psnr', 'regression': 'mae'}
WAYS = {True: ('right to wrong', 'wrong to right'), False: ('worse', 'better')}
SHEET = 24  # pictures


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument('a', metavar='A', help='a run, a checkpoint, or the directory of a test')
    parser.add_argument('b', metavar='B', help='what it is compared with')
    parser.add_argument('--metric', metavar='NAME', help='of result.txt, or a column of predictions.csv')
    parser.add_argument('--show', default=SHOWN, type=number_type(int, low=0), metavar='N', help='samples listed')
    parser.add_argument('--csv', type=Path, metavar='FILE', help='write all samples that changed')
    parser.add_argument('--sheet', nargs='?', const='', metavar='FILE.png', help='draw them, beside the test of B')
    parser.add_argument('--seed', default=0, type=number_type(int, low=0), metavar='N', help='of the bootstrap')


def run(args):
    """Compare, print, and write what is asked for."""
    a, b = (find_test(wanted, args.checkpoints_dir) for wanted in (args.a, args.b))
    if resolved(a.directory) == resolved(b.directory):
        raise DanluError(f'A and B are the same test: {a.directory}')
    check_alike(a, b)
    with reading_predictions([a, b]):
        _compare(a, b, args)


def _compare(a, b, args):
    """Compare two Tests, print, and write what is asked for."""
    header = shared_header(a, b)
    measure = select_sum_metric(args.metric, a.task, header)
    judged = 'correct' in header
    of_sample = (lambda cells: [cell_to_float(cells['correct'])]) if judged else _of_sample(a.task, header)
    (sums_a, sums_b), (each_a, each_b) = read_pairs(a, b, [measure.row, of_sample])
    changes = np.nan_to_num((each_b - each_a)[:, 0])
    if lower_is_better(OF_SAMPLE.get(a.task, '')):
        changes = -changes
    _print_heads(a, b)
    _print_changes(a, b, changes, judged, args.show)
    _print_gap(a, b, measure, (sums_a, sums_b), changes, args)
    if args.csv:
        _write_csv(args.csv, a, b, changes, judged)
    if args.sheet is not None:
        path = Path(args.sheet) if args.sheet else b.directory / f'flips_from_{a.name.replace("/", "_")}.png'
        _draw(path, a, b, changes, judged)


def _of_sample(task, header):
    """Return the function that gives what a sample is better or worse by ([float])."""
    name = OF_SAMPLE.get(task)
    if name is None:
        raise DanluError(f'task {task}: nothing in predictions.csv says whether a sample is right, or how good it is')
    if task == 'regression':
        row = select_sum_metric(name, task, header).row
        return lambda cells: row(cells)[:1]
    return lambda cells: [cell_to_float(cells[name])]


def _print_heads(a, b):
    """Print what is compared."""
    for letter, test in zip('AB', (a, b), strict=True):
        print(f'{letter}: {printable(test.name)}, epoch {test.head.get("epoch")}, {printable(test.directory)}')
    print(f'{int(a.head.get("samples", 0)):,} samples of {printable(a.head.get("list", "an unknown list"))}')


def _chosen(changes, judged, count):
    """Return the samples of most change each way: list of (way, how many there are, indices of the first `count`)."""
    chosen = []
    for way, signed in zip(WAYS[judged], (-changes, changes), strict=True):
        there = int((signed > 0).sum())
        order = np.argsort(-signed, kind='stable')[: min(count, there)]
        chosen.append((way, there, order.tolist()))
    return chosen


def _cells_of(a, b, wanted):
    """Return the cells of some samples: dict from an index to (cells of a, cells of b)."""
    wanted = set(wanted)
    until = islice(pairs(a, b), max(wanted, default=-1) + 1)
    return {index: (of_a, of_b) for index, of_a, of_b in until if index in wanted}


def _print_changes(a, b, changes, judged, show):
    """Print how many samples changed each way, and the first ones, or those that changed most."""
    chosen = _chosen(changes, judged, show)
    cells = _cells_of(a, b, [index for _, _, indices in chosen for index in indices])
    same = int((changes == 0).sum())
    counts = ', '.join(f'{way}: {there:,}' for way, there, _ in chosen)
    print(f'{counts}, {"no change" if judged else "the same"}: {same:,}')
    for way, there, indices in chosen:
        if not indices:
            continue
        few = there - len(indices)
        print(f'\n{way}' + (f' (the {"first" if judged else "largest"} {len(indices)} of {there:,})' if few else ''))
        head, rows = _rows([cells[index] for index in indices], a.task)
        for line in table(head, rows, terminal_width(), flexible=('name', 'truth'), right=('A', 'B'))[0]:
            print(f'  {line}')
    print()


def _rows(cells, task):
    """Return a table's head (list of str) and rows for samples' (cells of a, cells of b)."""
    column = OF_SAMPLE.get(task)
    if task == 'regression':
        ends = [name.removeprefix('target') for name in target_column_names(cells[0][0])]
        both = [
            [one['name'], *('; '.join(number_text(float(c[f'{part}{end}'])) for end in ends) for part, c in triple)]
            for one, other in cells
            for triple in [(('target', one), ('prediction', one), ('prediction', other))]
        ]
        return ['name', 'truth', 'A', 'B'], both
    if column:
        return ['name', f'A {column}', f'B {column}'], [
            [one['name'], *(number_text(cell_to_float(c[column])) for c in (one, other))] for one, other in cells
        ]
    return ['name', 'truth', 'A says', 'B says'], [
        [one['name'], one['target'], one['prediction'], other['prediction']] for one, other in cells
    ]


def _print_gap(a, b, measure, sums, changes, args):
    """Print the gap of the metric, its interval, and whether chance gives as much."""
    found = paired_bootstrap(*sums, measure.value, args.seed)
    values = [float(measure.value(of_one.sum(0))) for of_one in sums]
    print(f'{measure.name}: A {number_text(values[0])}, B {number_text(values[1])}')
    for letter, test, value in zip('AB', (a, b), values, strict=True):
        said = test.values.get(measure.name)
        if said is not None and not np.isclose(float(said), value, rtol=1e-4, atol=1e-7, equal_nan=True):
            print(f'  of {letter}, this is the mean over its samples; result.txt has {number_text(float(said))}')
    p, test = found['p'], 'paired bootstrap'
    if measure.name in ('acc', 'exact_match'):
        worse, better = int((changes < 0).sum()), int((changes > 0).sum())
        p, test = mcnemar(worse, better), f"McNemar's exact test on the {worse + better:,} samples that changed"
    if np.isnan(found['gap']):
        print('there is no gap to judge: the metric is no number for one of them')
        return
    interval = f'{1 - SIGNIFICANCE_LEVEL:.0%} interval {found["low"]:+.4g} to {found["high"]:+.4g}'
    print(f'gap: {found["gap"]:+.4g}, {interval} (paired bootstrap, {found["resamples"]:,} resamples)')
    verdict = 'is more than chance gives' if p < SIGNIFICANCE_LEVEL else 'is within what chance gives'
    shown = f'p = {p:.2g}' if p >= 0.001 else 'p < 0.001'
    print(f'the gap of {number_text(abs(found["gap"]))} {verdict} ({shown}, {test})')
    print('chance: which samples are in the test set; how much another seed of the training changes it does not tell')


def _write_csv(path, a, b, changes, judged):
    """Write a row per sample that changed: which way, and its columns of both tests."""
    with atomic_writer(path) as file:
        file.write('\ufeff')
        writer, head = csv.writer(file), None
        for index, of_a, of_b in pairs(a, b):
            if not changes[index]:
                continue
            if head is None:
                shared = ['name', *target_column_names(of_a)]
                own = [name for name in of_a if name not in shared and name in of_b]
                head = ['change', 'index', *shared, *(f'{side} {name}' for name in own for side in 'AB')]
                writer.writerow(head)
            way = WAYS[judged][int(changes[index] > 0)]
            cells = [c[name] for name in own for c in (of_a, of_b)]
            writer.writerow([way, index, *(escape_cell(of_a[name]) for name in shared), *map(escape_cell, cells)])
    print(f'written: {path}')


def _draw(path, a, b, changes, judged):
    """Draw the samples of most change."""
    from scripts.run_commands.sheet import draw_sheet  # with it comes torch

    chosen = [(way, there, indices) for way, there, indices in _chosen(changes, judged, SHEET // 2) if indices]
    if not chosen:
        print('no sheet: no sample changed')
        return
    cells = _cells_of(a, b, [index for _, _, indices in chosen for index in indices])
    draw_sheet(path, a, b, chosen, cells)
    print(f'drawn: {path}')
