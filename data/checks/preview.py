"""Options determined from some training files before the data set is built: mask values, bits of 16-bit images."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data.lists.bit_depth import bits_for
from data.lists.masks import binary_values
from data.lists.pictures import read_largest_value, read_stored
from utils.base.errors import DanluError
from utils.base.machine import cpu_cores
from utils.options.arguments import STORED

MIN_MASKS = 200  # masks to read; more if they only contain 0
MAX_MASKS = 2000
MAX_HEADERS = 256  # images to open in search of 16-bit images
MAX_DECODED_IMAGES = 2000  # 16-bit images to decode in search of the largest value
EIGHT_BIT_EXTENSIONS = ('.jpg', '.jpeg', '.jfif', '.bmp', '.gif', '.webp')


def find_mask_values(masks, num_classes):
    """Return the value of --mask_values (list) for the masks of training data.

    Masks of two classes are often stored as 0 and 255. If the only values are 0 and another value, that value is class
    1: [0, 255]. Otherwise the stored values are the labels: ['stored'].

    Args:
        masks: iterable of paths or contents (bytes) of masks; unreadable masks are skipped.
        num_classes: int.
    """
    if num_classes != 2:
        return [STORED]
    seen = set()
    for number, mask in enumerate(masks):
        if number >= MIN_MASKS and seen != {0}:
            break
        seen.update(_values_in(mask))
        if 1 in seen or len(seen) > 2:
            return [STORED]
    return binary_values(seen) or [STORED]


def find_bits(paths):
    """Return how many bits the values of 16-bit images use (int, 8 to 16), or None if there are no such images.

    Args:
        paths: images drawn from the training data (list of str), at most MAX_DECODED_IMAGES. If none of MAX_HEADERS of
            them has 16 bits, the others are not opened.
    """
    paths = [path for path in paths if not path.lower().endswith(EIGHT_BIT_EXTENSIONS)]
    first = paths[:: max(1, len(paths) // MAX_HEADERS)]
    if not any(map(_largest_in, first)):
        return None
    with ThreadPoolExecutor(cpu_cores()) as pool:
        return bits_for(max(pool.map(_largest_in, paths)))


def _largest_in(path):
    try:
        return read_largest_value(path)
    except DanluError:  # the check of the data set says what is wrong
        return 0


def _values_in(mask):
    """Return the values (list of int) stored in a mask; none if it is colour-coded or cannot be read."""
    try:
        return np.unique(read_stored(mask)).tolist()
    except DanluError:  # the check of the data set says what is wrong
        return []
