"""Every option of train.py and eval.py, in groups, checked as soon as it is read.

    args = prepare_train_args()                    # from the command line: makes the run's directory, writes args.txt
    args = train_args(lr=0.01)                     # from a notebook: checks, writes nothing

An option is declared once, in its group below; it then stands in --help, in args.txt and in every checkpoint. One that
is added, renamed or removed declares what that means for older records: utils/options/migrations.py.
Imports no torch, nor what does; names are read from the registries' source, so --help answers at once. What concerns
several options together is checked in utils/options/checks.py.
"""

import argparse
import copy
import glob
import os
import re
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from utils.base.errors import DanluError
from utils.base.record_schema import recorded_args
from utils.base.registry import PROJECT, read_registry
from utils.base.write_errors import WriteError, after
from utils.options.args_file import args_lines, changed, options_of, write_args
from utils.options.arguments import (
    STORED,
    Flag,
    class_count,
    class_weight,
    colour,
    directory_path,
    existing_list,
    existing_path,
    existing_path_or,
    from_keywords,
    keyword,
    mask_value,
    model_name,
    monitored,
    number,
    plain_name,
    registered,
    share_of_lr,
)
from utils.options.checks import DOWNLOADABLE_DATA, PICTURE_DATA, checked, expand, no_checkpoint, shown
from utils.options.completion import complete
from utils.options.fit import FITS, INTERPOLATIONS, fit_before
from utils.options.given_parts import parts_of, ready_data, unused_of
from utils.options.loss_options import losses_by_task, sum_of
from utils.options.metric_options import metric_names
from utils.options.migrations import MigratingParser
from utils.options.model_source import choose_class
from utils.options.needs import (
    CODE,
    COLOURS,
    DECAY,
    GPUS,
    MOMENTUM,
    NUMBERS,
    PROCESSES,
    SCALED,
    optimizer_with,
    option,
    schedule,
)
from utils.options.own_parsers import add_options_to
from utils.options.palette import fitted
from utils.options.validation_options import SPLIT_DATA, test_list
from utils.runs.run_directory import made_below
from utils.tasks.metric_values import EXTRA_METRICS, VALUES_OF

# Where results go, what is resumed, what is measured, and the search for what is fast (whose findings are recorded)
# belong to one start, as a permission does; args.txt shows them as comments, so that it can be repeated.
NOT_REPEATED = (
    'model_dir result_dir resume as profile fast dry_run find_lr strict_record code trust_checkpoint trust_code '
    'model_source'.split()
)
NOT_REPEATED_BY_TESTS = [*NOT_REPEATED, 'report']  # with its page and without it is the same test
# A test takes these from the checkpoint unless the command line says otherwise.
TAKEN_FROM_CHECKPOINT = (
    'model_type model_args data_type task num_classes num_targets target_columns '
    'target_names target_scale target_mean target_std image_size fit channels mean std bits '
    'interpolation crop_share '
    'class_names palette mask_values ignored_colours ignore_index val_list data_root seed batch_size num_workers '
    'threads deterministic amp channels_last compile loss loss_args label_smoothing class_weights metrics'
).split()
# A resumed run may be given these anew: they do not change what the run computes up to its last epoch.
SAFE_ON_RESUME = (
    'epochs print_freq save_freq num_workers threads gpus device download cache_dir resume as checkpoints_dir profile '
    'patience min_epochs keep_top histograms print_model save_steps save_minutes strict_record on_nan palette report '
    'trust_checkpoint model_source '
    'parallel log_steps'
).split()

LAST = 'last.pth'
TRUST = ('trust_checkpoint', 'model_source')  # by which a whole model may be loaded
AUTO = 'auto'  # for --resume: the newest run of the name, or a new one
ENDING_WITH_RUN = ('cosine', 'poly', 'onecycle')  # schedules that another number of epochs changes from the beginning


# A line or two per option read better than one per keyword.
# fmt: off
def add_common_args(parser):
    """Add the options that training and testing share."""
    _add_what(parser)
    _add_loss(parser)
    _add_files(parser)
    _add_machine(parser)


def _add_what(parser):
    group = parser.add_argument_group('what: model, data and task')
    models = read_registry('model.model_entry', 'MODELS')
    libraries = list(read_registry('model.model_entry', 'LIBRARIES'))
    datasets = read_registry('data.data_entry', 'DATASETS')
    tasks = read_registry('metrics', 'METRICS')
    group.add_argument('--model_type', default='lenet', type=model_name(models, libraries), metavar='NAME',
                       help=f'{", ".join(models)}, {", ".join(f"{library}<name>" for library in libraries)}')
    group.add_argument('--model_args', before=None, nargs='+', type=keyword, metavar='NAME=VALUE',
                       help="what else the model's constructor takes, such as width=32 depth=3 (unet), hidden=256,128 "
                            'dropout=0.1 (mlp), padding=0 (lenet)')
    group.add_argument('--data_type', default='digits', type=registered('kind of data', datasets), metavar='NAME',
                       help=f'{", ".join(datasets)}. list: pictures and targets that a text file names; mem_list: the '
                            'same, decoded once; pairs: list, for restoration; folder: a directory per class; stream: '
                            '.tar, .csv or .jsonl shards; array: .csv or .npz')
    group.add_argument('--task', default='classification', type=registered('task', tasks), metavar='NAME',
                       help=', '.join(tasks))
    group.add_argument('--num_classes', type=class_count, metavar='N',
                       help='number of classes (default: counted in the training data; needed for segmentation); with '
                            '--loss bce, 1 says the same as 2')
    _add_targets(group)
    group.add_argument('--class_names', nargs='+', metavar='NAME',
                       help='names of the classes in order of their labels, or one text file with a name per line')
    group.add_argument('--palette', before=None, nargs='+', metavar='COLOUR', needs=COLOURS,
                       help='colours of the classes in pictures, #rrggbb in order of their labels, or one file: a line '
                            'per class, "name r g b" or "name #rrggbb", or a PNG with a palette; masks saved as RGB '
                            'are read by these colours (default: colours that colour-blind readers tell apart too)')
    _add_masks(group)
    _add_pictures(group)
    group.add_argument('--ignore_index', type=number(int, low=-(2**31), below=2**31), metavar='N',
                       help='label that is no class and counts neither in the loss nor in the metrics: 255, -1, -100 '
                            '(default: 255 for segmentation)')


