"""Distances of colours in CIELAB, for normal and colour-blind vision, and a note on a palette of one's own."""

import numpy as np

from utils.base.text_table import number_text
from utils.drawing.colours import colours_for, linear_seen

READERS = ('', ' to red-blind readers', ' to green-blind readers')
# Distances below these look alike where areas are apart, for each of READERS; 2.3 is just noticeable side by side.
MIN_DISTANCES = (10.0, 5.0, 5.0)
TO_XYZ = np.array(  # of linear sRGB, IEC 61966-2-1
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)
WHITE = np.array([0.95047, 1, 1.08883])  # D65
EPSILON = 6 / 29  # below its cube, the cube root of CIELAB is linear


def cielab(colours):
    """Return colours (N, 3), 0..255, in CIELAB (ISO/CIE 11664-4) for the vision of each of READERS: (3, N, 3)."""
    ratios = linear_seen(colours) @ TO_XYZ.T / WHITE
    roots = np.where(ratios > EPSILON**3, np.cbrt(ratios), ratios / (3 * EPSILON**2) + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def distances(colours):
    """Return the distances between colours (N, 3) in CIELAB for each of READERS: (3, N, N), inf on the diagonal."""
    places = cielab(colours)
    found = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    found[:, range(len(colours)), range(len(colours))] = np.inf
    return found


def note_of_palette(args):
    """Return a line (list of one str) on the two colours of --palette that are most alike; [] if all are distinct."""
    if getattr(args, 'palette', None) is None:
        return []
    colours = colours_for(args)
    names = args.class_names or list(map(str, range(len(colours))))
    for readers, least, found in zip(READERS, MIN_DISTANCES, distances(colours), strict=True):
        pairs = int((found < least).sum()) // 2
        if pairs:
            first, second = divmod(int(found.argmin()), len(colours))
            more = f'; so do {pairs - 1:,} more pairs' if pairs > 2 else '; so does 1 more pair' if pairs == 2 else ''
            return [
                f'--palette: the colours of the classes {names[first]!r} and {names[second]!r} look alike{readers} '
                f'(distance {number_text(found.min())} in CIELAB, less than {least:g}{more})'
            ]
    return []
