#!/usr/bin/env python
"""Hyperparameter search: train with options that Optuna proposes from the results of earlier trials.

    python scripts/sweep.py --trials 40 --set lr=log:1e-4:1e-1 --set model_type=lenet,cifar_cnn -- --epochs 5
    python scripts/sweep.py --sampler grid --set lr=0.01,0.001 --set batch_size=32,64 -- --epochs 5
    python scripts/sweep.py --trials 40 --set lr=log:1e-4:1e-1 --gpus 0,1 --pruner median -- @checkpoints/x/args.txt
    python scripts/sweep.py --summary --name sweep

After -- come the options of train.py for all trials. Repeat the same command to continue the sweep, or run it on
several machines with the same --storage to share the trials. See docs/sweeps.md.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project

from options import train_parser, trained_options
from scripts.sweeping.space import check_parameters, grid_points, option_names, parse_parameter
from scripts.sweeping.study import PRUNERS, SAMPLERS, Sweep, load_study, open_study, retry_failed
from scripts.sweeping.summary import summarise
from scripts.sweeping.worker import Worker
from utils.base.errors import DanluError, run_main
from utils.base.rank_env import RANK_VARIABLES
from utils.base.registry import PROJECT, unknown_name
from utils.base.text_table import printable
from utils.base.write_errors import explain_write_errors
from utils.options.args_file import options_of
from utils.options.arguments import (
    Parser,
    directory_path,
    existing_list,
    existing_path,
    from_keywords,
    monitored,
    number,
    plain_name,
    run_or_path,
)
from utils.options.given_parts import refuse_recorded
from utils.options.validation_options import has_validation
from utils.tasks.tasks import mode_of, values_of


def gpu_list(text):
    """Return the GPUs (list of str) in a text such as 0,1: an argparse type."""
    parts = [part.strip() for part in text.split(',')]
    if not all(parts):
        raise argparse.ArgumentTypeError(f'{text!r} is not a list of GPUs such as 0,1')
    return parts


# fmt: off
def sweep_parser():
    """Return the parser of the options before --."""
    parser = Parser(prog='sweep.py', description=__doc__.partition('\n')[0],
                    epilog='options of train.py for all trials come after --')
    parser.add_argument('--set', nargs='+', action='extend', metavar='NAME=VALUES',
                        help='search space of an option of train.py: log:1e-4:1e-1, 0.0:0.5, 2:8 (integers), '
                             '0:0.5:0.1 (with a step), lenet,mlp (choices)')
    parser.add_argument('--trials', type=number(int, low=1), metavar='N',
                        help='number of trials over all workers and starts (default: all points of a grid)')
    parser.add_argument('--name', default='sweep', type=plain_name, metavar='NAME',
                        help='name of the study, and of its directory in --checkpoints_dir')
    parser.add_argument('--metric', type=monitored, metavar='NAME',
                        help='column of history.csv; its best epoch is the value of a trial (default: the monitored '
                             'metric of train.py)')
    parser.add_argument('--sampler', default='tpe', choices=SAMPLERS,
                        help='tpe: use the results of earlier trials; random; grid: all combinations, ranges with a '
                             'number of points, log:1e-4:1e-1/4')
    parser.add_argument('--pruner', default='none', choices=PRUNERS,
                        help='stop trials early that are worse than the median of the others at the same epoch '
                             '(median), or not in the best third after 1, 3, 9 ... epochs (hyperband)')
    parser.add_argument('--seed', default=0, type=number(int, low=0, below=2**31), metavar='N',
                        help='seed of the sampler')
    parser.add_argument('--workers', type=number(int, low=1), metavar='N',
                        help='parallel trials on this machine (default: one per GPU of --gpus, else 1)')
    parser.add_argument('--gpus', type=gpu_list, metavar='0,1',
                        help='GPUs to use, one per trial, by CUDA_VISIBLE_DEVICES')
    parser.add_argument('--storage', metavar='URL',
                        help="URL of Optuna's storage, such as postgresql+psycopg://user@host/name (default: the file "
                             "sweep.db, SQLite, in the directory of the sweep)")
    parser.add_argument('--checkpoints_dir', default=str(PROJECT / 'checkpoints'), type=directory_path, metavar='DIR',
                        help='directory that contains the runs')
    parser.add_argument('--retry_failed', action='store_true', help='repeat failed trials with the same values')
    parser.add_argument('--summary', action='store_true', help='print the summary without starting trials')
    return parser


# fmt: on
def sweep_of(args, words):
    """Return the Sweep that the command line describes.

    Args:
        args: options before -- (Namespace).
        words: words after -- (list of str).

    Raises:
        DanluError: an option is invalid.
    """
    if not args.set:
        raise DanluError('--set is missing; for example --set lr=log:1e-4:1e-1 (see sweep.py --help)')
    parameters = [parse_parameter(word) for word in args.set]
    options = check_parameters(parameters, words)
    if args.sampler == 'grid':
        points = len(grid_points(parameters))
        if args.trials and args.trials > points:
            raise DanluError(f'--trials {args.trials}: the grid has {points} points; without --trials, all are used')
    elif ranged := next((each for each in parameters if each.points), None):
        raise DanluError(f'--set {ranged.name}={ranged.text}: a number of points needs --sampler grid')
    elif args.trials is None:
        raise DanluError('--trials is missing; only --sampler grid works without')
    refuse_recorded(options, 'a sweep')
    metric, mode = metric_of(args, options)
    given = from_keywords(lambda _: train_parser().given(words), {})
    words = words if {'monitor', 'mode'} & set(given) else [*words, '--monitor', metric]
    return Sweep(
        args.name, Path(args.checkpoints_dir), args.storage, parameters, words, metric, mode, max_epochs(options,
        parameters), args.sampler, args.pruner, args.seed, args.trials, shared_options(options, parameters),
    )  # fmt: skip


def metric_of(args, options):
    """Return the metric and its mode, 'max' or 'min' (both str).

    Raises:
        DanluError: the task has no such metric.
    """
    known = values_of(options.task)
    usual = f'val/{next(iter(known), "loss")}' if has_validation(options) else 'train/loss'
    monitored_by_run = options.monitor or usual
    metric = args.metric or monitored_by_run
    if metric.startswith('val/') and not has_validation(options):
        raise DanluError(f'--metric {metric}: --val_list none leaves no validation; give train/loss or validation data')
    name = metric.partition('/')[2]
    if known and mode_of(name, known) is None:
        raise DanluError(f'--metric: {unknown_name("metric", name, [*known, "loss"])} for {options.task}')
    mode = options.mode if metric == monitored_by_run else None
    return metric, mode or mode_of(name, known) or 'max'


def max_epochs(options, parameters):
    """Return the maximum number of epochs of a trial (int)."""
    searched = next((each for each in parameters if each.name == 'epochs'), None)
    return max(map(int, searched.boundary_values())) if searched else options.epochs


def shared_options(options, parameters):
    """Return the options that define the experiment and are the same in all trials (dict of plain values)."""
    of_paths = (existing_path, existing_list, run_or_path, directory_path)
    parser = train_parser()
    # Other workers may have the data elsewhere.
    paths = {action.dest for action in options_of(parser) if action.type in of_paths}
    aside = {*parser.names(experiment=False), *paths, *(each.name for each in parameters), 'monitor', 'mode'}
    found = {name: value for name, value in trained_options(vars(options)).items() if name not in aside}
    return json.loads(json.dumps(found))


def threads_of(args, words, slots):
    """Return the number of threads of each training (int), or None: the default of train.py."""
    if slots == 1 or args.gpus or 'threads' in option_names(words):
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(1, cores // slots)


def say(line):
    """Print a line without buffering, for output that is redirected to a file."""
    print(printable(line), flush=True)


def run_sweep(args, words):
    """Run trials until all are done, then print the summary; return the signal (int) that stopped it, or None."""
    sweep = sweep_of(args, words)
    study = open_study(sweep)
    retried = retry_failed(study) if args.retry_failed else 0
    slots = args.workers or len(args.gpus or [None])
    gpus = [args.gpus[slot % len(args.gpus)] if args.gpus else None for slot in range(slots)]
    say(f'sweep {sweep.name}: {sweep.metric} ({sweep.mode}), {slots} in parallel, in {sweep.folder}')
    if retried:
        say(f'repeating {retried} failed trials')
    with explain_write_errors(sweep.folder):
        signal = Worker(sweep, study, gpus, threads_of(args, words, slots), say).work()
    if signal is None:
        summarise(sweep, study, study.user_attrs['definition'])
    else:
        say('to continue, repeat the command')
    return signal


def main(argv=None):
    """Run the command line (or `argv`, list of str) and return the exit status (int).

    Raises:
        DanluError: the command line is invalid, or the sweep cannot continue.
    """
    argv = sys.argv[1:] if argv is None else [str(word) for word in argv]
    separator = argv.index('--') if '--' in argv else len(argv)
    parser, words = sweep_parser(), argv[separator + 1 :]
    known = {action.dest for action in options_of(parser)}
    train_options = {action.dest for action in options_of(train_parser())} - known
    if misplaced := sorted(option_names(argv[:separator]) & train_options):
        parser.error(f'--{misplaced[0]} is an option of train.py and belongs after --')
    args = parser.parse_args(argv[:separator])
    if all(os.environ.get(name) for name in RANK_VARIABLES):
        raise DanluError('a sweep cannot run under torchrun; use --workers and --gpus')
    if args.summary:
        sweep = Sweep(args.name, Path(args.checkpoints_dir), args.storage)
        summarise(sweep, *load_study(sweep))
        return 0
    signal = run_sweep(args, words)
    return 0 if signal is None else 128 + signal


if __name__ == '__main__':
    run_main(lambda: sys.exit(main()), 'sweep.py')