def _add_pictures(group):
    group.add_argument('--image_size', nargs='+', type=number(int, low=1, high=2**16), metavar='N',
                       help='height and width that pictures are brought to, or one number for both (default: the '
                            "data set's own, or the first training picture's)")
    group.add_argument('--fit', before=fit_before, choices=FITS,
                       help='how pictures of another shape are brought to --image_size: crop cuts the middle out, '
                            'stretch changes the proportions, pad adds margins, of the mean in pictures and of '
                            '--ignore_index in masks (default: crop for classification, else stretch)')
    group.add_argument('--interpolation', before=None, choices=INTERPOLATIONS,
                       help='how picture files are resized (default: as the weights of --pretrained were evaluated, '
                            'else bilinear)')
    group.add_argument('--crop_share', before=None, type=number(float, above=0, high=1), metavar='X',
                       help='--fit crop: side of the part that is cut out of the middle, as a share of the largest '
                            'such part (default: as the weights of --pretrained were evaluated, else 1)')
    group.add_argument('--channels', type=number(int, low=1), metavar='N',
                       help='1: grey, 3: RGB; of array, the number of features (default: as the data set has them; 3 '
                            'for pictures of your own)')
    group.add_argument('--bits', before=16, concerns=has_files, type=number(int, low=8, high=16), metavar='N',
                       help='range of pictures of 16 bits: values 0 .. 2^N-1 become 0..255, 12 for example for X-rays '
                            '(default: the bits that the largest value in the training data needs)')
    group.add_argument('--mean', nargs='+', type=number(float), metavar='X',
                       help="mean of each channel, pixels in 0..1, or of each feature, for normalisation (default: of "
                            "the data set, or ImageNet's; restoration: 0)")
    group.add_argument('--std', nargs='+', type=number(float, above=0), metavar='X',
                       help="standard deviation likewise (default: of the data set, or ImageNet's; restoration: 1)")


def is_pretrained(options):
    """Return whether options (Namespace) start from weights that a library downloads (bool)."""
    return options.pretrained and ':' in options.model_type


def has_files(options):
    """Return whether options (Namespace) are of data whose pictures are the user's own files."""
    return getattr(options, 'data_type', None) in PICTURE_DATA


def has_masks(options):
    """Return whether options (Namespace) are of a task whose targets are masks."""
    return getattr(options, 'task', None) == 'segmentation'


def _add_masks(group):
    group.add_argument('--mask_values', before=[STORED], concerns=has_masks, nargs='+', type=mask_value,
                       metavar='N',
                       help='segmentation: the stored value of each class in masks, in order of the labels, 0 255 for '
                            'example; stored: the stored values are the labels (default: stored; where masks of two '
                            'classes hold only 0 and one other value, that value is class 1)')
    group.add_argument('--ignored_colours', before=None, nargs='+', type=colour, metavar='COLOUR',
                       help='segmentation: colours #rrggbb of masks saved as RGB whose pixels do not count (default: '
                            'the colours that a --palette with names has for other names than --class_names; one '
                            'without names, that at the position of --ignore_index)')


def _add_targets(group):
    group.add_argument('--num_targets', before=None, type=number(int, low=1), metavar='N',
                       help='regression: numbers per sample (default: counted in the training data)')
    group.add_argument('--target_columns', before=None, nargs='+', metavar='NAME',
                       help='array: columns of a .csv, by name or by number from 1, or arrays of an .npz, that hold '
                            'the targets (default: the last column; the array targets or y)')
    group.add_argument('--target_names', before=None, needs=NUMBERS, nargs='+', metavar='NAME',
                       help='regression: names of the targets in reports and results (default: those of the columns, '
                            'where the data has a header)')
    group.add_argument('--target_scale', default='standard', before='none', needs=NUMBERS, choices=['standard', 'none'],
                       help='regression: standard: learn the targets less their mean, divided by their standard '
                            'deviation over the training data; the loss is on this scale, metrics and predictions are '
                            'in units. Ready-made loaders: none')
    group.add_argument('--target_mean', before=None, needs=SCALED, nargs='+', type=number(float), metavar='X',
                       help='mean of each target, for --target_scale standard (default: of the training data)')
    group.add_argument('--target_std', before=None, needs=SCALED, nargs='+', type=number(float, above=0), metavar='X',
                       help='standard deviation likewise')


def _add_loss(parser):
    losses, metrics = read_registry('loss', 'LOSSES'), metric_names()
    group = parser.add_argument_group('loss and metrics')
    group.add_argument('--loss', type=sum_of(losses), metavar='NAME',
                       help=f'{losses_by_task()}. Or a weighted sum: ce+0.5*dice (default: the first of the task)')
    group.add_argument('--loss_args', before=None, nargs='+', type=keyword, metavar='NAME=VALUE',
                       help='what the loss takes besides: ' + '; '.join(
                           f'{name}: {", ".join(taken)}' for name, taken in read_registry('loss', 'LOSS_ARGS').items()))
    group.add_argument('--label_smoothing', default=0.0, type=number(float, low=0, below=1), metavar='X',
                       help='ce: share of the target spread evenly over all classes')
    group.add_argument('--class_weights', nargs='+', type=class_weight, metavar='X',
                       help='ce, focal, bce: weight of each class in the loss; balanced: n / (K * count) of the '
                            'training data, samples or pixels, as in scikit-learn')
    group.add_argument('--metrics', before=None, nargs='+', type=registered('metric', metrics), metavar='NAME',
                       help='metrics that are computed only when named: ' + '; '.join(
                           f'{task}: {", ".join(extra)}'
                           for task, extra in EXTRA_METRICS.items()))


