"""How many samples the classes have: class-balanced sampling, and classes that the validation lacks."""

import numpy as np
import torch

from utils.base.batches import length_or_none
from utils.base.errors import DanluError


def labels_of(dataset):
    """Return the labels of a data set that tells them as `labels` or `targets`, int64 array (N,), else None."""
    labels = next(
        (found for name in ('labels', 'targets') if (found := getattr(dataset, name, None)) is not None), None
    )
    told = torch.is_tensor(labels) and labels.dtype == torch.int64 and labels.dim() == 1
    return labels.cpu().numpy() if told and len(labels) == length_or_none(dataset) else None


def note_of_missing(train, val, names, ignore_index=None):
    """Return notes (list of str, one or none) on classes of the training that the validation has no sample of.

    Args:
        train, val: data sets; of those that tell no labels nothing is said.
        names: of the classes (list of str), or None.
        ignore_index: a label that is none (int), as are negative ones.
    """
    trained, tested = (None if dataset is None else labels_of(dataset) for dataset in (train, val))
    if trained is None or tested is None:
        return []
    missing = [label for label in np.setdiff1d(trained, tested).tolist() if label >= 0 and label != ignore_index]
    known = dict(enumerate(names or []))
    shown = [known.get(label, str(label)) for label in missing[:10]]
    more = f' and {len(missing) - 10} more' if len(missing) > 10 else ''
    return [f'no sample to validate of: {", ".join(shown)}{more}'] if missing else []


def notes_of_ignored(dataset, args, what):
    """Return a note (list of str, one or none) on the samples whose label is ignored.

    Args:
        dataset: of one that tells no labels nothing is said.
        args: options; ignore_index counts.
        what: 'training' or 'validation'.

    Raises:
        DanluError: all samples are ignored.
    """
    labels = None if dataset is None or args.ignore_index is None else labels_of(dataset)
    ignored = 0 if labels is None else int((labels == args.ignore_index).sum())
    if ignored and ignored == len(labels):
        raise DanluError(f'all {what} samples have the ignored label {args.ignore_index} (--ignore_index)')
    share = f'{ignored:,} ({ignored / len(labels):.1%})' if ignored else ''
    return [f'ignored {what} samples, by --ignore_index {args.ignore_index}: {share}'] if ignored else []


def notes_of_classes(train, args):
    """Return notes (list of str) on classes that no training sample has, and on samples whose label is ignored.

    Args:
        train: data set; of one that tells no labels nothing is said.
        args: options; num_classes, class_names and ignore_index count.
    """
    labels = None if train is None or not args.num_classes else labels_of(train)
    if labels is None:
        return []
    notes = notes_of_ignored(train, args, 'training')
    absent = np.setdiff1d(np.arange(args.num_classes), labels).tolist()
    absent = [label for label in absent if label != args.ignore_index]
    if absent:
        names = args.class_names or range(args.num_classes)
        shown = ', '.join(str(names[label]) for label in absent[:10])
        more = f' and {len(absent) - 10:,} more' if len(absent) > 10 else ''
        note = f'classes without a training sample, {len(absent):,} of {args.num_classes:,}: {shown}{more}'
        if absent == [0] and not args.class_names:
            note += '; labels count from 0, and the smallest here is 1'
        notes.append(note)
    return notes


def balance(dataset, args):
    """Return how often each sample is drawn relative to the others, so that each class comes equally often on average.

    A class that the data lacks stays away; so do samples with the ignore index, from which nothing is learned.

    Args:
        dataset: has `labels` or, where it is in memory, `targets`: int64 tensor (N,). A line about its classes is
            added to its `notes`.
        args: options; num_classes, class_names and ignore_index count.

    Returns:
        float64 array (N,).

    Raises:
        DanluError: the data set knows no labels.
    """
    labels = labels_of(dataset)
    if labels is None:
        raise DanluError(
            f'--balance: {args.data_type} does not tell the labels of its samples (int64 tensor (N,) as `labels`); '
            'leave it out, or give --class_weights'
        )
    counted = labels >= 0 if args.ignore_index is None else (labels >= 0) & (labels != args.ignore_index)
    counts = np.bincount(labels[counted], minlength=args.num_classes).astype(np.float64)
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise DanluError(f'--balance: the training data has {len(present)} of {args.num_classes} classes; leave it out')
    names = args.class_names or [f'class {label}' for label in range(len(counts))]
    least, most = min(present, key=counts.__getitem__), max(present, key=counts.__getitem__)
    found = f'{names[least]} has {counts[least]:,.0f} samples, {names[most]} {counts[most]:,.0f}'
    if counts[least] == counts[most]:
        found = f'each has {counts[most]:,.0f} samples already'
    note = f'balance: each of {len(present)} classes equally often, with replacement; in the data {found}'
    dataset.notes = [*getattr(dataset, 'notes', []), note]
    weights = np.divide(1.0, counts, out=np.zeros_like(counts), where=counts > 0)
    return np.where(counted, weights[np.where(counted, labels, 0)], 0.0)
