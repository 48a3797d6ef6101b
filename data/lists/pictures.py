"""Decoding of single pictures and masks with Pillow: file -> uint8 tensor."""

import io
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.Image import Transpose

from data.lists.bit_depth import (
    MAX_BITS,
    check_depth,
    is_16_bit,
    is_16_bit_grey,
    largest_value,
    refuse_above,
    to_eight_bits,
)
from data.lists.masks import MaskCoding, has_alpha, mask_flags, palette_of, refuse_lossy, stored_values
from data.lists.picture_extensions import readable_formats
from utils.base.errors import DanluError
from utils.base.file_names import unicode_form_hint
from utils.base.regular_files import NotRegularError, open_regular, read_regular_bytes, regular
from utils.options.fit import Fit

# Pillow's own limit (a quarter of a gigabyte as RGB), above which it warns of a decompression bomb. Here that is an
# error, raised by `open_picture`; the warning, which would say it twice, is turned off.
MAX_PIXELS = 1024**3 // 4 // 3
Image.MAX_IMAGE_PIXELS = None
FORMATS_WITH_FRAMES = ('GIF', 'TIFF', 'WEBP', 'PNG', 'AVIF')
MODES = {1: 'L', 3: 'RGB'}
SMALL_IMAGE_PIXELS = 128 * 128  # pixels; so many are decoded in about the time that it takes to open the file
JPEG_SCAN, JPEG_END = b'\xff\xda', b'\xff\xd9'
# What brings a picture upright, by EXIF orientation; 5 to 8 swap the sides.
TRANSPOSE_BY_ORIENTATION = {
    **{2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE},
    **{6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90},
}
SIDE_SWAPPING_ORIENTATIONS = (5, 6, 7, 8)
STORED_VALUES = MaskCoding()  # which takes the stored values for the labels
STRETCH = Fit()
# What Pillow's decoders raise for damaged files, by format.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)


def open_picture(source):
    """Open a picture file (its pixels are not read yet); PIL.Image.

    Args:
        source: path of the file, or its content (bytes), as all functions here take it.

    Raises:
        DanluError: not there, not a picture, or more than 89 million pixels (a decompression bomb). The message
            leaves out the path, which the caller knows better how to name.
    """
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else regular(source)
        picture = Image.open(file, formats=readable_formats())
    except FileNotFoundError:
        raise DanluError(f'no such file{unicode_form_hint(source)}') from None
    except NotRegularError:
        raise DanluError('a pipe or a device, not a file') from None
    except Image.UnidentifiedImageError:
        raise DanluError('not a picture in a format that Pillow knows') from None
    except DECODE_ERRORS as error:
        raise DanluError(f'cannot be opened: {error}') from None
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise DanluError(
            f'{picture.width}x{picture.height} pixels: over {MAX_PIXELS:,} is taken for a decompression bomb; shrink it'
        )
    picture.undecoded = source  # until it is loaded, see _orientation
    return picture


def read_picture(path, channels, size=None, fit=STRETCH, part=None, bits=MAX_BITS):
    """Read a picture, upright as its EXIF orientation says.

    Args:
        path: file, or its content (bytes), in any format that Pillow reads; of an animation the first frame is taken.
        channels: 1 (grey) or 3 (RGB); transparency is dropped, 16-bit grey is brought to 8 bits.
        size: (height, width) to bring it to, or None to leave it.
        fit: utils.options.fit.Fit, how it is brought there: stretched, the middle cut out, or with margins.
        part: function((height, width)) -> (top, left, height, width) that chooses what fills `size` instead.
        bits: values of pictures of 16 bits are 0 .. 2**bits-1; None: not known, so such pictures are refused.

    Returns:
        uint8 tensor (channels, height, width), 0..255.

    Raises:
        DanluError: the file cannot be read; the message does not hold the path.
    """
    with open_picture(path) as picture:
        _refuse_32_bits(picture)
        if is_16_bit(picture):
            check_depth(picture, bits)
        if picture.format == 'PNG':  # whose EXIF data may come after the pixels
            _decode(picture)
        full = upright_size(picture)
        box, place = _source_and_target_box(full, size, fit, part)
        if size is not None and full == (picture.height, picture.width):
            # A JPEG far larger than what is asked for is decoded at a half, a quarter or an eighth, many times as fast.
            picture.draft(None, _draft_size(full, box, place[2:]))
        loaded = _in_mode(_eight_bits(_upright(_decode(picture)), bits), MODES[channels])
        if isinstance(path, bytes):  # of a stream, whose pictures nobody has checked before
            _check_jpeg_end(path, picture)
        if size is not None:
            loaded = _resized(loaded, place[2:], Image.Resampling[fit.interpolation.upper()], box, full)
            loaded = _with_margins(loaded, size, place, fit.levels)
        bands = loaded.split() if channels > 1 else [loaded]  # Pillow parts them faster than a transposition does
        return torch.from_numpy(np.stack([np.asarray(band) for band in bands]))


