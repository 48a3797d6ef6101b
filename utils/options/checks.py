"""Checks of options against each other, and expansion of their short forms; errors are one line, exit code 2.

Imports no torch. options.py declares the options.
"""

import importlib.util
import os
from importlib.util import find_spec

from utils.base import rank_env
from utils.base.errors import DanluError
from utils.base.regular_files import NOT_REGULAR, read_regular_text
from utils.options.arguments import BALANCED, MAX_CLASSES, STORED, UNRECORDABLE, unfit_for_tensors
from utils.options.decoders import complete_decoder
from utils.options.defaults import complete_defaults
from utils.options.fit import CACHED_FILES, PICTURE_DATA, default_fit, fault_of_fit
from utils.options.loss_options import default_loss, fault_of_loss
from utils.options.metric_options import fault_of_metrics, unnamed_metrics
from utils.options.model_source import choose_class, fault_of_source
from utils.options.needs import check_needs
from utils.options.palette import fitted, is_palette, names_in, not_classes, read_palette
from utils.options.predict_options import check_predict, predicts
from utils.options.prediction_hint import how_to_predict
from utils.options.validation_options import (
    alternatives_to,
    fault_of_val_split,
    is_split_list,
    needs_list,
    resolve_val_split,
)
from utils.tasks.tasks import TASKS, task_of, two_class_losses

# Kinds of data in the user's files -> what --train_list and --val_list are.
FILE_DATA = {
    **dict.fromkeys(('list', 'mem_list', 'pairs'), 'a list file'),
    'folder': 'a directory with one sub-directory per class',
    'array': 'a .csv or .npz file',
}
USUAL_ENDINGS = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')  # all: data/lists/picture_extensions.py
SHARD_ENDINGS = ('.tar', '.csv', '.jsonl')
DOWNLOADABLE_DATA = ('mnist', 'fashion_mnist', 'cifar10', 'cifar100')
OWN_DATA = ('digits', 'noisy_digits', *DOWNLOADABLE_DATA)  # data sets with their own samples
# Kinds of data -> the tasks that they have targets for; other kinds of data are not restricted.
SERVED_BY_DATA = {
    **dict.fromkeys(('list', 'mem_list'), tuple(TASKS)),
    'array': ('classification', 'regression'),
    **dict.fromkeys(('pairs', 'noisy_digits'), ('restoration',)),
    'stream': ('classification', 'segmentation'),
    **dict.fromkeys(('digits', 'folder', *DOWNLOADABLE_DATA), ('classification',)),
}

SKIPPING_DATA = ('list', 'mem_list', 'pairs', 'folder')  # for --skip_bad: each sample has files of its own


def checked(parser, args):
    """Check options against each other and expand their short forms; return args, changed."""
    expand(parser, vars(args), getattr(args, 'typed', None))
    for option in ('model_args', 'loss_args'):
        words = getattr(args, option) or []
        if len({word.partition('=')[0] for word in words}) < len(words):
            parser.error(f'argument --{option}: {shown(words)}: a name occurs twice')
    _check_outputs(parser, args)
    _take_names_of_palette(args)
    if args.class_names and args.num_classes is None:
        args.num_classes = len(args.class_names)
    if task_of(args).target == 'mask' and args.ignore_index is None:
        args.ignore_index = 255
    _resolve_one_output(parser, args)
    _check_counts(parser, args)
    _check_fit(parser, args)
    if fault := complete_decoder(args):
        parser.error(f'argument --decoder: {fault}')
    _check_palette(parser, args)
    _check_data(parser, args)
    _check_stream(parser, args)
    _check_balance(parser, args)
    _check_mixing(parser, args)
    _check_loss_and_metrics(parser, args)
    if hasattr(args, 'optimizer'):
        complete_defaults(parser, args)
    check_predict(parser, args)
    _check_tta(parser, args)
    _check_mps(parser, args)
    check_needs(parser, args)
    if hasattr(args, 'schedule'):
        _check_schedule(parser, args)
        _check_controls(parser, args)
        _check_tracker(parser, args)
    return args


