"""What a look at some files of the training data decides, before the data set is built: the coding of binary masks."""

import numpy as np

from data.masks import binary_values
from data.pictures import read_stored
from utils.arguments import STORED
from utils.errors import DanluError

MASKS = 200  # masks that are looked at; more where all of these hold nothing but 0
MOST_MASKS = 2000


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
        if number >= MASKS and seen != {0}:
            break
        seen.update(_values_in(mask))
        if 1 in seen or len(seen) > 2:
            return [STORED]
    return binary_values(seen) or [STORED]


def _values_in(mask):
    """Return the values (list of int) that a mask stores; none of one that is coded by colour or cannot be read."""
    try:
        return np.unique(read_stored(mask)).tolist()
    except DanluError:  # the check of the data set says what is wrong
        return []
