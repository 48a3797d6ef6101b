"""--decoder: the library that decodes image files. Imports no torch, and none of these libraries.

A decoder is called like the package that it needs, with the ending `_gpu` if it decodes batches on --device.
data/lists/decoders.py decodes.
"""

from importlib.util import find_spec

from utils.base.registry import read_registry
from utils.options.fit import ON_DEVICE, PICTURE_DATA, PILLOW, decodes_on_device

AUTO = 'auto'  # the first of DECODERS that is installed and decodes on the CPU
DECODED_ONCE = 'keeps decoded images, which are decoded on the CPU'


def decoder_names():
    """Return the names of the decoders (list of str), the fastest first."""
    return list(read_registry('data.lists.decoders', 'DECODERS'))


def package_of(name):
    """Return the package (str) of a decoder."""
    return name.removesuffix(ON_DEVICE)


def _is_installed(name):
    return name == PILLOW or find_spec(package_of(name)) is not None


def default_decoder(data_type):
    """Return the default --decoder of a kind of data (str), or None for data without image files.

    Decoders on --device are not among them: their pixels differ, so that results would depend on the machine's speed.
    """
    if data_type not in PICTURE_DATA:
        return None
    return next(name for name in decoder_names() if _is_installed(name) and not decodes_on_device(name))


def decoder_before(record):
    """Return the --decoder (str) that records without this option imply, or None for data without image files.

    Args:
        record: options (dict) of a run or a test.
    """
    return PILLOW if record.get('data_type') in PICTURE_DATA else None


def complete_decoder(args):
    """Set args.decoder to the decoder that is used, and return why it cannot be used (str), or None."""
    if args.data_type not in PICTURE_DATA:
        if args.decoder not in (None, AUTO) and 'decoder' in getattr(args, 'typed', ()):
            return f'{args.data_type} reads no image files; leave it out'
        args.decoder = None
    elif args.decoder in (None, AUTO):
        args.decoder = default_decoder(args.data_type)
    elif not _is_installed(args.decoder):
        package = package_of(args.decoder)
        return f'{package} is not installed: pip install {package}, or give --decoder {PILLOW} ({DIFFERENCE})'
    return _fault_on_device(args) if decodes_on_device(args.decoder) else None


def _fault_on_device(args):
    """Return why images cannot be decoded on --device (str), or None."""
    otherwise = f'give --decoder {package_of(args.decoder)}'
    if args.data_type == 'mem_list':
        return f'mem_list {DECODED_ONCE}; {otherwise}'
    if args.cache_dir is not None or args.cache_size is not None:
        return f'--cache_dir {DECODED_ONCE}; {otherwise}'
    return None


# tests/data/lists/test_decoders.py measures it.
DIFFERENCE = 'resized images differ by less than 0.1 of 255 levels on average'
# A decoder on --device also decodes all pixels of files that others decode at 1/2, 1/4 or 1/8 of the size.
DIFFERENCE_ON_DEVICE = 'one of them rounds crops to whole pixels, and on a GPU nvJPEG decodes to other pixels'


def notes_of_decoder(args, trained):
    """Return a line (list of one str, or []) for a test that decodes with another library than its training.

    Args:
        args: options (Namespace) of the test.
        trained: options of the run (dict).
    """
    then = trained.get('decoder') or decoder_before(trained)
    if then is None or args.decoder in (None, then):
        return []
    difference = DIFFERENCE_ON_DEVICE if decodes_on_device(then) or decodes_on_device(args.decoder) else DIFFERENCE
    return [f'decoder: {args.decoder}, where the run used {then}: {difference}']