def _add_files(parser):
    group = parser.add_argument_group('where: files')
    group.add_argument('--val_list', type=existing_list, metavar='PATH',
                       help='validation (train.py) or test (eval.py) data: as --train_list. none: train without '
                            'validation; best.pth is then chosen by train/loss')
    group.add_argument('--data_root', type=existing_path, metavar='DIR',
                       help='what the paths in list files are relative to (default: the list file), or the directory '
                            'of a downloaded data set (default: datasets/ of the project)')
    group.add_argument('--cache_dir', before=None, type=directory_path, metavar='DIR',
                       help='directory that keeps the decoded pixels of mem_list on disk, for the next start and for '
                            'other processes (default: every start decodes them into its own memory)')
    group.add_argument('--download', action=Flag, help=f'download {", ".join(DOWNLOADABLE_DATA)} when not there yet')
    group.add_argument('--load_model_path', type=existing_path, metavar='FILE',
                       help='checkpoint or state dict to start from (train.py) or to test (eval.py)')
    group.add_argument('--load_key', before=None, metavar='KEY',
                       help='which weights to load from a file that holds several sets: model_ema, state_dict_ema, '
                            'ema, model ... (default: model, state_dict and the like; of the last.pth of a run with '
                            '--ema the averaged ones). The log says which were taken')
    group.add_argument('--load_prefix', before=None, metavar='PREFIX',
                       help='load the weights whose names in the file begin so, without it: model., encoder_q. '
                            '(default: a prefix by which most names fit and no other does)')
    group.add_argument('--load_not_strict', action=Flag,
                       needs=option('load_model_path', within='--load_model_path FILE'),
                       help='load the weights that match in name and shape, report the others')
    group.add_argument('--trust_checkpoint', before=False, action=Flag,
                       help='load a whole model that torch.save wrote, of which only the weights are taken: that may '
                            'run any code that is in the file, so only for files that you trust')
    group.add_argument('--model_source', before=None, type=existing_path, metavar='FILE',
                       help='with --trust_checkpoint: the Python file, which is run, that has the class of a whole '
                            'model; --model_type source:<class> builds it')
    group.add_argument('--strict_record', before=False, action=Flag,
                       help='stop, and not only say so, where a loaded checkpoint no longer computes what it did when '
                            'it was saved; a test also where the code of its data set, loss or metrics has changed')
    group.add_argument('--save_prefix', default='exp', type=plain_name, metavar='NAME',
                       help='your name for this run or test, part of its directory')
    group.add_argument('--checkpoints_dir', default=str(PROJECT / 'checkpoints'), type=directory_path, metavar='DIR',
                       help='directory of all runs')


def _add_machine(parser):
    group = parser.add_argument_group('how: machine')
    group.add_argument('--gpus', nargs='+', type=number(int, low=0), metavar='N', needs=GPUS,
                       help='indices into the visible GPUs; several are wrapped in DataParallel (default: the first, '
                            'or the CPU where there is none)')
    group.add_argument('--device', default='auto', choices=['auto', 'cpu', 'cuda'],
                       help='cpu: leave the GPUs alone; cuda: stop when there is none')
    group.add_argument('--seed', default=0, type=number(int, low=0, below=2**63), metavar='N',
                       help='of weights, order and augmentation')
    group.add_argument('--batch_size', default=64, type=number(int, low=1), metavar='N', help='samples per step')
    group.add_argument('--num_workers', type=number(int, low=0, high=1024), metavar='N',
                       help='processes that decode pictures (default: 0 for data in memory, else up to 8)')
    group.add_argument('--threads', type=number(int, low=1, high=1024), metavar='N',
                       help='threads of the main process (default: what the workers leave of the cores)')
    group.add_argument('--amp', before=None, choices=['off', 'bf16', 'fp16'],
                       help='compute with 16 bits where it is safe (torch.autocast); GPUs gain, most CPUs lose '
                            '(default: off, or as --fast finds)')
    group.add_argument('--channels_last', before=None, action=Flag, default=None,
                       help='lay out pictures channel by channel within each pixel (default: off, or as --fast finds)')
    group.add_argument('--compile', before=None, action=Flag, default=None,
                       help='torch.compile: a minute at the start, for a faster step on GPUs (default: off, or as '
                            '--fast finds)')
    group.add_argument('--deterministic', before=False, action=Flag,
                       help='the same bits each time on GPUs too, which is slower; refuse what cannot do that')
    group.add_argument('--print_freq', default=50, type=number(int, low=1), metavar='N',
                       help="steps between two updates of the progress line, and of TensorBoard's curves by steps")


def add_train_args(parser):
    """Add the options of train.py alone."""
    group = parser.add_argument_group('training')
    group.add_argument('--train_list', type=existing_path, metavar='PATH',
                       help='training data: a list file, a directory for folder, a .csv or .npz for array, shards '
                            '(.tar, .csv, .jsonl) for stream')
    group.add_argument('--val_split', before=None, type=number(float, above=0, below=1), metavar='X',
                       help=f'{", ".join(SPLIT_DATA)}: validate on this share of the training data, drawn by --seed, '
                            'for classification from each class alike; the lists of both parts are in val_split/ of '
                            'the run')
    group.add_argument('--epochs', default=10, type=number(int, low=1), metavar='N', help='passes over the data')
    optimizers = read_registry('utils.training.optim', 'OPTIMIZERS')
    group.add_argument('--optimizer', default='adam', type=registered('optimizer', optimizers), metavar='NAME',
                       help=f'from torch.optim: {", ".join(optimizers)}')
    group.add_argument('--lr', before=1e-3, type=number(float, above=0), metavar='X',
                       help=f'learning rate (default: by the optimizer: {_defaults("lr")})')
    group.add_argument('--momentum', before=0.9, needs=optimizer_with('momentum'), metavar='X',
                       type=number(float, low=0, below=1),
                       help='momentum of sgd and rmsprop, beta1 of Adam-type optimizers (default: by the optimizer: '
                            f'{_defaults("momentum")})')
    group.add_argument('--beta', before=0.999, needs=optimizer_with('beta'), metavar='X',
                       type=number(float, low=0, below=1),
                       help='beta2 of Adam-type optimizers, alpha of rmsprop (default: by the optimizer: '
                            f'{_defaults("beta")})')
    group.add_argument('--weight_decay', '--wd', before=0.0, needs=optimizer_with('weight_decay'), metavar='X',
                       type=number(float, low=0),
                       help='L2 penalty; adamw: decoupled from the gradient (default: by the optimizer: '
                            f'{_defaults("weight_decay")})')
    group.add_argument('--nesterov', before=False, needs=MOMENTUM, action=Flag, help='sgd: Nesterov momentum')
    group.add_argument('--decay_weights_only', before=False, needs=DECAY, action=Flag,
                       help='leave biases and the factors of norms out of --weight_decay')
    group.add_argument('--lr_decay', before=None, type=number(float, above=0, below=1), metavar='X',
                       help='layer-wise decay: each layer has X times the learning rate of the layer after it, as in '
                            'BEiT and timm; 0.65 to 0.9 for fine-tuning. Combines with --lr_of')
    group.add_argument('--lr_of', before=None, nargs='+', type=share_of_lr, metavar='PART=X',
                       help='parts of the model, by the beginning of their names, whose learning rate is X times --lr')
    _add_schedule(parser)
    _add_controls(parser)
    _add_samples(parser)
    _add_model(parser)
    _add_run(parser)


