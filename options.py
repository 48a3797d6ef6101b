"""Every option of train.py and eval.py, in groups.

    args = prepare_train_args()                    # from the command line: makes the run directory, writes args.txt
    args = train_args(lr=0.01)                     # from a notebook: checks, writes nothing

One add_argument adds an option to --help, args.txt and checkpoints. Its keywords (OptionKeywords in
utils/options/arguments.py) say what older records, resumed runs and tests do with it; renamed and removed options are
in utils/options/migrations.py. utils/options/checks.py checks options against each other. Imports no torch: names are
read from the source of the registries, so --help answers at once.
"""

import argparse
import copy
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from utils.base.language import CHOICES as LANGUAGES
from utils.base.record_schema import recorded_args
from utils.base.registry import PROJECT, read_registry
from utils.base.write_errors import WriteError
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
    run_or_path,
    share_of_lr,
)
from utils.options.checks import DOWNLOADABLE_DATA, checked, no_checkpoint, shown
from utils.options.completion import complete
from utils.options.decoders import AUTO as BEST_DECODER
from utils.options.decoders import decoder_before, decoder_names
from utils.options.defaults import defaults_by_optimizer
from utils.options.fit import FITS, INTERPOLATIONS, fit_before
from utils.options.from_checkpoint import take_from_checkpoint
from utils.options.given_parts import ready_data
from utils.options.loss_options import losses_by_task, sum_of
from utils.options.metric_options import extra_metrics_by_task, metric_names
from utils.options.needs import (
    CACHE,
    CODE,
    COLOURS,
    DECAY,
    GPUS,
    MOMENTUM,
    NUMBERS,
    PROCESSES,
    SCALED,
    has_files,
    has_masks,
    is_pretrained,
    optimizer_with,
    option,
    schedule,
)
from utils.options.own_parsers import add_options_to
from utils.options.predict_options import check_code, check_several, predictable, predicts, source_name, with_members
from utils.options.record_parser import MigratingParser, Options
from utils.options.resuming import AUTO, LAST, locate_runs, newest_run, resumed_options, run_name
from utils.options.validation_options import SPLIT_DATA
from utils.runs.run_directory import make_directory_below
from utils.tasks.loss_terms import LOSS_ARGS
from utils.tasks.tasks import TASKS

TRAIN_DESCRIPTION = 'Train a network. Its files are in checkpoints/<model_type>_<save_prefix>/.'
TRAIN_EXAMPLES = (
    'python train.py                                        # the bundled digits',
    'python train.py --data_type folder --train_list photos --val_split 0.2 \\\n'
    '      --model_type torchvision:resnet18 --pretrained     # your photos',
    'python train.py @checkpoints/lenet_exp/args.txt --lr 0.01    # with a change',
)
TEST_DESCRIPTION = 'Test a checkpoint, with the model, data and task of its run by default.'
TEST_EXAMPLES = (
    'python eval.py --load_model_path lenet_exp                   # a run by name',
    'python eval.py --load_model_path lenet_exp --val_list test.txt  # other data',
    'python eval.py --load_model_path lenet_exp --predict new_photos  # no targets',
)
TEST_BRIEFS = {  # of options that train.py shares
    'load_model_path': 'the run to test, by its name, or a checkpoint; several are compared',
    'val_list': 'data to test on (default: those that the run was validated on)',
}


# A line or two per option read better than one per keyword.
# fmt: off
def add_common_args(parser):
    """Add the options that training and testing share."""
    _add_task(parser)
    _add_loss(parser)
    _add_data(parser)
    _add_files(parser)
    _add_machine(parser)


def _add_task(parser):
    group = parser.add_argument_group('model, data and task', from_checkpoint=True)
    models = read_registry('model.model_entry', 'MODELS')
    libraries = list(read_registry('model.model_entry', 'LIBRARIES'))
    datasets = read_registry('data.data_entry', 'DATASETS')
    tasks = read_registry('metrics', 'METRICS')
    group.add_argument('--model_type', default='lenet', type=model_name(models, libraries), replaced_by=('model',),
                       brief='lenet, unet, torchvision:resnet18, timm:convnext_tiny ...',
                       help=f'{", ".join(models)}, {", ".join(f"{library}<name>" for library in libraries)}')
    group.add_argument('--model_args', nargs='+', type=keyword, reset_by=('model_type',), replaced_by=('model',),
                       help='other arguments of the constructor of the model, such as width=32 depth=3 (unet), '
                            'hidden=256,128 dropout=0.1 (mlp), padding=0 (lenet)')
    group.add_argument('--data_type', default='digits', type=registered('kind of data', datasets),
                       replaced_by=('train_loader',),
                       brief='digits, folder (one directory per class), list (a text file), array ...',
                       help=f'{", ".join(datasets)}. list: a text file names images and targets; mem_list: the same, '
                            'decoded once and kept in memory; pairs: list for restoration; folder: one directory per '
                            'class; stream: .tar, .csv or .jsonl shards; array: .csv or .npz')
    group.add_argument('--task', default='classification', type=registered('task', tasks),
                       brief='classification, segmentation, regression, multilabel ...', help=', '.join(tasks))
    group.add_argument('--num_classes', type=class_count,
                       help='number of classes (default: counted in the training data; needed for segmentation); with '
                            '--loss bce, 1 means the same as 2')
    _add_targets(group)
    group.add_argument('--class_names', nargs='+', metavar='NAME',
                       help='names of the classes in the order of their labels, or a text file with one name per line')
    group.add_argument('--palette', nargs='+', metavar='COLOUR', needs=COLOURS, experiment=False,
                       reset_by=('task', 'num_classes'),
                       help='colours of the classes in images, #rrggbb in the order of the labels, or a file: one line '
                            'per class, "name r g b" or "name #rrggbb", or a PNG with a palette; masks saved as RGB '
                            'are read by these colours (default: colours that colour-blind readers can distinguish)')
    _add_masks(group)
    _add_images(group)
    group.add_argument('--ignore_index', type=number(int, low=-(2**31), below=2**31),
                       help='label that counts neither in the loss nor in the metrics: 255, -1, -100 (default: 255 for '
                            'segmentation)')


