"""16-bit images: detection, and conversion of their values to 0..255 by --bits."""

import re

import numpy as np
from PIL import Image

from utils.base.errors import DanluError

MAX_BITS = 16  # bits
COLOUR_MODE_16_BIT = re.compile(r'(RGB[AaX]?|LA|La);16')  # Pillow's raw modes of which it reads only the upper 8 bits


def is_16_bit(picture):
    """Return whether an opened image (PIL.Image, not decoded) has 16 bits per pixel or channel."""
    return is_16_bit_grey(picture) or _is_colour(picture)


def largest_value(picture):
    """Return the largest value (int) of an opened 16-bit image; decodes the image.

    Pillow reads only the upper 8 bits of colour images. If more than 4 of them are used, the lower bits hardly matter,
    and the result is the full range.
    """
    if not _is_colour(picture):
        return int(np.asarray(picture).max())
    upper = int(np.asarray(picture).max())
    return 2**MAX_BITS - 1 if upper > 15 else upper << 8 | 255


def bits_for(largest):
    """Return the number of bits (int, 8 to 16) for values up to `largest`."""
    return max(8, min(int(largest).bit_length(), MAX_BITS))


def check_depth(picture, bits):
    """Raise DanluError unless an opened 16-bit image can be converted to 8 bits with --bits `bits` (int or None)."""
    if bits is None:
        raise DanluError(
            f'16 bits per pixel of unknown range: give --bits {MAX_BITS} for values up to '
            f'{2**MAX_BITS - 1}, --bits 12 for values up to 4095'
        )
    if bits < MAX_BITS and _is_colour(picture):
        raise DanluError(
            f'a colour image of 16 bits per channel, of which only the upper 8 can be read: at --bits {bits} almost '
            f'nothing is left; save it with 8 bits per channel, or give --bits {MAX_BITS} for the full range'
        )


def to_eight_bits(picture, bits):
    """Return a decoded image (PIL.Image) with 8 bits per channel: for grey 16-bit images the upper 8 of `bits`.

    Raises:
        DanluError: a value exceeds the range.
    """
    if not is_16_bit_grey(picture):
        return picture
    values = np.asarray(picture)
    refuse_above(int(values.max()), bits)
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def refuse_above(largest, bits):
    """Raise DanluError if the largest value (int) of a 16-bit image exceeds the range of --bits."""
    if largest >= 2**bits:
        raise DanluError(
            f'the value {largest} is above 0..{2**bits - 1} (--bits {bits}): give --bits {bits_for(largest)}'
        )


def is_16_bit_grey(picture):
    """Return whether an image (PIL.Image) has one 16-bit channel."""
    return picture.mode == 'I' or picture.mode.startswith('I;16')  # Pillow opens 16-bit PGM files in mode I


def _is_colour(picture):
    for _, _, _, words in picture.tile[:1]:
        return any(COLOUR_MODE_16_BIT.match(str(word)) for word in (words if isinstance(words, tuple) else (words,)))
    return False
