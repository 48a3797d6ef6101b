"""What a list file or a directory names, held in a few flat arrays, and the faults found in it.

A million samples as Python strings take 100 MB and are copied into every worker, page by page, as reference counts
change. Here they are one tensor of bytes and one of offsets, which forked workers share and spawned ones map.
"""

import hashlib
import os
import re
from array import array
from pathlib import Path

import numpy as np
import torch

from utils.errors import DanluError

WORDS = re.compile(r'"([^"]*)"|(\S+)')
PICTURE_ENDINGS = ('.png', '.jpg', '.jpeg', '.bmp', '.ppm', '.pgm', '.pbm', '.tif', '.tiff', '.webp', '.gif')


class PackedStrings:
    """A read-only sequence of strings in two tensors: their UTF-8 bytes and where each one ends."""

    def __init__(self, strings):
        packed, ends = bytearray(), array('q', [0])
        for string in strings:
            packed += string.encode('utf-8', 'surrogateescape')
            ends.append(len(packed))
        self.packed = torch.frombuffer(packed or bytearray(1), dtype=torch.uint8)
        self.ends = torch.frombuffer(ends, dtype=torch.int64)

    def __len__(self):
        return len(self.ends) - 1

    def __getitem__(self, index):
        start, end = self.ends[index : index + 2].tolist()
        return self.packed[start:end].numpy().tobytes().decode('utf-8', 'surrogateescape')


class Faults:
    """Collects what is wrong with a list: the first 20 are shown, all are counted."""

    SHOWN = 20

    def __init__(self, source):
        self.source, self.count, self.shown = source, 0, []

    def add(self, where, what):
        """Note one fault: `where` is 'train.txt:12', `what` says what is wrong there."""
        self.count += 1
        if len(self.shown) < self.SHOWN:
            self.shown.append(f'  {where}: {what}')

    def stop_if_any(self):
        """Raise DanluError with the first faults and their count, if there are any."""
        if self.count:
            rest = [f'  ... and {self.count - self.SHOWN} more'] if self.count > self.SHOWN else []
            plural = 's' if self.count > 1 else ''
            lines = [f'{self.source} has {self.count} fault{plural}; mend or remove:', *self.shown, *rest]
            raise DanluError('\n'.join(lines))


class Listing:
    """The samples of one split: picture paths, targets as text, and the lines they stand in.

    Attributes:
        source: the list file or directory (str), for messages.
        images, targets: PackedStrings of equal length; a target is a label, a class name or a mask's path.
        lines: int32 tensor, the line of each sample, or None for a directory.
    """

    def __init__(self, source, root, images, targets, lines=None):
        self.source, self.root = str(source), str(root)
        self.images, self.targets = PackedStrings(images), PackedStrings(targets)
        self.lines = None if lines is None else torch.tensor(lines, dtype=torch.int32)

    def __len__(self):
        return len(self.images)

    def image_path(self, index):
        """Return the path (str) of a sample's picture."""
        return os.path.join(self.root, self.images[index])

    def target_path(self, index):
        """Return the path (str) of a sample's mask."""
        return os.path.join(self.root, self.targets[index])

    def where(self, index):
        """Return where a sample is named: 'lists/train.txt:12', or the picture's path for a directory."""
        return self.image_path(index) if self.lines is None else f'{self.source}:{self.lines[index].item()}'

    def content_hash(self):
        """Return the SHA-256 (str) of the names and targets, in their order."""
        digest = hashlib.sha256()
        for strings in (self.images, self.targets):
            digest.update(strings.packed.numpy())
            digest.update(strings.ends.numpy())
        return digest.hexdigest()


