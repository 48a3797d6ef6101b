"""Assigns samples to parts, whole groups at a time, and close to the wanted shares of each class."""

import numpy as np

from utils.base.errors import DanluError

SPLIT_KEY = 0x73706C69  # makes the random numbers differ from those of other uses of the same seed


def merge_groups(groups, pairs):
    """Return groups, int64 (N,) numbered from 0, in which both samples of each pair are in one group.

    Args:
        groups: int64 (N,).
        pairs: list of (index, index).
    """
    _, groups = np.unique(groups, return_inverse=True)
    parent = list(range(int(groups.max()) + 1))

    def top(group):
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for one, other in pairs:
        one, other = top(int(groups[one])), top(int(groups[other]))
        parent[max(one, other)] = min(one, other)
    tops = np.array([top(group) for group in range(len(parent))], np.int64)
    return np.unique(tops[groups], return_inverse=True)[1]


def assign_parts(groups, classes, shares, seed, keep_in_first=True):
    """Return the part of each sample (int64 array (N,), positions in `shares`).

    Groups of several samples come first, the largest before the others: each goes to the part that then deviates least
    from the wanted numbers of its classes. Single samples, in random order, fill the parts up to these numbers; what
    remains by rounding goes to the parts that lack most in total.

    Args:
        groups: int64 (N,), numbered from 0; samples of a group stay together.
        classes: int64 (N,); zeros for a split that is not stratified.
        shares: wanted share of each part (list of float with sum 1).
        seed: of the random order (int).
        keep_in_first: whether each class has a sample in the first part, where training data goes.
    """
    random, shares = np.random.default_rng([seed, SPLIT_KEY]), np.array(shares)
    wanted = shares[:, None] * np.bincount(classes)
    have, parts = np.zeros_like(wanted), np.full(len(groups), -1)
    sizes = np.bincount(groups)
    members = np.split(np.argsort(groups, kind='stable'), np.cumsum(sizes)[:-1])
    shuffled = random.permutation(len(sizes))
    for group in shuffled[np.argsort(-sizes[shuffled], kind='stable')].tolist():
        if sizes[group] == 1:
            break
        own, counts = np.unique(classes[members[group]], return_counts=True)
        lacking = wanted[:, own] - have[:, own]
        cost = (counts * (counts - 2 * lacking) / np.maximum(wanted[:, own], 1e-9)).sum(1)
        part = 0 if keep_in_first and (have[0, own] == 0).any() else int(np.argmin(cost))
        have[part, own] += counts
        parts[members[group]] = part
    singles = random.permutation(np.flatnonzero(parts < 0))
    _fill(parts, singles, classes, wanted, have, keep_in_first)
    return parts


def _fill(parts, singles, classes, wanted, have, keep_in_first):
    """Assign single samples (int64 array in random order) to parts, in place; other arguments as in assign_parts."""
    by_class = {int(kind): singles[classes[singles] == kind] for kind in np.unique(classes[singles])}
    quotas, remainders = {}, {}
    for kind, members in by_class.items():
        room = np.maximum(wanted[:, kind] - have[:, kind], 0)
        exact = room / max(room.sum(), 1e-9) * len(members)
        quotas[kind] = np.floor(exact + 1e-9).astype(np.int64)
        remainders[kind] = np.maximum(exact - quotas[kind], 0)
        have[:, kind] += quotas[kind]
    for kind, members in by_class.items():
        for turn in range(len(members) - int(quotas[kind].sum())):
            lacking = wanted.sum(1) - have.sum(1) + 1e-3 * remainders[kind]
            lacking[remainders[kind] < 0] = -np.inf  # it has one of the remaining samples already
            part = 0 if turn == 0 and keep_in_first and have[0, kind] == 0 else int(np.argmax(lacking))
            quotas[kind][part] += 1
            have[part, kind] += 1
            remainders[kind][part] = -1
        parts[members] = np.repeat(np.arange(len(wanted)), quotas[kind])


def check_folds(groups, classes, count, names):
    """Raise DanluError if a class has too few groups to be in the training part of every fold.

    Args:
        groups, classes: int64 (N,).
        count: number of folds (int).
        names: of the classes (list of str); [''] if the split is not stratified.
    """
    total = len(np.unique(groups))
    if total < count:
        raise DanluError(f'--folds {count}: there are only {total} groups of samples that must stay together')
    for kind in np.unique(classes) if len(names) > 1 else ():
        if len(np.unique(groups[classes == kind])) == 1:
            raise DanluError(
                f'--folds {count}: all {np.count_nonzero(classes == kind)} samples of class {names[kind]} are in one '
                'group, so that one fold would have none to train on; add images of this class, or remove it'
            )


def class_codes(targets, needed):
    """Return the class of each sample (int64 array (N,)) by its target text, and the class names (list of str).

    Raises:
        DanluError: the targets do not look like classes, and `needed` (bool) they are.
    """
    names, codes = np.unique(targets, return_inverse=True)
    if needed and len(names) > len(targets) / 2:
        raise DanluError(
            f'--stratify: {len(names)} different targets of {len(targets)} samples, such as {names[0]}, do not look '
            'like classes; leave out --stratify'
        )
    return codes.astype(np.int64), names.tolist()