def _add_images(group):
    group.add_argument('--image_size', nargs='+', type=number(int, low=1, high=2**16),
                       brief='height and width, or one number for both',
                       help='height and width to which images are resized, or one number for both (default: the size '
                            'of the data set, or of the first training image)')
    group.add_argument('--fit', before=fit_before, choices=FITS, reset_by=('task',),
                       help='how images of another aspect ratio are brought to --image_size: crop cuts out the centre, '
                            'stretch changes the aspect ratio, pad adds margins, of the mean in images and of '
                            '--ignore_index in masks (default: crop for classification, else stretch)')
    group.add_argument('--interpolation', choices=INTERPOLATIONS,
                       help='how image files are resized (default: as the weights of --pretrained were evaluated, else '
                            'bilinear)')
    group.add_argument('--crop_share', type=number(float, above=0, high=1), reset_by=('task', 'fit'),
                       help='--fit crop: side of the centre crop, as a fraction of the largest possible crop (default: '
                            'as the weights of --pretrained were evaluated, else 1)')
    group.add_argument('--decoder', before=decoder_before, concerns=has_files, changeable=True,
                       choices=[BEST_DECODER, *decoder_names()],
                       help='library that decodes image files: auto takes the first of these that is installed '
                            '(args.txt names it), but not torchcodec_gpu, which decodes, crops and resizes JPEG files '
                            'in batches on --device. Files that a library does not take, such as other formats, CMYK '
                            'or damaged files, are decoded by pillow (default: auto)')
    group.add_argument('--channels', type=number(int, low=1),
                       help='1: grey, 3: RGB; of array, the number of features (default: those of the data set; 3 for '
                            'your own images)')
    group.add_argument('--bits', before=16, concerns=has_files, type=number(int, low=8, high=16),
                       help='value range of 16-bit images: values 0 .. 2^N-1 become 0..255, for example 12 for X-rays '
                            '(default: the bits that the largest value in the training data needs)')
    group.add_argument('--mean', nargs='+', type=number(float), reset_by=('channels',),
                       help='mean of each channel, for pixels in 0..1, or of each feature, for normalisation (default: '
                            "of the data set, or ImageNet's; restoration: 0)")
    group.add_argument('--std', nargs='+', type=number(float, above=0), reset_by=('channels',),
                       help='standard deviation of each channel or feature, for normalisation (default: of the data '
                            "set, or ImageNet's; restoration: 1)")


def _add_masks(group):
    group.add_argument('--mask_values', before=[STORED], concerns=has_masks, nargs='+', type=mask_value,
                       reset_by=('task', 'num_classes'),
                       help='segmentation: the pixel value of each class in mask files, in the order of the labels, '
                            'for example 0 255; stored: the pixel values are the labels (default: stored; where masks '
                            'of two classes hold only 0 and one other value, that value is class 1)')
    group.add_argument('--ignored_colours', nargs='+', type=colour, reset_by=('task', 'num_classes'),
                       help='segmentation: colours #rrggbb of masks saved as RGB whose pixels are ignored (default: '
                            'the colours that a --palette with names has for names that are not in --class_names; in '
                            'a palette without names, the colour at the position of --ignore_index)')


def _add_targets(group):
    group.add_argument('--num_targets', type=number(int, low=1),
                       help='regression: numbers per sample (default: counted in the training data)')
    group.add_argument('--target_columns', nargs='+', metavar='NAME', reset_by=('data_type',),
                       help='array: columns of a .csv, by name or by number from 1, or arrays of an .npz, that hold '
                            'the targets (default: the last column; the array targets or y)')
    group.add_argument('--target_names', needs=NUMBERS, nargs='+', metavar='NAME', reset_by=('task', 'data_type'),
                       help='regression: names of the targets in reports and results (default: the column names, where '
                            'the data has a header)')
    group.add_argument('--target_scale', default='standard', before='none', needs=NUMBERS,
                       choices=['standard', 'none'], reset_by=('task',),
                       help='regression: standard: standardise the targets by their mean and standard deviation over '
                            'the training data; the loss is on this scale, metrics and predictions are in the original '
                            'units. Ready-made loaders: none')
    group.add_argument('--target_mean', needs=SCALED, nargs='+', type=number(float), reset_by=('task',),
                       help='mean of each target, for --target_scale standard (default: of the training data)')
    group.add_argument('--target_std', needs=SCALED, nargs='+', type=number(float, above=0), reset_by=('task',),
                       help='standard deviation of each target, for --target_scale standard (default: of the training '
                            'data)')


def _add_loss(parser):
    losses, arguments = read_registry('loss', 'LOSSES'), LOSS_ARGS
    group = parser.add_argument_group('loss and metrics', from_checkpoint=True, replaced_by=('loss',))
    group.add_argument('--loss', type=sum_of(losses), reset_by=('task',),
                       help=f'{losses_by_task()}. Or a weighted sum: ce+0.5*dice (default: the first of the task)')
    group.add_argument('--loss_args', nargs='+', type=keyword, reset_by=('loss', 'task'),
                       help='other arguments of the loss: ' + '; '.join(
                           f'{name}: {", ".join(taken)}' for name, taken in arguments.items()))
    group.add_argument('--label_smoothing', default=0.0, type=number(float, low=0, below=1), reset_by=('loss', 'task'),
                       help='ce: fraction of the target that is spread evenly over all classes')
    group.add_argument('--class_weights', nargs='+', type=class_weight, reset_by=('loss', 'task'),
                       help='ce, focal, bce: weight of each class in the loss; balanced: n / (K * count) over the '
                            'training samples or pixels, as in scikit-learn')
    group.add_argument('--metrics', nargs='+', type=registered('metric', metric_names()), reset_by=('task',),
                       replaced_by=('metrics',),
                       help=f'metrics that are computed only on request: {extra_metrics_by_task()}')