def _defaults(option):
    """Return the defaults of an option by optimizer (str, for --help): '0.9, rmsprop 0'."""
    defaults = read_registry('utils.training.optim', 'DEFAULTS')
    values = {name: f'{used[option]:g}' for name, used in defaults.items() if option in used}
    usual = max(values.values(), key=list(values.values()).count)
    return ', '.join([usual, *(f'{name} {value}' for name, value in values.items() if value != usual)])


def _add_samples(parser):
    augments = read_registry('data.augment', 'AUGMENTS')
    group = parser.add_argument_group('training samples')
    group.add_argument('--augment', default='none', type=registered('augmentation', augments), metavar='NAME',
                       help=f'{", ".join(augments)}. flip: mirror left and right; crop: shift by up to an eighth; '
                            'affine: rotate, shift, scale a little, for digits and text; standard: flip, and a random '
                            'part brought to the full size; strong: standard with rotation, colours, an erased patch; '
                            'randaugment, trivialaugment: torchvision\'s RandAugment and TrivialAugmentWide')
    group.add_argument('--balance', before=False, action=Flag,
                       help='classification: draw each class equally often, with replacement; an epoch stays as long')
    group.add_argument('--skip_bad', before=False, action=Flag,
                       help='list, mem_list, pairs, folder: train without the samples whose line or picture is faulty, '
                            'found by decoding all of them before the first step, and write them to skipped.txt; '
                            'validation never leaves one out')
    group.add_argument('--shuffle_buffer', default=1000, before=1000, type=number(int, low=1), metavar='N',
                       help='stream: samples among which the next is drawn; the order of the shards is drawn as well')
    group.add_argument('--train_length', before=None, type=number(int, low=1), metavar='N',
                       help='stream: samples of an epoch, for the time left and for schedules by step; with fewer than '
                            'there are it ends earlier, with more some come again (default: all, uncounted)')
    group.add_argument('--mixup', before=None, type=number(float, above=0), metavar='ALPHA',
                       help='classification: blend each sample with another, shares from Beta(ALPHA, ALPHA); the '
                            'metrics of training, then rough, count the class with the larger share')
    group.add_argument('--cutmix', before=None, type=number(float, above=0), metavar='ALPHA',
                       help='likewise, a rectangle of another pasted in; with --mixup each batch gets either')


def _add_model(parser):
    group = parser.add_argument_group('training: the model')
    group.add_argument('--fast', before=False, action=Flag,
                       help='try at the start which of --channels_last, --amp and --compile make a step faster here, '
                            'and turn those on')
    group.add_argument('--pretrained', action=Flag,
                       help='start from weights that torchvision or timm downloads, where the model has them')
    group.add_argument('--pretrained_config', default=True, before=False, concerns=is_pretrained, action=Flag,
                       help='with --pretrained, take mean, std, interpolation and crop_share from the configuration of '
                            'the weights, where these options are left out (default: yes)')
    group.add_argument('--load_exclude', before=None, nargs='+', metavar='PART',
                       help='parts of the model, by the beginning of their names, that --load_model_path leaves as '
                            'they are: fc, layer4.1')
    group.add_argument('--freeze', before=None, nargs='+', metavar='PART',
                       help='parts of the model, by the beginning of their names, that are not trained; their batch '
                            'norms keep their running statistics and compute as in a test')
    group.add_argument('--print_model', before=False, action=Flag,
                       help='print the layers with the shapes of their outputs, parameters and FLOPs')


def _add_run(parser):
    group = parser.add_argument_group('what a run keeps, and going on with it')
    group.add_argument('--model_dir', type=directory_path, metavar='DIR',
                       help='directory of this run, below checkpoints_dir (default: <model_type>_<save_prefix> there; '
                            'where it exists, _2, _3 ... is added)')
    group.add_argument('--save_freq', type=number(int, low=1), metavar='N',
                       help='keep epoch_0010.pth and the like every N epochs (default: only best.pth and last.pth)')
    group.add_argument('--save_steps', before=None, type=number(int, low=1), metavar='N',
                       help='write last.pth every N optimizer steps too, so that no more than these are lost')
    # Before, last.pth was written at the end of each epoch alone; --save_minutes beside --resume is safe.
    group.add_argument('--save_minutes', default=1.0, before=None, type=number(float, above=0), metavar='X',
                       help='write last.pth every X minutes too, besides the end of each epoch')
    group.add_argument('--log_steps', before=None, type=number(int, low=1), metavar='N',
                       help='write a line to log.txt every N optimizer steps: loss and metrics of the epoch so far, '
                            'learning rate, rate and time (default: a line per epoch)')
    group.add_argument('--report', default=True, before=False, action=Flag,
                       help='test best.pth at the end, as eval.py --report does: report.html, a page to look at and to '
                            'send (default: yes)')
    group.add_argument('--profile', before=False, action=Flag,
                       help='say where the time of a step goes and what to do about it, and write a trace of some')
    group.add_argument('--resume', type=existing_path_or(AUTO), metavar='RUN',
                       help='go on with this run directory (or the run of this checkpoint), with its own options; '
                            'auto: with the newest run of this name, or begin it where there is none')
    group.add_argument('--as', before=None, type=plain_name, metavar='NAME',
                       help='with --resume RUN/epoch_0002.pth: go on from that checkpoint in a new run of this name; '
                            'the old run stays as it is')


