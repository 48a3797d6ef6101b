"""Labels and class names in lists and tables: determining the classes and reporting invalid labels.

A label is an integer from 0; other texts are class names. A value equal to --ignore_index is neither: its sample counts
in no class, loss or metric.
"""

import re

import numpy as np
import torch

from data.lists.picture_extensions import IMAGE_EXTENSIONS
from data.lists.string_array import StringArray
from utils.base.errors import DanluError
from utils.base.file_names import to_nfc
from utils.options.arguments import MAX_CLASSES, shorten_text

# Integer labels with larger gaps (outputs per label that occurs) are refused as a mistake.
MAX_OUTPUTS_PER_LABEL = 10
MIN_SAMPLES_PER_CLASS = 5  # with fewer, class names such as dates are refused
MIN_SINGLE_SAMPLE_CLASSES = 20  # from this number, mostly single-sample classes are refused
MAX_SUGGESTED = 10  # names in a suggested --class_names
DATE = re.compile(r'\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T_]\d{1,2}:\d{2}\S*)?|\d{1,2}:\d{2}(:\d{2}\S*)?')
FRACTION = re.compile(r'\d[.,]\d*[1-9]')
NUMBER = re.compile(r'[+-]?\d[\d,.\'_ ]*([eE][+-]?\d+)?')
UNITS = re.compile(r'^[$€£¥₹]\s*|\s*(%|[$€£¥₹]|USD|EUR|GBP|CNY|RMB|JPY)$')


def distinct_targets(listing):
    """Return StringArray.distinct of the targets of a Listing or of a Table, whose targets are a list."""
    targets = listing.targets
    return (targets if isinstance(targets, StringArray) else StringArray(targets)).distinct()


def is_integer(text):
    """Return whether a text is an integer of up to 18 digits."""
    return re.fullmatch(r'[+-]?\d{1,18}', text) is not None


def is_ignored(text, ignore_index):
    """Return whether a target (str) is the ignore index (int or None); pandas writes -1 as -1.0 beside empty cells."""
    whole = re.sub(r'\.0+$', '', text)
    return ignore_index is not None and is_integer(whole) and int(whole) == ignore_index


def label_names(listing, ignore_index=None):
    """Return the class names (sorted list of str, NFC) of a listing, or None if all targets are integers."""
    names = {to_nfc(text) for text in distinct_targets(listing)[0]}
    if all(map(is_integer, names)):
        return None
    return sorted(name for name in names if not is_ignored(name, ignore_index))


def folder_names(listing, ignore_index=None):
    """Return the class names (sorted list of str) of a directory's listing; integers are sorted by value.

    A directory named like the ignore index is not a class, unless the ignore index is also the index of a class.
    """
    names = sorted({to_nfc(text) for text in distinct_targets(listing)[0]})
    kept = [name for name in names if not is_ignored(name, ignore_index)]
    if ignore_index is not None and not 0 <= ignore_index < len(kept):
        names = kept
    return sorted(names, key=int) if all(map(is_integer, names)) else names


def count_classes(listing, names, given, ignore_index=None):
    """Return the number of classes (int) of a listing of labels.

    Args:
        names: detected class names (list of str), or None for integer labels.
        given: number of classes from the options, or None.
        ignore_index: a label that is not a class (int), or None.

    Raises:
        DanluError: the number of names differs from `given`, there are fewer than two classes, or the targets look like
            numbers for regression, dates or images.
    """
    if names is None:
        return given or _count_integers(listing, ignore_index)
    if names and all(name.lower().endswith(IMAGE_EXTENSIONS) for name in names):
        raise DanluError(
            f'{listing.source}: the targets are images such as {names[0]}: add --task segmentation if they are '
            'masks, --task restoration if they are target images'
        )
    if given is None:
        _refuse_numbers(listing, names)
    elif given != len(names) and not any(map(is_integer, names)):
        raise DanluError(
            f'--num_classes {given}: {listing.source} names {len(names)} ({", ".join(names[:20])}); leave it out, or '
            'give --class_names'
        )
    if given is None:
        _refuse_fewer_than_two(listing, names, ignore_index)
    return given or len(names)


def _refuse_fewer_than_two(listing, classes, ignore_index):
    if not classes:
        raise DanluError(f'{listing.source}: all samples have the ignored label {ignore_index} (--ignore_index)')
    if len(classes) == 1:
        raise DanluError(f'{listing.source}: all samples are of one class, {classes[0]}: training takes two or more')


