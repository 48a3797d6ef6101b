"""Picture files of all formats with damage of all sorts."""

import contextlib
import io
import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from data.lists.decoders import DECODERS, select_decoder
from data.lists.pictures import SMALL_IMAGE_PIXELS, check_picture, read_mask, read_picture
from scripts.dev.fuzzing.damage import damaged, damages
from utils.base.errors import DanluError
from utils.options.fit import PILLOW, Fit

ORIENTATION, MAKER = 0x0112, 0x010F
JPEG = b'\xff\xd8'  # whose bytes within the data have no checksum
IMAGE_SIZE = (9, 13)  # height, width


class Pictures:
    """Files that were pictures once: PNG, JPEG, GIF, BMP, TIFF, WebP, PPM."""

    def __init__(self, folder):
        self.path, self.originals, self.decoders = folder / 'picture', list(originals()), installed_decoders()

    def cases(self):
        """Return the strategy of (number of the original, its damage, whether the sums of a PNG are set right)."""
        return st.tuples(st.integers(0, len(self.originals) - 1), st.one_of(damages(1), damages()), st.booleans())

    def check(self, case):
        """Check and read a damaged file in each way; what is found by the check must be what is read.

        Each decoder must read what Pillow reads and refuse what Pillow refuses.
        """
        number, steps, repair = case
        data = damaged(self.originals[number], steps)
        data = with_right_sums(data) if repair else data
        self.path.write_bytes(data)
        checked, late = outcome(check_picture, self.path), False
        for source in (self.path, data):  # as of a list and as of a stream
            read = outcome(lambda source: read_picture(source, 3).shape[1:], source)
            assert read is None or checked is None or read == checked, f'{checked} checked, {read} read'
            late |= checked is not None and read is None
            resized = outcome(lambda source: read_picture(source, 1, (5, 7), fit=Fit('crop')).shape[1:], source)
            assert resized in (None, (5, 7)), f'{resized} instead of 5, 7'
            outcome(lambda source: read_mask(source, (4, 4)).shape, source)
            for name in self.decoders:
                fit = Fit('crop', decoder=name)
                fast = outcome(lambda source, fit=fit: read_picture(source, 3, fit=fit).shape[1:], source)
                assert fast == read, f'{name} read {fast}, Pillow {read}'
                fast = outcome(lambda source, fit=fit: read_picture(source, 1, (5, 7), fit=fit).shape[1:], source)
                assert fast == resized, f'{name} read {fast} resized, Pillow {resized}'
        found = not late or data.startswith(JPEG) or checked[0] * checked[1] > SMALL_IMAGE_PIXELS
        assert found, 'the check finds nothing, reading fails'
        assert steps or checked == IMAGE_SIZE, 'a whole picture is refused'
        return 'refused' if checked is None else 'refused when read' if late else 'accepted'


def installed_decoders():
    """Return the names (list of str) of the decoders besides Pillow that can be imported."""
    found = []
    for name in DECODERS:
        with contextlib.suppress(DanluError):
            select_decoder(name)
            found += [name] * (name != PILLOW)
    return found


def outcome(function, source):
    """Return what a function makes of a picture as a tuple, or None where it refuses it in a proper message."""
    try:
        return tuple(function(source))
    except DanluError as error:
        assert str(error).strip() and str(error).count('\n') == 0, f'not one line: {error}'
        return None


def originals():
    """Yield the content (bytes) of small pictures of IMAGE_SIZE in every format and mode."""
    random = np.random.default_rng(0)
    colour = random.integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8)
    rgb, grey = Image.fromarray(colour), Image.fromarray(colour[..., 0])
    deep = Image.fromarray(colour[..., 0].astype(np.uint16) * 257)
    black = grey.convert('1')
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKER] = 3, 'a camera'
    frames = {'save_all': True, 'append_images': [rgb.rotate(180), rgb.convert('L').convert('RGB')]}
    for kind, pictures, options in (
        ('PNG', (rgb, grey, deep, black, rgb.convert('P'), rgb.convert('RGBA'), grey.convert('LA')), {}),
        ('PNG', (rgb,), {'exif': exif}),
        ('PNG', (rgb,), frames),
        ('JPEG', (rgb, grey, rgb.convert('CMYK')), {'exif': exif}),
        ('JPEG', (rgb,), {'progressive': True}),
        ('JPEG', (rgb,), {'subsampling': 0, 'restart_marker_blocks': 1}),
        ('GIF', (rgb, grey), {}),
        ('GIF', (rgb,), frames),
        ('BMP', (rgb, grey, black, rgb.convert('P')), {}),
        ('TIFF', (rgb, grey, deep, black, rgb.convert('CMYK')), {'exif': exif}),
        *(('TIFF', (rgb,), {'compression': name}) for name in ('tiff_lzw', 'tiff_adobe_deflate', 'jpeg', 'packbits')),
        ('WEBP', (rgb, rgb.convert('RGBA')), {'exif': exif}),
        ('WEBP', (rgb,), {'lossless': True}),
        ('WEBP', (rgb,), frames),
        ('PPM', (rgb, grey, deep, black), {}),
    ):
        for picture in pictures:
            buffer = io.BytesIO()
            picture.save(buffer, kind, **options)
            yield buffer.getvalue()


def with_right_sums(data):
    """Return a PNG's bytes with the checksum of each chunk set right, as a writer with a fault leaves it."""
    result, position = data[:8], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack('>I', data[position : position + 4])
        chunk = data[position + 4 : position + 8 + length]
        result += data[position : position + 4] + chunk + struct.pack('>I', zlib.crc32(chunk))
        position += 12 + length
    return result + data[position:] if data[:4] == b'\x89PNG' else data
