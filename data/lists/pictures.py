"""Decoding and checking single images and masks: file -> uint8 tensor.

Pillow checks every file before training. In training it opens all files but plain JPEG (data/lists/decoders.py).
"""

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
from data.lists.decoders import decode_scaled, decode_upright, select_decoder
from data.lists.masks import MaskCoding, has_alpha, mask_flags, palette_of, refuse_lossy, stored_values
from data.lists.picture_extensions import readable_formats
from data.lists.read_bytes import read_bytes
from data.lists.resizing import (
    as_picture,
    labels_with_margins,
    planar,
    reduced_size,
    resize_reduced,
    resize_reduced_labels,
    resized,
    resized_by_torch,
    source_and_target_box,
    sufficient_size,
    with_margins,
)
from utils.base.errors import DanluError
from utils.base.file_names import unicode_form_hint
from utils.base.regular_files import NotRegularError, open_regular, read_regular_bytes, regular
from utils.options.fit import PILLOW, Fit

# Pillow's default limit (256 MiB as RGB), above which it warns of a decompression bomb. `open_picture` raises an error
# instead, so the warning is turned off.
MAX_PIXELS = 1024**3 // 4 // 3
Image.MAX_IMAGE_PIXELS = None
FORMATS_WITH_FRAMES = ('GIF', 'TIFF', 'WEBP', 'PNG', 'AVIF')
MODES = {1: 'L', 3: 'RGB'}
SMALL_IMAGE_PIXELS = 128 * 128  # decoding takes about as long as opening the file
JPEG_SCAN, JPEG_END = b'\xff\xda', b'\xff\xd9'
# By EXIF orientation; 5 to 8 swap width and height.
TRANSPOSE_BY_ORIENTATION = {
    **{2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE},
    **{6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90},
}
SIDE_SWAPPING_ORIENTATIONS = (5, 6, 7, 8)
STORED_VALUES = MaskCoding()  # stored values are labels
STRETCH = Fit()
# Raised by Pillow's decoders for damaged files.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)


def open_picture(source):
    """Return an opened image file (PIL.Image) whose pixels are not decoded yet.

    Args:
        source: path of the file, or its content (bytes), as for all functions here.

    Raises:
        DanluError: the file is missing, is not an image, or has more than 89 million pixels (a decompression bomb). The
            message does not contain the path.
    """
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else regular(source)
        picture = Image.open(file, formats=readable_formats())
    except FileNotFoundError:
        raise DanluError(f'no such file{unicode_form_hint(source)}') from None
    except NotRegularError:
        raise DanluError('a pipe or a device, not a file') from None
    except Image.UnidentifiedImageError:
        raise DanluError('not an image in a format that Pillow knows') from None
    except DECODE_ERRORS as error:
        raise DanluError(f'cannot be opened: {error}') from None
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise DanluError(
            f'{picture.width}x{picture.height} pixels: over {MAX_PIXELS:,} is taken for a decompression bomb; shrink it'
        )
    picture.undecoded = source  # set to None by _decode; see _orientation
    return picture


