"""The optimizers and learning rate schedules by name, all from torch.

LBFGS, Muon and SparseAdam are not included: they need a closure or do not support all parameters. To add an optimizer,
add a line to OPTIMIZERS and one to DEFAULTS (without it, --lr is required). Its constructor gets those of lr,
weight_decay, momentum, betas, alpha, nesterov and fused that it names. To add a schedule, write a function like those
below and add a line to SCHEDULES.
"""

import inspect
from collections import Counter

import torch
from torch.optim import lr_scheduler

from utils.base.errors import DanluError
from utils.base.module_prefixes import check_prefixes, is_in_module
from utils.base.nested import map_nested
from utils.base.registry import load_entry
from utils.base.text_table import count_text
from utils.distributed.fsdp import is_sharded
from utils.training.layer_decay import layer_lr_shares

OPTIMIZERS = {
    'sgd': 'torch.optim.SGD',
    'adam': 'torch.optim.Adam',
    'adamw': 'torch.optim.AdamW',
    'rmsprop': 'torch.optim.RMSprop',
    'nadam': 'torch.optim.NAdam',
    'radam': 'torch.optim.RAdam',
    'adamax': 'torch.optim.Adamax',
    'adagrad': 'torch.optim.Adagrad',
    'adadelta': 'torch.optim.Adadelta',
    'asgd': 'torch.optim.ASGD',
    'rprop': 'torch.optim.Rprop',
    'adafactor': 'torch.optim.Adafactor',
}
# Defaults of --lr, --momentum, --beta and --weight_decay; an optimizer does not use options that its line lacks. These
# are torch's values, except where a comment gives a reason.
DEFAULTS = {
    'sgd': {'lr': 0.1, 'momentum': 0.9, 'weight_decay': 0.0},  # torch: 1e-3 without momentum
    'adam': {'lr': 1e-3, 'momentum': 0.9, 'beta': 0.999, 'weight_decay': 0.0},
    'adamw': {'lr': 1e-3, 'momentum': 0.9, 'beta': 0.999, 'weight_decay': 0.01},
    'rmsprop': {
        'lr': 1e-3,
        'momentum': 0.0,
        'beta': 0.99,
        'weight_decay': 0.0,
    },  # torch: 1e-2, which learns no digits
    'nadam': {'lr': 2e-3, 'momentum': 0.9, 'beta': 0.999, 'weight_decay': 0.0},
    'radam': {'lr': 1e-3, 'momentum': 0.9, 'beta': 0.999, 'weight_decay': 0.0},
    'adamax': {'lr': 2e-3, 'momentum': 0.9, 'beta': 0.999, 'weight_decay': 0.0},
    'adagrad': {'lr': 1e-2, 'weight_decay': 0.0},
    'adadelta': {'lr': 1.0, 'weight_decay': 0.0},
    'asgd': {'lr': 0.1, 'weight_decay': 0.0},  # torch: 1e-2, which takes ten times as long
    'rprop': {'lr': 1e-2},
    'adafactor': {'lr': 3e-2, 'weight_decay': 0.0},  # torch: 1e-2, which takes twice as long
}
SCHEDULES = {
    'none': 'utils.training.optim.none',
    'step': 'utils.training.optim.step',
    'multistep': 'utils.training.optim.multistep',
    'exponential': 'utils.training.optim.exponential',
    'cosine': 'utils.training.optim.cosine',
    'poly': 'utils.training.optim.poly',
    'onecycle': 'utils.training.optim.onecycle',
    'plateau': 'utils.training.optim.plateau',
}
# Defaults of --gamma, per step or per epoch, so that a run of usual length still learns at its end.
DEFAULT_GAMMAS = {'step': 0.1, 'multistep': 0.1, 'exponential': 0.95, 'plateau': 0.1}
UNSUPPORTED_WHEN_SHARDED = {'sgd': 'fused'}  # torch has no fused SGD for sharded parameters
WARMUP_START_FACTOR = 1e-3  # of the learning rate, at the start of the warm-up
UNSUPPORTED_ARGUMENTS = {'asgd': 'alpha', 'adagrad': 'fused'}  # another meaning; does not work on GPUs


