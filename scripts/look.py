#!/usr/bin/env python
"""Draw training samples as the network sees them, to check data and augmentation before a long run.

    python scripts/look.py --data_type folder --train_list photos/train --val_list photos/val --augment standard
    python scripts/look.py @checkpoints/lenet_exp/args.txt --epoch 3 --count 40 --out sheet.png

It takes the options of train.py and creates no run. If samples are augmented or mixed, each is drawn twice: unchanged,
and as the network sees it.
"""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project

from options import train_parser
from utils.base.errors import DanluError, run_main
from utils.base.text_table import count_text, number_text
from utils.options.arguments import number
from utils.options.checks import PICTURE_DATA, checked
from utils.options.given_parts import refuse_recorded

DESCRIPTION = 'Draw training samples as the network sees them, with the options of train.py.'
EXAMPLES = (
    'python scripts/look.py @checkpoints/lenet_exp/args.txt    # the data of a run',
    'python scripts/look.py --data_type folder --train_list photos \\\n'
    '      --val_split 0.2 --image_size 224 --augment standard',
)
DEFAULT_SAMPLES = 16
MAX_CLASSES = 20  # whose samples are counted one by one


# fmt: off
def parse_args(argv=None):
    """Parse and check the command line (or `argv`, list of str)."""
    parser = train_parser()
    parser.prog, parser.description, parser.examples = 'look.py', DESCRIPTION, EXAMPLES
    group = parser.add_argument_group('look')
    group.add_argument('--out', default='look.png', metavar='FILE', help='PNG file to write')
    group.add_argument('--count', default=DEFAULT_SAMPLES, type=number(int, low=1, high=1000), metavar='N',
                       help='number of samples, from the start of the epoch')
    group.add_argument('--epoch', default=1, type=number(int, low=1), metavar='N',
                       help='epoch that determines order and augmentation')
    args = parser.parse_args(argv)
    refuse_recorded(args, 'look.py')
    if args.resume is not None:
        parser.error('argument --resume: nothing is resumed here; give @<run>/args.txt instead')
    if not args.out.lower().endswith('.png') or os.path.isdir(args.out):
        parser.error(f'argument --out: {args.out!r} does not end in .png, or is a directory')
    return checked(parser, args)
# fmt: on


def main(argv=None):
    """Draw the sheet and print facts about the samples."""
    args = parse_args(argv)
    if args.num_workers is None:
        args.num_workers = 0  # starting workers takes longer than reading one or two batches
    # Imported here, so that --help and invalid options need no torch.
    from data.data_entry import notes_of
    from utils.drawing.colour_distance import note_of_palette
    from utils.drawing.fonts import note_of_fonts
    from utils.drawing.sample_grid import draw_features, draw_sheet
    from utils.tasks.tasks import has_pictures
    from utils.viz import save_picture

    loader = training_loader(args)
    images, targets, plain = first_samples(args, loader)
    heading, shown = heading_of(args, loader, plain), slice(args.count)
    if has_pictures(args):
        before = None if plain is None else plain[shown]
        sheet = draw_sheet(args, images[shown], targets[shown], before, heading)
    else:
        from data.lists.table import feature_names

        names = feature_names(args.train_list, args.target_columns)
        sheet = draw_features(args, images[shown], targets[shown], names, heading)
    for line in [*notes_of(loader), *note_of_fonts(args.class_names), *note_of_palette(args)]:
        print(without_run(line, args.model_dir))
    for line in facts(args, loader, images, targets):
        print(line)
    try:
        save_picture(args.out, sheet)
    except OSError as error:
        raise DanluError(f'--out: {args.out} cannot be written: {error.strerror}') from None
    print(f'sheet: {os.path.abspath(args.out)} ({sheet.shape[1]}x{sheet.shape[0]})')


def training_loader(args):
    """Return the loader of the training data, with --val_split without the validation samples."""
    from data.data_entry import select_train_loader
    from data.lists.val_split import split_lists

    with tempfile.TemporaryDirectory() as folder:
        args.model_dir = folder
        with split_lists(args):
            return select_train_loader(args)


def without_run(line, folder):
    """Return a note (str) without the files in `folder` (str), the directory of a run, which is removed."""
    from data.lists.bad_samples import SKIPPED_FILE
    from data.lists.val_split import SPLIT_DIRECTORY, without_lists

    return without_lists(line, os.path.join(folder, SPLIT_DIRECTORY)).removesuffix(f'; {SKIPPED_FILE} names all')


def first_samples(args, loader):
    """Return the first args.count samples or more of an epoch, in whole batches, from the loader of a run.

    Returns:
        images, float32 (N, C, H, W) or features (N, F), and targets, as the network gets them; the same images without
        augmentation and mixing, or None if neither is used.
    """
    import torch

    from data.data_entry import Batches
    from utils.training.batch_transform import BatchTransform

    batches, prepare = loader.dataset, BatchTransform(args, torch.device('cpu'))
    prepare.augment = batches.augment
    loader.bind_transform(torch.device('cpu'), prepare)
    loader.batch_sampler.set_epoch(args.epoch)
    changed = batches.augment is not None or batches.mixing is not None
    unchanged, found, count = Batches(batches.dataset, None, args.seed), [], 0
    for (images, targets), key in zip(loader, loader.batch_sampler, strict=False):
        plain = prepare(*unchanged.__getitems__(key))[0] if changed else images
        found.append((images, targets, plain))
        count += len(images)
        if count >= args.count:
            break
    images, targets, plain = map(torch.cat, zip(*found, strict=True))
    return images, targets, plain if changed else None


