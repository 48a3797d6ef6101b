#!/usr/bin/env python
"""Measure a data set: mean and standard deviation per channel, image sizes and modes, classes, unreadable files.

    python scripts/measure_data.py photos/train                     # a directory per class
    python scripts/measure_data.py camvid/train.txt --ignore_index 11
    python scripts/measure_data.py shards/                          # .tar, .csv or .jsonl, as --data_type stream

Every pixel of every image counts once, at the original size, decoded as in training. The last line has options to paste
into a command of train.py. Exit status 1 if some files are unreadable; these are listed, and the others are measured.
"""

import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project

from utils.base.errors import DanluError, output_status, run_main
from utils.base.terminal import is_watched
from utils.base.text_table import count_text
from utils.options.arguments import Parser, existing_path, number
from utils.options.checks import SHARD_ENDINGS, expand
from utils.options.palette import fitted, names_in, not_classes

MAX_CLASSES = 100  # printed; if numbers are taken for labels, each sample may be a class


# fmt: off
def parse_args(argv=None):
    """Return the options (Namespace)."""
    description = 'Measure mean, standard deviation, sizes and classes of a data set.'
    parser = Parser(prog='measure_data.py', description=description)
    parser.add_argument('path', type=existing_path, metavar='PATH',
                        help='a list file, a directory with one subdirectory per class, or shards of a stream')
    parser.add_argument('--data_type', choices=['list', 'folder', 'stream'],
                        help='type of PATH, as for train.py (default: detected)')
    parser.add_argument('--data_root', type=existing_path, metavar='DIR',
                        help='root of relative paths in list files, .csv and .jsonl (default: the directory of the '
                             'file)')
    parser.add_argument('--channels', type=int, choices=[1, 3], default=3, help='1: read as grey, 3: as RGB')
    parser.add_argument('--bits', type=number(int, low=8, high=16), metavar='N',
                        help='range of 16-bit images, 0 .. 2^N-1 (default: the smallest that fits the largest value)')
    parser.add_argument('--targets', choices=['labels', 'masks', 'none'],
                        help='kind of targets to count (default: masks if the first target is an image, else labels); '
                             'none: for numbers and images')
    parser.add_argument('--ignore_index', type=number(int, low=0, high=255), default=255, metavar='N',
                        help='label of ignored pixels in masks')
    parser.add_argument('--palette', nargs='+', metavar='COLOUR',
                        help='colours of the classes in RGB masks, or a file with them, as for train.py')
    parser.add_argument('--num_classes', type=number(int, low=2, high=255), metavar='N',
                        help='number of colours of --palette that are classes, from the first (default: all)')
    parser.add_argument('--class_names', nargs='+', metavar='NAME',
                        help='names of --palette that are classes, or a text file with one name per line')
    args = parser.parse_args(argv)
    args.coding = coding_of(parser, args)
    args.data_type = args.data_type or guessed_type(args.path)
    if args.data_root and args.data_type == 'folder':
        parser.error('argument --data_root: not used by data_type folder')
    if args.data_type == 'list' and os.path.isdir(args.path):
        parser.error(f'argument --data_type: list takes a file, {args.path} is a directory')
    if args.data_type == 'folder' and not os.path.isdir(args.path):
        parser.error(f'argument --data_type: folder takes a directory, {args.path} is a file')
    return args
# fmt: on


def coding_of(parser, args):
    """Return the arguments of data.lists.masks.MaskCoding (dict); set args.pasted, the options to print for it."""
    args.pasted = [
        f'--{name} {" ".join(map(shlex.quote, getattr(args, name)))}'
        for name in ('palette', 'class_names')
        if getattr(args, name)
    ]
    if args.palette is None:
        for name in ('num_classes', 'class_names'):
            if getattr(args, name):
                parser.error(f'argument --{name} needs --palette')
        return {}
    expand(parser, vars(args))
    args.class_names = args.class_names or names_in(args.palette)
    count = args.num_classes or len(args.class_names or args.palette)
    try:
        colours = fitted(args.palette, count, args.class_names)
    except DanluError as error:
        parser.error(f'argument --palette: {error}')
    ignored = not_classes(args.palette, colours, args.ignore_index) or ()
    return {'num_classes': count, 'ignore_index': args.ignore_index, 'colours': (*colours,), 'ignored': (*ignored,)}


def guessed_type(path):
    """Return the detected --data_type (str) of a path."""
    if os.path.isdir(path):
        stream = any(name.lower().endswith(SHARD_ENDINGS) for name in os.listdir(path) if not name.startswith('.'))
        return 'stream' if stream else 'folder'
    return 'stream' if path.lower().endswith(SHARD_ENDINGS) else 'list'