def picture_from(source, channels, size, fit=STRETCH, bits=MAX_BITS):
    """Return a picture that need not be a file, as `read_picture` returns it.

    Args:
        source: path, PIL.Image, or uint8 array or tensor (H, W), (H, W, 1), (H, W, 3).
        channels, size, fit, bits: as for `read_picture`.

    Raises:
        DanluError: it cannot be read, or is no picture; a file is named.
    """
    if isinstance(source, str | Path):
        try:
            return read_picture(source, channels, size, fit, bits=bits)
        except DanluError as error:
            raise DanluError(f'{source}: {error}') from None
    if not isinstance(source, Image.Image):
        pixels = np.asarray(source)
        pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
            raise DanluError(
                f'a picture is a path, a PIL image or a uint8 array (H, W) or (H, W, 3), not {pixels.dtype} of shape '
                f'{pixels.shape}'
            )
        source = Image.fromarray(pixels)
    file = io.BytesIO()
    source.save(file, format='TIFF')  # uncompressed: the one way of a file serves this too
    return read_picture(file.getvalue(), channels, size, fit, bits=bits)


def read_mask(path, size=None, part=None, fit=STRETCH, coding=STORED_VALUES):
    """Read a mask: a picture whose pixels stand for class labels by their value (or the index of a palette) or colour.

    Args:
        path: a lossless file, or its content (bytes), as a rule PNG.
        size: (height, width) to bring it to by nearest neighbour, or None.
        part, fit: as for `read_picture`.
        coding: data.lists.masks.MaskCoding, what its values or colours stand for.

    Returns:
        uint8 tensor (height, width) of labels.

    Raises:
        DanluError: the file cannot be read, is a JPEG, or a pixel has no label; the message does not hold the path.
    """
    with open_picture(path) as mask:
        refuse_lossy(mask)
        loaded = _upright(_decode(mask))
        full = (loaded.height, loaded.width)
        box, place = _source_and_target_box(full, size, fit, part)
        if size is not None:
            loaded = _resized(loaded, place[2:], Image.NEAREST, box, full)
        labels = coding.labels(loaded)
    return torch.from_numpy(labels if size is None else _labels_with_margins(labels, size, place, fit.label))


def read_largest_value(path):
    """Return the largest value (int) of a picture of 16 bits, 0 for one of 8 bits, which is not decoded.

    Raises:
        DanluError: the file cannot be read.
    """
    with open_picture(path) as picture:
        if not is_16_bit(picture):
            return 0
        try:
            return largest_value(picture)
        except DECODE_ERRORS as error:
            raise DanluError(f'damaged: {error}') from None


def read_16_bit_grey(path):
    """Return the values of a grey picture of 16 bits, int array (H, W), or None: it is none.

    Raises:
        DanluError: the file cannot be read.
    """
    with open_picture(path) as picture:
        return np.asarray(_decode(picture)) if is_16_bit_grey(picture) else None


def read_stored(path):
    """Return the value that a mask stores for each pixel, int array (H, W), upright.

    Raises:
        DanluError: as `read_mask`.
    """
    with open_picture(path) as mask:
        refuse_lossy(mask)
        return stored_values(_upright(_decode(mask)))


class MaskFacts(NamedTuple):
    """What a mask holds."""

    labels: np.ndarray  # uint8 (H, W), upright
    orientation: int  # EXIF, 1: as it is stored
    flags: int  # in what it differs from what a viewer shows: bits of data.lists.masks


