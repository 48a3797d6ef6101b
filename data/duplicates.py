"""Pictures that a list names more than once."""

import os

import numpy as np


def note_of_duplicates(listing):
    """Return notes (list of str, one or none) on pictures that a listing names twice or more.

    Names are compared by 64-bit hashes, so that a million lines take about a second and 20 MB; of a directory, where
    nothing can be there twice, nothing is compared.

    Args:
        listing: data.listing.Listing.
    """
    if listing.lines is None:
        return []
    names = np.fromiter((hash(os.path.normpath(name)) for name in listing.images), np.int64, len(listing))
    order = np.argsort(names, kind='stable')
    again = np.flatnonzero(names[order][1:] == names[order][:-1]) + 1  # places in the order
    if not len(again):
        return []
    targets = np.fromiter(map(hash, listing.targets), np.int64, len(listing))
    differing = again[targets[order[again]] != targets[order[again - 1]]]
    pictures = len(np.unique(names[order[again]]))
    note = f'{listing.source}: {_counted(pictures)} named more than once{_first(listing, order, again, targets=False)}'
    if len(differing):
        count = len(np.unique(names[order[differing]]))
        note += f'; {_counted(count)} named with different targets{_first(listing, order, differing, targets=True)}'
    return [note]


def _counted(pictures):
    return f'{pictures:,} picture{"s are" if pictures > 1 else " is"}'


def _first(listing, order, places, targets):
    """Return which two lines of a list are meant (str): those with the first repetition."""
    place = places[np.argmin(order[places])]
    one, other = int(order[place - 1]), int(order[place])
    shown = [f' ({listing.targets[index]})' if targets else '' for index in (one, other)]
    lines = f'lines {listing.lines[one]}{shown[0]} and {listing.lines[other]}{shown[1]}'
    return f' ({listing.images[one]}, {lines})' if not targets else f' ({lines})'