def _count_integers(listing, ignore_index):
    """Return the number of classes of integer labels: the largest label plus 1.

    Raises:
        DanluError: there are fewer than two classes, or so many that the targets are probably not labels.
    """
    labels = sorted({int(text) for text in distinct_targets(listing)[0]} - {ignore_index})
    _refuse_fewer_than_two(listing, labels, ignore_index)
    count, samples = max(labels[-1] + 1, 1), len(listing)
    if count <= samples and count <= MAX_OUTPUTS_PER_LABEL * len(labels):
        return count
    few = len(labels) <= MAX_SUGGESTED
    names = f'--class_names {" ".join(map(str, labels))}' if few else '--class_names FILE with one label per line'
    if len(labels) > samples / 2 or not few:
        what = 'they look like numbers or dates, not like classes'
        remedy = f'to predict numbers add --task regression; if each label is a class, give {names}'
    else:
        what = 'most classes would have no sample'
        remedy = f'for {len(labels)} classes give {names}; to predict numbers add --task regression'
    all_of_them = f'; --num_classes {count} trains with all of them' if count <= MAX_CLASSES else ''
    raise DanluError(
        f'{listing.source}: {len(labels):,} different labels from {labels[0]} to {labels[-1]} in {samples:,} samples '
        f'would need {count:,} classes: {what}; {remedy}{all_of_them}'
    )


def _refuse_numbers(listing, names):
    """Refuse class names that look like numbers or dates, or of which most have a single sample."""
    many, few_each = len(names) > len(listing) / 2, len(names) > len(listing) / MIN_SAMPLES_PER_CLASS
    if not few_each or len(names) < 2:
        return
    plain = [UNITS.sub('', name).strip() for name in names]
    words = [word for name in plain for word in name.split()]
    numbers = not all(map(is_integer, names)) and all(NUMBER.fullmatch(word) for word in words)
    dates = all(map(DATE.fullmatch, names))
    found = f'{listing.source}: {len(names)} classes for {len(listing)} samples'
    if numbers and not dates and (many or any(map(FRACTION.search, names))):
        raise DanluError(
            f'{found}, and all of them are numbers such as {names[0]}: to predict numbers add --task regression; '
            'else give --class_names'
        )
    if dates:
        raise DanluError(
            f'{found}, and all of them are dates or times such as {names[0]}: to predict them write them as numbers '
            f'and add --task regression; to take each for a class give --num_classes {len(names)}'
        )
    if many and len(names) >= MIN_SINGLE_SAMPLE_CLASSES:
        raise DanluError(
            f'{found}, such as {names[0]}: most classes have one sample; if the target is a number add --task '
            f'regression, else give --num_classes {len(names)} to train so'
        )


def parse_labels(listing, num_classes, class_names, faults, ignore_index=None):
    """Return the labels of a listing as an int64 tensor (N,), adding invalid labels to `faults`.

    Args:
        num_classes: labels are 0 .. num_classes-1.
        class_names: list of num_classes names, or None. Targets are looked up here first; integers are labels unless
            class names are integers too.
        ignore_index: an additional valid label (int), or None.
    """
    names, (texts, codes) = class_names or [], distinct_targets(listing)
    known = {to_nfc(name): label for label, name in enumerate(names)}
    hint = _class_names_hint(texts, num_classes, names, ignore_index)
    found = [
        known[form]
        if (form := to_nfc(text)) in known
        else label_or_fault(text, num_classes, names, ignore_index, not hint)
        for text in texts
    ]
    faulty = np.array([isinstance(label, str) for label in found], bool)
    for index in np.flatnonzero(faulty[codes.numpy()]).tolist() if faulty.any() else []:
        faults.add(listing.where(index), found[codes[index]] + hint, index)
    labels = torch.tensor([0 if isinstance(label, str) else label for label in found], dtype=torch.int64)
    return labels[codes]


def _class_names_hint(texts, num_classes, names, ignore_index):
    """Return a hint (str) if the number of distinct integer labels equals the number of classes."""
    if names or not all(map(is_integer, texts)):
        return ''
    labels = sorted({int(text) for text in texts} - {ignore_index})
    if len(labels) != num_classes or len(labels) > MAX_SUGGESTED:
        return ''
    return f'; if the {num_classes} labels that occur are the classes: --class_names {" ".join(map(str, labels))}'


def label_or_fault(text, num_classes, names, ignore_index=None, may_ignore=True):
    """Return the label (int) for a text that is not in `names`, or why it is invalid (str).

    `may_ignore`: whether to suggest --ignore_index (bool).
    """
    if is_ignored(text, ignore_index):
        return ignore_index
    if not is_integer(text) or any(map(is_integer, names)):
        shown = ', '.join(names[:20]) or f'integers, 0..{num_classes - 1}; names need --class_names'
        return f'unknown class {shorten_text(text)!r} (known: {shown})'
    label = int(text)
    if 0 <= label < num_classes:
        return label
    hint = f'; --ignore_index {label} leaves it out' * may_ignore
    if label < 0:
        return f'label {text} is negative, and labels count from 0{hint}'
    from_0 = '; labels count from 0' * (label == num_classes)
    return f'label {text} is outside 0..{num_classes - 1}, which are {num_classes} classes{from_0}{hint}'