def read_picture(path, channels, size=None, fit=STRETCH, part=None, bits=MAX_BITS, checked=True):
    """Return an image as uint8 tensor (channels, height, width), turned by its EXIF orientation.

    Args:
        path: file, or its content (bytes), in any format that Pillow reads; of an animation the first frame.
        channels: 1 (grey) or 3 (RGB); transparency is dropped, grey 16-bit images are converted to 8 bits.
        size: (height, width) to resize to, or None.
        fit: utils.options.fit.Fit, which library decodes, and how to resize: stretch, crop the centre, or pad.
        part: function((height, width)) -> (top, left, height, width), a crop to resize to `size` instead.
        bits: values of 16-bit images are 0 .. 2**bits-1; None: unknown, such images are refused.
        checked: whether `inspect_picture` has checked the image before; otherwise the end of a JPEG is checked.

    Raises:
        DanluError: the file cannot be read; the message does not contain the path.
    """
    if fit.short is not None and size is not None:
        return resize_reduced(read_reduced(path, channels, fit, bits, checked), size, fit, part)
    content = path if isinstance(path, bytes) or fit.decoder == PILLOW else read_bytes(path)
    plain = _read_plain(content, channels, size, fit, part, checked) if isinstance(content, bytes) else None
    if plain is not None:
        return plain
    with open_picture(content) as picture:
        _refuse_32_bits(picture)
        if is_16_bit(picture):
            check_depth(picture, bits)
        if picture.format == 'PNG':  # EXIF data may follow the pixels
            _decode(picture)
        full = upright_size(picture)
        boxes = source_and_target_box(full, size, fit, part)
        least = _least(full, size, boxes)
        loaded = None
        if isinstance(content, bytes) and _orientation(picture) not in TRANSPOSE_BY_ORIENTATION:
            loaded = decode_upright(picture, content, channels, fit.decoder, least)
        if loaded is None:
            loaded = _decode_by_pillow(picture, channels, bits, None if size is None else least)
        if not checked and picture.format == 'JPEG':
            _check_jpeg_end(_bytes_of(path))
        return _fitted(loaded, full, size, fit, boxes)


def _read_plain(content, channels, size, fit, part, checked):
    """Return a JPEG that Pillow need not open as `read_picture` does, or None: other files, and damaged ones."""
    decoder = select_decoder(fit.decoder)
    full = decoder.plain_size(content)
    if full is None or full[0] * full[1] > MAX_PIXELS or not (checked or _has_jpeg_end(content)):
        return None
    boxes = source_and_target_box(full, size, fit, part)
    loaded = decode_scaled(decoder, content, channels, full, _least(full, size, boxes))
    return None if loaded is None else _fitted(loaded, full, size, fit, boxes)


def _least(full, size, boxes):
    """Return the (height, width) that is needed of an image; boxes: from source_and_target_box."""
    return full if size is None else sufficient_size(full, boxes[0], boxes[1][2:])


def _fitted(loaded, full, size, fit, boxes):
    """Return decoded pixels as `read_picture` does.

    Args:
        loaded: PIL.Image, or uint8 tensor (C, H, W), of an image of the size `full` or reduced.
        size, fit: as for `read_picture`.
        boxes: from source_and_target_box.
    """
    box, place = boxes
    if torch.is_tensor(loaded):
        pixels = resized_by_torch(loaded, full, size, fit, box, place)
        if pixels is not None:
            return planar(pixels)
        loaded = as_picture(loaded)
    if size is not None:
        loaded = resized(loaded, place[2:], Image.Resampling[fit.interpolation.upper()], box, full)
        loaded = with_margins(loaded, size, place, fit.levels)
    bands = [loaded] if loaded.mode == 'L' else loaded.split()  # faster than a transposition
    return torch.from_numpy(np.stack([np.asarray(band) for band in bands]))


def read_reduced(path, channels, fit, bits=MAX_BITS, checked=True):
    """Return an image as `read_picture`, whole, with at most fit.short pixels on its shorter side."""
    content = path if isinstance(path, bytes) else read_bytes(path)
    with open_picture(content) as picture:
        size = reduced_size(upright_size(picture), fit.short)
    return read_picture(content, channels, size, fit._replace(how='stretch', short=None), None, bits, checked)


def _decode_by_pillow(picture, channels, bits, least):
    """Return an opened image decoded by Pillow (PIL.Image), upright, with 8 bits per channel.

    Args:
        picture, channels, bits: as for `read_picture`.
        least: (height, width) that is needed, or None: the full size. A much larger JPEG is decoded at 1/2, 1/4 or 1/8
            of its size, many times faster.
    """
    if least is not None and upright_size(picture) == (picture.height, picture.width):
        picture.draft(None, least[::-1])
    return _in_mode(_eight_bits(_upright(_decode(picture)), bits), MODES[channels])


