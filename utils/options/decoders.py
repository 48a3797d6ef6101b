"""--decoder: the library that decodes image files. Imports no torch, and none of these libraries.

A decoder is called like the package that it needs. data/lists/decoders.py decodes.
"""

from importlib.util import find_spec

from utils.base.registry import read_registry
from utils.options.fit import PICTURE_DATA, PILLOW

AUTO = 'auto'  # the first of DECODERS that is installed


def decoder_names():
    """Return the names of the decoders (list of str), the fastest first."""
    return list(read_registry('data.lists.decoders', 'DECODERS'))


def _is_installed(name):
    return name == PILLOW or find_spec(name) is not None


def default_decoder(data_type):
    """Return the default --decoder of a kind of data (str), or None for data without image files."""
    return next(filter(_is_installed, decoder_names())) if data_type in PICTURE_DATA else None


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
        return f'{args.decoder} is not installed: pip install {args.decoder}, or give --decoder {PILLOW} ({DIFFERENCE})'
    return None


# tests/data/lists/test_decoders.py measures it.
DIFFERENCE = 'resized images differ by less than 0.1 of 255 levels on average'


def notes_of_decoder(args, trained):
    """Return a line (list of one str, or []) for a test that decodes with another library than its training.

    Args:
        args: options (Namespace) of the test.
        trained: options of the run (dict).
    """
    then = trained.get('decoder') or decoder_before(trained)
    if then is None or args.decoder in (None, then):
        return []
    return [f'decoder: {args.decoder}, where the run used {then}: {DIFFERENCE}']
