"""Several checkpoints: their tests in one table, and an ensemble that averages their networks' outputs, --ensemble.

The ensemble writes predictions.csv and ensemble.txt, which is like a result.txt and names all checkpoints, into
<first checkpoint>/ensemble_val_<list>_<save_prefix>/. Nothing goes to the ledger, as this is no test of a run.
"""

import csv
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from options import save_args
from utils.base.csv_text import unescape_cell
from utils.base.errors import DanluError
from utils.base.progress import Progress
from utils.base.regular_files import open_regular
from utils.base.text_table import number_text, table
from utils.evaluation.predictions import PREDICTIONS, predictions_file
from utils.evaluation.test_files import code_facts, result_files, write_result
from utils.evaluation.tta import mean_outputs
from utils.options.checks import shown
from utils.provenance.environment import git_facts
from utils.runs.checkpoint import file_hash
from utils.statistics.bootstrap_metrics import select_sum_metric
from utils.statistics.paired_difference import COUNTED, paired_difference
from utils.statistics.significance import SIGNIFICANCE_LEVEL
from utils.tasks.tasks import mode_of, task_named

ENSEMBLE_FILE = 'ensemble.txt'
# Options that the networks of an ensemble need to share; mean and std may differ.
SHARED_OPTIONS = (
    *('task', 'num_classes', 'class_names', 'num_targets', 'channels', 'image_size', 'fit', 'crop_share'),
    *('interpolation', 'bits', 'ignore_index', 'mask_values'),
)


class Ensemble(nn.Module):
    """The mean of several networks' outputs.

    Args:
        nets: nn.Modules on one device.
        options: of each network; images are normalised by mean and std of the first ones.
    """

    def __init__(self, nets, options):
        super().__init__()
        self.nets, self.args = nn.ModuleList(nets), options[0]
        self.scales = [_change_of_scale(options[0], each) for each in options]

    def forward(self, images):
        """Return the mean of the outputs for images (B, C, ...), float32 (B, ...); see tta.mean_outputs."""
        outputs = []
        for net, change in zip(self.nets, self.scales, strict=True):
            inputs = images
            if change is not None:
                factor, shift = (numbers.to(images).view(1, -1, *[1] * (images.dim() - 2)) for numbers in change)
                inputs = images * factor + shift
            outputs.append(net(inputs).float())
        return mean_outputs(self.args, outputs)


def _change_of_scale(first, other):
    """Return factor and shift (tensors (C,)) from the normalisation of `first` to that of `other`; None: the same."""
    if (first.mean, first.std) == (other.mean, other.std):
        return None
    (mean, std), (its_mean, its_std) = (
        (torch.tensor(args.mean, dtype=torch.float64), torch.tensor(args.std, dtype=torch.float64))
        for args in (first, other)
    )
    return std / its_std, (mean - its_mean) / its_std


def check_alike(first, other):
    """Raise DanluError unless the networks of two checkpoints take the same inputs and have the same outputs.

    Args:
        first, other: options of tests.
    """
    for name in SHARED_OPTIONS:
        values = [getattr(args, name) for args in (first, other)]
        if values[0] != values[1]:
            raise DanluError(
                f'--ensemble: {first.load_model_path} and {other.load_model_path} differ in --{name}: '
                f'{shown(values[0])}, {shown(values[1])}; an ensemble needs the same inputs and outputs'
            )


class CheckpointTest(NamedTuple):
    """The test of one checkpoint, or of the ensemble."""

    name: str
    directory: Path
    values: dict  # of result.txt
    data: str | None  # hash of the test set
    task: str
    monitor: str | None  # the main value


def test_of(evaluator):
    """Return the CheckpointTest of an eval.Evaluator that has tested."""
    args, path = evaluator.args, Path(evaluator.args.load_model_path)
    name, monitor = f'{path.absolute().parent.name}/{path.name}', getattr(evaluator.metrics, 'monitor', None)
    data = evaluator.data['sha256']
    return CheckpointTest(name, Path(args.result_dir), evaluator.results, data, args.task, monitor)


test_of.__test__ = False  # pytest would take it for a test


