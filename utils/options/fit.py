"""--fit: how image files are decoded and brought to the input size of the network. Imports no torch."""

from typing import NamedTuple

from utils.base.text_table import number_text
from utils.tasks.tasks import TASKS, task_of

FITS = ('crop', 'stretch', 'pad')
PICTURE_DATA = ('list', 'mem_list', 'pairs', 'folder', 'stream')  # kinds of data that read the user's image files
CACHED_FILES = ('list', 'pairs', 'folder')  # whose --cache_dir keeps reduced images
MAX_LEVEL = 255  # of a uint8 channel
PILLOW = 'pillow'  # the decoder that reads all files; the others leave unusual files to it
ON_DEVICE = '_gpu'  # ending of the decoders that decode batches on --device
INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'lanczos')  # of Pillow
MAX_NUMBERS_SHOWN = 8  # in a line of the log


def default_fit(task):
    """Return the default --fit of a task (str): crop where the target is one class, else stretch.

    Numbers, sets of labels, masks and target images describe the whole image, so no part of it may be cut off.
    """
    return 'stretch' if task in TASKS and TASKS[task].target != 'label' else 'crop'


def fit_before(record):
    """Return the --fit (str) that records without this option imply, or None for data without images.

    Args:
        record: options (dict) of a run or a test.
    """
    if record.get('data_type') == 'array':
        return None
    task = TASKS.get(record.get('task'))
    return 'stretch' if task is not None and task.by_pixel else 'crop'


def decodes_on_device(decoder):
    """Return whether a decoder (str, or None) decodes batches on --device (bool)."""
    return decoder is not None and decoder.endswith(ON_DEVICE)


class Fit(NamedTuple):
    """How image files are decoded, and images and masks brought to a size."""

    how: str = 'stretch'  # one of FITS
    levels: tuple = (0, 0, 0)  # of the margins of images, 0..255 per channel
    label: int = 255  # of the margins of masks
    interpolation: str = 'bilinear'  # one of INTERPOLATIONS, for images
    share: float = 1.0  # side of the crop, as a fraction of the largest possible crop
    decoder: str = PILLOW  # key of DECODERS in data/lists/decoders.py
    short: int | None = None  # pixels; images are first reduced to this shorter side, see --cache_size

    @property
    def has_whole_boxes(self):
        """Whether crops are rounded to whole pixels (bool), so that torch resizes them."""
        return self.short is not None or decodes_on_device(self.decoder)

    @classmethod
    def of(cls, args):
        """Return the Fit of options (Namespace with fit, crop_share, interpolation, decoder, cache_size ...)."""
        mean = args.mean or [0.0] * (args.channels or 3)
        levels = tuple(min(MAX_LEVEL, max(0, round(value * MAX_LEVEL))) for value in mean)
        ignored = MAX_LEVEL if args.ignore_index is None else args.ignore_index
        label = ignored if 0 <= ignored <= MAX_LEVEL else MAX_LEVEL
        how, share = args.fit or default_fit(args.task), args.crop_share or 1.0
        return cls(how, levels, label, args.interpolation or 'bilinear', share, args.decoder or PILLOW, args.cache_size)

    def source_box(self, full, size):
        """Return the box (top, left, height, width; float) of an image that is used; full, size: (height, width)."""
        if self.how != 'crop':
            return (0, 0, *full)
        factor = self.share * min(full[0] / size[0], full[1] / size[1])
        height, width = size[0] * factor, size[1] * factor
        return (full[0] - height) / 2, (full[1] - width) / 2, height, width

    def target_box(self, full, size):
        """Return the box (top, left, height, width; int) of `size` that an image of size `full` fills."""
        if self.how != 'pad':
            return (0, 0, *size)
        factor = min(size[0] / full[0], size[1] / full[1])
        height, width = (min(most, max(1, round(side * factor))) for side, most in zip(full, size, strict=True))
        return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def fault_of_fit(args):
    """Return why --fit does not go with the other options (str), or None."""
    if args.data_type == 'array':
        return 'the samples are feature vectors, not images; leave it out'
    if args.fit == 'pad' and task_of(args).target == 'picture':
        return 'with pad the margins would count in the loss and the metrics; give stretch or crop'
    if args.fit == 'pad' and task_of(args).target == 'mask' and not 0 <= args.ignore_index <= MAX_LEVEL:
        return f'pad fills the margins of masks with --ignore_index, which must be 0..{MAX_LEVEL}'
    return None


def described_pictures(args):
    """Return a line (str) for the log: size, fit, mean and standard deviation of images, or of features."""
    if args.image_size is None or args.channels is None:  # ready-made parts, which did not say
        return 'images: as the loader gives them'
    if not args.image_size:
        return f'features: {args.channels}, mean {numbers_text(args.mean)}, standard deviation {numbers_text(args.std)}'
    colours = {1: 'grey', 3: 'RGB'}.get(args.channels, f'{args.channels} channels')
    guessed = fit = ''
    if args.data_type in PICTURE_DATA and 'train_loader' not in getattr(args, 'given_parts', ()):
        guessed = ', of the first image' if 'image_size' in getattr(args, 'from_data', []) else ''
        fit = f'--fit {args.fit}{_how(args)}, '
    return (
        f'images: {args.image_size[1]}x{args.image_size[0]} (width x height{guessed}), {colours}, {fit}'
        f'mean {numbers_text(args.mean)}, standard deviation {numbers_text(args.std)}'
    )


def _how(args):
    """Return interpolation, crop share and --cache_size (str) where they are not the defaults."""
    interpolation = f', {args.interpolation}' if args.interpolation not in (None, 'bilinear') else ''
    share = f', crop share {args.crop_share:g}' if args.crop_share not in (None, 1.0) else ''
    short = getattr(args, 'cache_size', None)
    return interpolation + share + (f', first reduced to {short} pixels' if short else '')


def numbers_text(values):
    """Return numbers as text (str), at most MAX_NUMBERS_SHOWN of them."""
    if values is None:
        return 'not set'
    shown = ' '.join(number_text(x, trimmed=True) for x in values[:MAX_NUMBERS_SHOWN])
    return shown + ' ...' * (len(values) > MAX_NUMBERS_SHOWN)
