"""--loss, a loss or a weighted sum of losses such as ce+0.5*dice, and the options that each loss uses.

The dictionaries of loss.py say which losses exist, for which tasks and with which options. They are read without
running that file: imports no torch.
"""

import argparse
import math

from utils.base.errors import DanluError
from utils.base.registry import read_registry, unknown_name
from utils.options.arguments import keyword_values, shorten_text, unfit_for_tensors
from utils.tasks.loss_terms import LOSS_ARGS, parse_terms


def sum_of(names):
    """Return an argparse type: one of `names` or a weighted sum of them, without blanks."""

    def convert(text):
        try:
            terms = parse_terms(text)
        except DanluError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        for name in terms:
            if name not in names:
                raise argparse.ArgumentTypeError(unknown_name('loss', name, names))
        return ''.join(text.split())

    convert.names, convert.metavar = list(names), 'NAME'  # names: for shell completion
    return convert


def losses_by_task():
    """Return the losses of each task (str, for --help); losses without a task in LOSSES_OF come last."""
    fitting, names = read_registry('loss', 'LOSSES_OF'), read_registry('loss', 'LOSSES')
    others = [name for name in names if not any(name in losses for losses in fitting.values())]
    of_two = read_registry('loss', 'LOSSES_OF_TWO_CLASSES')
    lines = [
        f'{task}: {", ".join(losses)}'
        + (f' (two classes, one output: {", ".join(of_two[task])})' if task in of_two else '')
        for task, losses in fitting.items()
    ]
    return '; '.join([*lines, *([f'others: {", ".join(others)}'] if others else [])])


def default_loss(task):
    """Return the default loss of a task (str), or None if LOSSES_OF has none."""
    return next(iter(read_registry('loss', 'LOSSES_OF').get(task, ())), None)


def fault_of_loss(args):
    """Return (option, message) for the first option that does not fit the task and the chosen losses, or None.

    Options of losses that LOSSES_OF does not list are not checked.

    Args:
        args: argparse.Namespace with loss, task and the options that losses use; missing options count as not given.
    """
    fitting = read_registry('loss', 'LOSSES_OF')
    names, listed = list(parse_terms(args.loss)), {name for losses in fitting.values() for name in losses}
    for name in names:
        fits = (*fitting.get(args.task, ()), *read_registry('loss', 'LOSSES_OF_TWO_CLASSES').get(args.task, ()))
        if name in listed and name not in fits:
            tasks = ' and '.join(task for task, losses in fitting.items() if name in losses)
            those = ', '.join(fitting.get(args.task, ())) or 'none'
            return 'loss', f'{name} is for {tasks}, not for task {args.task} (losses for it: {those})'
    if args.task == 'classification' and 'bce' in names:
        if len(names) > 1:
            return (
                'loss',
                f'{args.loss}: bce takes one logit for two classes, other losses one logit per class',
            )
        if args.num_classes not in (None, 2):
            return (
                'loss',
                f'bce takes one logit for two classes, not for {args.num_classes}: give --loss ce',
            )
    chosen = [name for name in names if name in listed]
    return _fault_of_mixing(args, chosen) or (_fault_of_use(args, chosen) if len(chosen) == len(names) else None)


def _fault_of_mixing(args, names):
    """Return (option, message) if samples are mixed and a loss takes no class probabilities, else None."""
    takes = read_registry('loss', 'LOSS_OPTIONS')
    for option in ('mixup', 'cutmix'):
        unfit = [name for name in names if 'probabilities' not in takes.get(name, ())]
        if getattr(args, option, None) is not None and unfit:
            fit = ', '.join(name for name in takes if 'probabilities' in takes[name])
            return option, f'mixed labels are class probabilities, which --loss {unfit[0]} does not take; {fit} does'
    return None


def _fault_of_use(args, names):
    """Return (option, message) for the first given option that none of these losses uses, or None."""
    takes, arguments = read_registry('loss', 'LOSS_OPTIONS'), LOSS_ARGS
    for option, unset in (('label_smoothing', 0.0), ('class_weights', None), ('ignore_index', None)):
        if getattr(args, option, unset) != unset and not any(option in takes.get(name, ()) for name in names):
            fitting = read_registry('loss', 'LOSSES_OF').get(args.task, ())
            users = [name for name in fitting if option in takes.get(name, ())]
            instead = f'; of the losses for {args.task} {" and ".join(users)} can use it' if users else ''
            return option, f'has no effect on --loss {args.loss}: leave it out{instead}'
    known = [argument for name in names for argument in arguments.get(name, ())]
    for word in getattr(args, 'loss_args', None) or []:
        argument = word.partition('=')[0]
        if argument not in known:
            return 'loss_args', f'--loss {args.loss} takes no {argument} (it takes: {", ".join(known) or "nothing"})'
    return None


def given_args(args, name):
    """Return the --loss_args of the loss `name` (dict from an argument of its constructor to the value).

    Raises:
        DanluError: a value is not a number.
    """
    given = keyword_values(getattr(args, 'loss_args', None) or [])
    given = {argument: given[argument] for argument in LOSS_ARGS[name] if argument in given}
    for argument, value in given.items():
        finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        if isinstance(value, bool) or not finite:
            raise DanluError(f'--loss_args: {argument}={shorten_text(str(value))} is not a number')
        if fault := unfit_for_tensors(value):
            raise DanluError(f'--loss_args {argument}={shorten_text(str(value))}: {fault}')
    return given