def read_list(path, root=None):
    """Read a list file: `image<TAB or blank>target` per line, `#` comments and blank lines allowed.

    Paths that hold blanks stand in double quotes, or the line is separated by a tab.

    Args:
        path: the list file, UTF-8, with or without byte order mark, any line ends.
        root: what its paths are relative to; default: the list file's directory.

    Raises:
        DanluError: the file is empty, is no text, or has lines without exactly two columns.
    """
    path, faults = Path(path), Faults(path)
    images, targets, lines = [], [], array('i')
    try:
        with open(path, encoding='utf-8-sig') as file:
            for number, line in enumerate(file, 1):
                columns = split_columns(line)
                if len(columns) == 2 and all(columns):
                    images.append(columns[0])
                    targets.append(columns[1])
                    lines.append(number)
                elif columns:
                    faults.add(f'{path}:{number}', _wrong_columns(columns))
    except UnicodeDecodeError as error:
        raise DanluError(f'{path} is no UTF-8 text ({error.reason}): save it as UTF-8') from None
    faults.stop_if_any()
    if not images:
        raise DanluError(f'{path} names no sample: it needs lines of image<TAB or blank>target')
    return Listing(path, root or path.parent.absolute(), images, targets, lines)


def split_columns(line):
    """Return the columns (list of str) of a list file's line; none for a blank line or a comment."""
    line = line.strip('\r\n')
    if not line.strip() or line.lstrip().startswith('#'):
        return []
    if '\t' in line:
        return [column.strip().strip('"') for column in line.split('\t')]
    if '"' in line:
        return [quoted or plain for quoted, plain in WORDS.findall(line)]
    return line.split()


def _wrong_columns(columns):
    hint = '; a path with blanks needs "quotes" or a tab behind it' if len(columns) > 2 else ''
    return f'{len(columns)} column{"s" * (len(columns) > 1)} instead of image and target{hint}'


def read_folder(path):
    """Read a directory with one sub-directory per class; pictures may lie at any depth below it.

    Returns:
        Listing whose targets are the sub-directories' names, in sorted order, so that it is the same on every machine.

    Raises:
        DanluError: there are no sub-directories, or one of them holds no picture.
    """
    path, faults = Path(path), Faults(path)
    images, targets = [], []
    for name in folder_classes(path):
        before = len(images)
        for folder, below, files in os.walk(path / name):
            below.sort()
            relative = os.path.relpath(folder, path)
            found = sorted(file for file in files if file.lower().endswith(PICTURE_ENDINGS))
            images.extend(os.path.join(relative, file) for file in found)
        targets.extend([name] * (len(images) - before))
        if len(images) == before:
            faults.add(path / name, f'no picture ({" ".join(PICTURE_ENDINGS)}) in this class')
    faults.stop_if_any()
    return Listing(path, path, images, targets)


def folder_classes(path):
    """Return the class names (sorted list of str) of a directory: its sub-directories, hidden ones left out.

    Raises:
        DanluError: it has none.
    """
    names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith('.'))
    if not names:
        raise DanluError(f'{path} has no sub-directories: folder data needs one per class, with its pictures inside')
    return names


def label_names(listing):
    """Return the class names (sorted list of str) of a listing whose targets are not all integers, else None."""
    names = {listing.targets[index] for index in range(len(listing))}
    return None if all(_is_integer(name) for name in names) else sorted(names)


def parse_labels(listing, num_classes, class_names, faults):
    """Return the labels of a listing as an int64 tensor (N,), adding to `faults` those that do not fit.

    Args:
        num_classes: labels are 0 .. num_classes-1.
        class_names: list of num_classes names, or None. Targets that are not integers are looked up here.
    """
    labels = np.zeros(len(listing), dtype=np.int64)
    numbers = {name: number for number, name in enumerate(class_names or [])}
    for index in range(len(listing)):
        text = listing.targets[index]
        if text in numbers:
            labels[index] = numbers[text]
        elif not _is_integer(text):
            known = ', '.join(list(numbers)[:20]) or f'the labels are integers, 0..{num_classes - 1}'
            faults.add(listing.where(index), f'unknown class {text!r} (known: {known})')
        elif not 0 <= int(text) < num_classes:
            what = f'label {text} is outside 0..{num_classes - 1} (--num_classes {num_classes})'
            faults.add(listing.where(index), what)
        else:
            labels[index] = int(text)
    return torch.from_numpy(labels)


def _is_integer(text):
    return re.fullmatch(r'[+-]?\d{1,18}', text) is not None