def read_palette(path):
    """Return the palette of a mask, uint8 (n, 3), or None: it has none, or the file cannot be read."""
    try:
        with open_picture(path) as mask:
            return palette_of(_decode(mask))
    except DanluError:  # the check of the data set says what is wrong
        return None


def inspect_mask(path, coding, first=None):
    """Read a mask at its full size, check its labels and return its MaskFacts; `first` is as for `surprises`.

    Raises:
        DanluError: as `read_mask`, or a label is neither a class nor the ignore index.
    """
    with open_picture(path) as mask:
        refuse_lossy(mask)
        orientation = _stored_orientation(mask)
        labels = coding.labels(_upright(_decode(mask)))
        coding.check(labels)
        return MaskFacts(labels, orientation, mask_flags(mask, coding, first))


def _source_and_target_box(full, size, fit, part):
    """Return which box (top, left, height, width) of a picture of size `full` fills which box of `size`."""
    if size is None:
        return (0, 0, *full), None
    if part is not None:
        return part(full), (0, 0, *size)
    return fit.source_box(full, size), fit.target_box(full, size)


def _with_margins(picture, size, place, levels):
    """Return a picture (PIL.Image) in the box `place` of `size`, the rest filled with the levels of its channels."""
    if place[2:] == tuple(size):
        return picture
    filled = Image.new(picture.mode, (size[1], size[0]), levels[0] if picture.mode == 'L' else tuple(levels))
    filled.paste(picture, (place[1], place[0]))
    return filled


def _labels_with_margins(labels, size, place, label):
    """Return a mask, uint8 array, in the box `place` of `size`, the rest filled with a label."""
    if place[2:] == tuple(size):
        return labels
    filled = np.full(size, label, dtype=np.uint8)
    filled[place[0] : place[0] + place[2], place[1] : place[1] + place[3]] = labels
    return filled


def _draft_size(full, box, size):
    """Return the (width, height) to ask Pillow's `draft` for, so that the box still has `size` pixels or more."""
    factor = max(1, int(min(box[2] / size[0], box[3] / size[1])))
    return full[1] // factor, full[0] // factor


def _resized(picture, size, method, box, full):
    """Return the box (top, left, height, width of a picture of size `full`) brought to `size`, a PIL.Image."""
    if tuple(box) == (0, 0, *full) and full == tuple(size):
        return picture
    down, across = picture.height / full[0], picture.width / full[1]  # 1 unless it was drafted
    top, left, height, width = box[0] * down, box[1] * across, box[2] * down, box[3] * across
    edges = (left, top, min(left + width, picture.width), min(top + height, picture.height))
    return picture.resize((size[1], size[0]), method, box=edges)


def upright_size(picture):
    """Return (height, width) of an opened picture as `read_picture` turns it, from its header alone."""
    return _oriented_size(picture, _orientation(picture))


def _oriented_size(picture, orientation):
    size = (picture.height, picture.width)
    return size[::-1] if orientation in SIDE_SWAPPING_ORIENTATIONS and picture.format != 'TIFF' else size


def check_picture(path):
    """Check that a picture is there and whole, and return its upright (height, width): see `inspect_picture`."""
    return inspect_picture(path).size


class PictureFacts(NamedTuple):
    """What the header of a picture says."""

    size: tuple  # upright (height, width)
    orientation: int  # EXIF, 1: as it is stored
    has_alpha: bool
    is_deep: bool  # 16 bits
    has_frames: bool  # several frames or pages


def inspect_picture(path, bits=MAX_BITS):
    """Check that a picture is there and whole, and return its PictureFacts; of 16 bits also its range, see `bits`.

    A PNG's checksums and a JPEG's end mark tell a whole file from a torn one without decoding it, about ten times
    as fast where it is large; small files, those of other formats, and JPEG files with something behind the end mark
    are decoded. What a faulty program wrote with right checksums into a large PNG, or bytes that were changed within a
    large JPEG, are found when it is read.

    Raises:
        DanluError: as `read_picture`.
    """
    with open_picture(path) as picture:
        _refuse_32_bits(picture)
        if picture.format == 'PNG':
            _check_png_checksums(_bytes_of(path))  # which decoding does not look at
        turn, deep, transparent = _stored_orientation(picture), is_16_bit(picture), has_alpha(picture)
        frames = _has_frames(picture)
        if deep:
            check_depth(picture, bits)
        if deep and bits < MAX_BITS:
            refuse_above(int(np.asarray(_decode(picture)).max()), bits)
        large = picture.width * picture.height > SMALL_IMAGE_PIXELS
        if not (large and (picture.format == 'PNG' or (picture.format == 'JPEG' and _ends_with(path, JPEG_END)))):
            _decode(picture)
            _check_jpeg_end(path, picture)
        return PictureFacts(_oriented_size(picture, turn), turn, transparent, deep, frames)