def expand(parser, options, typed=None):
    """Expand the short forms among options (dict, changed in place).

    A file of names or colours is read only if its path was typed: a checkpoint or an args.txt may come from others and
    could name any file of the user.

    Args:
        parser: for errors.
        options: name -> value.
        typed: names of the typed options; None: all.
    """
    if len(options.get('image_size') or []) == 1:
        options['image_size'] = options['image_size'] * 2
    if len(options.get('class_names') or []) == 1 and (typed is None or 'class_names' in typed):
        path = os.path.expanduser(options['class_names'][0])
        if not os.path.isfile(path):
            parser.error(
                f'argument --class_names: {path!r} is no file (looked in {os.getcwd()}); give a text file, one name '
                'per line, or at least two names, separated by blanks'
            )
        try:
            text = read_regular_text(path, encoding='utf-8-sig')
        except UnicodeDecodeError:
            parser.error(f'argument --class_names: {path!r} is not UTF-8 text')
        except OSError as error:
            parser.error(f'argument --class_names: {path!r} cannot be read: {error.strerror}')
        options['class_names'] = [line.strip() for line in text.splitlines() if line.strip()]
        if len(options['class_names']) < 2:
            parser.error(
                f'argument --class_names: {path!r} holds {len(options["class_names"])} names; give one per line'
            )
    if options.get('palette') and not is_palette(options['palette']):
        if typed is not None and 'palette' not in typed:
            parser.error(
                f'argument --palette: {shown(options["palette"])}: the record has no colours #rrggbb; files are read '
                'from the command line only'
            )
        options['palette'] = _expanded_palette(parser, options['palette'])


def _expanded_palette(parser, words):
    """Return the colours (list of str) that the words of --palette name; one word may be a file."""
    if is_palette(words):
        return words
    if len(words) > 1:
        wrong = next(word for word in words if not is_palette([word]))
        parser.error(f'argument --palette: {wrong!r} is no colour #rrggbb; give one colour per class, or one file')
    path = os.path.expanduser(words[0])
    if not os.path.isfile(path):
        parser.error(
            f'argument --palette: {path!r} is neither a file (looked in {os.getcwd()}) nor colours #rrggbb; quote '
            'colours in a shell'
        )
    try:
        return read_palette(path)
    except DanluError as error:
        return parser.error(f'argument --palette: {error}')


def _take_names_of_palette(args):
    """Take the class names of masks from the palette if they are not given."""
    names = names_in(args.palette or [])
    if names and task_of(args).target == 'mask' and args.class_names is None and args.num_classes in (None, len(names)):
        args.class_names = names


def _check_palette(parser, args):
    """Reduce the palette to one colour per class, if the classes are known: else data.data_entry does."""
    if args.palette and args.num_classes is not None and (args.class_names or not names_in(args.palette)):
        try:
            colours = fitted(args.palette, args.num_classes, args.class_names)
        except DanluError as error:
            parser.error(f'argument --palette: {error}')
        if task_of(args).target == 'mask' and args.ignored_colours is None:
            args.ignored_colours = not_classes(args.palette, colours, args.ignore_index)
        args.palette = colours
    _check_masks(parser, args)


def _check_masks(parser, args):
    values, colours = args.mask_values, args.ignored_colours
    for name, value in (('mask_values', values), ('ignored_colours', colours)):
        if value not in (None, [STORED]) and task_of(args).target != 'mask':
            parser.error(f'argument --{name}: --task {args.task} has no masks; leave it out')
    if colours and args.palette is None:
        parser.error('argument --ignored_colours: requires --palette')
    if both := sorted({*(colours or [])} & {*(args.palette or [])}):
        parser.error(f'argument --ignored_colours: {both[0]} is the colour of a class in --palette')
    if values in (None, [STORED]):
        return
    if STORED in values:
        parser.error(f'argument --mask_values: {shown(values)}: give {STORED} alone or one value per class')
    if len(set(values)) < len(values):
        parser.error(f'argument --mask_values: {shown(values)}: a value occurs twice')
    if args.num_classes is not None and len(values) != args.num_classes:
        parser.error(f'argument --mask_values: {len(values)} given for {args.num_classes} classes: give one per class')


def _check_fit(parser, args):
    if args.interpolation is not None and args.data_type not in PICTURE_DATA and parser.prog == 'train.py':
        parser.error(f'argument --interpolation: {args.data_type} reads no image files; leave it out')
    if args.crop_share is not None and args.data_type not in PICTURE_DATA and parser.prog == 'train.py':
        parser.error(f'argument --crop_share: {args.data_type} reads no image files; leave it out')
    if args.fit is None and args.data_type != 'array':
        args.fit = default_fit(args.task)
    if args.fit is None:
        return
    if fault := fault_of_fit(args):
        parser.error(f'argument --fit: {fault}')
    if args.crop_share not in (None, 1.0) and args.fit != 'crop':
        parser.error(f'argument --crop_share: only for --fit crop, not {args.fit}; leave it out')
    if parser.prog == 'train.py' and args.data_type in OWN_DATA and args.fit != default_fit(args.task):
        parser.error(f'argument --fit: all images of {args.data_type} have the same size; leave it out')


