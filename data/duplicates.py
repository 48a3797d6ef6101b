"""Pictures that a list names more than once."""

import os

import numpy as np

from data.listing import PackedStrings, texts_of
from data.string_hashes import hashes_of

UNEVEN = (b'//', b'/.', b'./')  # of a path that may be written otherwise
SLASH = ord('/')


def note_of_duplicates(listing):
    """Return notes (list of str, one or none) on pictures that a listing names twice or more.

    Names are compared by 64-bit hashes, so that ten million lines take seconds and 20 bytes each; of a directory, where
    nothing can be there twice, nothing is compared.

    Args:
        listing: data.listing.Listing.
    """
    if listing.lines is None:
        return []
    names = np.concatenate([_hashes_of_paths(*block) for block in listing.images.blocks()])
    in_order = np.sort(names)  # a tenth of the time of the order itself, which is seldom needed
    if (in_order[1:] != in_order[:-1]).all():
        return []
    order = np.argsort(names, kind='stable')
    again = np.flatnonzero(names[order][1:] == names[order][:-1]) + 1  # places in the order
    targets = np.concatenate([hashes_of(*block) for block in listing.targets.blocks()])
    differing = again[targets[order[again]] != targets[order[again - 1]]]
    pictures = len(np.unique(names[order[again]]))
    note = f'{listing.source}: {_counted(pictures)} named more than once{_first(listing, order, again, targets=False)}'
    if len(differing):
        count = len(np.unique(names[order[differing]]))
        note += f'; {_counted(count)} named with different targets{_first(listing, order, differing, targets=True)}'
    return [note]


def _hashes_of_paths(content, ends):
    """Return the hashes (int64 array (N,)) of paths, those of one file written differently being the same."""
    names = content.tobytes()
    if os.sep != '/' or any(sign in names for sign in UNEVEN) or (content[ends[1:] - 1] == SLASH).any():
        paths = PackedStrings(map(os.path.normpath, texts_of(content, ends)))
        content, ends = paths.packed.numpy()[: paths.ends[-1]], paths.ends.numpy()
    return hashes_of(content, ends)


def _counted(pictures):
    return f'{pictures:,} picture{"s are" if pictures > 1 else " is"}'


def _first(listing, order, places, targets):
    """Return which two lines of a list are meant (str): those with the first repetition."""
    place = places[np.argmin(order[places])]
    one, other = int(order[place - 1]), int(order[place])
    shown = [f' ({listing.targets[index]})' if targets else '' for index in (one, other)]
    lines = f'lines {listing.lines[one]}{shown[0]} and {listing.lines[other]}{shown[1]}'
    return f' ({listing.images[one]}, {lines})' if not targets else f' ({lines})'
