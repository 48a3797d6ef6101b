#!/usr/bin/env python
"""Search for good options: many trainings, whose options Optuna proposes by what came of those before.

    python scripts/sweep.py --trials 40 --set lr=log:1e-4:1e-1 --set model_type=lenet,cifar_cnn -- --epochs 5
    python scripts/sweep.py --sampler grid --set lr=0.01,0.001 --set batch_size=32,64 -- --epochs 5
    python scripts/sweep.py --trials 40 --set lr=log:1e-4:1e-1 --gpus 0,1 --pruner median -- @checkpoints/x/args.txt
    python scripts/sweep.py --summary --name sweep

Behind -- stand the options of train.py that all trials have. The same command, started again, goes on with the sweep;
started on other machines too, with the same --storage, they share the trials. docs/sweeps.md has the rest.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project

from options import train_parser, trained_options
from scripts.sweeping.space import check_parameters, grid_of, named, parameter
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
)
from utils.options.given_parts import refuse_recorded
from utils.options.validation_options import has_validation
from utils.tasks.metric_values import VALUES_OF


def gpu_list(text):
    """Return the GPUs (list of str) of 0,1: an argparse type."""
    parts = [part.strip() for part in text.split(',')]
    if not all(parts):
        raise argparse.ArgumentTypeError(f'{text!r} is not a list of GPUs such as 0,1')
    return parts


# fmt: off
def sweep_parser():
    """Return the parser of what stands before --."""
    parser = Parser(prog='sweep.py', description=__doc__.partition('\n')[0],
                    epilog='behind -- the options of train.py that all trials have')
    parser.add_argument('--set', nargs='+', action='extend', metavar='NAME=VALUES',
                        help='an option of train.py and its values: log:1e-4:1e-1, 0.0:0.5, 2:8 (whole numbers), '
                             '0:0.5:0.1 (with a step), lenet,mlp (one of these)')
    parser.add_argument('--trials', type=number(int, low=1), metavar='N',
                        help='how many, over all workers and starts (default: all points of a grid)')
    parser.add_argument('--name', default='sweep', type=plain_name, metavar='NAME',
                        help='of the study, and of its directory in --checkpoints_dir')
    parser.add_argument('--metric', type=monitored, metavar='NAME',
                        help='column of history.csv whose best value counts (default: what train.py monitors)')
    parser.add_argument('--sampler', default='tpe', choices=SAMPLERS,
                        help='tpe: by what came of the trials before; random; grid: all combinations, a range with '
                             'its number of points, log:1e-4:1e-1/4')
    parser.add_argument('--pruner', default='none', choices=PRUNERS,
                        help='end trials early that are worse, after as many epochs, than half of the others '
                             '(median), or than the best third at ever more epochs (hyperband)')
    parser.add_argument('--seed', default=0, type=number(int, low=0, below=2**31), metavar='N', help='of the sampler')
    parser.add_argument('--workers', type=number(int, low=1), metavar='N',
                        help='trials at a time on this machine (default: one per GPU of --gpus, else 1)')
    parser.add_argument('--gpus', type=gpu_list, metavar='0,1',
                        help='GPUs to share out, one to each trial, as CUDA_VISIBLE_DEVICES')
    parser.add_argument('--storage', metavar='URL',
                        help="Optuna's storage, such as postgresql+psycopg://user@host/name (default: sweep.db, "
                             "SQLite, in the sweep's directory)")
    parser.add_argument('--checkpoints_dir', default=str(PROJECT / 'checkpoints'), type=directory_path, metavar='DIR',
                        help='directory of all runs')
    parser.add_argument('--retry_failed', action='store_true', help='try those trials again that failed')
    parser.add_argument('--summary', action='store_true', help='start nothing; show what there is')
    return parser


# fmt: on
def sweep_of(args, words):
    """Return the Sweep that the command line means, checked.

    Args:
        args: what `sweep_parser` returned.
        words: behind -- (list of str).

    Raises:
        DanluError: naming the option that is wrong.
    """
    if not args.set:
        raise DanluError('--set: nothing is searched; for example --set lr=log:1e-4:1e-1 (see sweep.py --help)')
    parameters = [parameter(word) for word in args.set]
    options = check_parameters(parameters, words)
    if args.sampler == 'grid':
        points = len(grid_of(parameters))
        if args.trials and args.trials > points:
            raise DanluError(f'--trials {args.trials}: the grid has {points} points; leave it out for all of them')
    elif ranged := next((each for each in parameters if each.points), None):
        raise DanluError(f'--set {ranged.name}={ranged.text}: a number of points is for --sampler grid')
    elif args.trials is None:
        raise DanluError('--trials: say how many; --sampler grid alone knows by itself')
    refuse_recorded(options, 'a sweep')
    metric, mode = metric_of(args, options)
    given = from_keywords(lambda _: train_parser().given(words), {})
    words = words if {'monitor', 'mode'} & set(given) else [*words, '--monitor', metric]
    return Sweep(
        args.name, Path(args.checkpoints_dir), args.storage, parameters, words, metric, mode, most_epochs(options,
        parameters), args.sampler, args.pruner, args.seed, args.trials, same_for_all(options, parameters),
    )  # fmt: skip


def metric_of(args, options):
    """Return the metric and which way is better (both str), as metrics.py and the options of train.py have it.

    Raises:
        DanluError: the task has no such metric.
    """
    known = VALUES_OF.get(options.task, {})
    usual = f'val/{next(iter(known), "loss")}' if has_validation(options) else 'train/loss'
    monitored_by_run = options.monitor or usual
    metric = args.metric or monitored_by_run
    if metric.startswith('val/') and not has_validation(options):
        raise DanluError(f'--metric {metric}: --val_list none leaves no validation; give train/loss or validation data')
    name = metric.partition('/')[2]
    is_loss = name.partition('_')[0] == 'loss'
    if known and name not in known and not is_loss:
        raise DanluError(f'--metric: {unknown_name("metric", name, [*known, "loss"])} for {options.task}')
    mode = options.mode if metric == monitored_by_run else None
    return metric, mode or ('min' if is_loss else known.get(name, 'max'))


def most_epochs(options, parameters):
    """Return how many epochs a trial has at most (int)."""
    searched = next((each for each in parameters if each.name == 'epochs'), None)
    return max(map(int, searched.edges())) if searched else options.epochs


def same_for_all(options, parameters):
    """Return the options of all trials by which the experiment is known (dict of plain values)."""
    of_paths = (existing_path, existing_list, directory_path)
    parser = train_parser()
    # Other workers may have the data elsewhere.
    paths = {action.dest for action in options_of(parser) if action.type in of_paths}
    aside = {*parser.names(experiment=False), *paths, *(each.name for each in parameters), 'monitor', 'mode'}
    found = {name: value for name, value in trained_options(vars(options)).items() if name not in aside}
    return json.loads(json.dumps(found))


def threads_of(args, words, slots):
    """Return how many threads each training has (int), or None: as train.py chooses."""
    if slots == 1 or args.gpus or 'threads' in named(words):
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return max(1, cores // slots)


def say(line):
    """Print a line at once: a sweep is often read from a file while it goes on."""
    print(printable(line), flush=True)


def run_sweep(args, words):
    """Run trials until all are done, then show the summary; return the signal (int) that ended it, or None."""
    sweep = sweep_of(args, words)
    study = open_study(sweep)
    again = retry_failed(study) if args.retry_failed else 0
    slots = args.workers or len(args.gpus or [None])
    gpus = [args.gpus[slot % len(args.gpus)] if args.gpus else None for slot in range(slots)]
    say(f'sweep {sweep.name}: by {sweep.metric} ({sweep.mode}), {slots} at a time, in {sweep.folder}')
    if again:
        say(f'{again} failed trials are tried again')
    with explain_write_errors(sweep.folder):
        signal = Worker(sweep, study, gpus, threads_of(args, words, slots), say).work()
    if signal is None:
        summarise(sweep, study, study.user_attrs['definition'])
    else:
        say('the same command goes on with it')
    return signal


def main(argv=None):
    """Do what the command line (or `argv`, list of str) asks for; return the exit status (int).

    Raises:
        DanluError: something is wrong with it, or the sweep cannot go on.
    """
    argv = sys.argv[1:] if argv is None else [str(word) for word in argv]
    place = argv.index('--') if '--' in argv else len(argv)
    parser, words = sweep_parser(), argv[place + 1 :]
    known = {action.dest for action in options_of(parser)}
    if theirs := sorted(named(argv[:place]) & {action.dest for action in options_of(train_parser())} - known):
        parser.error(f'--{theirs[0]} is an option of train.py: those stand behind --')
    args = parser.parse_args(argv[:place])
    if all(os.environ.get(name) for name in RANK_VARIABLES):
        raise DanluError('torchrun starts one training in several processes; a sweep has --workers and --gpus instead')
    if args.summary:
        sweep = Sweep(args.name, Path(args.checkpoints_dir), args.storage)
        summarise(sweep, *load_study(sweep))
        return 0
    signal = run_sweep(args, words)
    return 0 if signal is None else 128 + signal


if __name__ == '__main__':
    run_main(lambda: sys.exit(main()), 'sweep.py')
