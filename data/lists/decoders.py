"""--decoder: libraries that decode ordinary image files faster than Pillow.

Pillow opens and checks every file. A decoder then gets the files of its formats that have 8 bits, one or three channels
and stand upright; what it refuses, it leaves to Pillow, which decides whether the file is damaged. All decoders of JPEG
use libjpeg-turbo with the same settings, so that their pixels are those of Pillow; data/lists/resizing.py resizes them.

To add a decoder, write a class and a line in DECODERS under the name of its package, the fastest first.
"""

import functools
import importlib
import importlib.metadata
import math

import torch

from utils.base.errors import DanluError
from utils.base.registry import load_entry

DECODERS = {
    'simplejpeg': 'data.lists.decoders.SimpleJpeg',
    'torchcodec': 'data.lists.decoders.TorchCodec',
    'pillow': 'data.lists.decoders.Pillow',
}
MODES = {'L', 'RGB'}  # of Pillow's images that decoders take
MAX_SCALE = 8  # libjpeg-turbo decodes at 1/2, 1/4 and 1/8 of the size fast; the factors between are slower than 1


class Pillow:
    """Leaves all files to Pillow."""

    formats = ()


class SimpleJpeg:
    """JPEG by simplejpeg (libjpeg-turbo), 1.5 times as fast as Pillow."""

    formats = ('JPEG',)
    scales = True

    def __init__(self):
        self.decode_jpeg = _imported('simplejpeg').decode_jpeg

    def decode(self, content, channels, least):
        """Return the pixels of a file, uint8 tensor (C, H, W), or None if the library refuses the file.

        Args:
            content: of the file (bytes).
            channels: 1 or 3.
            least: (height, width) that a scaled image must have; the full size: it is not scaled.
        """
        try:
            colours = 'RGB' if channels > 1 else 'GRAY'
            pixels = self.decode_jpeg(content, colours, min_height=least[0], min_width=least[1])
        except ValueError:  # any fault of the file, also those that libjpeg-turbo can pass over
            return None
        return torch.from_numpy(pixels).permute(2, 0, 1)


class TorchCodec:
    """JPEG by torchcodec (libjpeg-turbo), 1.4 times as fast as Pillow."""

    formats = ('JPEG',)
    scales = False

    def __init__(self):
        self.decode_jpeg = _imported('torchcodec.decoders').decode_jpeg

    def decode(self, content, channels, least):
        """Return the pixels of a file; see SimpleJpeg.decode."""
        try:
            return self.decode_jpeg(content, mode='RGB' if channels > 1 else 'GRAY')
        except (RuntimeError, ValueError):
            return None


@functools.cache
def select_decoder(name):
    """Return the decoder of DECODERS called `name`.

    Raises:
        DanluError: its package is not installed, or cannot be imported.
    """
    return load_entry(DECODERS, name, 'decoder')()


def decoder_version(name):
    """Return the version (str) of a decoder's package."""
    return importlib.metadata.version(name)


def _imported(module):
    package = module.partition('.')[0]
    try:
        return importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # the latter two: libraries that it needs
        what = str(error).strip().partition('\n')[0]
        raise DanluError(f'--decoder {package}: {what}; pip install {package}, or give --decoder pillow') from None


def decode_upright(picture, content, channels, name, least):
    """Return the pixels of an image by a decoder, or None for a file that Pillow decodes.

    Args:
        picture: the opened image (PIL.Image) as it is stored upright.
        content: of its file (bytes).
        channels: 1 or 3.
        name: of the decoder.
        least: (height, width) of the file, or what is needed of it: the image may be scaled by 1/2, 1/4 or 1/8.

    Returns:
        uint8 tensor (C, H, W), not always contiguous.
    """
    decoder = select_decoder(name)
    if picture.format not in decoder.formats or picture.mode not in MODES:
        return None
    full = picture.height, picture.width
    scale = _scale(full, least)
    if scale > 1 and not decoder.scales:  # Pillow is faster
        return None
    size = tuple(-(-side // scale) for side in full)
    pixels = decoder.decode(content, channels, size)
    return pixels if pixels is not None and tuple(pixels.shape) == (channels, *size) else None


def _scale(full, least):
    """Return the largest power of two (int, up to MAX_SCALE) by which `full` can be divided and not fall below `least`.

    Pillow's `draft` chooses likewise.
    """
    factor = min(full[0] // least[0], full[1] // least[1])
    return min(MAX_SCALE, 2 ** int(math.log2(factor))) if factor > 1 else 1