def _add_schedule(parser):
    group = parser.add_argument_group('learning rate over the run')
    schedules = read_registry('utils.training.optim', 'SCHEDULES')
    group.add_argument('--schedule', default='none', before='none', type=registered('schedule', schedules),
                       metavar='NAME', help=f'from torch.optim.lr_scheduler: {", ".join(schedules)}')
    group.add_argument('--warmup_epochs', default=0.0, before=0.0, type=number(float, low=0), metavar='X',
                       help='epochs, or a part of one, in which the learning rate rises from nearly 0')
    group.add_argument('--warmup_steps', default=0, before=0, type=number(int, low=0), metavar='N',
                       help='the same in optimizer steps')
    group.add_argument('--lr_steps', before=None, nargs='+', type=number(float, above=0), metavar='X',
                       needs=schedule('step', 'multistep'),
                       help='step: epochs from one change to the next; multistep: the epochs of the changes')
    group.add_argument('--gamma', before=0.1, type=number(float, above=0, below=1), metavar='X',
                       needs=schedule('step', 'multistep', 'exponential', 'plateau'),
                       help='step, multistep, exponential (by epoch), plateau: what the learning rate is multiplied by '
                            '(default: 0.1, exponential 0.95)')
    group.add_argument('--power', default=0.9, before=0.9, needs=schedule('poly'), metavar='X',
                       type=number(float, above=0), help='poly: the power')
    group.add_argument('--lr_min', default=0.0, before=0.0, needs=schedule('cosine', 'plateau'), metavar='X',
                       type=number(float, low=0),
                       help='cosine and plateau: the lowest learning rate; of a part with --lr_of PART=X, X times that')
    group.add_argument('--plateau_patience', default=5, before=5, type=number(int, low=0), metavar='N',
                       needs=schedule('plateau'),
                       help='plateau: epochs without a better value that are waited for')


def _add_controls(parser):
    group = parser.add_argument_group('training steps')
    group.add_argument('--accumulate', default=1, before=1, type=number(int, low=1), metavar='N',
                       help='batches whose gradients make one optimizer step, as if they were one N times as large')
    group.add_argument('--parallel', default='ddp', before='ddp', choices=['ddp', 'fsdp'], needs=PROCESSES,
                       help='under torchrun: each process has the whole network, or with fsdp a shard of its weights '
                            'and of the optimizer\'s state, for networks that fill a GPU')
    group.add_argument('--sync_bn', before=False, action=Flag, needs=PROCESSES,
                       help='under torchrun: batch norms take their statistics over all processes (GPUs only)')
    group.add_argument('--clip_norm', before=None, type=number(float, above=0), metavar='X',
                       help='scale the gradients down where the norm of all together is larger')
    group.add_argument('--clip_value', before=None, type=number(float, above=0), metavar='X',
                       help='cut each number of the gradients off at -X and X')
    group.add_argument('--on_nan', default='stop', before='stop', choices=['stop', 'skip', 'rollback'],
                       help='where a loss or gradient is not finite: stop before that step, say of which samples and '
                            'write diverged.pth; skip: leave the batch out; rollback: go back to the weights of '
                            'last.pth and go on behind it, leaving out the batches in between (repeatable with '
                            '--save_steps). A GPU is waited for in each step of skip and rollback')
    group.add_argument('--ema', before=None, type=number(float, low=0, below=1), metavar='DECAY',
                       help='test and save the exponential moving average of the weights, 0.999 for example')
    group.add_argument('--max_steps', before=None, type=number(int, low=1), metavar='N',
                       help='end after so many optimizer steps, even within an epoch')
    _add_epoch_choice(parser)
    _add_checks(parser)


def _add_epoch_choice(parser):
    group = parser.add_argument_group('which epochs count')
    values_by_task = '; '.join(
        f'{task}: {", ".join(values)}' for task, values in VALUES_OF.items())
    group.add_argument('--monitor', before=None, type=monitored, metavar='NAME',
                       help='the value by which best.pth is chosen, a column of history.csv: val/loss, or val/ and '
                            f'{values_by_task} (default: the first of the task)')
    group.add_argument('--mode', before=None, choices=['max', 'min'],
                       help='which values of it are better (default: as the metric has it)')
    group.add_argument('--patience', before=None, type=number(int, low=1), metavar='N',
                       help='stop when there was no better epoch for N epochs')
    group.add_argument('--min_epochs', default=0, before=0, type=number(int, low=0), metavar='N',
                       help='but not before so many epochs')
    group.add_argument('--keep_last_weights', before=False, action=Flag,
                       help='in notebooks and scripts: train() leaves the weights of the last epoch in the network '
                            'instead of those of best.pth')
    group.add_argument('--keep_top', default=0, before=0, type=number(int, low=0), metavar='K',
                       help='keep top_0010.pth and the like of the K best epochs')


def _add_checks(parser):
    group = parser.add_argument_group('before a night is spent on it')
    group.add_argument('--dry_run', before=False, action=Flag,
                       help='do once, in seconds, what a run does: two batches to train and to validate, the second as '
                            'small as the last of an epoch, pictures, saving, loading; keep nothing')
    group.add_argument('--find_lr', before=False, action=Flag,
                       help='instead of training, try learning rates from 1e-7 to 10 and plot the loss: find_lr.png')
    group.add_argument('--add_graph', before=False, action=Flag,
                       help="draw the network's graph in TensorBoard, where it can be")
    group.add_argument('--histograms', before=False, action=Flag,
                       help='write histograms of weights and gradients to TensorBoard after each epoch')


