"""Results of the check of all files besides errors: labels in masks, and files with unexpected properties."""

import math
import mmap

import numpy as np

from data.lists.bit_depth import MAX_BITS
from data.lists.masks import (
    ALPHA,
    CHECKED,
    EQUAL_CHANNELS,
    FRAMES,
    GREY_PALETTE,
    ONLY_IMAGE_TURNED,
    OTHER_PALETTE,
    OTHER_SIZE,
    PALETTES_DIFFER,
    SIXTEEN_BIT,
    TRANSPARENT,
)

LABEL_COUNT = 256
NOTES_BY_FLAG = {
    TRANSPARENT: 'masks have transparent pixels: the values or colours stored there are read, which a viewer hides',
    GREY_PALETTE: 'masks have a grey palette, which shows other values than those stored; the stored values are the '
    'labels',
    OTHER_PALETTE: 'masks have a palette of their own, which shows the colours of other classes than --palette gives '
    'to the stored values; the stored values are the labels (saved as RGB, masks are read by colour)',
    PALETTES_DIFFER: 'masks have a palette in which the stored values have other colours than in the first mask, so '
    'that a value may mean another class in each file; save them with one palette, or as RGB',
    EQUAL_CHANNELS: 'masks are stored as RGB with three equal channels and are read as grey',
    ONLY_IMAGE_TURNED: 'images are turned by their EXIF orientation, while the mask or target image has none and '
    'is not turned; if the two do not lie on each other, save both upright',
    ALPHA: 'images have an alpha channel, which is dropped: where they are transparent, the network sees the stored '
    'colours, which a viewer hides',
    FRAMES: 'images hold several frames or pages; the first of each is read',
}
# effect of --fit on images of another size
FIT_EFFECTS = {'crop': 'their middle is cut out', 'stretch': 'they are stretched', 'pad': 'they get margins'}


class SampleFacts:
    """Facts about each sample, in memory shared by forked processes.

    `flags` uint16 (N,) holds bits of data.lists.masks. For masks, `present` uint8 (N, 32) has one bit per label;
    `ignored` and `pixels` int64 (N,) count the ignored and all pixels, 0 for masks that were not read.
    """

    def __init__(self, count):
        self.flags, self.present = (
            _shared_zeros((count,), np.uint16),
            _shared_zeros((count, LABEL_COUNT // 8), np.uint8),
        )
        self.ignored, self.pixels = _shared_zeros((count,), np.int64), _shared_zeros((count,), np.int64)

    def add_mask(self, index, labels, ignore_index):
        """Add the labels, uint8 array (H, W), of a sample's mask."""
        counts = np.bincount(labels.ravel(), minlength=LABEL_COUNT)
        self.present[index] = np.packbits(counts > 0)
        self.pixels[index], self.ignored[index] = labels.size, counts[ignore_index : ignore_index + 1].sum()

    def add_flags(self, index, flags):
        """Add flags (int) of a sample and mark it as checked."""
        self.flags[index] |= flags | CHECKED

    def labels_in_masks(self):
        """Return the LabelsInMasks of the masks that were read."""
        read = self.pixels > 0
        masks = np.unpackbits(self.present[read], axis=1).sum(axis=0, dtype=np.int64)
        return LabelsInMasks(masks, int(self.ignored.sum()), int(self.pixels.sum()), int(read.sum()), len(read))

    def notes(self, source):
        """Return a note (list of str) for each unexpected property, with the number of samples."""
        counts = {flag: self.count(flag) for flag in NOTES_BY_FLAG}
        total = f'{self.count(CHECKED):,}'
        return [f'{source}: {count:,} of {total} {NOTES_BY_FLAG[flag]}' for flag, count in counts.items() if count]

    def notes_of_bits(self, source, bits, measured):
        """Return a note (list of str, one or none) on the conversion of 16-bit images to 8 bits.

        Args:
            source: name of the data set.
            bits: --bits (int), or None if there are no 16-bit images.
            measured: the data in which --bits was determined (str), '' if it was given.
        """
        deep, checked = self.count(SIXTEEN_BIT), self.count(CHECKED)
        if deep:
            how = f'values 0..{2**bits - 1} become 0..255 (--bits {bits}{measured and ", measured in "}{measured})'
            return [f'{source}: {deep:,} of {checked:,} samples have images of 16 bits: {how}']
        if bits in (None, MAX_BITS) or not checked:
            return []
        return [f'{source}: no image has 16 bits, so --bits {bits} changes nothing here']

    def notes_of_size(self, source, size, fit):
        """Return a note (list of str, one or none) on images whose size differs from that of the first image.

        Args:
            source: name of the data set.
            size: (height, width) of the first training image, to which all images are resized.
            fit: --fit (str).
        """
        others, (height, width) = self.count(OTHER_SIZE), size
        if not others:
            return []
        return [
            f'{source}: {others:,} of {self.count(CHECKED):,} images have another size than {width}x{height}, the '
            f'size of the first training image: {FIT_EFFECTS[fit]} (--fit {fit}); --image_size chooses another size'
        ]

    def count(self, flag):
        """Return the number of samples with a flag (int)."""
        return int(np.count_nonzero(self.flags & flag))


class LabelsInMasks:
    """Counts of labels in the masks of a data set.

    Args:
        masks: int64 (256,), number of masks that contain each label.
        ignored, pixels: number of ignored pixels and of all pixels.
        read, count: number of masks that were read and of all masks; count None: unknown, and the first masks were
            read.
    """

    def __init__(self, masks, ignored, pixels, read, count):
        self.masks, self.ignored, self.pixels, self.read, self.count = masks, ignored, pixels, read, count

    @classmethod
    def in_tensor(cls, masks, ignore_index, count):
        """Return the LabelsInMasks of a uint8 tensor (R, H, W): masks drawn from `count`, or the first ones (None)."""
        facts = SampleFacts(len(masks))
        for index, mask in enumerate(masks):
            facts.add_mask(index, mask.numpy(), ignore_index)
        found = facts.labels_in_masks()
        return cls(found.masks, found.ignored, found.pixels, found.read, count)


def _shared_zeros(shape, dtype):
    """Return an array of zeros in memory shared by forked processes; /dev/shm is often small in containers."""
    size = max(1, math.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, size), dtype, math.prod(shape)).reshape(shape)
