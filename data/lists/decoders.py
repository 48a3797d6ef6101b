"""--decoder: libraries that decode ordinary image files faster than Pillow.

Pillow opens a file, and a decoder gets the files of its formats that have 8 bits, one or three channels and stand
upright. simplejpeg also decodes JPEG files that Pillow has not opened, if they have no metadata that Pillow would apply
(`plain_size`); opening takes longer than decoding a small file. What a decoder refuses, it leaves to Pillow, which
decides whether the file is damaged. All decoders of JPEG use libjpeg-turbo with the same settings, so that their pixels
are those of Pillow; data/lists/resizing.py resizes them.

To add a decoder, write a class and a line in DECODERS under the name of its package, the fastest first. The name of a
decoder that decodes batches on --device ends with `_gpu`; data/lists/encoded.py says which files it gets.
"""

import functools
import importlib
import importlib.metadata
import math

import torch

from utils.base.errors import DanluError
from utils.base.registry import load_entry
from utils.options.decoders import package_of

DECODERS = {
    'simplejpeg': 'data.lists.decoders.SimpleJpeg',
    'torchcodec': 'data.lists.decoders.TorchCodec',
    'pillow': 'data.lists.decoders.Pillow',
    'torchcodec_gpu': 'data.lists.decoders.TorchCodecGpu',
}
MODES = {'L', 'RGB'}  # of Pillow's images that decoders take
# Metadata of a JPEG that Pillow applies: APP1 may hold an EXIF orientation, MPF says that there are several images.
APP1, SEVERAL_IMAGES = b'\xff\xe1', b'MPF\0'
COLOUR_SPACES = {'YCbCr', 'Gray', 'RGB'}  # of simplejpeg; not those of CMYK files
MAX_SCALE = 8  # libjpeg-turbo decodes at 1/2, 1/4 and 1/8 of the size fast; the factors between are slower than 1


class Decoder:
    """Base of decoders.

    Attributes:
        formats: Pillow's names of the formats that it decodes (tuple of str).
        scales: whether it decodes at 1/2, 1/4 and 1/8 of the size.
    """

    formats, scales = (), False

    def plain_size(self, content):
        """Return the (height, width) of a file that Pillow need not open, or None; content: of the file (bytes)."""


class Pillow(Decoder):
    """Leaves all files to Pillow."""


class SimpleJpeg(Decoder):
    """JPEG by simplejpeg (libjpeg-turbo), 1.5 times as fast as Pillow."""

    formats = ('JPEG',)
    scales = True

    def __init__(self):
        library = _imported('simplejpeg')
        self.decode_jpeg, self.decode_header = library.decode_jpeg, library.decode_jpeg_header

    def plain_size(self, content):
        """Return the (height, width) of a JPEG that needs nothing of Pillow, or None; see Decoder."""
        if APP1 in content or SEVERAL_IMAGES in content:
            return None
        try:
            height, width, colours, _ = self.decode_header(content)
        except ValueError:
            return None
        return (height, width) if colours in COLOUR_SPACES else None

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


class TorchCodec(Decoder):
    """JPEG by torchcodec (libjpeg-turbo), 1.4 times as fast as Pillow."""

    formats = ('JPEG',)

    def __init__(self):
        self.decode_jpeg = _imported('torchcodec.decoders').decode_jpeg

    def decode(self, content, channels, least):
        """Return the pixels of a file; see SimpleJpeg.decode."""
        try:
            return self.decode_jpeg(content, mode='RGB' if channels > 1 else 'GRAY')
        except (RuntimeError, ValueError):
            return None


class TorchCodecGpu(TorchCodec):
    """Batches of JPEG by torchcodec on --device: on a GPU by nvJPEG. Single images are decoded as by TorchCodec."""

    def decode_batch(self, contents, channels, device):
        """Return the pixels of files, a list of uint8 tensors (C, H, W) on `device`.

        Args:
            contents: of the files, a list of uint8 tensors (n,) on the CPU.
            channels: 1 or 3.
            device: torch.device.

        Raises:
            RuntimeError: a file of the batch is damaged or not supported; it does not say which.
        """
        mode, decoding = 'RGB' if channels > 1 else 'GRAY', device if device.type == 'cuda' else 'cpu'
        return [pixels.to(device) for pixels in self.decode_jpeg(contents, mode=mode, device=decoding)]


@functools.cache
def select_decoder(name):
    """Return the decoder of DECODERS called `name`.

    Raises:
        DanluError: its package is not installed, or cannot be imported.
    """
    return load_entry(DECODERS, name, 'decoder')()


def decoder_version(name):
    """Return the version (str) of a decoder's package."""
    return importlib.metadata.version(package_of(name))


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
    return decode_scaled(decoder, content, channels, (picture.height, picture.width), least)


def decode_scaled(decoder, content, channels, full, least):
    """Return the pixels of a file by a decoder, as `decode_upright`.

    Args:
        decoder: from `select_decoder`.
        content, channels, least: as for `decode_upright`.
        full: (height, width) of the file.
    """
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
