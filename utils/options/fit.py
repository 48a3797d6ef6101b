"""--fit: how a picture of another shape is brought to the size that the network takes. Imports no torch."""

from typing import NamedTuple

from utils.tasks.tasks import TASKS

FITS = ('crop', 'stretch', 'pad')
PICTURE_DATA = ('list', 'mem_list', 'pairs', 'folder', 'stream')  # whose pictures are files of the user
LEVELS = 255  # of a channel, at the most
INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'lanczos')  # of Pillow
SHOWN = 8  # numbers in a line of the log


def default_fit(task):
    """Return the --fit of a task where none is given (str): where the target is one class the middle is cut out.

    Numbers, sets of labels, masks and target pictures are about the whole picture, of which nothing may be lost.
    """
    return 'stretch' if task in TASKS and TASKS[task].target != 'label' else 'crop'


def fit_before(record):
    """Return what pictures were brought to their size by before there was --fit (str), or None: there are none.

    Args:
        record: options (dict) of a run or a test of then.
    """
    if record.get('data_type') == 'array':
        return None
    task = TASKS.get(record.get('task'))
    return 'stretch' if task is not None and task.by_pixel else 'crop'


class Fit(NamedTuple):
    """How pictures and masks are brought to a size."""

    how: str = 'stretch'  # of FITS
    levels: tuple = (0, 0, 0)  # of the margins of pictures, 0..255 for each channel
    label: int = 255  # of the margins of masks
    interpolation: str = 'bilinear'  # of INTERPOLATIONS, for pictures
    share: float = 1.0  # of the largest part that crop could show

    @classmethod
    def of(cls, args):
        """Return the Fit of the options that say how pictures are fitted, interpolation and crop_share among them."""
        mean = args.mean or [0.0] * (args.channels or 3)
        levels = tuple(min(LEVELS, max(0, round(value * LEVELS))) for value in mean)
        ignored = LEVELS if args.ignore_index is None else args.ignore_index
        label = ignored if 0 <= ignored <= LEVELS else LEVELS
        how, share = args.fit or default_fit(args.task), args.crop_share or 1.0
        return cls(how, levels, label, args.interpolation or 'bilinear', share)

    def source(self, full, size):
        """Return which box (top, left, height, width) of a picture of size `full` is shown; sizes: (height, width)."""
        if self.how != 'crop':
            return (0, 0, *full)
        factor = self.share * min(full[0] / size[0], full[1] / size[1])
        height, width = size[0] * factor, size[1] * factor
        return (full[0] - height) / 2, (full[1] - width) / 2, height, width

    def place(self, full, size):
        """Return the box (top, left, height, width; int) of `size` that a picture of size `full` fills."""
        if self.how != 'pad':
            return (0, 0, *size)
        factor = min(size[0] / full[0], size[1] / full[1])
        height, width = (min(most, max(1, round(side * factor))) for side, most in zip(full, size, strict=True))
        return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def fault_of_fit(args):
    """Return why the options cannot have their --fit (str), or None."""
    if args.data_type == 'array':
        return 'the samples are vectors of features, not pictures; leave it out'
    if args.fit == 'pad' and args.task == 'restoration':
        return 'pad would count the margins in the loss and the metrics; give stretch or crop'
    if args.fit == 'pad' and args.task == 'segmentation' and not 0 <= args.ignore_index <= LEVELS:
        return f'pad fills masks with --ignore_index, which has to be 0..{LEVELS} for that'
    return None


def described_pictures(args):
    """Return the line (str) that says how pictures, or features, come to the network: size, fit, mean and deviation."""
    if args.image_size is None or args.channels is None:  # ready-made parts, which did not say
        return 'pictures: as the loader gives them'
    if not args.image_size:
        return f'features: {args.channels}, mean {numbers_text(args.mean)}, standard deviation {numbers_text(args.std)}'
    colours = {1: 'grey', 3: 'RGB'}.get(args.channels, f'{args.channels} channels')
    guessed = fit = ''
    if args.data_type in PICTURE_DATA and 'train_loader' not in getattr(args, 'given_parts', ()):
        guessed = ', of the first picture' if 'image_size' in getattr(args, 'from_data', []) else ''
        fit = f'--fit {args.fit}{_how(args)}, '
    return (
        f'pictures: {args.image_size[1]}x{args.image_size[0]} (width x height{guessed}), {colours}, {fit}'
        f'mean {numbers_text(args.mean)}, standard deviation {numbers_text(args.std)}'
    )


def _how(args):
    """Return interpolation and crop share (str) where they are not the usual ones."""
    interpolation = f', {args.interpolation}' if args.interpolation not in (None, 'bilinear') else ''
    return interpolation + (f', crop share {args.crop_share:g}' if args.crop_share not in (None, 1.0) else '')


def numbers_text(values):
    """Return numbers as text, at most SHOWN of them."""
    return 'not set' if values is None else ' '.join(f'{x:g}' for x in values[:SHOWN]) + ' ...' * (len(values) > SHOWN)