def _add_data(parser):
    group = parser.add_argument_group('data files')
    group.add_argument('--val_list', type=existing_list, from_checkpoint=True, reset_by=('data_type',),
                       replaced_by=('train_loader', 'val_loader'),
                       brief='data to validate on, as --train_list',
                       help='validation (train.py) or test (eval.py) data, as --train_list. none: train without '
                            'validation; best.pth is then chosen by train/loss')
    group.add_argument('--data_root', type=existing_path, metavar='DIR', from_checkpoint=True,
                       reset_by=('data_type',), replaced_by=('train_loader',),
                       help='directory to which paths in list files are relative (default: that of the list file), or '
                            'directory of a downloaded data set (default: datasets/ of the project)')
    group.add_argument('--cache_dir', type=directory_path, experiment=False,
                       help='directory that keeps decoded pixels on disk, for later epochs and starts and for other '
                            'processes; of list, pairs and folder images reduced to --cache_size, added as they are '
                            'decoded (default: mem_list decodes at each start, the others in each epoch)')
    group.add_argument('--cache_size', type=number(int, low=1, high=2**16), from_checkpoint=True,
                       needs=CACHE,
                       help='--cache_dir of list, pairs and folder: images are first reduced to this shorter side, '
                            'then cropped and resized to --image_size; 256 for an image size of 224')
    group.add_argument('--download', action=Flag, experiment=False,
                       help=f'download {", ".join(DOWNLOADABLE_DATA)} if the files are missing')


def _add_files(parser):
    group = parser.add_argument_group('checkpoints and directories')
    group.add_argument('--load_model_path', type=run_or_path, metavar='FILE',
                       help='checkpoint or state dict to start from (train.py) or to test (eval.py); the name or '
                            'directory of a run stands for its best.pth')
    group.add_argument('--load_key', metavar='KEY',
                       help='which weights to load from a file that holds several sets: model_ema, state_dict_ema, '
                            'ema, model ... (default: model, state_dict and the like; from the last.pth of a run with '
                            '--ema the averaged weights). The log says which were loaded')
    group.add_argument('--load_prefix', metavar='PREFIX',
                       help='load the weights whose names in the file begin with this prefix, and remove the prefix: '
                            'model., encoder_q. (default: the prefix with which most names match)')
    group.add_argument('--load_not_strict', action=Flag,
                       needs=option('load_model_path', within='--load_model_path FILE'),
                       help='load the weights that match in name and shape, and report the others')
    group.add_argument('--trust_checkpoint', action=Flag, repeated=False, typed_only=True,
                       help='load the weights of a whole model written by torch.save. This can run any code that is in '
                            'the file: only for files that you trust')
    group.add_argument('--model_source', type=existing_path, metavar='FILE', repeated=False, typed_only=True,
                       help='with --trust_checkpoint: Python file with the class of the whole model; the file is run. '
                            '--model_type source:<class> builds the model')
    group.add_argument('--strict_record', action=Flag, repeated=False,
                       help='fail instead of warning if a test does not give the values recorded for its checkpoint, '
                            'or if a loaded checkpoint no longer gives the outputs it was saved with. Changed code '
                            'that gives the recorded values passes; where there are none, it fails')
    group.add_argument('--save_prefix', default='exp', type=plain_name, experiment=False, changeable=False,
                       brief='your name for the run, part of the name of its directory',
                       help='your name for this run or test, part of the name of its directory')
    group.add_argument('--checkpoints_dir', default=str(PROJECT / 'checkpoints'), type=directory_path, experiment=False,
                       help='directory of all runs')


def _add_machine(parser):
    group = parser.add_argument_group('machine')
    group.add_argument('--gpus', nargs='+', type=number(int, low=0), needs=GPUS, experiment=False,
                       help='indices of the visible GPUs to use; several are wrapped in DataParallel (default: the '
                            'first GPU, or the CPU without one)')
    group.add_argument('--device', default='auto', choices=['auto', 'cpu', 'cuda', 'mps'], experiment=False,
                       help='cpu: use no GPU; cuda: stop if there is no GPU; mps: run the network on the GPU of a Mac')
    group.add_argument('--seed', default=0, type=number(int, low=0, below=2**63), from_checkpoint=True,
                       help='seed of initial weights, sample order and augmentation')
    group.add_argument('--batch_size', default=64, type=number(int, low=1), from_checkpoint=True,
                       brief='samples per step',
                       help='samples per step')
    group.add_argument('--num_workers', type=number(int, low=0, high=1024), experiment=False, from_checkpoint=True,
                       help='processes that decode images (default: 0 for data in memory, else up to 8)')
    group.add_argument('--threads', type=number(int, low=1, high=1024), experiment=False, from_checkpoint=True,
                       help='threads of the main process (default: the cores that the workers do not use)')
    group.add_argument('--amp', choices=['off', 'bf16', 'fp16'], from_checkpoint=True,
                       help='mixed precision, torch.autocast: faster on GPUs, slower on most CPUs (default: off, or as '
                            '--fast finds)')
    group.add_argument('--channels_last', action=Flag, default=None, from_checkpoint=True,
                       help='memory format channels_last (default: off, or as --fast finds)')
    group.add_argument('--compile', action=Flag, default=None, from_checkpoint=True,
                       help='torch.compile: a minute at the start, then faster steps on GPUs (default: off, or as '
                            '--fast finds)')
    group.add_argument('--deterministic', action=Flag, from_checkpoint=True,
                       help='deterministic algorithms: bit-identical results on GPUs too, at lower speed; an operation '
                            'without such an algorithm is an error')
    group.add_argument('--print_freq', default=50, type=number(int, low=1), experiment=False,
                       help="steps between two updates of the progress line and of TensorBoard's curves by step")
    group.add_argument('--lang', default='auto', choices=LANGUAGES, repeated=False,
                       help='language of pages and of the summary in the terminal: en, zh (Chinese), or auto: zh where '
                            'the locale (LC_ALL, LC_MESSAGES, LANG) says so. Errors and logs are in English')