def _check_gpus(parser, args):
    if not args.gpus:
        return
    if len(set(args.gpus)) < len(args.gpus):
        parser.error(f'argument --gpus: {shown(args.gpus)}: an index occurs twice')
    if rank_env.rank_info().count > 1:
        parser.error(
            'argument --gpus: not under torchrun, which starts one process per GPU: leave it out (CUDA_VISIBLE_DEVICES '
            'chooses the GPUs)'
        )
    if len(args.gpus) > 1 and args.compile:
        parser.error('argument --compile: not with several --gpus (DataParallel); leave one of the two out')


def _resolve_one_output(parser, args):
    """Replace --num_classes 1 by 2 with --loss bce (two classes, one output); refuse it otherwise."""
    if args.num_classes != 1:
        return
    one_output = two_class_losses(args.task)
    if args.loss not in one_output:
        hint = f'; for two classes with one output give --loss {one_output[0]} too' if one_output else ''
        parser.error(f'argument --num_classes: must be at least 2 and at most {MAX_CLASSES}, got 1{hint}')
    args.num_classes = 2


def _check_counts(parser, args):
    if args.image_size and len(args.image_size) != 2:
        parser.error(f'argument --image_size: takes one number or height and width, got {len(args.image_size)} numbers')
    if args.channels not in (None, 1, 3) and args.data_type != 'array':
        _refuse_data(parser, args, f'argument --channels: {args.channels}: choose from 1, 3')
    for name in ('class_names', 'class_weights'):
        values = getattr(args, name)
        if values and values != [BALANCED] and args.num_classes is not None and len(values) != args.num_classes:
            parser.error(f'argument --{name}: {len(values)} given for {args.num_classes} classes: give one per class')
    for name in args.class_names or []:
        if not name.strip() or name == '--' or UNRECORDABLE.search(name):  # argparse drops --
            parser.error(f'argument --class_names: {name!r} is no name: it is empty, --, or contains a line break')
    _check_gpus(parser, args)
    if BALANCED in (args.class_weights or []) and (len(args.class_weights) > 1 or not hasattr(args, 'train_list')):
        parser.error('argument --class_weights: balanced stands alone and is for train.py only')
    if args.class_weights and not any(args.class_weights):
        parser.error('argument --class_weights: all weights are 0')
    for name in ('mean', 'std'):
        values = getattr(args, name)
        if args.data_type == 'array' and args.channels is None:
            continue  # the number of features is not known yet
        if values and len(values) not in ((1, 3) if args.channels is None else (args.channels,)):
            _refuse_data(parser, args, f'argument --{name}: give one number per channel ({args.channels or "1 or 3"})')
        if fault := next(filter(None, map(unfit_for_tensors, values or [])), None):
            parser.error(f'argument --{name}: {shown(values)}: {fault}')


def _refuse_data(parser, args, message):
    """Refuse options that do not fit --data_type, unless loaders may be handed over instead.

    Then the message is kept and raised when that data is used: data.ready_made.select_loaders.
    """
    faults = getattr(args, 'data_faults', None)
    if faults is None:
        parser.error(message)
    faults.append(message)


def _check_data(parser, args):
    resolve_val_split(args)
    if getattr(args, 'val_split', None) is not None and (fault := fault_of_val_split(args, OWN_DATA)):
        parser.error(f'argument --val_split: {fault}')
    if task_of(args).target == 'mask' and args.num_classes is None:
        parser.error('argument --num_classes: needed for segmentation: masks hold 0 .. num_classes-1 and ignore_index')
    _check_served(parser, args)
    for name in ('train_list', 'val_list'):
        if hasattr(args, name) and needs_list(args, name):
            _check_list(parser, args, name)
    if args.data_root and not os.path.isdir(args.data_root):
        parser.error(f'argument --data_root: {args.data_root} is not a directory')
    if args.load_model_path and os.path.isdir(args.load_model_path):
        parser.error(f'argument --load_model_path: {no_checkpoint(args.load_model_path)}')
    _check_loading(parser, args)
    _check_model_source(parser, args)
    _check_used(parser, args)


