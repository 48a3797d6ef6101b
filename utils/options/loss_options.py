"""--loss, a loss or a weighted sum of losses such as ce+0.5*dice, and the options that each loss uses.

The dictionaries of loss.py say which losses exist and with which options, utils/tasks says for which tasks. loss.py is
read without running it: imports no torch.
"""

import argparse
import math

from utils.base.errors import DanluError
from utils.base.registry import read_registry, unknown_name
from utils.options.arguments import keyword_values, shorten_text, unfit_for_tensors
from utils.tasks.loss_terms import LOSS_ARGS, parse_terms
from utils.tasks.tasks import TASKS, losses_of, two_class_losses


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
    """Return the losses of each task (str, for --help); losses that no task lists come last."""
    others = [name for name in read_registry('loss', 'LOSSES') if not tasks_of_loss(name)]
    lines = [
        f'{name}: {", ".join(task.losses)}'
        + (f' (two classes, one output: {", ".join(task.two_class_losses)})' if task.two_class_losses else '')
        for name, task in TASKS.items()
    ]
    return '; '.join([*lines, *([f'others: {", ".join(others)}'] if others else [])])


def tasks_of_loss(name):
    """Return the names of the tasks that list a loss (list of str)."""
    return [name_of_task for name_of_task, task in TASKS.items() if name in task.losses]


def default_loss(task):
    """Return the default loss of a task (str), or None if it has none."""
    return next(iter(losses_of(task)), None)


def fault_of_loss(args):
    """Return (option, message) for the first option that does not fit the task and the chosen losses, or None.

    Options of losses that no task lists are not checked.

    Args:
        args: argparse.Namespace with loss, task and the options that losses use; missing options count as not given.
    """
    names, task = list(parse_terms(args.loss)), TASKS.get(args.task)
    listed = {name for name in names if tasks_of_loss(name)}
    for name in names:
        fits = (*task.losses, *task.two_class_losses) if task else ()
        if name in listed and name not in fits:
            tasks, those = ' and '.join(tasks_of_loss(name)), ', '.join(losses_of(args.task)) or 'none'
            return 'loss', f'{name} is for {tasks}, not for task {args.task} (losses for it: {those})'
    for name in set(names) & set(two_class_losses(args.task)):
        if len(names) > 1:
            return 'loss', f'{args.loss}: {name} takes one logit for two classes, other losses one logit per class'
        if args.num_classes not in (None, 2):
            return 'loss', f'{name} takes one logit for two classes, not for {args.num_classes}: give --loss ce'
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
            users = [name for name in losses_of(args.task) if option in takes.get(name, ())]
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