def add_train_args(parser):
    """Add the options of train.py alone."""
    _add_training_data(parser)
    group = parser.add_argument_group('training')
    group.add_argument('--epochs', default=10, type=number(int, low=1), changeable=True,
                       brief='passes over the training data',
                       help='passes over the training data')
    group = parser.add_argument_group('optimizer', replaced_by=('optimizer',))
    optimizers = read_registry('utils.training.optim', 'OPTIMIZERS')
    group.add_argument('--optimizer', default='adam', type=registered('optimizer', optimizers),
                       brief='adam, adamw, sgd ...',
                       help=f'from torch.optim: {", ".join(optimizers)}')
    group.add_argument('--lr', before=1e-3, type=number(float, above=0),
                       brief='learning rate (default: by the optimizer)',
                       help=f'learning rate (default: by the optimizer: {defaults_by_optimizer("lr")})')
    group.add_argument('--momentum', before=0.9, needs=optimizer_with('momentum'), type=number(float, low=0, below=1),
                       help='momentum of sgd and rmsprop, beta1 of Adam-type optimizers (default: by the optimizer: '
                            f'{defaults_by_optimizer("momentum")})')
    group.add_argument('--beta', before=0.999, needs=optimizer_with('beta'), type=number(float, low=0, below=1),
                       help='beta2 of Adam-type optimizers, alpha of rmsprop (default: by the optimizer: '
                            f'{defaults_by_optimizer("beta")})')
    group.add_argument('--weight_decay', '--wd', before=0.0, needs=optimizer_with('weight_decay'),
                       type=number(float, low=0),
                       help='L2 penalty; adamw: decoupled from the gradient (default: by the optimizer: '
                            f'{defaults_by_optimizer("weight_decay")})')
    group.add_argument('--nesterov', needs=MOMENTUM, action=Flag, help='sgd: Nesterov momentum')
    group.add_argument('--decay_weights_only', needs=DECAY, action=Flag,
                       help='no --weight_decay for biases and for the weights of normalisation layers')
    group.add_argument('--lr_decay', type=number(float, above=0, below=1),
                       help='layer-wise learning rate decay: each layer has X times the learning rate of the layer '
                            'after it, as in BEiT and timm; 0.65 to 0.9 for fine-tuning. Combines with --lr_of')
    group.add_argument('--lr_of', nargs='+', type=share_of_lr,
                       help='parts of the model, by the prefix of their parameter names, whose learning rate is X '
                            'times --lr')
    _add_schedule(parser)
    _add_steps(parser)
    _add_best_epoch(parser)
    _add_checks(parser)
    _add_samples(parser)
    _add_network(parser)
    _add_run(parser)


def _add_training_data(parser):
    (group,) = (group for group in parser.groups() if group.key == 'data')
    group.add_argument('--train_list', type=existing_path, replaced_by=('train_loader',),
                       brief='training data: a directory, list file or table, by --data_type',
                       help='training data: a list file, a directory for folder, a .csv or .npz for array, shards '
                            '(.tar, .csv, .jsonl) for stream')
    group.add_argument('--val_split', type=number(float, above=0, below=1), replaced_by=('train_loader',),
                       brief='the fraction of the training data to validate on: 0.2',
                       help=f'{", ".join(SPLIT_DATA)}: fraction of the training data to validate on, drawn by --seed, '
                            'stratified by class for classification; the lists of both parts are in val_split/ of the '
                            'run')
    group.put_first('val_split')
    group.put_first('train_list')


def _add_samples(parser):
    augments = read_registry('data.augment', 'AUGMENTS')
    group = parser.add_argument_group('training samples', key='samples')
    group.add_argument('--augment', default='none', type=registered('augmentation', augments),
                       brief='none, flip, affine, standard, strong, randaugment ...',
                       help=f'{", ".join(augments)}. flip: mirror left and right; crop: shift by up to an eighth; '
                            'affine: slight rotation, shift and scaling, for digits and text; standard: flip and '
                            'random resized crop; strong: standard with rotation, colour jitter and random erasing; '
                            "randaugment, trivialaugment: torchvision's RandAugment and TrivialAugmentWide")
    group.add_argument('--balance', action=Flag,
                       help='classification: sample all classes equally often, with replacement; the length of an '
                            'epoch stays the same')
    group.add_argument('--skip_bad', action=Flag,
                       help='list, mem_list, pairs, folder: train without samples whose line or image is invalid. All '
                            'images are decoded before the first step to find them; skipped.txt lists them. Validation '
                            'never skips a sample')
    group.add_argument('--shuffle_buffer', default=1000, type=number(int, low=1),
                       help='stream: size of the buffer from which the next sample is drawn at random; the order of '
                            'the shards is random as well')
    group.add_argument('--train_length', type=number(int, low=1),
                       help='stream: samples per epoch, for the remaining time and for schedules by step; shorter '
                            'than the data: the epoch ends early; longer: samples repeat (default: all, not counted)')
    group.add_argument('--mixup', type=number(float, above=0), metavar='ALPHA',
                       help='mixup for classification: alpha of the Beta distribution; training metrics are then '
                            'approximate, they count the class with the larger weight')
    group.add_argument('--cutmix', type=number(float, above=0), metavar='ALPHA',
                       help='CutMix for classification: alpha of the Beta distribution; with --mixup too, each batch '
                            'gets one of the two')