def select_optimizer(net, args):
    """Return the torch.optim optimizer that args.optimizer names, fused if there is a fused implementation.

    Args:
        net: nn.Module whose parameters are optimized.
        args: options; optimizer, lr, momentum, beta, weight_decay, nesterov, decay_weights_only, lr_of and lr_decay are
            used. For those that are None the optimizer's defaults apply.

    Raises:
        DanluError: a prefix of --lr_of matches no parameter, or the optimizer has no weight decay.
    """
    kind = load_entry(OPTIMIZERS, args.optimizer, 'optimizer')
    takes = inspect.signature(kind).parameters
    if args.weight_decay and 'weight_decay' not in takes:
        raise DanluError(f'--weight_decay: {args.optimizer} has none; leave it out')
    offered = {
        **{'lr': args.lr, 'weight_decay': args.weight_decay, 'momentum': args.momentum, 'alpha': args.beta},
        **{'nesterov': True if args.nesterov else None, 'fused': True},
    }
    if 'betas' in takes:
        own = takes['betas'].default
        offered['betas'] = tuple(
            value if given is None else given for given, value in zip((args.momentum, args.beta), own, strict=False)
        )
    offered.pop(UNSUPPORTED_ARGUMENTS.get(args.optimizer), None)
    if is_sharded(net):
        offered.pop(UNSUPPORTED_WHEN_SHARDED.get(args.optimizer), None)
    given = {name: value for name, value in offered.items() if name in takes and value is not None}
    return kind(parameter_groups(net, args), **given)


def parameter_groups(net, args):
    """Return the parameters of a network in groups (list of dict) with the same learning rate and weight decay.

    The learning rate is --lr times the share of --lr_of times that of --lr_decay (utils/training/layer_decay.py). Each
    group has 'lr_share', from which `base_lr` computes --lr. Frozen parameters are not included.

    Raises:
        DanluError: a prefix of --lr_of matches no parameter, or no parameter is trainable.
    """
    shares, groups = {}, {}
    for text in args.lr_of or []:
        prefix, _, share = text.rpartition('=')
        shares[prefix] = float(share)
    trained = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    for prefix, share in shares.items():
        check_prefixes(f'--lr_of {prefix}={share:g}', [prefix], [name for name, _ in net.named_parameters()])
        if not any(is_in_module(name, prefix) for name in trained):
            raise DanluError(f'--lr_of {prefix}={share:g}: all of it is frozen; leave it out here or of --freeze')
    by_depth = {} if args.lr_decay is None else layer_lr_shares(net, args.lr_decay)
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            continue
        fitting = [prefix for prefix in shares if is_in_module(name, prefix)]
        share = shares[max(fitting, key=len)] if fitting else 1.0
        share *= by_depth.get(name, 1.0)
        decay = 0.0 if args.decay_weights_only and parameter.dim() < 2 else args.weight_decay or 0.0
        key = (share, decay)
        if key not in groups:
            groups[key] = {'params': [], 'lr': args.lr * share, 'lr_share': share}
            groups[key] |= {'weight_decay': decay} if args.weight_decay else {}
        groups[key]['params'].append(parameter)
    if not groups:
        raise DanluError('the model has no parameter that could be trained')
    return list(groups.values())


def base_lr(optimizer):
    """Return the current value of --lr (float): the learning rate of a group with a share of 1."""
    group = max(optimizer.param_groups, key=lambda group: group.get('lr_share', 1.0))
    return float(group['lr']) / (group.get('lr_share', 1.0) or 1.0)  # all shares may be 0


