"""Class-balanced sampling, and notes on classes without samples."""

import numpy as np
import torch

from utils.base.batches import length_or_none
from utils.base.errors import DanluError
from utils.base.text_table import count_text


def labels_of(dataset):
    """Return the labels of a data set from its `labels` or `targets`, int64 array (N,), or None if it has none."""
    labels = next(
        (found for name in ('labels', 'targets') if (found := getattr(dataset, name, None)) is not None), None
    )
    told = torch.is_tensor(labels) and labels.dtype == torch.int64 and labels.dim() == 1
    return labels.cpu().numpy() if told and len(labels) == length_or_none(dataset) else None


def note_of_missing(train, val, names, ignore_index=None):
    """Return a note (list of str, one or none) on training classes that have no validation sample.

    Args:
        train, val: data sets; no note if one of them has no labels.
        names: class names (list of str), or None.
        ignore_index: a label that is not a class (int); neither are negative labels.
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
    """Return a note (list of str, one or none) on the number of samples whose label is ignored.

    Args:
        dataset: no note if it has no labels.
        args: options; uses ignore_index.
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
    """Return notes (list of str) on classes without a training sample and on samples whose label is ignored.

    Args:
        train: data set; no note if it has no labels.
        args: options; uses num_classes, class_names and ignore_index.
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
    """Return sampling weights with which each class is drawn equally often on average.

    Classes without samples are not drawn; neither are samples with the ignore index, which do not contribute to
    training.

    Args:
        dataset: has `labels` or, if in memory, `targets`: int64 tensor (N,). A line about its classes is added to its
            `notes`.
        args: options; uses num_classes, class_names and ignore_index.

    Returns:
        float64 array (N,).

    Raises:
        DanluError: the data set has no labels, or fewer than two classes.
    """
    labels = labels_of(dataset)
    if labels is None:
        raise DanluError(
            f'--balance: {args.data_type} has no labels (int64 tensor (N,) as `labels`); '
            'leave it out, or give --class_weights'
        )
    counted = labels >= 0 if args.ignore_index is None else (labels >= 0) & (labels != args.ignore_index)
    counts = np.bincount(labels[counted], minlength=args.num_classes).astype(np.float64)
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise DanluError(f'--balance: the training data has {len(present)} of {args.num_classes} classes; leave it out')
    names = args.class_names or [f'class {label}' for label in range(len(counts))]
    least, most = min(present, key=counts.__getitem__), max(present, key=counts.__getitem__)
    fewest = count_text(int(counts[least]), 'sample')
    found = f'{names[least]} has {fewest}, {names[most]} {counts[most]:,.0f}'
    if counts[least] == counts[most]:
        found = f'each has {fewest} already'
    note = f'balance: each of {len(present)} classes equally often, with replacement; in the data {found}'
    dataset.notes = [*getattr(dataset, 'notes', []), note]
    weights = np.divide(1.0, counts, out=np.zeros_like(counts), where=counts > 0)
    return np.where(counted, weights[np.where(counted, labels, 0)], 0.0)