def _add_network(parser):
    group = parser.add_argument_group('network')
    group.add_argument('--fast', action=Flag, repeated=False, changeable=False,
                       help='measure at the start which of --channels_last, --amp and --compile make a step faster on '
                            'this machine, and turn them on')
    group.add_argument('--pretrained', action=Flag,
                       brief='start from pretrained weights of torchvision or timm (a download)',
                       help='start from pretrained weights that torchvision or timm downloads')
    group.add_argument('--pretrained_dir', type=existing_path, metavar='DIR', needs=option('pretrained'),
                       experiment=False,
                       help='directory with the files of pretrained weights, read instead of downloading them; a '
                            'missing file is named with its size and address')
    group.add_argument('--pretrained_config', default=True, before=False, concerns=is_pretrained, action=Flag,
                       help='with --pretrained: take --mean, --std, --interpolation and --crop_share from the '
                            'configuration of the weights, where these options are not given (default: yes)')
    group.add_argument('--load_exclude', nargs='+', metavar='PART',
                       help='parts of the model, by the prefix of their parameter names, that --load_model_path does '
                            'not load: fc, layer4.1')
    group.add_argument('--freeze', nargs='+', metavar='PART',
                       help='parts of the model, by the prefix of their parameter names, that are not trained; their '
                            'batch norm layers stay in evaluation mode')
    group.add_argument('--print_model', action=Flag, experiment=False,
                       help='print a table of the layers with output shapes, parameters and FLOPs')


def _add_run(parser):
    group = parser.add_argument_group('run directory and resuming')
    group.add_argument('--model_dir', type=directory_path, repeated=False, changeable=False,
                       help='directory of this run, below --checkpoints_dir (default: <model_type>_<save_prefix> '
                            'there; if it exists, _2, _3 ... is appended)')
    group.add_argument('--save_freq', type=number(int, low=1), experiment=False,
                       help='keep epoch_0010.pth and the like every N epochs (default: only best.pth and last.pth)')
    group.add_argument('--save_steps', type=number(int, low=1), experiment=False,
                       help='write last.pth every N optimizer steps too, so that a crash loses at most these steps')
    group.add_argument('--save_minutes', default=1.0, before=None, type=number(float, above=0), experiment=False,
                       help='write last.pth every X minutes too, besides the end of each epoch')
    group.add_argument('--log_steps', type=number(int, low=1), experiment=False,
                       help='write a line to log.txt every N optimizer steps: loss and metrics of the epoch so far, '
                            'learning rate, samples per second and time (default: one line per epoch)')
    group.add_argument('--report', default=True, before=False, action=Flag, experiment=False,
                       help='test best.pth at the end, as eval.py --report does, and write report.html (default: yes)')
    group.add_argument('--open', action=Flag, repeated=False,
                       help='open report.html in the browser at the end, where there is a desktop and a terminal')
    group.add_argument('--index', default=True, action=Flag, experiment=False,
                       help='at the end, write index.html in --checkpoints_dir: the page of all runs, as runs.py page '
                            'does (default: yes)')
    group.add_argument('--track', choices=['mlflow', 'wandb', 'swanlab', 'trackio'], experiment=False,
                       help='send options, values of each epoch, final values and report.html to an experiment tracker '
                            '(pip install -r requirements-track.txt); without this option nothing is sent anywhere')
    group.add_argument('--track_args', nargs='+', type=keyword, experiment=False,
                       needs=option('track', within='--track mlflow'),
                       help='for --track: project=NAME name=NAME, and other arguments of its init, such as '
                            'mode=offline (wandb, swanlab) or tracking_uri=URI (mlflow)')
    group.add_argument('--profile', action=Flag, repeated=False,
                       help='print where the time of a step goes and how to shorten it, and write a trace')
    group.add_argument('--resume', type=run_or_path, metavar='RUN', repeated=False,
                       brief='go on with a run, given by its name',
                       help='resume a run, given by its name, directory or checkpoint, with its own options; auto: '
                            'resume the newest run of this name, or start one if there is none')
    group.add_argument('--as', type=plain_name, repeated=False,
                       help='with --resume RUN/epoch_0002.pth: resume from that checkpoint in a new run of this name; '
                            'the old run stays unchanged')


def _add_schedule(parser):
    group = parser.add_argument_group('learning rate schedule', key='schedule', replaced_by=('scheduler',))
    schedules = read_registry('utils.training.optim', 'SCHEDULES')
    group.add_argument('--schedule', default='none', type=registered('schedule', schedules),
                       help=f'from torch.optim.lr_scheduler: {", ".join(schedules)}')
    group.add_argument('--warmup_epochs', default=0.0, type=number(float, low=0),
                       help='epochs, or a fraction of one, in which the learning rate rises from nearly 0')
    group.add_argument('--warmup_steps', default=0, type=number(int, low=0),
                       help='optimizer steps in which the learning rate rises from nearly 0')
    group.add_argument('--lr_steps', nargs='+', type=number(float, above=0), needs=schedule('step', 'multistep'),
                       help='step: epochs between two changes; multistep: the epochs of the changes')
    group.add_argument('--gamma', before=0.1, type=number(float, above=0, below=1),
                       needs=schedule('step', 'multistep', 'exponential', 'plateau'),
                       help='step, multistep, exponential (per epoch), plateau: factor of the learning rate (default: '
                            '0.1, exponential 0.95)')
    group.add_argument('--power', default=0.9, needs=schedule('poly'), type=number(float, above=0),
                       help='poly: exponent')
    group.add_argument('--lr_min', default=0.0, needs=schedule('cosine', 'plateau'), type=number(float, low=0),
                       help='cosine, plateau: minimum learning rate; for a part with --lr_of PART=X, X times that')
    group.add_argument('--plateau_patience', default=5, type=number(int, low=0), needs=schedule('plateau'),
                       help='plateau: epochs without improvement before the learning rate is reduced')


