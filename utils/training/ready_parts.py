"""Ready-made parts, which a Trainer gets as objects: their checks and their lines in the log."""

import inspect
from itertools import islice

import torch
from torch import nn

from utils.base.errors import DanluError
from utils.distributed import processes
from utils.distributed.fsdp import is_sharded
from utils.losses.function_loss import FunctionLoss
from utils.options.checks import shown
from utils.tasks.one_logit import BINARY_CLASSES, check_ready_loss
from utils.tasks.tasks import two_class_losses
from utils.training.ready_schedule import ReadySchedule

MAX_PARAMETERS_SHOWN = 4
DATA_OPTIONS = ('data_type', 'train_list', 'val_list', 'val_split', 'data_root', 'download')


def check_model(model):
    """Raise DanluError unless a ready-made network is an nn.Module."""
    if isinstance(model, nn.Module):
        return
    if inspect.isclass(model):
        raise DanluError(f'model is the class {model.__name__}: give an object of it, {model.__name__}(...)')
    named = ', or its name as an option, model_type=' if isinstance(model, str) else ''
    raise DanluError(f'model is of type {type(model).__name__}: give an nn.Module{named}')


def ready_loss(loss):
    """Return a ready-made loss as an nn.Module.

    Raises:
        DanluError: it is not callable, is a class, or needs probabilities instead of logits.
    """
    if not callable(loss) or inspect.isclass(loss):
        kind = f'the class {loss.__name__}' if inspect.isclass(loss) else f'of type {type(loss).__name__}'
        raise DanluError(f'loss is {kind}: give an nn.Module object or a function (predictions, targets) -> 0-d tensor')
    check_ready_loss(loss)
    return loss if isinstance(loss, nn.Module) else FunctionLoss(loss)


def check_optimizer(optimizer, net):
    """Raise DanluError unless an object is an optimizer of parameters of this network only.

    Args:
        optimizer: the ready-made object.
        net: nn.Module whose weights train.py saves and tests.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise DanluError(
            f'optimizer is of type {type(optimizer).__name__}: give one object such as '
            'torch.optim.SGD(net.parameters(), lr=0.1); several optimizers need a train_step of your own'
        )
    kind = type(optimizer).__name__
    if is_sharded(net):
        raise DanluError(f'{kind} holds the parameters from before --parallel fsdp shared them out: use --optimizer')
    closure = inspect.signature(type(optimizer).step).parameters.get('closure')
    if closure is not None and closure.default is closure.empty:
        raise DanluError(f'{kind} computes the loss several times per step (closure): override train_step for it')
    own = {id(parameter) for parameter in net.parameters()}
    held = [parameter for group in optimizer.param_groups for parameter in group['params']]
    foreign = sum(id(parameter) not in own for parameter in held)
    if foreign:
        raise DanluError(
            f'{foreign} of the {len(held)} parameters in {kind} are not parameters of the network '
            f'({type(net).__name__}) that is trained: build the optimizer from model.parameters() of the same object'
        )
    if not any(parameter.requires_grad for parameter in held):
        raise DanluError(f'{kind} holds no parameter that needs gradients: all of them are frozen')


def optimizer_notes(optimizer, net):
    """Return lines (list of str) on a ready-made optimizer: its settings, and parameters that it does not train."""
    group = optimizer.param_groups[0]
    settings = [f'{name} {group[name]:g}' for name in ('lr', 'momentum', 'weight_decay') if _is_number(group.get(name))]
    lines = [f'optimizer: {type(optimizer).__name__}, ready-made; {", ".join(settings)}']
    held = {id(parameter) for group in optimizer.param_groups for parameter in group['params']}
    left = [name for name, value in net.named_parameters() if value.requires_grad and id(value) not in held]
    if left:
        more = ' ...' if len(left) > MAX_PARAMETERS_SHOWN else ''
        lines.append(
            f'{len(left)} parameters are not in the optimizer and stay as they are: '
            f'{", ".join(islice(left, MAX_PARAMETERS_SHOWN))}{more}'
        )
    return lines


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def unused_option_notes(args, given):
    """Return lines (list of str) on given options that have no effect, because their part is ready-made."""
    typed = [name for name in getattr(args, 'keywords', {}) if name in args.typed]
    unused = [(part, name) for part in given for name in typed if part in args.keywords[name]['replaced_by']]
    return [f'--{name} {shown(getattr(args, name))} has no effect: the {part} is ready-made' for part, name in unused]


def use_one_output(args, parts):
    """Select one output for two classes if the loss is a ready-made BCEWithLogitsLoss; return lines (list of str).

    This applies to networks chosen by name. args.loss becomes 'bce', so that a test builds the same network.
    """
    binary = 'bce' in two_class_losses(args.task) and args.num_classes == BINARY_CLASSES and args.loss != 'bce'
    if parts['model'] is not None or not (binary and isinstance(parts['loss'], nn.BCEWithLogitsLoss)):
        return []
    args.loss = 'bce'
    return ['BCEWithLogitsLoss: the network gets one output for the two classes, as with --loss bce']


def may_wait_for_data(args, parts):
    """Return whether a Trainer may wait for the data of fit() (bool): its model is ready-made, no option names data."""
    named = {*DATA_OPTIONS, 'dry_run', 'find_lr'} & {*getattr(args, 'typed', ())}
    return (
        parts['model'] is not None
        and not named
        and args.resume is None
        and processes.count() == 1
        and (parts['train_loader'] is None and parts['val_loader'] is None)
    )


def scheduler_notes(schedule):
    """Return a line (list of one str) on a ReadySchedule; [] for a schedule of the options."""
    if not isinstance(schedule, ReadySchedule):
        return []
    when = {'epoch': 'each epoch', 'step': 'each optimizer step', 'val': f'each epoch by {schedule.value_column}'}
    return [f'scheduler: {type(schedule.scheduler).__name__}, ready-made, stepped {when[schedule.step_on]}']
