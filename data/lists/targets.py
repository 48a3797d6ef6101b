"""Targets in lists other than single labels: label sets, and numbers."""

import math
from array import array

import numpy as np
import torch

from data.lists.labels import distinct_targets, is_integer, label_or_fault
from utils.base.errors import DanluError
from utils.base.file_names import to_nfc
from utils.options.arguments import shorten_text

NO_LABEL = '-'
MAX_FLOAT32 = float(np.finfo(np.float32).max)


def split_labels(text):
    """Return the labels or class names (list of str) of a target 'cat,dog'; none for '-'."""
    return [] if text == NO_LABEL else [label.strip() for label in text.split(',')]


def label_set_names(listing):
    """Return the class names (sorted list of str) of a listing of label sets, or None if all are integers.

    Raises:
        DanluError: there are fewer than two classes, or labels are separated by other characters than commas.
    """
    found = sorted({to_nfc(label) for text in distinct_targets(listing)[0] for label in split_labels(text)} - {''})
    if not found or (len(found) == 1 and not is_integer(found[0])):
        raise DanluError(
            f'{listing.source}: the samples have {"no label" if not found else f"one label, {found[0]}"}: multilabel '
            'takes two or more; for one, give each sample a class and --task classification'
        )
    for sign in ';|':
        several = next(
            (name for name in found if sign in name and {*map(str.strip, name.split(sign))} & {*found}), None
        )
        if several is not None:
            raise DanluError(
                f'{listing.source}: {several!r} contains another label, as if {sign!r} separated labels; use commas: '
                f'{",".join(map(str.strip, several.split(sign)))}'
            )
    return None if all(map(is_integer, found)) else found


def count_label_sets(listing):
    """Return the number of classes (int) of a listing of integer label sets."""
    return max(2, 1 + max(int(label) for text in distinct_targets(listing)[0] for label in split_labels(text) if label))


def parse_label_sets(listing, num_classes, class_names, faults):
    """Return the label sets of a listing as a float32 tensor (N, K) of 0 and 1, adding invalid targets to `faults`.

    Args:
        num_classes: K; labels are 0 .. K-1.
        class_names: list of K names, or None.
    """
    values = np.zeros((len(listing), num_classes), dtype=np.float32)
    names = class_names or []
    known, sets = {to_nfc(name): label for label, name in enumerate(names)}, {}
    for index, text in enumerate(listing.targets):
        if text not in sets:
            sets[text] = _labels_or_fault(text, known, num_classes, names)
        if isinstance(sets[text], str):
            faults.add(listing.where(index), sets[text], index)
        else:
            values[index, sets[text]] = 1
    return torch.from_numpy(values)


def _labels_or_fault(text, known, num_classes, names):
    words = list(map(to_nfc, split_labels(text)))
    if '' in words:
        return f'{text!r} has an empty label; commas separate several, {NO_LABEL} stands for none'
    labels = [
        known[word] if word in known else label_or_fault(word, num_classes, names, may_ignore=False) for word in words
    ]
    fault = next((label for label in labels if isinstance(label, str)), None)
    if fault is None and len(set(labels)) < len(labels):
        return f'{text!r} has a label twice'
    return labels if fault is None else fault


def count_numbers(listing):
    """Return the number of numbers (int) in the first target of a listing."""
    return len(listing.targets[0].split())


def parse_numbers(listing, count, faults):
    """Return the numbers of a listing as a float32 tensor (N, count), adding invalid targets to `faults`."""
    values = array('f')
    for index, text in enumerate(listing.targets):
        words = text.split()
        numbers = [number_or_fault(word) for word in words]
        fault = next((number for number in numbers if isinstance(number, str)), None)
        if fault is None and len(numbers) != count:
            fault = f'{len(numbers)} number{"s" * (len(numbers) != 1)} instead of {count} (--num_targets {count})'
        if fault is not None:
            faults.add(listing.where(index), fault, index)
        values.extend([math.nan] * count if fault is not None else numbers)
    return torch.frombuffer(values, dtype=torch.float32).view(-1, count)


def number_or_fault(text):
    """Return the number (float) in a text, or why it is invalid (str)."""
    try:
        value = float(text)
    except ValueError:
        hint = '; blanks separate several' if ',' in text else ''
        return f'{text!r} is not a number{hint}'
    return value if abs(value) <= MAX_FLOAT32 else f'{shorten_text(text)} is not a finite number of 32 bits'