def _check_list(parser, args, name):
    """Check that --train_list or --val_list (`name`) fits --data_type."""
    kind, path = args.data_type, getattr(args, name)
    if kind in FILE_DATA and path is None:
        parser.error(
            f'argument --{name}: needed for data_type {kind}: {FILE_DATA[kind]}{alternatives_to(name, parser)}'
        )
    if path and kind in OWN_DATA:
        parser.error(f'argument --{name}: {kind} has its own images; for yours give --data_type list or folder')
    if path and not os.path.exists(path):  # the checkpoint was trained on another machine
        parser.error(f'argument --{name}: {path}, which the checkpoint names, does not exist here: give --{name}')
    if path and kind in FILE_DATA and not (os.path.isfile(path) or os.path.isdir(path)):
        parser.error(f'argument --{name}: {path} is a pipe or a device; it is read more than once, so give a file')
    if path and kind == 'folder' and is_split_list(path):
        return
    if path and (kind == 'folder') != os.path.isdir(path) and kind in FILE_DATA:
        wanted, got = ('a directory', 'file') if kind == 'folder' else (FILE_DATA[kind], 'directory')
        hint = '; for a list file add --data_type list' if kind == 'folder' and path.endswith('.txt') else ''
        hint = hint or (_hint_to_predict(parser, args, path) if name == 'val_list' else '')
        parser.error(f'argument --{name}: data_type {kind} takes {wanted}, {path} is a {got}{hint}')


def _hint_to_predict(parser, args, path):
    """Return how to predict the images that a test was given instead of a list (str), '' for other files."""
    names = os.listdir(path) if os.path.isdir(path) else [os.path.basename(path)]
    if parser.prog != 'eval.py' or not any(name.lower().endswith(USUAL_ENDINGS) for name in names):
        return ''
    return '; ' + how_to_predict(args.load_model_path, path)


def _check_loading(parser, args):
    for name in ('load_exclude', 'trust_checkpoint', 'load_key', 'load_prefix'):
        if getattr(args, name, None) and args.load_model_path is None:
            parser.error(f'argument --{name}: requires --load_model_path')
    if getattr(args, 'as', None) and args.resume is None:
        parser.error('argument --as: requires --resume')
    if args.strict_record and args.load_model_path is None and getattr(args, 'resume', None) is None:
        parser.error('argument --strict_record: requires --load_model_path or --resume')


def _check_model_source(parser, args):
    if args.model_source and not args.trust_checkpoint:
        parser.error('argument --model_source: the code in this file is run, so give --trust_checkpoint too')
    if args.model_source and not os.path.isfile(args.model_source):
        parser.error(f'argument --model_source: {args.model_source} is not a file')
    if parser.prog == 'train.py' and 'model_type' not in getattr(args, 'typed', ()):
        choose_class(args)
    if fault := fault_of_source(args):
        parser.error(f'argument --model_type: {fault}')


def _check_served(parser, args):
    """Refuse data that has no targets for the task."""
    kind, served = args.data_type, SERVED_BY_DATA.get(args.data_type, (args.task,))
    if args.task in served or args.task not in TASKS:
        return
    if args.task == parser.get_default('task'):  # probably not given
        parser.error(f'argument --task: {kind} is for {" or ".join(served)}: add --task {served[0]}')
    fitting = ' or '.join(name for name, tasks in SERVED_BY_DATA.items() if args.task in tasks)
    message = f'argument --data_type: {kind} has no {task_of(args).target_noun}; {args.task} takes {fitting}'
    _refuse_data(parser, args, message)


def _check_outputs(parser, args):
    """Refuse options about targets that the task does not have."""
    task = task_of(args)
    for name, used in (
        ('num_classes', task.has_classes),
        ('class_names', task.has_classes),
        ('palette', task.has_classes),
        ('num_targets', task.target == 'numbers'),
    ):
        if getattr(args, name) is not None and not used:
            parser.error(f'argument --{name}: --task {args.task} has {task.target_noun} for targets; leave it out')
    for name in ('target_mean', 'target_std'):
        values = getattr(args, name)
        if values and args.num_targets is not None and len(values) != args.num_targets:
            parser.error(f'argument --{name}: {len(values)} given for {args.num_targets} targets: give one per target')
    if args.target_names and args.num_targets is not None and len(args.target_names) != args.num_targets:
        parser.error(f'argument --target_names: {len(args.target_names)} given for {args.num_targets} targets')
    if args.target_columns and args.data_type != 'array':
        parser.error(f'argument --target_columns: only data_type array has columns, not {args.data_type}')
    if len(set(args.target_columns or [])) < len(args.target_columns or []):
        parser.error(f'argument --target_columns: {shown(args.target_columns)}: a column occurs twice')
    for name, fixed in (('mean', 0), ('std', 1)) if task.target == 'picture' else ():
        if any(value != fixed for value in getattr(args, name) or []):
            parser.error(
                f'argument --{name}: --task {args.task} has inputs and outputs in 0..1, so it is {fixed}; leave it out'
            )


