"""Finds the images that must stay in the same list, and says which they are."""

import sys
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from scripts.splitting.perceptual_hash import equal_pairs, look_at, similar_pairs
from utils.base.errors import DanluError
from utils.base.terminal import is_watched
from utils.base.text_table import count_text

KINDS = ('similar', 'equal', 'ignore')
MAX_FAULTS_SHOWN = 20


class Duplicates(NamedTuple):
    """Images that must stay together.

    Attributes:
        pairs: (index, index) of such images (list).
        kinds: dict from the index of an image that has a duplicate to 'equal' or 'similar'.
        faults: dict from the index of an unreadable image to the reason (str).
    """

    pairs: list
    kinds: dict
    faults: dict


def find_duplicates(samples, how, skip_bad):
    """Return the Duplicates among samples.

    Args:
        samples: scripts.splitting.samples.Samples.
        how: one of KINDS: --duplicates. An image that a list names several times always stays together.
        skip_bad: whether images that cannot be read are left out.

    Raises:
        DanluError: images cannot be read, and `skip_bad` is False.
    """
    pairs = _named_again(samples)
    if how == 'ignore':
        return Duplicates(pairs, {}, {})
    with tqdm(total=len(samples), desc='read', unit='img', leave=False, disable=not is_watched(sys.stderr)) as bar:
        looks = look_at(samples.images, bar.update)
    if looks.faults and not skip_bad:
        lines = fault_lines(samples, looks.faults)
        lines[0] = f'{samples.source}: {lines[0]}; fix or remove them, or add --skip_bad'
        raise DanluError('\n'.join(lines))
    again = {later for _, later in pairs}
    equal = [pair for pair in equal_pairs(looks.contents) if not again & {*pair}]
    kinds = dict.fromkeys((index for pair in equal for index in pair), 'equal')
    if how == 'equal':
        return Duplicates(pairs + equal, kinds, looks.faults)
    different = np.setdiff1d(np.arange(len(samples)), [*looks.faults, *again, *(later for _, later in equal)])
    similar = similar_pairs(looks.hashes, looks.thumbnails, different)
    kinds = dict.fromkeys((index for pair in similar for index in pair), 'similar') | kinds
    return Duplicates(pairs + equal + similar, kinds, looks.faults)


def _named_again(samples):
    """Return the pairs (first index, later index) of samples with the same image file (list)."""
    first, pairs = {}, []
    for index, image in enumerate(samples.images):
        if first.setdefault(image, index) != index:
            pairs.append((first[image], index))
    return pairs


def fault_lines(samples, faults):
    """Return the number of unreadable images and the first of them (list of str), [] if there are none."""
    lines = [f'  {samples.images[index]}: {faults[index]}' for index in sorted(faults)[:MAX_FAULTS_SHOWN]]
    more = [f'  ... and {len(faults) - MAX_FAULTS_SHOWN:,} more'] if len(faults) > MAX_FAULTS_SHOWN else []
    return [f'images that cannot be read: {len(faults):,}', *lines, *more] if faults else []


def duplicate_lines(samples, kinds, groups):
    """Return lines (list of str) on equal and similar images.

    Args:
        samples: scripts.splitting.samples.Samples.
        kinds: as in Duplicates.
        groups: group of each sample by equality and similarity alone (int64 array (N,)).
    """
    members = {}
    for index in sorted(kinds):
        members.setdefault(int(groups[index]), []).append(index)
    lines = []
    for kind in ('equal', 'similar'):
        own = [group for group in members.values() if any(kinds[index] == kind for index in group)]
        if own:
            count = sum(kinds[index] == kind for group in own for index in group)
            first, other = (samples.names[index] for index in own[0][:2])
            lines.append(
                f'{kind} images: {count:,} in {count_text(len(own), "group")}, each in one list '
                f'({"the first: " * (len(own) > 1)}{first} and {other})'
            )
    return [*lines, *_differing_targets(samples, kinds, members)]


def _differing_targets(samples, kinds, members):
    """Return a warning (list of str, one or none) on equal images with different targets."""
    differing = []
    for group in members.values():
        names = {samples.targets[index]: samples.names[index] for index in group if kinds[index] == 'equal'}
        differing += [names] if len(names) > 1 else []
    if not differing or samples.has_target_files:
        return []
    shown = ', '.join(f'{name}: {target}' for target, name in list(differing[0].items())[:2])
    count = f'{len(differing):,} group{"s" * (len(differing) > 1)} of equal images'
    return [f'warning: {count} with different targets ({shown})']
