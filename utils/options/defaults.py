"""Defaults that depend on another option: the loss on the task, the learning rate on the optimizer, and so on.

    complete_defaults(parser, args)   # fills in --lr, --momentum, --beta ... where the command line leaves them out
    default_of(action, args)          # the default of an option, for args.txt and the log

The numbers are in utils/training/optim.py, beside the optimizers and schedules, and are read without running that
file: imports no torch.
"""

from utils.base.registry import read_registry
from utils.options.decoders import default_decoder
from utils.options.fit import default_fit
from utils.options.loss_options import default_loss

BY_OPTIMIZER = ('lr', 'momentum', 'beta', 'weight_decay')
CHOSEN_BY = {**dict.fromkeys(BY_OPTIMIZER, 'optimizer'), 'gamma': 'schedule'}


def optimizer_defaults(optimizer):
    """Return the defaults of an optimizer (dict from an option that it uses to a float), or None if unknown."""
    return read_registry('utils.training.optim', 'DEFAULTS').get(optimizer)


def defaults_by_optimizer(option):
    """Return the defaults of an option by optimizer (str, for --help): '0.9, rmsprop 0'."""
    defaults = read_registry('utils.training.optim', 'DEFAULTS')
    values = {name: f'{used[option]:g}' for name, used in defaults.items() if option in used}
    usual = max(values.values(), key=list(values.values()).count)
    return ', '.join([usual, *(f'{name} {value}' for name, value in values.items() if value != usual)])


def default_of(action, args):
    """Return the default of an option (argparse.Action) beside the other options (Namespace)."""
    name = action.dest
    if name == 'loss':
        return default_loss(args.task)
    if name == 'fit':
        return None if args.data_type == 'array' else default_fit(args.task)
    if name == 'decoder':
        return default_decoder(args.data_type)
    if name in CHOSEN_BY and hasattr(args, 'optimizer'):
        return _chosen(name, args)
    return action.default


def _chosen(name, args):
    """Return the default (float) of one of CHOSEN_BY, or None if the optimizer or schedule does not use the option."""
    if name == 'gamma':
        return read_registry('utils.training.optim', 'DEFAULT_GAMMAS').get(getattr(args, 'schedule', None))
    return (optimizer_defaults(args.optimizer) or {}).get(name)


def complete_defaults(parser, args):
    """Set the options that are left out to the defaults of the optimizer and the schedule; changes args.

    A record (@args.txt) holds these defaults as numbers. Where the command line names another optimizer than the
    record, numbers that were the defaults of the recorded optimizer become the defaults of the new one. A line of
    `args.past` says so.
    """
    record, typed = parser.record(), getattr(args, 'typed', ())
    for name, chooser in CHOSEN_BY.items():
        default, value = _chosen(name, args), getattr(args, name)
        if record is not None and name not in typed and chooser in typed and value is not None:
            then = _chosen(name, record)
            if getattr(record, chooser) != getattr(args, chooser) and then in (None, value):
                setattr(args, name, None)
                if default is not None and default != value:
                    args.past.append(
                        f'--{name} is {default:g}, the default of --{chooser} {getattr(args, chooser)}; the record has '
                        f'{value:g}, the default of --{chooser} {getattr(record, chooser)}'
                    )
            elif getattr(record, chooser) != getattr(args, chooser) and default not in (None, value):
                args.past.append(
                    f'--{name} is {value:g}, of the record, where it was given for --{chooser} '
                    f'{getattr(record, chooser)}; the default of {getattr(args, chooser)} is {default:g}'
                )
        if getattr(args, name) is None:
            setattr(args, name, default)
    if args.lr is None:
        parser.error(
            f'argument --lr: needed: DEFAULTS in utils/training/optim.py has no values for --optimizer {args.optimizer}'
        )


def optimizer_line(args):
    """Return the settings of the optimizer (str), for the log: 'optimizer: sgd, lr 0.1, momentum 0.9'."""
    used = optimizer_defaults(args.optimizer)
    names = BY_OPTIMIZER if used is None else used
    has_betas = used is not None and 'beta' in used and args.optimizer != 'rmsprop'
    shown = {'momentum': 'beta1', 'beta': 'beta2'} if has_betas else {'beta': 'alpha'}
    parts = [f'{shown.get(name, name)} {getattr(args, name):g}' for name in names if getattr(args, name) is not None]
    parts += ['nesterov'] if args.nesterov else []
    parts += [f'schedule {args.schedule}'] if args.schedule != 'none' else []
    if args.gamma is not None and args.schedule in read_registry('utils.training.optim', 'DEFAULT_GAMMAS'):
        parts.append(f'gamma {args.gamma:g}')
    return ', '.join([f'optimizer: {args.optimizer}', *parts])