def _check_used(parser, args):
    kind = args.data_type
    if args.bits not in (None, 16) and kind in SERVED_BY_DATA and kind not in PICTURE_DATA:
        parser.error(f'argument --bits: {kind} has no 16-bit image files; leave it out')
    if args.data_root and not predicts(args) and kind in ('digits', 'noisy_digits', 'folder', 'array'):
        parser.error(f'argument --data_root: not used by data_type {kind}')
    if args.cache_dir and kind not in ('mem_list', *CACHED_FILES):
        fitting = ', '.join(('mem_list', *CACHED_FILES))
        parser.error(f'argument --cache_dir: only for --data_type {fitting}, not {kind}; leave it out')
    if args.cache_dir and kind in CACHED_FILES and args.cache_size is None:
        what = 'give it, for example 256'
        if parser.prog == 'eval.py' or getattr(args, 'resume', None):
            what = 'the run was trained without it; leave --cache_dir out'
        parser.error(f'argument --cache_size: --cache_dir of {kind} keeps images reduced to this shorter side; {what}')
    if args.cache_size is not None and args.image_size and args.cache_size < min(args.image_size):
        parser.error(
            f'argument --cache_size: {args.cache_size} keeps images smaller than --image_size '
            f'{shown(args.image_size)}, which would be enlarged again: give at least {min(args.image_size)}'
        )
    if getattr(args, 'skip_bad', False) and kind not in SKIPPING_DATA:
        why = 'a stream is not read before training' if kind == 'stream' else f'{kind} has no file per sample'
        parser.error(f'argument --skip_bad: {why}; leave it out, or give --data_type {" or ".join(SKIPPING_DATA)}')
    if args.download and kind not in DOWNLOADABLE_DATA:
        parser.error(f'argument --download: only {", ".join(DOWNLOADABLE_DATA)} can be downloaded')


def _check_stream(parser, args):
    if args.data_type != 'stream':
        for name in ('shuffle_buffer', 'train_length'):
            if getattr(args, name, None) != parser.get_default(name):
                parser.error(f'argument --{name}: only data_type stream uses it; leave it out')
        return
    if args.num_classes is None:
        parser.error('argument --num_classes: a stream is not read before training; give it or --class_names')
    for name in ('train_list', 'val_list'):
        if not hasattr(args, name):
            continue
        path = getattr(args, name)
        if not needs_list(args, name):
            continue
        if path is None or not (os.path.isdir(path) or path.lower().endswith(SHARD_ENDINGS)):
            parser.error(
                f'argument --{name}: data_type stream takes a {", ".join(SHARD_ENDINGS)} file or a directory with '
                f'such, {"and none is given" if path is None else f"not {path}"}'
            )
    by_step = getattr(args, 'schedule', 'none') not in ('none', 'plateau') or getattr(args, 'warmup_epochs', 0)
    if by_step and args.train_length is None:
        what = f'--schedule {args.schedule}' if args.schedule != 'none' else '--warmup_epochs'
        parser.error(f'argument --train_length: {what} needs the number of samples per epoch of a stream: give it')


def _check_balance(parser, args):
    if not getattr(args, 'balance', False):
        return
    if args.task != 'classification':
        instead = '; give --class_weights' if task_of(args).has_classes else ''
        parser.error(f'argument --balance: only for --task classification, not {args.task}{instead}')
    if args.data_type == 'stream':
        parser.error('argument --balance: the labels of a stream are not known before training; give --class_weights')
    if args.class_weights:
        parser.error(
            'argument --balance: with --class_weights rare classes would count twice; leave one of the two out'
        )


def _check_mixing(parser, args):
    for name in ('mixup', 'cutmix'):
        if getattr(args, name, None) is None:
            continue
        if args.task != 'classification':
            parser.error(f'argument --{name}: only for --task classification, not {args.task}')
        if args.ignore_index is not None:
            parser.error(f'argument --{name}: ignored samples cannot be mixed: leave out --ignore_index')


