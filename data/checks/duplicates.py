"""Images that a list names more than once."""

import os

import numpy as np

from data.lists.string_array import StringArray, decode_strings
from data.lists.string_hashes import hashes_of

SLASH, DOT = b'/.'


def note_of_duplicates(listing):
    """Return a note (list of str, one or none) on images that a listing names more than once.

    Names are compared by 64-bit hashes: ten million lines take seconds and 20 bytes each. A directory cannot contain
    duplicates and is not checked.

    Args:
        listing: data.lists.list_file.Listing.
    """
    if listing.lines is None:
        return []
    names = hashes_of_paths(listing.images)
    in_order = np.sort(names)  # 10 times faster than argsort, which is rarely needed
    if (in_order[1:] != in_order[:-1]).all():
        return []
    order = np.argsort(names, kind='stable')
    again = np.flatnonzero(names[order][1:] == names[order][:-1]) + 1  # positions in `order`
    targets = np.concatenate([hashes_of(*block) for block in listing.targets.blocks()])
    differing = again[targets[order[again]] != targets[order[again - 1]]]
    pictures = len(np.unique(names[order[again]]))
    note = (
        f'{listing.source}: {_images_are(pictures)} named more than once'
        f'{_first_repetition(listing, order, again, targets=False)}'
    )
    if len(differing):
        count = len(np.unique(names[order[differing]]))
        note += (
            f'; {_images_are(count)} named with different targets'
            f'{_first_repetition(listing, order, differing, targets=True)}'
        )
    return [note]


def hashes_of_paths(paths):
    """Return a 64-bit hash of each path in a StringArray, after normalisation: int64 array (N,)."""
    return np.concatenate([_hashes_of_block(*block) for block in paths.blocks()])


def _hashes_of_block(content, ends):
    slash = content == SLASH
    sign = slash | (content == DOT)
    # Paths with //, /., ./ or a slash at the end need normalisation.
    uneven = (slash[:-1] & sign[1:]).any() or (sign[:-1] & slash[1:]).any() or slash[ends[1:] - 1].any()
    if os.sep != '/' or uneven:
        paths = StringArray(map(os.path.normpath, decode_strings(content, ends)))
        content, ends = paths.packed.numpy()[: paths.ends[-1]], paths.ends.numpy()
    return hashes_of(content, ends)


def _images_are(pictures):
    return f'{pictures:,} image{"s are" if pictures > 1 else " is"}'


def _first_repetition(listing, order, places, targets):
    """Return the two lines (str) of the first repetition."""
    place = places[np.argmin(order[places])]
    one, other = int(order[place - 1]), int(order[place])
    shown = [f' ({listing.targets[index]})' if targets else '' for index in (one, other)]
    lines = f'lines {listing.lines[one]}{shown[0]} and {listing.lines[other]}{shown[1]}'
    return f' ({listing.images[one]}, {lines})' if not targets else f' ({lines})'
