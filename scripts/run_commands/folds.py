"""Summarise the runs of a cross-validation, and join their predictions: runs.py folds lenet_exp_fold*.

The runs are those of scripts/crossval.sh: the same options, each validated on another part of the data. The predictions
of each sample come from the run that was not trained on it.
"""

import csv
import json
import math
import re
import sys
from itertools import takewhile
from pathlib import Path

from scripts.run_commands.pairing import header_of, newest_test, read_rows
from scripts.run_commands.seeds import (
    COMPLETE_STATES,
    NOT_COMPARED,
    differing_options,
    runs_of,
    summary,
    value_table,
    values_of,
)
from utils.base.atomic_write import atomic_writer
from utils.base.csv_text import escape_cell
from utils.base.errors import DanluError
from utils.base.language import PAGE_LANGUAGE, page_language, use_language
from utils.base.text_table import number_text
from utils.options.arguments import directory_path
from utils.runs.run_table import NewestTests

PREDICTIONS, PAGE = 'predictions.csv', 'report.html'
FOLD_OPTIONS = {*NOT_COMPARED, 'train_list', 'val_list', 'mean', 'std', 'target_mean', 'target_std'}


def add_arguments(parser):
    """Add the arguments of the command."""
    parser.add_argument('runs', nargs='+', metavar='RUN', help='names of the runs, or patterns such as lenet_exp_fold*')
    parser.add_argument('--out', type=directory_path, metavar='DIR',
                        help='directory of predictions.csv and report.html (default: the common beginning of the names '
                             'and "s", as lenet_exp_folds, beside the runs)')  # fmt: skip
    parser.add_argument('--json', action='store_true', help='print JSON with the value of each run')
    parser.add_argument('--lang', **PAGE_LANGUAGE)


def run(args):
    """Print the table of all folds and the metrics of all predictions; write both files."""
    runs, directories = runs_of(args.runs, args.checkpoints_dir)
    runs = sorted(runs, key=lambda run: numbers_as_int(run.name))
    check_runs(runs)
    tests = [validation_test(run) for run in runs]
    values = values_of(runs, NewestTests(directories))
    out = Path(args.out) if args.out else default_directory(runs)
    out.mkdir(parents=True, exist_ok=True)
    path = out / PREDICTIONS
    count = join_predictions(path, runs, tests)
    from scripts.run_commands.folds_page import joined_metrics, write_page

    metrics = joined_metrics(path, tests[0].task)
    with use_language(page_language(args.lang)):
        write_page(out / PAGE, path, runs, tests, values, metrics)
    if args.json:
        print(json.dumps(as_plain(runs, values, metrics, count), indent=1, ensure_ascii=False))
    else:
        print(f'{runs[0].name} ... {runs[-1].name}: {len(runs)} folds; values of the best epoch by {runs[0].monitor}')
        print('\n'.join(value_table(values)))
        print(f'all {count:,} samples, each predicted by the run that was not trained on it:')
        for name, (value, low, high) in metrics.items():
            interval = '' if math.isnan(low) else f', 95% interval {number_text(low)} .. {number_text(high)}'
            print(f'  {name} {number_text(value)}{interval}')
        print('(the runs share training data, so that the interval of a mean over folds is approximate)')
    for file in (path, out / PAGE):
        print(f'written: {file}', file=sys.stderr if args.json else sys.stdout)


def numbers_as_int(name):
    """Return the parts of a name (list) with its numbers as int, so that fold10 is sorted after fold9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'([0-9]+)', name)]


def check_runs(runs):
    """Raise DanluError unless the runs are complete and differ in nothing but their data and seed."""
    if len(runs) < 2:
        raise DanluError(f'{runs[0].name}: a cross-validation has two or more runs; see scripts/crossval.sh')
    for run in runs:
        if run.state not in COMPLETE_STATES or not run.best:
            raise DanluError(f'{run.name} is {run.state}: repeat the command of crossval.sh, which resumes it')
    if differing := [name for name in differing_options(runs) if name not in FOLD_OPTIONS]:
        raise DanluError(f'the runs differ in more than the fold: {", ".join(differing)}')
    lists = {}
    for run in runs:
        key = run.recorded('data', 'val', 'sha256') or run.options.get('val_list')
        if key in lists:
            raise DanluError(f'{lists[key]} and {run.name} were validated on the same data, so they are not two folds')
        lists[key] = run.name


def validation_test(run):
    """Return the newest Test of a run's best.pth on its validation data.

    Raises:
        DanluError: there is none.
    """
    wanted = run.recorded('data', 'val', 'sha256')
    return newest_test(run.path / 'best.pth', wanted)


def default_directory(runs):
    """Return the directory (Path) of the files: checkpoints/lenet_exp_folds for lenet_exp_fold1 ..."""
    same = takewhile(lambda letters: len({*letters}) == 1, zip(*(run.path.name for run in runs), strict=False))
    common = ''.join(letters[0] for letters in same).rstrip('0123456789_-') or 'fold'
    return runs[0].path.parent / f'{common}s'


def join_predictions(path, runs, tests):
    """Write the rows of all predictions.csv with the column `fold`, the name of the run; return their number (int).

    Raises:
        DanluError: the files have different columns, or a sample is in two of them.
    """
    header = header_of(tests[0])
    for run, test in zip(runs, tests, strict=True):
        if header_of(test) != header:
            raise DanluError(
                f'{tests[0].predictions} and {test.predictions} have different columns: the classes or targets of '
                f'{runs[0].name} and {run.name} differ; give --class_names or --target_names to crossval.sh'
            )
    seen, count = {}, 0
    with atomic_writer(path) as file:
        file.write('\ufeff')
        writer = csv.writer(file)
        writer.writerow([*map(escape_cell, header), 'fold'])
        for run, test in zip(runs, tests, strict=True):
            for cells in read_rows(test):
                if seen.setdefault(cells['name'], run.name) != run.name:
                    raise DanluError(
                        f'{cells["name"]} is in the validation data of {seen[cells["name"]]} and of {run.name}: these '
                        'are not the folds of one split'
                    )
                writer.writerow([*map(escape_cell, cells.values()), run.name])
                count += 1
    return count


def as_plain(runs, values, metrics, count):
    """Return the results as plain values (dict)."""
    return {
        'runs': [run.name for run in runs],
        'values': {name: {'each': each, **summary(each, name)} for name, each in values.items()},
        'samples': count,
        'joined': {
            name: {key: None if math.isnan(n) else n for key, n in zip(('value', 'low', 'high'), each, strict=True)}
            for name, each in metrics.items()
        },
    }