def main(argv=None):
    """Measure the data set and print the results; exit with status 1 if there are unreadable files."""
    args = parse_args(argv)
    # Imported here, so that --help and invalid options need no torch.
    from tqdm import tqdm

    from data.checks.statistics import ListSource, ShardSource, measure
    from data.lists.masks import MaskCoding

    if args.data_type == 'stream':
        source = ShardSource(args.path, args.data_root)
    else:
        source = ListSource(args.path, args.data_root, folder=args.data_type == 'folder')
    targets = args.targets or source.targets()
    total = len(source) if hasattr(source, '__len__') else None
    with tqdm(total=total, desc='measure', unit='img', leave=False, disable=not is_watched(sys.stderr)) as bar:
        summary = measure(source, args.channels, targets, bar.update, MaskCoding(**args.coding))
    for line in [*source.notes, *report(args, targets, summary)]:
        print(line)
    sys.exit(output_status(1 if summary.faults else 0))


def report(args, targets, summary):
    """Yield the results as lines (str), the options to paste last."""
    if summary.faults:
        yield f'unreadable: {len(summary.faults):,}'
        yield from (f'  {fault}' for fault in summary.faults)
    yield f'{args.path}: {count_text(len(summary), "image")}'
    if not len(summary):
        return
    smallest, median, largest = (f'{width}x{height}' for height, width in summary.min_median_max_sizes())
    yield f'sizes (width x height): {smallest} smallest, {median} median, {largest} largest by area'
    yield f'modes: {counted(summary.modes.most_common())}'
    if summary.values_16_bit:
        largest, args.bits = max(summary.values_16_bit), summary.merge_16_bit_values(args.bits)
        yield f'16 bits: values up to {largest}; 0..{2**args.bits - 1} becomes 0..255 (--bits {args.bits})'
    means, deviations = summary.mean_and_std()
    yield f'mean of all pixels, in 0..1: {numbers(means, 6)}'
    yield f'standard deviation: {numbers(deviations, 6)}'
    if targets == 'labels':
        yield from label_lines(summary.labels)
    elif targets == 'masks':
        yield from mask_lines(args, summary.mask_values)
    grey = ('1', 'L', 'I;16', 'LA', 'I', 'I;16B')
    if args.channels == 3 and all(mode in grey for mode in summary.modes):
        yield 'all images are grey: use --channels 1 to measure and train on one channel'
    if not all(deviations):
        yield 'a channel is constant and cannot be normalised: no --std is printed'
    yield f'options: {" ".join(options(args, targets, summary))}'


def label_lines(labels):
    """Yield lines (str) with the number of samples of each class, in the order of the labels."""
    names = ordered(labels)
    yield f'classes: {len(names):,}'
    for name in names[:MAX_CLASSES]:
        yield f'  {name}: {labels[name]:,}'
    if len(names) > MAX_CLASSES:
        yield f'  ... and {len(names) - MAX_CLASSES:,} more; if the targets are not classes, use --targets none'


def mask_lines(args, counts):
    """Yield lines (str) with the number of pixels of each value in masks, or of each class in RGB masks."""
    total, binary, names = counts.total(), class_values(args, counts), args.class_names or []
    yield f'pixels of masks: {total:,}'
    for value, count in sorted(counts.items()):
        name = f' {names[value]}' if value < len(names) else ''
        what = ', class 1' if binary and value else ', ignored' if value == args.ignore_index else ''
        yield f'  {value}{name}: {count:,} ({count / total:.2%}{what})'


def class_values(args, counts):
    """Return --mask_values of train.py for two classes (list of int), or None: the stored values are the labels."""
    from data.lists.masks import binary_values

    return None if args.palette else binary_values(counts)


def options(args, targets, summary):
    """Yield the options of train.py (str) that suit the data set."""
    means, deviations = summary.mean_and_std()
    if args.channels == 1:
        yield '--channels 1'
    if summary.values_16_bit:
        yield f'--bits {args.bits}'
    if all(round(deviation, 4) for deviation in deviations):
        yield f'--mean {numbers(means, 4)} --std {numbers(deviations, 4)}'
    height, width = summary.min_median_max_sizes()[1]
    yield f'--image_size {height} {width}'
    if targets == 'masks':
        yield from mask_options(args, summary.mask_values)
    elif args.data_type == 'stream' and targets == 'labels' and len(summary.labels) <= MAX_CLASSES:
        names = ordered(summary.labels)
        integers = all(name.isdecimal() for name in names)
        yield (
            f'--num_classes {int(names[-1]) + 1}' if integers else f'--class_names {" ".join(map(shlex.quote, names))}'
        )


def mask_options(args, counts):
    """Yield the options of train.py (str) that suit the values in masks."""
    values = class_values(args, counts)
    if values:
        yield f'--num_classes 2 --mask_values {" ".join(map(str, values))}'
        return
    classes = [value for value in counts if value != args.ignore_index]
    count = args.coding.get('num_classes', max([1, *classes]) + 1)
    yield f'--num_classes {count} --ignore_index {args.ignore_index}'
    yield from args.pasted


def ordered(labels):
    """Return the sorted names of classes (list of str), numerically if all are integers."""
    return sorted(labels, key=int) if all(name.isdecimal() for name in labels) else sorted(labels)


def counted(items):
    return ', '.join(f'{name} {count:,}' for name, count in items)


def numbers(values, digits):
    return ' '.join(f'{value:.{digits}f}' for value in values)


if __name__ == '__main__':
    run_main(main, 'measure_data.py')