def heading_of(args, loader, plain):
    """Return the lines (list of str) above the sheet."""
    from utils.base.file_names import short_path
    from utils.tasks.tasks import task_of

    changing = ('augment', 'mixup', 'cutmix') if args.image_size else ()
    changes = [f'--{name} {value}' for name in changing if (value := getattr(args, name))]
    where = f' from {short_path(args.train_list)}' if args.train_list else ''
    lines = [f'{args.data_type}, {args.task}: {length_of(loader)}{where}']
    lines.append(', '.join([size_of(args), f'epoch {args.epoch}', *changes]))
    if plain is not None and not task_of(args).by_pixel:  # images of these tasks have titles
        mixed = args.image_size and (args.mixup or args.cutmix)
        shares = ', mixed with another image; the class with the larger share comes first' if mixed else ''
        lines.append(f'left: unchanged, right: as the network sees it{shares}')
    return lines


def length_of(loader):
    """Return the number of training samples as text."""
    try:
        return f'{len(loader.dataset):,} training samples'
    except TypeError:  # a stream has no length
        return 'training samples, number unknown'


def size_of(args):
    """Return the size of a sample as text."""
    if not args.image_size:
        return count_text(args.channels, 'feature')
    fit = f', --fit {args.fit}' if args.data_type in PICTURE_DATA else ''
    return f'{args.image_size[1]}x{args.image_size[0]}, {"grey" if args.channels == 1 else "RGB"}{fit}'


def facts(args, loader, images, targets):
    """Yield lines (str) with the number, targets and normalisation of the samples."""
    from utils.tasks.tasks import describe_outputs, task_of

    yield f'{length_of(loader)}: {size_of(args)}; drawn: {min(args.count, len(images))} of epoch {args.epoch}'
    yield describe_outputs(args)
    yield from target_facts(args, loader.samples, targets)
    if task_of(args).target == 'picture':
        low, high = (number_text(end.item()) for end in (images.min(), images.max()))
        yield f'pixels are in 0..1, without normalisation: here {low} to {high}'
        return
    dims = (0, 2, 3) if images.dim() == 4 else (0,)
    means, deviations = images.mean(dims).tolist(), images.std(dims).tolist()
    yield (
        f'after normalisation, over {len(images)} samples: mean {numbers(means)} (should be about 0), standard '
        f'deviation {numbers(deviations)} (should be about 1)'
    )
    if max(map(abs, means)) > 1 or not all(0.4 < deviation < 2.5 for deviation in deviations):
        measured = '' if images.dim() == 2 else '; scripts/measure_data.py computes them from files'
        yield f'warning: mean or standard deviation is far off; check --mean and --std{measured}'


def target_facts(args, dataset, targets):
    """Yield lines (str) about the targets of the training data, or of the drawn samples if targets are masks."""
    from torch import bincount, is_tensor

    from utils.tasks.tasks import target_names, task_of

    kind, known = task_of(args).target, getattr(dataset, 'labels', None)
    known = getattr(dataset, 'targets', None) if known is None else known
    known = known if is_tensor(known) else None
    if kind == 'label' and known is not None:
        yield f'samples of each class: {counted(args, bincount(known, minlength=args.num_classes))}'
    elif kind == 'labels' and known is not None:
        yield f'samples with each class: {counted(args, known.sum(0).long())}'
    elif kind == 'numbers' and known is not None:
        for name, column in zip(target_names(args) or range(1, args.num_targets + 1), known.T, strict=True):
            facts = column.min(), column.max(), column.mean(), column.std(unbiased=False)
            low, high, mean, deviation = (number_text(fact.item(), trimmed=True) for fact in facts)
            yield f'target {name}: {low} to {high}, mean {mean}, standard deviation {deviation}'
    elif kind == 'mask':
        counts = bincount(targets.flatten(), minlength=args.num_classes)
        shares = (counts / counts.sum()).tolist()[: args.num_classes]
        shares = [f'{name} {share:.1%}' for name, share in zip(named(args), shares, strict=True)]
        yield f'pixels of each class in {len(targets)} masks: {", ".join(shares[:MAX_CLASSES])}'


def counted(args, counts):
    """Return the number of samples of each class (int64 (K,)) as text."""
    pairs = list(zip(counts.tolist(), named(args), strict=False))  # the last label may be the ignored one
    if len(pairs) <= MAX_CLASSES:
        return ', '.join(f'{name} {count:,}' for count, name in pairs)
    order = sorted(pairs)
    return f'{len(order)} classes, from {order[0][0]:,} ({order[0][1]}) to {order[-1][0]:,} ({order[-1][1]})'


def named(args):
    """Return the names of the classes (list of str), or their indices."""
    return args.class_names or [str(k) for k in range(args.num_classes)]


def numbers(values):
    """Return numbers (list of float) as text."""
    more = ' ...' * (len(values) > 8)
    return ' '.join(f'{value:.2f}' for value in values[:8]) + more


if __name__ == '__main__':
    run_main(main, 'look.py')