def picture_from(source, channels, size, fit=STRETCH, bits=MAX_BITS):
    """Return an image that may not be a file, as `read_picture` does.

    Args:
        source: path, PIL.Image, or uint8 array or tensor (H, W), (H, W, 1), (H, W, 3).
        channels, size, fit, bits: as for `read_picture`.

    Raises:
        DanluError: the file cannot be read (the message contains the path), or `source` is not an image.
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
                f'an image is a path, a PIL image or a uint8 array (H, W) or (H, W, 3), not {pixels.dtype} of shape '
                f'{pixels.shape}'
            )
        source = Image.fromarray(pixels)
    file = io.BytesIO()
    source.save(file, format='TIFF')  # uncompressed, to use the code for files
    return read_picture(file.getvalue(), channels, size, fit, bits=bits)


def read_mask(path, size=None, part=None, fit=STRETCH, coding=STORED_VALUES):
    """Return a mask as uint8 tensor (height, width) of labels, coded by value, palette index or colour.

    Args:
        path: a lossless file, or its content (bytes), usually PNG.
        size: (height, width) to resize to by nearest neighbour, or None.
        part, fit: as for `read_picture`.
        coding: data.lists.masks.MaskCoding.

    Raises:
        DanluError: the file cannot be read, is a JPEG, or a pixel has no label; the message does not contain the path.
    """
    if fit.short is not None and size is not None:
        return resize_reduced_labels(read_reduced_mask(path, fit, coding), size, fit, part)
    with open_picture(path) as mask:
        refuse_lossy(mask)
        loaded = _upright(_decode(mask))
        full = (loaded.height, loaded.width)
        box, place = source_and_target_box(full, size, fit, part)
        if size is not None:
            loaded = resized(loaded, place[2:], Image.NEAREST, box, full)
        labels = coding.labels(loaded)
    return torch.from_numpy(labels if size is None else labels_with_margins(labels, size, place, fit.label))


def read_reduced_mask(path, fit, coding=STORED_VALUES):
    """Return a mask as `read_mask`, whole, of the size that `read_reduced` gives its image."""
    content = path if isinstance(path, bytes) else read_bytes(path)
    with open_picture(content) as mask:
        size = reduced_size(upright_size(mask), fit.short)
    return read_mask(content, size, None, fit._replace(how='stretch', short=None), coding)


def read_largest_value(path):
    """Return the largest value (int) of a 16-bit image; 0 for 8-bit images, which are not decoded.

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
    """Return the values of a grey 16-bit image, int array (H, W), or None for other images.

    Raises:
        DanluError: the file cannot be read.
    """
    with open_picture(path) as picture:
        return np.asarray(_decode(picture)) if is_16_bit_grey(picture) else None


def read_stored(path):
    """Return the stored value of each pixel of a mask, int array (H, W), turned by its EXIF orientation.

    Raises:
        DanluError: as `read_mask`.
    """
    with open_picture(path) as mask:
        refuse_lossy(mask)
        return stored_values(_upright(_decode(mask)))


class MaskFacts(NamedTuple):
    """Labels and properties of a mask."""

    labels: np.ndarray  # uint8 (H, W), upright
    orientation: int  # EXIF; 1: as stored
    flags: int  # bits of data.lists.masks, from mask_flags


def read_palette(path):
    """Return the palette of a mask, uint8 (n, 3), or None if it has none or the file cannot be read."""
    try:
        with open_picture(path) as mask:
            return palette_of(_decode(mask))
    except DanluError:  # reported by the check of the data set
        return None


def inspect_mask(path, coding, first=None):
    """Return the MaskFacts of a mask, read at full size and checked; `first` is as for `mask_flags`.

    Raises:
        DanluError: as `read_mask`, or a label is neither a class nor the ignore index.
    """
    with open_picture(path) as mask:
        refuse_lossy(mask)
        orientation = _stored_orientation(mask)
        labels = coding.labels(_upright(_decode(mask)))
        coding.check(labels)
        return MaskFacts(labels, orientation, mask_flags(mask, coding, first))


def upright_size(picture):
    """Return (height, width) of an opened image as `read_picture` turns it, from its header."""
    return _oriented_size(picture, _orientation(picture))


def _oriented_size(picture, orientation):
    size = (picture.height, picture.width)
    return size[::-1] if orientation in SIDE_SWAPPING_ORIENTATIONS and picture.format != 'TIFF' else size