def _has_frames(picture):
    """Return whether an opened picture holds several frames or pages; the preview in a photograph (MPO) is none."""
    if picture.format not in FORMATS_WITH_FRAMES:
        return False
    try:
        several = picture.n_frames > 1 if picture.format == 'TIFF' else getattr(picture, 'is_animated', False)
        return bool(several)
    except DECODE_ERRORS:  # behind the first frame, which is the one that is read
        return True


def _orientation(picture):
    if picture.format == 'TIFF':  # Pillow turns these itself
        return 1
    # Pillow decodes a whole PNG to see whether EXIF data follows its pixels.
    if picture.format == 'PNG' and 'exif' not in picture.info:
        if picture.undecoded is None or b'eXIf' not in _bytes_of(picture.undecoded):
            return 1
        if 'exif' not in _decode(picture).info:  # the letters were something else
            return 1
    try:
        return picture.getexif().get(0x0112, 1)
    except DECODE_ERRORS as error:
        raise DanluError(f'its EXIF data is damaged: {error}') from None


def _stored_orientation(picture):
    """Return the EXIF orientation in the file of an opened picture that is not decoded yet, also of a TIFF."""
    if picture.format != 'TIFF':
        return _orientation(picture)
    try:
        return picture.tag_v2.get(0x0112, 1)
    except DECODE_ERRORS as error:
        raise DanluError(f'its EXIF data is damaged: {error}') from None


def _upright(picture):
    orientation = _orientation(picture)
    return (
        picture.transpose(TRANSPOSE_BY_ORIENTATION[orientation]) if orientation in TRANSPOSE_BY_ORIENTATION else picture
    )


def _refuse_32_bits(picture):
    if picture.mode == 'F' or (picture.mode == 'I' and picture.format != 'PPM'):
        raise DanluError(f'32 bits per pixel (mode {picture.mode}) have no known range: save it with 8 or 16')


def _eight_bits(picture, bits):
    picture.info.pop('transparency', None)  # dropped anyhow, and Pillow would warn of each palette that has it
    picture = to_eight_bits(picture, bits)
    return picture.convert('RGB') if picture.mode == 'LAB' else picture  # LAB to grey takes two steps


def _in_mode(picture, mode):
    return picture if picture.mode == mode else picture.convert(mode)  # which copies even what is in that mode


def _check_png_checksums(data):
    """Raise DanluError unless a PNG's content (bytes) has all chunks, with the right checksums."""
    position, kind = 8, None
    while kind != b'IEND':
        if position + 12 > len(data):
            raise DanluError('damaged: its end is missing')
        length, kind = struct.unpack_from('>I4s', data, position)
        chunk, position = memoryview(data)[position + 4 : position + 8 + length], position + 12 + length
        if zlib.crc32(chunk).to_bytes(4) != data[position - 4 : position]:
            raise DanluError(f'damaged: its chunk {kind.decode("latin-1")!r} is cut off or has a wrong checksum')


def _decode(picture):
    try:
        picture.load()
    except DECODE_ERRORS as error:
        raise DanluError(f'damaged: {error}') from None
    picture.undecoded = None
    return picture


def _check_jpeg_end(path, picture):
    # What a crash left of a JPEG goes on with zeros, which decode as grey.
    if picture.format == 'JPEG':
        data = _bytes_of(path)
        if data.rfind(JPEG_END) < data.rfind(JPEG_SCAN):
            raise DanluError('damaged: its end is missing')


def _bytes_of(source):
    return source if isinstance(source, bytes) else read_regular_bytes(source)


def _ends_with(path, mark):
    if isinstance(path, bytes):
        return path.endswith(mark)
    with open_regular(path) as file:
        file.seek(-len(mark), 2)
        return file.read() == mark
