"""--class_weights balanced: class weights inversely proportional to the class frequencies in the training data."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data.checks.class_balance import labels_of
from data.checks.class_notes import label_sets_of
from utils.base.errors import DanluError
from utils.base.machine import cpu_cores
from utils.base.text_table import number_text
from utils.tasks.tasks import task_of

MASKS_PER_BLOCK = 1024  # read ahead
MAX_CLASSES_SHOWN = 10


def balanced_weights(dataset, args):
    """Return the weights n / (K * count) of K classes (list of float), as 'balanced' in scikit-learn.

    Segmentation counts pixels, multilabel the samples that have a class; n is the sum of the counts. Labels equal to
    the ignore index are not counted. A line about the counts is added to the `notes` of the data set.

    Args:
        dataset: training data, see `training_class_counts`.
        args: options; uses task, data_type, num_classes, class_names and ignore_index.

    Raises:
        DanluError: the data set has no labels, or a class has no sample.
    """
    counts = training_class_counts(dataset, args)
    names = args.class_names or [f'class {label}' for label in range(args.num_classes)]
    what = {'mask': 'pixel'}.get(task_of(args).target, 'sample')
    if absent := [name for name, count in zip(names, counts, strict=True) if not count]:
        more = f' and {len(absent) - MAX_CLASSES_SHOWN} more' if len(absent) > MAX_CLASSES_SHOWN else ''
        raise DanluError(
            f'--class_weights balanced: the training data has no {what} of '
            f'{", ".join(absent[:MAX_CLASSES_SHOWN])}{more}, so there is no weight for it; give the weights as numbers'
        )
    weights = (counts.sum() / (len(counts) * counts)).tolist()
    shown = ', '.join(
        f'{names[label]} {number_text(weights[label])}' for label in range(min(MAX_CLASSES_SHOWN, len(names)))
    )
    more = ' ...' if len(names) > MAX_CLASSES_SHOWN else ''
    dataset.notes = [*getattr(dataset, 'notes', []), f'class weights, balanced by {what}s: {shown}{more}']
    return weights


def training_class_counts(dataset, args):
    """Return how often each class occurs in a data set, int64 array (K,), without the ignore index.

    Args:
        dataset: has `labels` or `targets`, int64 (N,) or for multilabel float32 (N, K); for segmentation its samples
            have masks as targets.
        args: options.
    """
    target = task_of(args).target
    if hasattr(dataset, 'order'):
        raise DanluError(
            '--class_weights balanced: the classes of a stream are not known before training; give numbers'
        )
    if target == 'labels':
        sets = label_sets_of(dataset)
        counts = None if sets is None else sets.sum(dim=0).long().numpy()
    elif target == 'mask':
        counts = _pixel_counts(dataset)
    else:
        labels = labels_of(dataset)
        counts = None if labels is None else np.bincount(labels[labels >= 0], minlength=args.num_classes)
    if counts is None:
        raise DanluError(f'--class_weights balanced: {args.data_type} has no labels; give numbers')
    counts = counts.astype(np.int64)
    if args.ignore_index is not None and 0 <= args.ignore_index < len(counts):
        counts[args.ignore_index] = 0
    return counts[: args.num_classes]


def _pixel_counts(dataset):
    """Return the number of mask pixels with each label, int64 array (256,), at the image size of the network."""
    own = hasattr(dataset, 'read_target') and not getattr(dataset, 'in_memory', False)  # without decoding the image

    def count(index):
        mask = dataset.read_target(index) if own else dataset[index][1]
        return np.bincount(np.asarray(mask).ravel(), minlength=256)

    total = np.zeros(256, np.int64)
    with ThreadPoolExecutor(cpu_cores()) as pool:
        for start in range(0, len(dataset), MASKS_PER_BLOCK):
            total += sum(pool.map(count, range(start, min(start + MASKS_PER_BLOCK, len(dataset)))))
    return total