def _add_steps(parser):
    group = parser.add_argument_group('optimizer steps', key='steps')
    group.add_argument('--accumulate', default=1, type=number(int, low=1),
                       help='gradient accumulation: batches per optimizer step, equal to one batch N times as large')
    group.add_argument('--parallel', default='ddp', choices=['ddp', 'fsdp'], needs=PROCESSES, changeable=True,
                       help='under torchrun: ddp: each process holds the whole network; fsdp: each process holds a '
                            'shard of the weights and of the optimizer state, for networks too large for one GPU')
    group.add_argument('--sync_bn', action=Flag, needs=PROCESSES,
                       help='under torchrun: batch norm statistics over all processes (GPUs only)')
    group.add_argument('--clip_norm', type=number(float, above=0),
                       help='clip the norm of the gradients of all parameters to X')
    group.add_argument('--clip_value', type=number(float, above=0),
                       help='clip each gradient value to -X .. X')
    group.add_argument('--on_nan', default='stop', choices=['stop', 'skip', 'rollback'], changeable=True,
                       help='if a loss or gradient is not finite: stop: stop before that step, name the samples and '
                            'write diverged.pth; skip: skip the batch; rollback: return to the weights of last.pth and '
                            'continue after the batch without the batches in between (repeatable with --save_steps). '
                            'skip and rollback synchronise the GPU every step')
    group.add_argument('--ema', type=number(float, low=0, below=1), metavar='DECAY',
                       help='validate and save an exponential moving average of the weights, for example 0.999')
    group.add_argument('--max_steps', type=number(int, low=1),
                       help='stop after N optimizer steps, even within an epoch')


def _add_best_epoch(parser):
    group = parser.add_argument_group('best epoch and early stopping')
    values_by_task = '; '.join(f'{name}: {", ".join(task.values)}' for name, task in TASKS.items())
    group.add_argument('--monitor', type=monitored,
                       help='value that chooses best.pth, a column of history.csv: val/loss, or val/ and '
                            f'{values_by_task} (default: the first of the task)')
    group.add_argument('--mode', choices=['max', 'min'],
                       help='whether a higher or a lower value of --monitor is better (default: by the metric)')
    group.add_argument('--patience', type=number(int, low=1), changeable=True,
                       help='early stopping: stop after N epochs without improvement')
    group.add_argument('--min_epochs', default=0, type=number(int, low=0), changeable=True,
                       help='with --patience: never stop early before this epoch')
    group.add_argument('--keep_last_weights', action=Flag,
                       help='in notebooks and scripts: train() leaves the weights of the last epoch in the network, '
                            'not those of best.pth')
    group.add_argument('--keep_top', default=0, type=number(int, low=0), metavar='K', experiment=False,
                       help='keep top_0010.pth and the like of the K best epochs')
    group.add_argument('--save_safetensors', action=Flag, experiment=False,
                       help='at the end of the run, write the weights of best.pth to best.safetensors too, which other '
                            'libraries and eval.py read; needs the package safetensors')


def _add_checks(parser):
    group = parser.add_argument_group('checks before a long run')
    group.add_argument('--dry_run', action=Flag, repeated=False, changeable=False,
                       help='do once, in seconds, what a run does: two batches to train and to validate, the second '
                            'as small as the last of an epoch, images, saving, loading; keep nothing')
    group.add_argument('--find_lr', action=Flag, repeated=False, changeable=False,
                       help='instead of training, try learning rates from 1e-7 to 10 and plot the loss: find_lr.png')
    group.add_argument('--add_graph', action=Flag, experiment=False, changeable=False,
                       help='write the graph of the network to TensorBoard, if it can be traced')
    group.add_argument('--histograms', action=Flag, experiment=False,
                       help='write histograms of weights and gradients to TensorBoard after each epoch')


def add_test_args(parser):
    """Add the options of eval.py alone."""
    group = parser.add_argument_group('testing')
    group.add_argument('--predict', nargs='+', type=predictable, experiment=False,
                       brief='predict images that have no targets: directories or files',
                       help='instead of testing, predict images that have no targets: directories, image files, '
                            'patterns in quotes ("photos/*.jpg"), lists (.txt, .csv, .jsonl) with one image per line, '
                            '.tar shards; - reads paths from standard input. For a model of features: .csv or .npz. '
                            'Writes predictions.csv and, unless --no_report is given, report.html')
    group.add_argument('--code', default='now', type=existing_path_or('now', 'then', 'both'), repeated=False,
                       metavar='{now,then,both,FILE}',
                       brief='then: test with the code that the run was trained with; both: compare',
                       help='then: test with the code of the run, from the source.zip beside the checkpoint, whose '
                            'programs are run; both: test with that code and with the current code, and compare; a '
                            'file: test with the code in this archive, such as checkpoints/.code/<hash>.zip of an '
                            'earlier test')
    group.add_argument('--trust_code', needs=CODE, action=Flag, repeated=False, typed_only=True,
                       help='run the programs of --code then without asking, even if no run of yours is known to have '
                            'written them: only if you trust their author')
    group.add_argument('--ensemble', action=Flag, experiment=False,
                       help='with --load_model_path A B C: also test their ensemble, which averages their '
                            'probabilities, and compare it with the best of them; with --predict: predict by it')
    group.add_argument('--tta', choices=list(dict.fromkeys(name for task in TASKS.values() for name in task.tta)),
                       help='test-time augmentation: average the probabilities over several views: flip: the image and '
                            'its mirror image; five_crop: the corners and the centre, 7/8 of each side; multiscale: '
                            '3/4, 1 and 5/4 of the size. segmentation: flip, multiscale; regression, restoration: flip')
    group.add_argument('--report', action=Flag, repeated=False,
                       brief='write report.html, with intervals, confusion matrix and worst samples',
                       help='write report.html: metrics with confidence intervals, the best and worst samples, the '
                            'confusion matrix; with --predict, which writes it by default, a gallery')
    group.add_argument('--save_viz', action=Flag, brief='save an image of each sample with target and prediction',
                       help='write an image of every viz_freq-th sample to result_dir/viz')
    group.add_argument('--viz_freq', default=1, type=number(int, low=1), needs=option('save_viz'),
                       help='--save_viz: number of samples from one saved image to the next')
    group.add_argument('--save_outputs', action=Flag,
                       brief='save each predicted mask or restored image',
                       help='write each predicted mask, as a PNG whose pixel values are the labels, or each restored '
                            'image to result_dir/outputs, under the name of the sample')
    group.add_argument('--result_dir', type=directory_path, repeated=False,
                       help='directory of this test (default: <checkpoint>/val_<list>_<save_prefix>, or '
                            '<checkpoint>/predict_<name>_<save_prefix>); if it exists, a '
                            'test with the same options keeps the earlier result as result.1.txt ..., and a test with '
                            'other options goes to _2, _3 ...')


