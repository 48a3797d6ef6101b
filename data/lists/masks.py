"""Conversion of stored mask pixels to class labels: by value, or by colour in colour-coded masks."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from utils.base.errors import DanluError
from utils.options.arguments import STORED
from utils.options.palette import hex_of

VALUE_COUNT = 2**16  # of 16 bits
COLOUR_COUNT = 2**24
MAX_VALUES_SHOWN = 10

# Bits of SampleFacts.flags: differences between a mask's stored pixels and the display in an image viewer.
TRANSPARENT, GREY_PALETTE, OTHER_PALETTE, EQUAL_CHANNELS, ONLY_IMAGE_TURNED, ALPHA, SIXTEEN_BIT, CHECKED = (
    1 << n for n in range(8)
)
FRAMES, OTHER_SIZE = 1 << 8, 1 << 9  # of images
PALETTES_DIFFER = 1 << 10


class MaskCoding(NamedTuple):
    """Mapping from stored mask pixels to labels.

    Args:
        num_classes: labels are 0 .. num_classes-1.
        ignore_index: label of ignored pixels, or None. This stored value is always ignored unless `values` contains it.
        values: stored value of each class, in order of the labels (tuple of int), or None: stored values are labels.
        colours: '#rrggbb' of each class, in order of the labels (tuple), for RGB masks; or None.
        ignored: colours whose pixels become `ignore_index` (tuple).
    """

    num_classes: int = 256
    ignore_index: int | None = None
    values: tuple | None = None
    colours: tuple | None = None
    ignored: tuple = ()

    @classmethod
    def of(cls, args):
        """Return the coding from the options num_classes, ignore_index, mask_values, palette and ignored_colours."""
        given = args.mask_values
        values = None if given in (None, [STORED]) else tuple(given)
        colours = None if args.palette is None else tuple(args.palette)
        return cls(args.num_classes, args.ignore_index, values, colours, tuple(args.ignored_colours or ()))

    def notes(self, source):
        """Return notes (list of str) on the coding; none if the stored values are labels."""
        notes = []
        if self.values is not None:
            pairs = ', '.join(f'{value} is class {label}' for label, value in enumerate(self.values[:MAX_VALUES_SHOWN]))
            more = ' ...' if len(self.values) > MAX_VALUES_SHOWN else ''
            given = ' '.join(map(str, self.values))
            notes.append(f'{source}: of the values stored in the masks {pairs}{more} (--mask_values {given})')
        if self.ignored:
            notes.append(f'{source}: pixels of masks with the colours {" ".join(self.ignored)} are ignored')
        return notes

    def labels(self, picture):
        """Return the labels, uint8 (H, W), of a decoded mask (PIL.Image).

        Raises:
            DanluError: a pixel has no label (the first is named), or the mode is not supported.
        """
        pixels = stored_pixels(picture) if self.colours is not None else stored_values(picture)
        return self._by_colour(pixels) if pixels.ndim == 3 else self._by_value(pixels)

    def check(self, labels):
        """Raise DanluError if labels (uint8 array or tensor) are neither classes nor the ignore index."""
        labels = np.asarray(labels)
        values = np.flatnonzero(np.bincount(labels.ravel())).tolist()  # np.unique sorts and is slower
        wrong = [value for value in values if not self._is_label(value)]
        if not wrong:
            return
        column, row = _first_position(labels == wrong[0])
        raise DanluError(
            f'mask values {wrong[:MAX_VALUES_SHOWN]} are neither 0..{self.num_classes - 1} (--num_classes) nor '
            f'{self.ignore_index} (--ignore_index): {wrong[0]} at x {column}, y {row}{self._values_hint(labels)}'
        )

    def _is_label(self, value):
        return value < self.num_classes or value == self.ignore_index

    def _values_hint(self, labels):
        """Return a hint (str) if a mask has as many distinct values as there are classes."""
        values = np.unique(labels).tolist()
        if len(values) != self.num_classes:
            values = [value for value in values if value != self.ignore_index]
        if len(values) != self.num_classes:
            return ''
        return f'; if these values are the classes: --mask_values {" ".join(map(str, values))}'

    def _by_value(self, pixels):
        if self.values is None:
            if pixels.dtype == np.uint8:
                return pixels
            if (wrong := (pixels > 255) | (pixels < 0)).any():
                column, row = _first_position(wrong)
                raise DanluError(f'value {pixels[row, column]} at x {column}, y {row} is outside of the labels 0..255')
            return pixels.astype(np.uint8)
        table = _value_table(self)
        found = table[pixels if pixels.dtype == np.uint8 else np.clip(pixels, 0, VALUE_COUNT - 1)]
        if (found < 0).any():
            column, row = _first_position(found < 0)
            raise DanluError(
                f'value {pixels[row, column]} at x {column}, y {row} is neither one of --mask_values '
                f'{" ".join(map(str, self.values))} nor {self.ignore_index} (--ignore_index)'
            )
        return found.astype(np.uint8)

    def _by_colour(self, pixels):
        table, unknown = _colour_table(self)
        found = table[_colour_codes(pixels)]
        if (wrong := found == unknown).any():
            column, row = _first_position(wrong)
            raise DanluError(
                f'colour {hex_of(pixels[row, column])} at x {column}, y {row} is not in --palette; add it there, or '
                'name it in --ignored_colours if its pixels do not count'
            )
        return found


def stored_values(picture):
    """Return the stored value of each pixel of a mask (PIL.Image), int (H, W).

    Raises:
        DanluError: the mask is colour-coded, or its mode is not supported.
    """
    pixels = stored_pixels(picture)
    return _single_channel(pixels, picture.mode) if pixels.ndim == 3 else pixels


def stored_pixels(picture):
    """Return the stored pixels of a mask (PIL.Image): int (H, W), or uint8 (H, W, 3) if colour-coded, without alpha.

    Raises:
        DanluError: the mode is not supported.
    """
    mode = picture.mode
    if mode in ('1', 'L', 'P'):
        return np.array(picture, dtype=np.uint8)
    if mode == 'I' or mode.startswith('I;16'):
        return np.asarray(picture)
    if mode in ('LA', 'PA'):
        return np.ascontiguousarray(np.asarray(picture)[..., 0])
    if mode in ('RGB', 'RGBA', 'RGBX'):
        return np.asarray(picture)[..., :3]
    raise DanluError(f'a mask holds one label of 0..255 per pixel (mode L or P) or its colour, this one is {mode}')


def binary_values(values):
    """Return [0, v] if the only values (iterable of int) in masks are 0 and a value v other than 1, otherwise None."""
    other = {*values} - {0}
    return [0, *other] if 0 in values and len(other) == 1 and other != {1} else None


def refuse_lossy(picture):
    """Raise DanluError for a mask (PIL.Image) in a lossy format."""
    if picture.format in ('JPEG', 'MPO'):
        raise DanluError(
            'a mask saved as JPEG: its compression changes the values near every edge, so they are no longer '
            'labels; create the masks again as PNG'
        )


def mask_flags(picture, coding, first=None):
    """Return how the display of a mask in an image viewer differs from its stored values: int of flags.

    Args:
        picture: decoded PIL.Image.
        coding: MaskCoding.
        first: palette of the list's first mask (from `palette_of`), which others are compared with, or None.
    """
    flags = 0
    if has_alpha(picture) and picture.convert('RGBA').getchannel('A').getextrema()[0] < 255:
        flags |= TRANSPARENT
    if picture.mode in ('RGB', 'RGBA', 'RGBX') and coding.colours is None:
        flags |= EQUAL_CHANNELS  # other RGB masks are refused
    if picture.mode == 'P':
        flags |= _palette_flags(picture, coding, first)
    return flags


def has_alpha(picture):
    """Return whether a PIL.Image has an alpha channel or a transparent colour."""
    return picture.mode in ('LA', 'PA', 'La', 'RGBA', 'RGBa') or 'transparency' in picture.info


def palette_of(picture):
    """Return the palette of a PIL.Image, uint8 (n, 3), or None."""
    return np.array(picture.getpalette('RGB'), np.uint8).reshape(-1, 3) if picture.mode == 'P' else None


def _palette_flags(picture, coding, first):
    shown, flags = palette_of(picture), 0
    used = np.flatnonzero(np.bincount(np.asarray(picture).ravel(), minlength=256))
    used = used[used < len(shown)]
    if first is not None:
        both = used[used < len(first)]
        flags |= PALETTES_DIFFER if (shown[both] != first[both]).any() else 0
    grey = (shown[used] == shown[used][:, :1]).all()
    if grey and (shown[used, 0] != used).any() and coding.values is None:
        return flags | GREY_PALETTE
    if coding.colours is not None:
        table, unknown = _colour_table(coding)
        meant = table[_colour_codes(shown[used])]
        if (meant != unknown).all() and (meant != used).any():
            return flags | OTHER_PALETTE
    return flags


def _single_channel(pixels, mode):
    """Return one channel, (H, W), of a mask (H, W, 3) with three equal channels."""
    wrong = (pixels != pixels[..., :1]).any(axis=2)
    if wrong.any():
        column, row = _first_position(wrong)
        raise DanluError(
            f'a mask holds one label of 0..255 per pixel (mode L or P), this one is {mode}, with the colour '
            f'{hex_of(pixels[row, column])} at x {column}, y {row}; a mask coded by colour is read with --palette'
        )
    return np.ascontiguousarray(pixels[..., 0])


def _first_position(wrong):
    """Return column and row (two int) of the first True in a bool array (H, W)."""
    row, column = divmod(int(np.argmax(np.asarray(wrong))), wrong.shape[1])
    return column, row


def _colour_codes(pixels):
    """Return colours, uint8 (..., 3), as int32 codes."""
    wide = pixels.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


@lru_cache(4)
def _value_table(coding):
    """Return the label of each stored value, int16 (VALUE_COUNT,), -1 for none."""
    table = np.full(VALUE_COUNT, -1, np.int16)
    if coding.ignore_index is not None and coding.ignore_index < VALUE_COUNT:
        table[coding.ignore_index] = coding.ignore_index
    table[list(coding.values)] = range(len(coding.values))
    return table


@lru_cache(2)
def _colour_table(coding):
    """Return the label of each colour, uint8 (COLOUR_COUNT,), and the value that marks unknown colours (int)."""
    colours = [*((colour, label) for label, colour in enumerate(coding.colours))]
    colours += [(colour, coding.ignore_index) for colour in coding.ignored]
    unknown = next((value for value in range(256) if value not in {label for _, label in colours}), None)
    if unknown is None:
        raise DanluError('masks coded by colour have at most 255 classes')
    table = np.full(COLOUR_COUNT, unknown, np.uint8)
    for colour, label in colours:
        table[int(colour[1:], 16)] = label
    return table, unknown