def check_picture(path):
    """Return the upright (height, width) of an image after checking it with `inspect_picture`."""
    return inspect_picture(path).size


class PictureFacts(NamedTuple):
    """Properties of an image from its header."""

    size: tuple  # upright (height, width)
    orientation: int  # EXIF; 1: as stored
    has_alpha: bool
    has_16_bits: bool
    has_frames: bool  # several frames or pages


def inspect_picture(path, bits=MAX_BITS):
    """Return the PictureFacts of an image after checking that it is complete; 16-bit values are checked against `bits`.

    For large images, a PNG's checksums and a JPEG's end mark show whether the file is complete, 10 times faster than
    decoding. Small files, other formats, and JPEG files with data after the end mark are decoded. Not detected before
    training: errors in a large PNG with correct checksums, and changed bytes within a large JPEG.

    Raises:
        DanluError: as `read_picture`.
    """
    with open_picture(path) as picture:
        _refuse_32_bits(picture)
        if picture.format == 'PNG':
            _check_png_checksums(_bytes_of(path))  # not verified by decoding
        turn, deep, transparent = _stored_orientation(picture), is_16_bit(picture), has_alpha(picture)
        frames = _has_frames(picture)
        if deep:
            check_depth(picture, bits)
        if deep and bits < MAX_BITS:
            refuse_above(int(np.asarray(_decode(picture)).max()), bits)
        large = picture.width * picture.height > SMALL_IMAGE_PIXELS
        if not (large and (picture.format == 'PNG' or (picture.format == 'JPEG' and _ends_with(path, JPEG_END)))):
            _decode(picture)
            if picture.format == 'JPEG':
                _check_jpeg_end(_bytes_of(path))
        return PictureFacts(_oriented_size(picture, turn), turn, transparent, deep, frames)


def _has_frames(picture):
    """Return whether an opened image has several frames or pages; the preview in a photo (MPO) does not count."""
    if picture.format not in FORMATS_WITH_FRAMES:
        return False
    try:
        several = picture.n_frames > 1 if picture.format == 'TIFF' else getattr(picture, 'is_animated', False)
        return bool(several)
    except DECODE_ERRORS:  # after the first frame, which is the one that is read
        return True


def _orientation(picture):
    if picture.format == 'TIFF':  # turned by Pillow
        return 1
    # getexif would decode the whole PNG to search for EXIF data after the pixels.
    if picture.format == 'PNG' and 'exif' not in picture.info:
        if picture.undecoded is None or b'eXIf' not in _bytes_of(picture.undecoded):
            return 1
        if 'exif' not in _decode(picture).info:  # not an EXIF chunk
            return 1
    try:
        return picture.getexif().get(0x0112, 1)
    except DECODE_ERRORS as error:
        raise DanluError(f'its EXIF data is damaged: {error}') from None


def _stored_orientation(picture):
    """Return the EXIF orientation stored in the file of an opened image, also for TIFF."""
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
    picture.info.pop('transparency', None)  # Pillow would warn of palettes with transparency
    picture = to_eight_bits(picture, bits)
    return picture.convert('RGB') if picture.mode == 'LAB' else picture  # Pillow has no conversion from LAB to grey


def _in_mode(picture, mode):
    return picture if picture.mode == mode else picture.convert(mode)  # convert copies even in the same mode


def _check_png_checksums(data):
    """Raise DanluError unless a PNG's content (bytes) has all chunks with correct checksums."""
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


def _check_jpeg_end(content):
    if not _has_jpeg_end(content):
        raise DanluError('damaged: its end is missing')


def _has_jpeg_end(content):
    # After a crash, a JPEG may end with zeros, which decode as grey.
    return content.rfind(JPEG_END) >= content.rfind(JPEG_SCAN)


def _bytes_of(source):
    return source if isinstance(source, bytes) else read_regular_bytes(source)


def _ends_with(path, mark):
    if isinstance(path, bytes):
        return path.endswith(mark)
    with open_regular(path) as file:
        file.seek(-len(mark), 2)
        return file.read() == mark