# fmt: on
def train_parser():
    """Return the parser of train.py."""
    parser = MigratingParser(prog='train.py', description=TRAIN_DESCRIPTION, examples=TRAIN_EXAMPLES)
    add_common_args(parser)
    add_train_args(parser)
    return parser


def test_parser():
    """Return the parser of eval.py."""
    parser = MigratingParser(prog='eval.py', description=TEST_DESCRIPTION, examples=TEST_EXAMPLES)
    add_common_args(parser)
    add_test_args(parser)
    for action in options_of(parser):
        if action.dest == 'load_model_path':
            action.nargs, action.help = '+', f'{action.help}; several are tested one after another and compared'
        if action.from_checkpoint:
            action.brief = None
            action.help = re.sub(r' \(default: .*\)$', '', action.help) + ' (default: as in the checkpoint)'
        action.brief = TEST_BRIEFS.get(action.dest, action.brief)
    return parser


test_parser.__test__ = False  # pytest would collect it


def parse_common_args(argv=None):
    """Parse and check only the options that training and testing share, for tools and tests.

    If `argv` is an argparse.ArgumentParser instead of a list of words, add these options to it and return it, as
    torch_base does; parse_train_args and parse_test_args do the same with theirs.
    """
    if isinstance(argv, argparse.ArgumentParser):
        return add_options_to(argv, None, add_common_args)
    parser = MigratingParser(prog='danlu', description='The options that train.py and eval.py share.')
    add_common_args(parser)
    return checked(parser, parser.parse_args(argv))


def parse_train_args(argv=None, ready_made=False):
    """Parse and check the arguments of train.py. Writes nothing.

    With --resume, args.txt of the run is read first; `argv` may change `changeable` options only.

    Args:
        argv: list of str; default: the command line.
        ready_made: whether a Trainer may get its own loaders (bool). Options that do not fit a --data_type that is not
            typed are then an error only when that data is used.
    """
    if isinstance(argv, argparse.ArgumentParser):
        return add_options_to(argv, 'train.py', add_common_args, add_train_args)
    parser = train_parser()
    if argv is None:
        complete(parser)
    argv = sys.argv[1:] if argv is None else [str(word) for word in argv]
    args = parser.parse_args(argv)
    locate_runs(parser, args)
    if args.resume == AUTO and getattr(args, 'as'):
        parser.error(f'argument --as: --resume auto goes on in the run itself; give a checkpoint, --resume RUN/{LAST}')
    if args.resume == AUTO:
        args.resume = newest_run(args)
        args.strict_record &= args.resume is not None  # a new run has no record yet
    args = args if args.resume is None else resumed_options(parser, args)
    if 'data_type' not in args.typed and (ready_made or getattr(args, 'recorded_parts', None)):
        args.data_faults = []
    return checked(parser, args)


def resumes_if_begun(argv=None):
    """Return whether train.py's arguments say --resume auto (bool), as a job does that restarts until it is done."""
    return train_parser().parse_args(argv).resume == AUTO


def parse_test_command(argv=None):
    """Parse the arguments of eval.py alone: the checkpoint completes them in `parse_test_args`. Writes nothing.

    Args:
        argv: list of str; default: the command line.

    Returns:
        Options; load_model_path, trust_checkpoint and model_source say what to read, other_checkpoints which further
        checkpoints.
    """
    parser = test_parser()
    if argv is None:
        complete(parser)
    args = parser.parse_args(None if argv is None else list(map(str, argv)))
    if args.load_model_path is None:
        parser.error('argument --load_model_path: needed: the checkpoint to test, or the name of a run')
    located = []
    for word in args.load_model_path:
        args.load_model_path = word
        locate_runs(parser, args)
        if not os.path.isfile(args.load_model_path):
            parser.error(f'argument --load_model_path: {no_checkpoint(args.load_model_path)}')
        located.append(args.load_model_path)
    args.load_model_path, *args.other_checkpoints = located
    check_code(parser, args)
    check_several(parser, args)
    return args