class Schedule:
    """The learning rate over a run: a linear warm-up, then a schedule of torch.optim.lr_scheduler.

    Args:
        optimizer: torch.optim.Optimizer.
        args: options; schedule, warmup_epochs, warmup_steps, epochs, max_steps, lr_steps, gamma, power, lr_min and
            plateau_patience are used.
        steps_per_epoch: optimizer steps per epoch (int), or None: not known, which only 'none' and 'plateau' allow.
        mode: 'max' or 'min': whether higher or lower values of the monitored metric are better.

    Attributes:
        last_lr: learning rate (float, see `base_lr`) of the last optimizer step; before the first step, that of the
            first step.

    Raises:
        DanluError: the warm-up takes the whole run, or the number of steps is needed and not known.
    """

    def __init__(self, optimizer, args, steps_per_epoch, mode):
        if not steps_per_epoch:
            if args.warmup_epochs or args.schedule not in ('none', 'plateau'):
                raise DanluError(
                    '--schedule and --warmup_epochs need a loader that says how many batches it has: give it a '
                    '__len__, or take --warmup_steps, or hand over a scheduler'
                )
            steps_per_epoch = 1 + args.warmup_steps  # not used except to pass the checks below
        elif 'max_steps' in getattr(args, 'typed', ()) and (args.max_steps or 0) > args.epochs * steps_per_epoch:
            last = count_text(args.epochs * steps_per_epoch, 'step')
            raise DanluError(
                f'--max_steps {args.max_steps}: the run ends before, after {last} '
                f'(--epochs {args.epochs}); leave it out, or give more --epochs'
            )
        warm, total = count_warmup_steps(args, steps_per_epoch), args.epochs * steps_per_epoch
        rest = min(total, args.max_steps or total) - warm
        if rest < 1:
            given = f'steps {warm}' if args.warmup_steps else f'epochs {args.warmup_epochs:g}'
            epochs, steps = count_text(args.epochs, 'epoch'), count_text(rest + warm, 'step')
            raise DanluError(f'--warmup_{given}: the run has only {epochs}, {steps}')
        main = load_entry(SCHEDULES, args.schedule, 'schedule')(optimizer, args, steps_per_epoch, rest, mode)
        self.by_value = main if isinstance(main, lr_scheduler.ReduceLROnPlateau) else None
        by_step = [] if self.by_value or main is None else [main]
        if warm:
            by_step.insert(0, lr_scheduler.LinearLR(optimizer, WARMUP_START_FACTOR, total_iters=warm))
        self.by_step = by_step[0] if len(by_step) == 1 else None
        if len(by_step) == 2:
            self.by_step = lr_scheduler.SequentialLR(optimizer, by_step, [warm])
        self.optimizer, self.last_lr = optimizer, base_lr(optimizer)

    def step(self):
        """Update after an optimizer step."""
        self.last_lr = base_lr(self.optimizer)
        if self.by_step is not None:
            self.by_step.step()

    def end_epoch(self, value):
        """Update after an epoch with the monitored value `value` (float)."""
        if self.by_value is not None:  # which counts nan as no improvement
            self.by_value.step(value)

    def state_dict(self):
        """Return the state: dict of plain values."""
        return {name: plain_state(part.state_dict()) for name, part in self._parts()} | {'last_lr': self.last_lr}

    def load_state_dict(self, state):
        """Restore what `state_dict` returned, after the optimizer has loaded its own state."""
        for name, part in self._parts():
            restore_scheduler(part, state[name])
        self.last_lr = state.get('last_lr', base_lr(self.optimizer))  # older states do not have it

    def _parts(self):
        parts = (('by_step', self.by_step), ('by_value', self.by_value))
        return [(name, part) for name, part in parts if part is not None]


def count_warmup_steps(args, steps_per_epoch):
    """Return the number of warm-up steps (int) from args.warmup_steps or args.warmup_epochs."""
    return args.warmup_steps or round(args.warmup_epochs * steps_per_epoch)


def none(optimizer, args, steps_per_epoch, rest, mode):
    """Return None: a constant learning rate."""


def step(optimizer, args, steps_per_epoch, rest, mode):
    """Return the schedule that multiplies by --gamma every --lr_steps epochs."""
    return lr_scheduler.StepLR(optimizer, max(1, round(args.lr_steps[0] * steps_per_epoch)), args.gamma)