def _check_loss_and_metrics(parser, args):
    args.loss = args.loss or default_loss(args.task)
    if args.loss is None:
        parser.error(f'argument --loss: needed: no file of utils/tasks lists a loss for task {args.task}')
    if fault := fault_of_loss(args):
        parser.error(f'argument --{fault[0]}: {fault[1]}')
    if fault := fault_of_metrics(args):
        parser.error(f'argument --metrics: {fault}')
    monitor = (getattr(args, 'monitor', None) or '').partition('/')[2]
    if monitor in unnamed_metrics(args):
        parser.error(f'argument --monitor: {monitor} is computed only on request: add --metrics {monitor}')


def _check_mps(parser, args):
    if args.device != 'mps':
        return
    for name, off in (('amp', '--amp off'), ('compile', '--no_compile'), ('fast', '--no_fast')):
        if getattr(args, name, None) not in (None, False, 'off'):
            parser.error(f'argument --{name}: --device mps computes in float32, without torch.compile: give {off}')


def _check_tta(parser, args):
    if getattr(args, 'tta', None) is None:
        return
    if args.task not in TASKS:
        parser.error(f'argument --tta: not for the task {args.task} of a project; leave it out')
    if args.image_size == []:
        parser.error('argument --tta: the samples are feature vectors, not images; leave it out')
    suitable = task_of(args).tta
    if args.tta not in suitable:
        parser.error(f'argument --tta: {args.tta} does not suit --task {args.task}; choose from {", ".join(suitable)}')


def _check_schedule(parser, args):
    steps, changing = args.lr_steps or [], args.schedule in ('step', 'multistep')
    if changing and not steps:
        parser.error(f'argument --lr_steps: --schedule {args.schedule} needs it: when the learning rate changes')
    if args.schedule == 'step' and len(steps) > 1:
        parser.error('argument --lr_steps: --schedule step takes one number; for several give --schedule multistep')
    if steps != sorted(set(steps)):
        parser.error(f'argument --lr_steps: {shown(steps)}: each must be later than the one before')
    if changing and 'lr_steps' in getattr(args, 'typed', ()) and max(steps) >= args.epochs:
        late = shown([f'{step:g}' for step in steps if step >= args.epochs])
        parser.error(f'argument --lr_steps: {late}: the run ends after --epochs {args.epochs}, before this change')
    if args.lr_min >= args.lr:
        parser.error(f'argument --lr_min: {args.lr_min:g} is not below --lr {args.lr:g}')
    for name in ('warmup_epochs', 'warmup_steps'):
        if args.schedule == 'onecycle' and getattr(args, name):
            parser.error(f'argument --{name}: --schedule onecycle has its own warmup; leave it out')
    if args.warmup_epochs and args.warmup_steps:
        parser.error('argument --warmup_steps: not with --warmup_epochs; leave out one of the two')
    if args.warmup_epochs >= args.epochs:
        parser.error(f'argument --warmup_epochs: {args.warmup_epochs:g} is not below --epochs {args.epochs}')


def _check_controls(parser, args):
    if args.min_epochs and args.patience is None:
        parser.error('argument --min_epochs: requires --patience')
    if args.min_epochs > args.epochs:
        parser.error(f'argument --min_epochs: {args.min_epochs} is more than --epochs {args.epochs}')
    if args.save_safetensors and importlib.util.find_spec('safetensors') is None:
        parser.error('argument --save_safetensors: needs the package safetensors: pip install safetensors')
    for name in ('dry_run', 'find_lr'):
        if getattr(args, name) and args.resume:
            parser.error(f'argument --{name}: not with --resume; give @<run>/args.txt instead')
    if args.dry_run and args.find_lr:
        parser.error('argument --find_lr: not with --dry_run; leave one of the two out')


def _check_tracker(parser, args):
    """Refuse --track if its package is not installed."""
    if args.track and find_spec(args.track) is None:
        parser.error(f'argument --track: {args.track} is not installed: pip install {args.track}')


def no_checkpoint(path):
    """Return why a path is no checkpoint (str)."""
    if os.path.isdir(path):
        return f'{path} is a directory without best.pth; give the name of a run, or the file of a checkpoint'
    return f'{path}: {NOT_REGULAR}'


def shown(value):
    """Return the value of an option as text (str)."""
    if value is None:
        return 'not set'
    if isinstance(value, bool):
        return 'on' if value else 'off'
    return ' '.join(map(str, value)) if isinstance(value, list | tuple) else str(value)
