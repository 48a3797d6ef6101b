"""Notes for the log on classes in masks and in sets of labels (for single labels see class_balance.py)."""

import numpy as np
import torch

from utils.base.errors import DanluError
from utils.options.arguments import STORED
from utils.tasks.tasks import task_of

MAX_CLASSES_SHOWN = 10


def class_notes(dataset, args, split):
    """Return notes (list of str) on the classes of a data set; none if there is nothing to report.

    Args:
        dataset: has `labels` or `targets` (float32 (N, K), sets of classes), or `labels_in_masks`
            (data.checks.sample_facts.LabelsInMasks). For other data sets there are no notes.
        args: options; uses task, num_classes, class_names and ignore_index.
        split: 'train' or 'val'.

    Raises:
        DanluError: all pixels are ignored.
    """
    if dataset is None or not task_of(args).has_classes:
        return []
    source = getattr(args, f'{split}_list', None) or {'train': 'training data', 'val': 'validation data'}[split]
    found = getattr(dataset, 'labels_in_masks', None)
    if found is not None:
        return _mask_notes(found, args, split, source)
    sets = label_sets_of(dataset) if split == 'train' else None
    return [] if sets is None else _missing_note(source, 'sample', np.flatnonzero(sets.sum(dim=0).numpy() == 0), args)


def _mask_notes(found, args, split, source):
    if found.pixels and found.ignored == found.pixels and found.read == found.count:
        raise DanluError(
            f'{source}: all pixels of the masks have the ignore index {args.ignore_index}, so nothing can be '
            f'{"learned" if split == "train" else "evaluated"}; '
            'give another --ignore_index, or --mask_values with the stored value of each class'
        )
    if found.count is None:
        source = f'{source} (the first {found.read:,} masks of its shards)'
    elif found.read < found.count:
        source = f'{source} (of {found.count:,} masks {found.read:,}, drawn at random, were read)'
    notes = _missing_note(source, 'pixel', _absent_classes(found.masks, args), args) if found.read else []
    if found.ignored:
        share = f'{found.ignored / found.pixels:.2%} of the pixels of the masks are ignored'
        notes.append(f'{source}: {share} (--ignore_index {args.ignore_index}){_mask_values_hint(found, args, split)}')
    return notes


def _mask_values_hint(found, args, split):
    """Return a hint (str) where masks contain at most one class besides ignored pixels, which may be a second class."""
    ignored, classes = args.ignore_index, set(np.flatnonzero(found.masks).tolist()) - {args.ignore_index}
    if len(classes) > 1 or args.mask_values not in (None, [STORED]) or args.palette is not None:
        return ''
    train_list = getattr(args, 'train_list', None)
    if split == 'val' and train_list not in (None, args.val_list):  # the training masks determine the values
        return f'; if {ignored} is a class there, store the classes as the masks of {train_list} do'
    first, second = sorted([*(classes or {0}), ignored])
    what = f'{ignored} is class 1' if first == 0 else f'{first} and {second} are the two classes'
    number = '--num_classes 2 ' * (args.num_classes != 2)
    return f'; if {what}: {number}--mask_values {first} {second}'


def label_sets_of(dataset):
    """Return the label sets of a data set, float32 (N, K), or None if it has none."""
    for name in ('labels', 'targets'):
        labels = getattr(dataset, name, None)
        if torch.is_tensor(labels) and labels.dtype == torch.float32 and labels.dim() == 2:
            return labels.cpu()
    return None


def _absent_classes(counts, args):
    """Return the classes (int64 array) with count 0 among counts (N or more,), without the ignored class."""
    absent = np.flatnonzero(counts[: args.num_classes] == 0)
    return absent if args.ignore_index is None else absent[absent != args.ignore_index]


def _missing_note(source, what, classes, args):
    """Return a line (list of str, one or none) that lists the classes without any `what`."""
    if not len(classes):
        return []
    names = args.class_names or [f'class {label}' for label in range(args.num_classes)]
    shown = ', '.join(names[label] for label in classes[:MAX_CLASSES_SHOWN])
    more = f' and {len(classes) - MAX_CLASSES_SHOWN} more' if len(classes) > MAX_CLASSES_SHOWN else ''
    return [f'{source}: no {what} of {shown}{more} ({len(classes)} of {args.num_classes} classes)']
