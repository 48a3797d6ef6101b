"""What decoded pixels depend on, as one hash: it differs wherever the pixels could."""

import hashlib
import os

import numpy as np
import PIL
from PIL import features

from data.lists.file_stats import MODIFIED_NS, SIZE
from utils.base.registry import PROJECT
from utils.base.regular_files import read_regular_bytes

# Who changes how pictures are decoded or checked gets new pixels; so does who edits a comment, which costs time only.
DECODING_SOURCES = (
    'data/lists/pictures.py',
    'data/lists/bit_depth.py',
    'data/lists/masks.py',
    'data/list_dataset.py',
    'data/mem_list.py',
)
CODECS = ('libjpeg_turbo', 'webp')  # Pillow may take these from the system; their versions may differ by a shade


def pixel_key(listing, with_targets, parameters):
    """Return the SHA-256 (str) of everything that the decoded pixels of a listing depend on.

    A file's content is known by its path, its size and its time of modification in nanoseconds, as make and rsync know
    it; reading all files would take as long as decoding many of them. So a copy of a data set is decoded anew, and a
    file is taken for the old one only where something put another of the same size there and set its time back.

    Args:
        listing: data.lists.list_file.Listing.
        with_targets: whether its targets are picture files, which then count too. Labels are no part of the pixels.
        parameters: tuple of plain values, what decoding and checking depend on besides.
    """
    versions = PIL.__version__, *map(features.version, CODECS)
    root = os.path.realpath(listing.root)
    digest = hashlib.sha256(repr((versions, parameters, len(listing), root)).encode())
    for name in DECODING_SOURCES:
        digest.update(read_regular_bytes(PROJECT / name))
    for of in ('images', 'targets') if with_targets else ('images',):
        names = getattr(listing, of)
        digest.update(names.packed.numpy())
        digest.update(names.ends.numpy())
        digest.update(np.ascontiguousarray(listing.facts(of)[:, [SIZE, MODIFIED_NS]]))
    return digest.hexdigest()
