"""When an option has an effect: `needs=` of its add_argument, and the check that refuses the option otherwise.

    group.add_argument('--power', default=0.9, needs=schedule('poly'), ...)

If a typed option differs from its default and its Need is not met, parsing ends with one line and exit code 2. Options
from a record (@args.txt) are not refused, as a record holds every option. Options without `needs` always have an
effect. tests/utils/options/test_needs.py tries every option that has `needs`. Imports no torch.
"""

from typing import NamedTuple

from utils.base import rank_env
from utils.base.registry import read_registry
from utils.options.defaults import optimizer_defaults
from utils.options.fit import CACHED_FILES, PICTURE_DATA
from utils.tasks.tasks import task_of


class Need(NamedTuple):
    """What an option needs to have an effect.

    Args:
        met: function(args) -> bool.
        why: the reason in the message (str, or a function(args) that returns it).
        without, within: command lines (str) with which the option has no effect, and with which it has one, for tests.
    """

    met: object
    why: object
    without: str
    within: str = ''


def check_needs(parser, args):
    """Refuse the first typed option that has no effect beside the others."""
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


def is_pretrained(options):
    """Return whether options (Namespace) start from weights that a library downloads (bool)."""
    return options.pretrained and ':' in options.model_type


def has_files(options):
    """Return whether the images are files of the user (bool), by options (Namespace)."""
    return getattr(options, 'data_type', None) in PICTURE_DATA


def has_masks(options):
    """Return whether the targets are masks (bool), by options (Namespace)."""
    return getattr(options, 'task', None) == 'segmentation'


def schedule(*names):
    """Return the Need of an option that only these schedules use."""
    return Need(
        lambda args: args.schedule in names,
        f'only for --schedule {" or ".join(names)}',
        f'--schedule {"cosine" if "cosine" not in names else "poly"}',
        f'--schedule {names[-1]}' + (' --lr_steps 1' if names[-1] in ('step', 'multistep') else ''),
    )


def optimizer_with(name):
    """Return the Need of an option that only the optimizers use whose DEFAULTS in utils/training/optim.py name it."""

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
    """Return the Need of an option that only tasks use whose target is one of `target` (tuple of str)."""
    return Need(
        lambda args: task_of(args).target in target,
        lambda args: f'--task {args.task} does not use it',
        without,
        within,
    )


def option(name, without='', within=None):
    """Return the Need of an option that requires another option, --`name`."""
    return Need(
        lambda args: bool(getattr(args, name, None)),
        f'requires --{name}',
        without,
        f'--{name}' if within is None else within,
    )


REGRESSION = '--task regression --data_type array --train_list LIST --val_list LIST'
NUMBERS = task_with(('numbers',), '--task classification', REGRESSION)
SCALED = Need(
    lambda args: task_of(args).target == 'numbers' and args.target_scale != 'none',
    lambda args: (
        f'only for --task regression with --target_scale standard, not for --task {args.task}'
        if task_of(args).target != 'numbers'
        else '--target_scale none does not use it'
    ),
    '--task classification',
    REGRESSION,
)
MOMENTUM = Need(
    lambda args: args.optimizer == 'sgd' and bool(args.momentum),
    lambda args: 'only for --optimizer sgd' if args.optimizer != 'sgd' else 'has no effect with --momentum 0',
    '--optimizer sgd --momentum 0',
    '--optimizer sgd',
)
DECAY = Need(lambda args: bool(args.weight_decay), 'requires --weight_decay', '', '--weight_decay 0.1')
GPUS = Need(
    lambda args: args.device not in ('cpu', 'mps'),
    lambda args: '--device cpu uses no GPU' if args.device == 'cpu' else '--device mps uses the one GPU of a Mac',
    '--device cpu',
    '--device auto',
)
PROCESSES = Need(
    lambda args: rank_env.rank_info().count > 1,
    'only for several processes, started by torchrun (torchrun --nproc_per_node 2 train.py ...)',
    '',
    None,  # by the environment
)
CODE = Need(
    lambda args: args.code != 'now',
    'requires --code then, --code both or --code FILE',
    '',
    '--code then',
)
CACHE = Need(
    lambda args: bool(args.cache_dir) and args.data_type in CACHED_FILES,
    lambda args: (
        'requires --cache_dir'
        if args.data_type in CACHED_FILES
        else f'only for {", ".join(CACHED_FILES)}, not {args.data_type}'
    ),
    '--data_type digits',
    '--data_type list --train_list LIST --val_list LIST --num_classes 2 --cache_dir DIR',
)
COLOURS = Need(
    lambda args: task_of(args).target == 'mask' or args.data_type == 'array',
    lambda args: f'colours are for masks and for features, not for --task {args.task}',
    '',
    '--task segmentation --num_classes 2 --data_type list --train_list LIST --val_list LIST',
)