def multistep(optimizer, args, steps_per_epoch, rest, mode):
    """Return the schedule that multiplies by --gamma after each of the epochs --lr_steps."""
    warm = count_warmup_steps(args, steps_per_epoch)
    places = [max(1, round(epoch * steps_per_epoch) - warm) for epoch in args.lr_steps]
    return lr_scheduler.MultiStepLR(optimizer, places, args.gamma)


def exponential(optimizer, args, steps_per_epoch, rest, mode):
    """Return the schedule that decays by --gamma per epoch, in equal factors at each step."""
    return lr_scheduler.ExponentialLR(optimizer, args.gamma ** (1 / steps_per_epoch))


def cosine(optimizer, args, steps_per_epoch, rest, mode):
    """Return the half cosine down to --lr_min at the end of the run (Loshchilov and Hutter 2017, SGDR)."""
    return GroupCosineLR(optimizer, rest, args.lr_min)


class GroupCosineLR(lr_scheduler.CosineAnnealingLR):
    """CosineAnnealingLR whose lowest learning rate in each group is eta_min times the group's 'lr_share'.

    Attributes:
        shared: whether eta_min is multiplied by 'lr_share' (bool). States of earlier versions lack this key; their runs
            keep one lowest rate for all groups.
    """

    def __init__(self, optimizer, T_max, eta_min):  # noqa: N803 (as torch calls it)
        self.shared = True
        super().__init__(optimizer, T_max, eta_min)

    def get_lr(self):
        """Return the next learning rate of each group (list of float)."""
        return self._rates_by_group(super().get_lr)

    def _get_closed_form_lr(self):
        return self._rates_by_group(super()._get_closed_form_lr)

    def _rates_by_group(self, rates):
        """Return the results of torch's function `rates` for each group, with the lowest rate of that group."""
        lowest, found = self.eta_min, []
        for number, group in enumerate(self.optimizer.param_groups):
            self.eta_min = lowest * (group.get('lr_share', 1.0) if self.shared else 1.0)
            found.append(rates()[number])
        self.eta_min = lowest
        return found

    def load_state_dict(self, state_dict):
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.shared = state_dict.get('shared', False)


def poly(optimizer, args, steps_per_epoch, rest, mode):
    """Return the polynomial decay with the exponent --power (Chen et al. 2017, DeepLab)."""
    return lr_scheduler.PolynomialLR(optimizer, rest, args.power)


def onecycle(optimizer, args, steps_per_epoch, rest, mode):
    """Return the rise to --lr over 30 % of the run and the fall after it (Smith and Topin 2018)."""
    highest = [group['lr'] for group in optimizer.param_groups]
    return lr_scheduler.OneCycleLR(optimizer, highest, total_steps=rest + 1, cycle_momentum=False)


def plateau(optimizer, args, steps_per_epoch, rest, mode):
    """Return the schedule that multiplies by --gamma when the monitored metric has not improved for some epochs."""
    lowest = [args.lr_min * group.get('lr_share', 1.0) for group in optimizer.param_groups]
    options = {'factor': args.gamma, 'patience': args.plateau_patience, 'min_lr': lowest}
    return lr_scheduler.ReduceLROnPlateau(optimizer, mode, **options, eps=0.0)  # or it passes over small rates


def restore_scheduler(scheduler, state):
    """Load the state that `plain_state` returned into a scheduler; ValueError if it is of another scheduler."""
    for name, value in plain_state(scheduler.state_dict()).items():
        then = state.get(name)
        if None not in (value, then) and _container_type(then) != _container_type(value):
            raise ValueError(f'{name} of the scheduler is of type {type(then).__name__}')
    scheduler.load_state_dict(state)
    for each in getattr(scheduler, '_schedulers', [scheduler]):
        if isinstance(each, lr_scheduler.MultiStepLR):  # `plain_state` made a dict of its Counter
            each.milestones = Counter(each.milestones)


def _container_type(value):
    return next((kind for kind in (str, list, dict) if isinstance(value, kind)), None)


def plain_state(value):
    """Return a scheduler's state as dicts, lists and plain values, as a checkpoint may hold it."""
    return map_nested(lambda leaf: leaf.item() if torch.is_tensor(leaf) else leaf, value)