def parse_test_args(argv=None, trained=None):
    """Parse and check the arguments of eval.py. Writes nothing.

    Args:
        argv: list of str, or what `parse_test_command` returned; default: the command line.
        trained: the options in the checkpoint (dict), or None. They complete what the command line leaves out.
    """
    if isinstance(argv, argparse.ArgumentParser):
        return add_options_to(argv, 'eval.py', add_common_args, add_test_args)
    args = copy.copy(argv) if isinstance(argv, Options) else parse_test_command(argv)
    return take_from_checkpoint(test_parser(), args, trained)


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
    options = {'load_model_path': load_model_path, **options}
    command = from_keywords(parse_test_command, options)
    from utils.runs.checkpoint import load_named_checkpoint  # imports torch, which --help does not wait for

    trained = recorded_args(load_named_checkpoint(command))
    return from_keywords(lambda argv: parse_test_args(argv, trained), options)


test_args.__test__ = False  # pytest would collect it


def prepare_train_args(argv=None):
    """Parse the arguments of train.py, make the run directory, write args.txt into it, and return args.

    With --resume the run keeps its directory, and args.txt is written when training starts.
    """
    args = parse_train_args(argv)
    if args.resume is None:
        args.model_dir = get_train_model_dir(args)
        try:
            save_args(args, args.model_dir)
        except WriteError as error:
            with suppress(OSError):  # not empty, or not removable for the same reason
                os.rmdir(args.model_dir)
            train_parser().error(f'{error}; {error.remedy}, or --checkpoints_dir gives another place')
    elif getattr(args, 'as') and not getattr(args, 'recorded_parts', None):  # else the Trainer with the parts does it
        from utils.training.run_copy import begin_copy  # imports torch, which --help does not wait for

        begin_copy(args, train_parser())
    return args


def prepare_test_args(argv=None, trained=None):
    """Parse the arguments of eval.py, make the result directory, write args.txt into it, and return args.

    Args:
        argv, trained: as for `parse_test_args`.
    """
    args = parse_test_args(argv, trained)
    args.result_dir = get_test_result_dir(args)
    if not Path(args.result_dir, 'args.txt').exists():  # an earlier test keeps its file until this one has results
        try:
            save_args(args, args.result_dir)
        except WriteError as error:
            with suppress(OSError):
                os.rmdir(args.result_dir)
            raise WriteError(f'{error}; {error.remedy}, or --result_dir gives another place') from error
    return args


def get_train_model_dir(args):
    """Make the directory of a new run, set args.model_dir to it and return it (str).

    It is model_dir, or <checkpoints_dir>/<model_type>_<save_prefix>; if it exists, _2, _3 ... is appended.
    """
    root = Path(args.checkpoints_dir)
    wanted = Path(args.model_dir) if args.model_dir else root / run_name(args)
    args.model_dir = make_directory_below([root], wanted, train_parser(), '--model_dir')
    return args.model_dir


def get_test_result_dir(args):
    """Make the directory of a test, set args.result_dir to it and return it (str).

    It is result_dir, or <checkpoint>/val_<list>_<save_prefix> beside the checkpoint, or for --predict
    predict_<name>_<save_prefix>. If it exists, a test with the same options uses it again
    (utils/runs/result_directory.py); otherwise _2, _3 ... is appended.
    """
    checkpoint = Path(args.load_model_path)
    data = 'loader' if ready_data(args) else Path(args.val_list).stem if args.val_list else args.data_type
    name = f'predict_{source_name(args.predict)}' if predicts(args) else f'val_{data}'
    name = f'{"ensemble_" * getattr(args, "ensemble", False)}{name}_{args.save_prefix}'
    # A checkpoint without a suffix has the name that the directory would get.
    folder = checkpoint.with_suffix('') if checkpoint.suffix else checkpoint.with_name(checkpoint.name + '_tests')
    wanted = Path(args.result_dir) if args.result_dir else folder / name
    parser, roots = test_parser(), [Path(args.checkpoints_dir), checkpoint.parent]

    def is_same(directory):
        from utils.runs.result_directory import holds_same_test  # --help does not need it

        return holds_same_test(directory, args_lines(parser, with_members(args)))

    args.result_dir = make_directory_below(roots, wanted, parser, '--result_dir', is_same)
    return args.result_dir


def save_args(args, directory, note=None, place=None):
    """Write args (Options) to `<directory>/args.txt`; note and place as for utils.options.args_file.write_args."""
    if place is not None:
        args = copy.copy(args)
        args.result_dir = place
    write_args(parser_of(args), with_members(args), directory, note, place)


def changed_options(args):
    """Return the options whose values differ from their defaults (list of 'name=value'), for the log."""
    return [f'{name}={shown(value)}' for name, value in changed(parser_of(args), args).items()]


def main_options(args):
    """Return the options of a run for trackers and TensorBoard (dict): MAIN_OPTIONS, and others of the experiment that
    differ from their defaults.
    """
    parser = parser_of(args)
    return {name: getattr(args, name) for name in MAIN_OPTIONS} | changed(parser, args, parser.names(experiment=False))


def tested_options(args, trained):
    """Return the options of a test that differ from their defaults (dict), without those found in the data.

    Args:
        args: of the test.
        trained: options of the run (dict).
    """
    in_data = {name for name in trained.get('from_data') or [] if getattr(args, name, None) == trained.get(name)}
    return changed(test_parser(), args, {'load_model_path', *in_data, *getattr(args, 'from_data', [])})


def trained_options(trained):
    """Return the options of a run that differ from their defaults (dict), without those found in the data.

    Args:
        trained: options of the run (dict); older records may lack some.
    """
    parser = train_parser()
    known = argparse.Namespace(**{**vars(parser.parse_args([])), **trained})
    return changed(parser, known, {'report', *(trained.get('from_data') or [])})


def parser_of(args):
    """Return the parser of the program that options (Options) belong to."""
    return PARSERS[getattr(args, 'program', 'train.py')]()


MAIN_OPTIONS = ('model_type', 'data_type', 'task', 'lr', 'batch_size', 'epochs', 'seed')
PARSERS = {'train.py': train_parser, 'eval.py': test_parser}