def add_test_args(parser):
    """Add the options of eval.py alone."""
    group = parser.add_argument_group('testing')
    group.add_argument('--code', default='now', before='now', choices=['now', 'then', 'both'],
                       help="then: test by the code that the run had, of the source.zip beside the checkpoint, whose "
                            'programs are run; both: by that and by the code of now, and compare')
    group.add_argument('--trust_code', before=False, action=Flag, needs=CODE,
                       help='run the programs of --code then without being asked, also where no run of yours is known '
                            'to have written them: only if you trust whom they are from')
    group.add_argument('--report', before=False, action=Flag,
                       help='write report.html: the metrics with their intervals, the worst and best samples and what '
                            'is confused, as one page to look at and to send')
    group.add_argument('--save_viz', action=Flag, help='write a picture of every viz_freq-th sample to result_dir/viz')
    group.add_argument('--viz_freq', default=1, type=number(int, low=1), metavar='N', needs=option('save_viz'),
                       help='samples from one saved picture to the next')
    group.add_argument('--save_outputs', before=False, action=Flag,
                       help='write each predicted mask, as a PNG whose pixel values are the classes, or each restored '
                            'picture to result_dir/outputs, called as the sample')
    group.add_argument('--result_dir', type=directory_path, metavar='DIR',
                       help='directory of this test (default: <checkpoint>/val_<list>_<save_prefix>); where it exists, '
                            'a test with the same options keeps the earlier result as result.1.txt ..., and one with '
                            'others goes to _2, _3 ...')


# fmt: on
def train_parser():
    """Return the parser of train.py."""
    parser = MigratingParser(prog='train.py', description='Train a network. @checkpoints/<run>/args.txt repeats a run.')
    add_common_args(parser)
    add_train_args(parser)
    return parser


def test_parser():
    """Return the parser of eval.py."""
    parser = MigratingParser(
        prog='eval.py', description='Test a checkpoint: --load_model_path checkpoints/<run>/best.pth'
    )
    add_common_args(parser)
    add_test_args(parser)
    for action in options_of(parser):
        if action.dest in TAKEN_FROM_CHECKPOINT:
            action.help = re.sub(r' \(default: .*\)$', '', action.help) + ' (default: as in the checkpoint)'
    return parser


def parse_common_args(argv=None):
    """Parse only the options that training and testing share (for tools and tests); checks them like the others.

    Given an argparse.ArgumentParser instead of a list of words, add these options to it and return it, as torch_base
    does; parse_train_args and parse_test_args likewise.
    """
    if isinstance(argv, argparse.ArgumentParser):
        return add_options_to(argv, add_common_args)
    parser = MigratingParser(prog='danlu', description='The options that train.py and eval.py share.')
    add_common_args(parser)
    return checked(parser, parser.parse_args(argv))


def parse_train_args(argv=None, ready_made=False):
    """Parse and check the arguments of train.py (list of str; default: the command line). Writes nothing.

    With --resume the run's own args.txt is read first; what `argv` names on top must be safe to change.

    Args:
        argv: list of str, or None.
        ready_made: whether a Trainer may get loaders of its own (bool): what --data_type cannot be beside the other
            options is then an error only where it is not typed but used.
    """
    if isinstance(argv, argparse.ArgumentParser):
        return add_options_to(argv, add_common_args, add_train_args)
    parser = train_parser()
    if argv is None:
        complete(parser)
    argv = sys.argv[1:] if argv is None else [str(word) for word in argv]
    args = parser.parse_args(argv)
    if args.resume == AUTO and getattr(args, 'as'):
        parser.error(f'argument --as: --resume auto goes on in the run itself; give a checkpoint, --resume RUN/{LAST}')
    if args.resume == AUTO:
        args.resume = newest_run(args)
        args.strict_record &= args.resume is not None  # of a run that begins there is no record yet
    args = args if args.resume is None else _resumed(parser, args.resume, argv)
    if 'data_type' not in args.typed and (ready_made or getattr(args, 'recorded_parts', None)):
        args.data_faults = []
    return checked(parser, args)


def newest_run(args):
    """Return the directory (str) of the newest run with the name that args gives, if one can go on; else None."""
    name = run_name(args)
    runs = [path.parent for path in Path(args.checkpoints_dir).glob(f'{glob.escape(name)}*/last*.pth')]
    numbers = {run: run.name.removeprefix(name).removeprefix('_') or '1' for run in runs}
    found = [run for run, number in numbers.items() if number.isdecimal() and (run / 'args.txt').is_file()]
    return str(max(found, key=lambda run: int(numbers[run]))) if found else None


def resumes_if_begun(argv=None):
    """Return whether train.py's arguments are for --resume auto (bool), which a job repeats that is to run on."""
    return train_parser().given(sys.argv[1:] if argv is None else [str(word) for word in argv]).get('resume') == AUTO


def _refuse_other_colours(parser, given, recorded):
    """Refuse another --palette for a resumed segmentation that has one, as masks stored as RGB are read by it."""
    if 'palette' not in given or recorded.task != 'segmentation' or recorded.palette is None:
        return
    options = recorded.num_classes, recorded.class_names
    try:
        same = fitted(given['palette'], *options) == fitted(recorded.palette, *options)
    except DanluError as error:
        parser.error(f'argument --palette: {error}')
    if not same:
        parser.error(
            f'argument --palette: masks stored as RGB are read by the colours, so a resumed segmentation keeps them '
            f'({shown(recorded.palette)})'
        )


