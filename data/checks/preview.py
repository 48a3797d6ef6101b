"""What a look at files of the training data decides before the data set is built: values of masks, bits of pictures."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data.lists.bit_depth import bits_for
from data.lists.masks import binary_values
from data.lists.pictures import read_largest_value, read_stored
from utils.base.errors import DanluError
from utils.base.machine import cpu_cores
from utils.options.arguments import STORED

MIN_MASKS = 200  # masks that are looked at; more where all of these hold nothing but 0
MAX_MASKS = 2000
MAX_HEADERS = 256  # pictures among which one of 16 bits is looked for
MAX_DECODED_IMAGES = 2000  # of 16 bits that are decoded to find their range
EIGHT_BIT_EXTENSIONS = ('.jpg', '.jpeg', '.jfif', '.bmp', '.gif', '.webp')


def find_mask_values(masks, num_classes):
    """Return what --mask_values is for masks of training data (list).

    Masks of two classes often hold 0 and 255. Where the only values are 0 and one other, that one is class 1: [0, 255].
    In all other cases the stored values are the labels: ['stored'].

    Args:
        masks: iterable of paths or contents (bytes) of masks; those that cannot be read are passed over.
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
    """Return how many bits the values of the pictures of 16 bits use (int, 8 to 16), or None: there are no such.

    Args:
        paths: of pictures drawn from the training data (list of str), at most MOST_PICTURES; where none of HEADERS
            among them has 16 bits, the others are not opened.
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
    """Return the values (list of int) that a mask stores; none of one that is coded by colour or cannot be read."""
    try:
        return np.unique(read_stored(mask)).tolist()
    except DanluError:  # the check of the data set says what is wrong
        return []
