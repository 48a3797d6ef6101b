"""Hash of everything that determines decoded pixels, which names their cache file."""

import hashlib
import os

import numpy as np
import PIL
from PIL import features

from data.lists.file_stats import FILE_SIZE, MODIFIED_NS
from utils.base.registry import PROJECT
from utils.base.regular_files import read_regular_bytes

# Any change of these files, also of a comment, decodes all images again.
DECODING_SOURCES = (
    'data/lists/pictures.py',
    'data/lists/decoders.py',
    'data/lists/resizing.py',
    'data/lists/bit_depth.py',
    'data/lists/masks.py',
    'data/list_dataset.py',
    'data/mem_list.py',
)
CODECS = ('libjpeg_turbo', 'webp')  # may be system libraries, whose versions may decode slightly differently


def pixel_key(listing, with_targets, parameters, with_files=True):
    """Return the SHA-256 (str) of everything that determines the decoded pixels of a listing.

    Files count by path, size and modification time in nanoseconds, as in make and rsync; reading all files would take
    as long as decoding many of them. A copied data set is therefore decoded again. A file replaced by another of the
    same size and modification time is not noticed.

    Args:
        listing: data.lists.list_file.Listing.
        with_targets: whether its targets are image files, which then count too. Labels do not change the pixels.
        parameters: tuple of plain values, the other parameters of decoding and checking.
        with_files: whether sizes and times of the files count.
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
        if with_files:
            digest.update(np.ascontiguousarray(listing.facts(of)[:, [FILE_SIZE, MODIFIED_NS]]))
    return digest.hexdigest()