def _resumed(parser, resume, argv):
    """Return the options of the run `resume` (its directory or a checkpoint in it) with what `argv` may change."""
    run = Path(resume)
    run = run if run.is_dir() else run.parent
    record = run / 'args.txt'
    if not record.is_file() or not list(run.glob('last*.pth')):
        parser.error(f'argument --resume: {run} is not a run that can go on: it needs args.txt and last.pth')
    given = parser.given(argv)
    expand(parser, given)
    for action in options_of(parser):
        if action.dest == 'load_model_path':
            action.type = os.path.abspath  # the weights it began with are in last.pth; their file may be gone by now
    recorded = parser.parse_args([f'@{record}'])
    recorded.model_dir = str(run)
    unused = unused_of(getattr(recorded, 'recorded_parts', None) or {})  # as ready-made parts took their place
    for name, value in given.items():
        if name not in (*SAFE_ON_RESUME, *unused) and value != getattr(recorded, name):
            parser.error(
                f'argument --{name}: a resumed run keeps it as it is ({shown(getattr(recorded, name))}); only '
                f'{", ".join(SAFE_ON_RESUME)} can change. For another run with one change: python train.py '
                f'{shlex.quote(f"@{record}")} --{name} ...'
            )
    _refuse_other_colours(parser, given, recorded)
    if recorded.schedule in ENDING_WITH_RUN and given.get('epochs', recorded.epochs) != recorded.epochs:
        parser.error(
            f'argument --epochs: --schedule {recorded.schedule} ends with the run, after {recorded.epochs}; for a '
            f'longer one: python train.py {shlex.quote(f"@{record}")} --epochs {given["epochs"]}'
        )
    args = parser.parse_args([f'@{record}', *argv])
    args.model_dir, args.checkpoints_dir, args.resume = str(run), str(run.parent), str(resume)
    if getattr(args, 'as'):
        args.model_dir = None  # `begin_copy` makes it
        args.checkpoints_dir = given.get('checkpoints_dir', args.checkpoints_dir)
    return args


def parse_test_args(argv=None, trained=None):
    """Parse and check the arguments of eval.py. Writes nothing.

    Args:
        argv: list of str; default: the command line.
        trained: the options recorded in the checkpoint (dict), or None. They stand in for what `argv` leaves out.
    """
    if isinstance(argv, argparse.ArgumentParser):
        return add_options_to(argv, add_common_args, add_test_args)
    parser = test_parser()
    get_load_model_path(argv)
    args, given = parser.parse_args(argv), parser.given(argv)
    trained = parser.checked_record(trained, args.load_model_path)
    outdated = set()  # what the checkpoint says of something that the command line replaces
    if given.get('model_type', trained.get('model_type')) != trained.get('model_type'):
        outdated |= {'model_args'}
    if given.get('loss', trained.get('loss')) != trained.get('loss'):
        outdated |= {'loss_args', 'label_smoothing', 'class_weights'}
    if given.get('task', trained.get('task')) != trained.get('task'):
        outdated |= {'loss', 'loss_args', 'label_smoothing', 'class_weights', 'metrics'}
        outdated |= {'target_names', 'target_scale', 'target_mean', 'target_std'}
    kinds = [options.get('data_type', trained.get('data_type')) for options in (given, trained)]
    if given.get('task', trained.get('task')) != trained.get('task') or 'array' in kinds:
        outdated |= {'fit', 'crop_share'}
    if given.get('fit', trained.get('fit')) != trained.get('fit'):
        outdated |= {'crop_share'}
    if any(given.get(name, trained.get(name)) != trained.get(name) for name in ('task', 'num_classes')):
        outdated |= {'palette', 'mask_values', 'ignored_colours'}
    if given.get('data_type', trained.get('data_type')) != trained.get('data_type'):
        outdated |= {'val_list', 'data_root', 'target_columns', 'target_names'}
    if given.get('channels', trained.get('channels')) != trained.get('channels'):
        outdated |= {'mean', 'std'}
    wanted = [name for name in TAKEN_FROM_CHECKPOINT if name not in given and name not in outdated]
    recorded, told = parser.recorded(trained, wanted, args.load_model_path) if trained else ({}, [])
    vars(args).update(recorded)
    args.past += told
    if not {'model_type'} & {*given, *recorded}:
        choose_class(args)
    args.trained_on, args.recorded_parts = trained.get('train_list'), parts_of(trained)
    if 'data_type' not in given and args.recorded_parts:
        args.data_faults = []
    try:
        args.val_list = test_list(args, trained, 'val_list' in given)
    except ValueError as error:
        parser.error(f'argument --val_list: {error}')
    return checked(parser, args)


def get_load_model_path(argv=None):
    """Return the checkpoint (str) that eval.py's arguments name, before the rest of them is settled."""
    parser = test_parser()
    if argv is None:
        complete(parser)
    path = parser.parse_args(argv).load_model_path
    if path is None:
        parser.error('argument --load_model_path: needed: the checkpoint to test, checkpoints/<run>/best.pth')
    if not os.path.isfile(path):
        parser.error(f'argument --load_model_path: {no_checkpoint(path)}')
    return path


def trusts_checkpoint(argv=None):
    """Return whether eval.py's arguments allow that reading the checkpoint runs code that is in it (bool).

    And the file of --model_source (str or None), which has the classes that it may need.
    """
    args = test_parser().parse_args(argv)
    return args.trust_checkpoint, args.model_source


def train_args(**options):
    """Return the arguments of train.py without a command line: `train_args(epochs=3, gpus=[0])`. Writes nothing.

    Raises:
        DanluError: an option is unknown or wrong.
    """
    args = from_keywords(lambda argv: parse_train_args(argv, ready_made=True), options)
    args.by_keywords = True
    return args


def test_args(load_model_path, **options):
    """Return the arguments of eval.py without a command line: `test_args('checkpoints/x/best.pth', save_viz=True)`.

    Raises:
        DanluError: an option is unknown or wrong, or the checkpoint cannot be read.
    """
    from utils.runs.checkpoint import load_checkpoint  # with it comes torch, which --help does not wait for

    trained = recorded_args(load_checkpoint(load_model_path, *(options.get(name) for name in TRUST)))
    return from_keywords(lambda argv: parse_test_args(argv, trained), {'load_model_path': load_model_path, **options})


test_args.__test__ = False  # pytest would take it for a test


