"""When an option has an effect: `needs=` beside its add_argument, and the check that refuses it elsewhere.

    group.add_argument('--power', default=0.9, needs=schedule('poly'), ...)

An option that is typed with a value other than its default, where its Need is not met, ends in one line, exit code 2.
What an @args.txt holds is not refused: a record has every option. Options without `needs` have an effect everywhere.
tests/utils/options/test_needs.py tries every option of both parsers. Imports no torch.
"""

from typing import NamedTuple

from utils.base import rank_env
from utils.base.registry import read_registry
from utils.options.defaults import optimizer_defaults
from utils.tasks.tasks import task_of


class Need(NamedTuple):
    """What an option needs to have an effect.

    Args:
        met: function(args) -> bool.
        why: what the message says (str, or a function(args) that returns it).
        without, within: words of a command line (str) with which the option has no effect, and with which it has one;
            the tests try both.
    """

    met: object
    why: object
    without: str
    within: str = ''


def check_needs(parser, args):
    """Refuse the first option that was typed and has no effect beside the others."""
    for action in parser._actions:
        need, name = action.needs, action.dest
        if need is None or name not in getattr(args, 'typed', ()):
            continue
        value = getattr(args, name)
        if value is not None and value != action.default and not need.met(args):
            why = need.why(args) if callable(need.why) else need.why
            parser.error(f'argument --{name}: {why}; leave it out')


def is_used(action, args):
    """Return whether an option (argparse.Action) has an effect beside the others (bool)."""
    return (action.needs is None or action.needs.met(args)) and (action.concerns is None or action.concerns(args))


def schedule(*names):
    """Return the Need of an option for some schedules."""
    return Need(
        lambda args: args.schedule in names,
        f'only for --schedule {" or ".join(names)}',
        f'--schedule {"cosine" if "cosine" not in names else "poly"}',
        f'--schedule {names[-1]}' + (' --lr_steps 1' if names[-1] in ('step', 'multistep') else ''),
    )


def optimizer_with(name):
    """Return the Need of an option of some optimizers: those whose DEFAULTS in utils/training/optim.py name it."""

    def why(args):
        users = [user for user, used in read_registry('utils.training.optim', 'DEFAULTS').items() if name in used]
        return f'--optimizer {args.optimizer} does not use it (only {", ".join(users)})'

    return Need(
        lambda args: (used := optimizer_defaults(args.optimizer)) is None or name in used,
        why,
        '--optimizer rprop',
        '--optimizer adam',
    )


def task_with(target, without, within):
    """Return the Need of an option for tasks whose target is one of `target` (tuple of str)."""
    return Need(
        lambda args: task_of(args).target in target,
        lambda args: f'--task {args.task} does not use it',
        without,
        within,
    )


def option(name, without='', within=None):
    """Return the Need of an option that is about another one, --`name`, which has to be given."""
    return Need(
        lambda args: bool(getattr(args, name, None)),
        f'there is no --{name} that it could be about',
        without,
        f'--{name}' if within is None else within,
    )


REGRESSION = '--task regression --data_type array --train_list LIST --val_list LIST'
NUMBERS = task_with(('numbers',), '--task classification', REGRESSION)
SCALED = Need(
    lambda args: task_of(args).target == 'numbers' and args.target_scale != 'none',
    lambda args: (
        f'only for --task regression with --target_scale standard, not for --task {args.task}'
        if args.task != 'regression'
        else '--target_scale none has no use for it'
    ),
    '--task classification',
    REGRESSION,
)
MOMENTUM = Need(
    lambda args: args.optimizer == 'sgd' and bool(args.momentum),
    lambda args: 'only for --optimizer sgd' if args.optimizer != 'sgd' else '--momentum 0 leaves nothing to look ahead',
    '--optimizer sgd --momentum 0',
    '--optimizer sgd',
)
DECAY = Need(lambda args: bool(args.weight_decay), 'there is no --weight_decay', '', '--weight_decay 0.1')
GPUS = Need(lambda args: args.device != 'cpu', '--device cpu leaves the GPUs alone', '--device cpu', '--device auto')
PROCESSES = Need(
    lambda args: rank_env.rank_info().count > 1,
    'only for several processes, which torchrun starts (torchrun --nproc_per_node 2 train.py ...)',
    '',
    None,  # by the environment
)
CODE = Need(
    lambda args: args.code != 'now',
    'there is no --code then or --code both that it could be about',
    '',
    '--code then',
)
COLOURS = Need(
    lambda args: task_of(args).target == 'mask' or args.data_type == 'array',
    lambda args: f'colours are for masks and for features, not for the pictures of --task {args.task}',
    '',
    '--task segmentation --num_classes 2 --data_type list --train_list LIST --val_list LIST',
)