def table_lines(tests, width=None):
    """Return the values of several tests (list of CheckpointTest) as a table (list of str); the best has a *.

    Args:
        tests: of which the first one's main value chooses the best.
        width: columns of the terminal, or None.
    """
    if len({test.data for test in tests}) > 1:
        note = ['not comparable: the checkpoints were tested on different data; give the same --val_list to all']
        best = None
    else:
        note, best = [], best_of(tests)
    names = [name for test in tests for name in test.values if '/' not in name]
    names = sorted(dict.fromkeys(names), key=lambda name: (name != tests[0].monitor, name.startswith('loss')))
    rows = [
        [('* ' if test is best else '  ') + test.name, *(number_text(test.values.get(name)) for name in names)]
        for test in tests
    ]
    lines, left_out = table(
        ['  checkpoint', *names], rows, width, ('  checkpoint',), tuple(reversed(names[1:])), right=names
    )
    return [*lines, *[f'  ({", ".join(left_out)}: in result.txt)'] * bool(left_out), *note]


def best_of(tests):
    """Return the CheckpointTest with the best main value, or None if it is not known which is better."""
    monitor = tests[0].monitor
    mode = None if monitor is None else mode_of(monitor, task_named(tests[0].task).values)
    known = [test for test in tests if monitor in test.values and not np.isnan(test.values[monitor])]
    if mode is None or not known:
        return None
    return (max if mode == 'max' else min)(known, key=lambda test: test.values[monitor])


def difference_lines(best, other, seed):
    """Return lines (list of str) on the difference between two CheckpointTests of the same samples.

    Args:
        best, other: with predictions.csv in their directories.
        seed: of the resamples (int).
    """
    files = [test.directory / PREDICTIONS for test in (best, other)]
    missing = next((path for path in files if not path.is_file()), None)
    if missing is not None:
        return [f'{other.name} against {best.name}: not compared, as there is no {missing}']
    header = next(_rows(files[0]), {})
    measure = select_sum_metric(None, best.task, list(header))
    sums = [np.array([measure.row(cells) for cells in _rows(path)]) for path in files]
    found = paired_difference(measure, best.task, *sums, seed)
    if np.isnan(found['gap']):
        return [f'{other.name} against {best.name}: {measure.name} is undefined']
    verdict = 'significant' if found['p'] < SIGNIFICANCE_LEVEL else 'not significant'
    way = "McNemar's exact test" if measure.name in COUNTED else 'paired bootstrap'
    gap, low, high = (number_text(found[key], signed=True) for key in ('gap', 'low', 'high'))
    p_text = f'p = {number_text(found["p"])}' if found['p'] >= 0.001 else 'p < 0.001'
    return [
        f'{other.name} against {best.name}, the best single checkpoint: {measure.name} {gap}, '
        f'{1 - SIGNIFICANCE_LEVEL:.0%} confidence interval {low} to {high}, {verdict} '
        f'({p_text}, {way})',
        f'({best.name} was chosen on this test set, which favours it)',
    ]


def _rows(path):
    """Yield the cells (dict of str) of each row of a predictions.csv."""
    with open_regular(path, 'r', newline='', encoding='utf-8-sig') as file:
        for row in csv.DictReader(file):
            yield {name: unescape_cell(cell) for name, cell in row.items()}


def test_ensemble(engine, loader, metrics, name_of, tests):
    """Test an ensemble, write predictions.csv and ensemble.txt, and return its CheckpointTest and lines (list of str).

    Args:
        engine: eval.Predictor of the ensemble with the loss, and `members`: paths of the checkpoints.
        loader: of the test set.
        metrics: of the task.
        name_of: function(index of a sample) -> its name (str).
        tests: CheckpointTests of the members on the same data.
    """
    args = engine.args
    with result_files(args) as place:
        save_args(args, args.result_dir, place=place)
        with predictions_file(Path(args.result_dir, PREDICTIONS), engine, name_of) as rows:
            results, seen = engine.evaluate(Progress(loader, 'ensemble', print), metrics, partial(_add, rows))
        own = CheckpointTest(
            f'ensemble of {len(tests)}', Path(args.result_dir), results, tests[0].data, args.task, tests[0].monitor
        )
        best = best_of(tests)
        lines = [] if best is None else difference_lines(best, own, args.seed)
        facts = member_facts(engine.members) | {
            'list': args.val_list or f'{args.data_type}, its own test split',
            'list sha256': own.data or 'not known',
            'samples': str(seen),
            **code_facts(args, engine.device, engine.check.outputs, git_facts()),
            **({'against the best': ' '.join(lines)} if lines else {}),
        }
        write_result(Path(args.result_dir, ENSEMBLE_FILE), results, facts)
    return own._replace(directory=Path(args.result_dir)), lines


test_ensemble.__test__ = False


def member_facts(paths):
    """Return the checkpoints of an ensemble (dict of str) for the head of a file."""
    return {'ensemble of': ', '.join(paths), 'ensemble sha256': ', '.join(map(file_hash, paths))}


def _add(rows, start, images, predictions, targets):
    rows.add(start, predictions, targets)