def prepare_train_args(argv=None):
    """Parse the arguments of train.py, make the run's directory and write args.txt into it; return args.

    With --resume the directory is the run's own, and args.txt is written when the run really goes on.
    """
    args = parse_train_args(argv)
    if args.resume is None:
        args.model_dir = get_train_model_dir(args)
        try:
            save_args(args, args.model_dir)
        except WriteError as error:
            with suppress(OSError):  # it is not empty, or cannot be removed for the same reason
                os.rmdir(args.model_dir)
            train_parser().error(f'{error}; {error.remedy}, or --checkpoints_dir gives another place')
    elif getattr(args, 'as') and not getattr(args, 'recorded_parts', None):  # else a Trainer that has the parts does it
        begin_copy(args)
    return args


def begin_copy(args):
    """Make the run that --as names, a copy of that of args.resume as it was then; args.resume becomes it.

    Returns:
        the directory of the copy (str).

    Raises:
        DanluError: the checkpoint cannot be resumed from, or the copy cannot be written.
    """
    from utils.training.run_copy import copy_run, state_to_copy  # with it comes torch, which --help does not wait for

    state, path = state_to_copy(args.resume, args.epochs)
    root = Path(args.checkpoints_dir)
    args.model_dir = made_below([root], root / getattr(args, 'as'), train_parser(), '--as')
    try:
        copy_run(state, path, Path(args.model_dir))
    except BaseException as error:
        with after(error):
            shutil.rmtree(args.model_dir)
        if isinstance(error, OSError):
            raise DanluError(f'--as: {args.model_dir} cannot be written: {error.strerror or error}') from error
        raise
    args.resume = args.model_dir
    print(f'new run: {args.model_dir}, which goes on from {path}')
    return args.model_dir


def prepare_test_args(argv=None, trained=None):
    """Parse the arguments of eval.py, make the result directory and write args.txt into it; return args.

    Args:
        argv: list of str; default: the command line.
        trained: the options recorded in the checkpoint (dict), or None for a bare state dict.
    """
    args = parse_test_args(argv, trained)
    args.result_dir = get_test_result_dir(args)
    if not Path(args.result_dir, 'args.txt').exists():  # else an earlier test's, which stays until this one has results
        try:
            save_args(args, args.result_dir)
        except WriteError as error:
            with suppress(OSError):
                os.rmdir(args.result_dir)
            raise WriteError(f'{error}; {error.remedy}, or --result_dir gives another place') from error
    return args


def run_name(args):
    """Return what the directory of a run is called (str), but for a number behind it."""
    if args.model_dir:
        return Path(args.model_dir).name
    return f'{args.model_type}_{args.save_prefix}'.replace(':', '_').replace('/', '_')


def get_train_model_dir(args):
    """Make the directory of a new run, put it into args.model_dir and return it (str).

    That is model_dir, or <checkpoints_dir>/<model_type>_<save_prefix>; where it exists, _2, _3 ... is added.
    """
    root = Path(args.checkpoints_dir)
    wanted = Path(args.model_dir) if args.model_dir else root / run_name(args)
    args.model_dir = made_below([root], wanted, train_parser(), '--model_dir')
    return args.model_dir


def get_test_result_dir(args):
    """Make the directory of a test, put it into args.result_dir and return it (str).

    That is result_dir, or <checkpoint>/val_<list>_<save_prefix> beside the checkpoint.
    Where it exists, it is taken if a test with the same options is in it (utils/runs/result_directory.py), else _2 and
    on.
    """
    checkpoint = Path(args.load_model_path)
    data = 'loader' if ready_data(args) else Path(args.val_list).stem if args.val_list else args.data_type
    name = f'val_{data}_{args.save_prefix}'
    # A file without an ending would stand where the directory has to go.
    folder = checkpoint.with_suffix('') if checkpoint.suffix else checkpoint.with_name(checkpoint.name + '_tests')
    wanted = Path(args.result_dir) if args.result_dir else folder / name
    parser, roots = test_parser(), [Path(args.checkpoints_dir), checkpoint.parent]

    def is_same(directory):
        from utils.runs.result_directory import holds_same_test  # --help does not need it

        return holds_same_test(directory, args_lines(parser, args, NOT_REPEATED_BY_TESTS))

    args.result_dir = made_below(roots, wanted, parser, '--result_dir', is_same)
    return args.result_dir


def save_args(args, directory, note=None, place=None):
    """Write every option to `<directory>/args.txt`, one per line, those that differ from their default marked.

    Args:
        args: the namespace that a parse function returned.
        directory: where to write; an args.txt that is there is replaced in one step.
        note: a line (str) to put at the top, for example what a resumed run changed.
        place: of a test, the directory that the file is going to be moved to, or None.
    """
    if place is not None:
        args = copy.copy(args)
        args.result_dir = place
    write_args(_parser_of(args), args, directory, _not_repeated(args), note, place)


def changed_options(args):
    """Return the options whose values differ from their defaults (list of 'name=value'), for a log's first lines."""
    return [f'{name}={shown(value)}' for name, value in changed(_parser_of(args), args, _not_repeated(args)).items()]


def tested_options(args, trained):
    """Return what a test ran with (dict): the options that differ from their defaults, without what is in the data.

    Args:
        args: of the test.
        trained: options of the run (dict).
    """
    told = {name for name in trained.get('from_data') or [] if getattr(args, name, None) == trained.get(name)}
    not_repeated = (*NOT_REPEATED_BY_TESTS, 'load_model_path', *told, *getattr(args, 'from_data', []))
    return changed(test_parser(), args, not_repeated)


def trained_options(trained):
    """Return the options of a run that differ from their defaults (dict), without what is in the data.

    Args:
        trained: options of the run (dict); an older one may lack some.
    """
    parser = train_parser()
    known = argparse.Namespace(**{**vars(parser.parse_args([])), **trained})
    return changed(parser, known, (*NOT_REPEATED_BY_TESTS, *(trained.get('from_data') or [])))


def _parser_of(args):
    return train_parser() if hasattr(args, 'model_dir') else test_parser()


def _not_repeated(args):
    return NOT_REPEATED if hasattr(args, 'model_dir') else NOT_REPEATED_BY_TESTS
