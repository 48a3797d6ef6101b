"""The colours of classes in images and plots."""

from functools import cache

import numpy as np

from utils.options.palette import fitted

# Okabe and Ito 2008, Color Universal Design: distinguishable by colour-blind readers. Black is left out, as it means
# 'ignored' here; yellow is last, as it is faint on white.
OKABE_ITO = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (86, 180, 233), (204, 121, 167), (240, 228, 66))
# Of these, the colours that stay distinct over an image; vermilion then looks like orange, and sky blue like blue.
FIRST_COLOURS = tuple(OKABE_ITO[index] for index in (0, 1, 2, 5))
OVERLAY = 0.55  # opacity of masks over images, which are taken as GREY on average
GREY = 110
NORMAL_WEIGHT = 0.5  # two colours are twice as far apart for normal vision as for red- and green-blindness
BLACK = (0, 0, 0)
CREAM = (224, 224, 192)  # the colour of ignored pixels in PASCAL VOC, whose background is black
PAPER = (255, 255, 255)
# Vision of protanopes and deuteranopes, on linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
VISIONS = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
)
# Oklab (Ottosson 2020), in which distances are roughly perceptual: linear RGB -> cones -> lightness, a, b.
CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def colours_for(args):
    """Return the colours of the classes of the options, (K, 3) uint8 array: args.palette, or `class_colours`."""
    if getattr(args, 'palette', None) is None:
        return class_colours(args.num_classes)
    words = fitted(args.palette, args.num_classes, args.class_names)
    return np.array([list(bytes.fromhex(word[1:])) for word in words], dtype=np.uint8)


def class_colours(num_classes):
    """Return colours of classes, (K, 3) uint8 array.

    The colour of class k does not depend on K. The first four are Okabe and Ito's; each further colour is, laid over
    grey, as far as possible from the earlier ones and from black and white (Glasbey et al. 2007), for normal vision and
    for red- and green-blindness. The colours repeat from class 1644 on.
    """
    return np.array(_colours(num_classes), dtype=np.uint8).reshape(num_classes, 3)


def ignored_colour(colours):
    """Return the colour (3 ints) of ignored pixels: black, or cream if a class is black.

    Args:
        colours: (K, 3) uint8 array.
    """
    return CREAM if (np.asarray(colours) == BLACK).all(-1).any() else BLACK


@cache
def _colours(num_classes):
    """Return the colours of `class_colours`, a list of (3,) arrays."""
    levels = np.linspace(0, 255, 12).round()
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), axis=-1).reshape(-1, 3)
    candidates = candidates[candidates @ (0.3, 0.59, 0.11) > 40]  # luminance: dark blue looks black
    chosen = list(np.array(FIRST_COLOURS[:num_classes], dtype=float))
    places, seen = as_seen(_overlaid(candidates)), np.full(len(candidates), np.inf)
    taken = [np.array(BLACK), np.array(PAPER), *chosen]
    while len(chosen) < num_classes:
        for colour in taken:
            away = np.linalg.norm(places - as_seen(_overlaid(colour[None])), axis=-1)
            nearest = np.minimum(NORMAL_WEIGHT * away[0], away[1:].min(0))
            seen = np.minimum(seen, nearest + 0.01 * away[0])  # the second term separates colours that look equal
        if seen.max() < 1e-9:  # all candidates are used
            chosen.append(chosen[len(chosen) - len(candidates)])
            continue
        taken = [candidates[seen.argmax()]]
        chosen += taken
    return chosen


def _overlaid(colours):
    """Return colours (N, 3) as they look over a grey image."""
    return OVERLAY * colours + (1 - OVERLAY) * GREY


def as_seen(colours):
    """Return colours (N, 3), 0..255, for normal, red-blind and green-blind vision: (3, N, 3) in Oklab."""
    return np.cbrt(linear_seen(colours) @ CONES.T) @ LAB.T


def linear_seen(colours):
    """Return colours (N, 3), 0..255, for normal, red-blind and green-blind vision: (3, N, 3), linear sRGB in 0..1."""
    levels = np.asarray(colours, dtype=float) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return np.clip(linear @ VISIONS.transpose(0, 2, 1), 0, 1)
