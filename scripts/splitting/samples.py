"""The samples to split: images, targets, and the group that each sample belongs to."""

import os
import re
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.lists.list_file import ErrorCollector, read_folder, read_list
from data.lists.list_format import FORMAT_LINES, encoding_of, find_format, is_blank, is_comment, split_columns
from data.lists.picture_extensions import IMAGE_EXTENSIONS
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular

SPLIT_DIRECTORIES = {'train', 'training', 'val', 'valid', 'validation', 'dev', 'test'}
TABLE_ENDINGS = ('.npz', '.npy', '.tar', '.jsonl')


class Samples(NamedTuple):
    """The samples of a directory or list.

    Attributes:
        source: the directory or list (str), for messages.
        images: absolute paths (list of str).
        names: paths relative to the directory or to the root of the list, with slashes (list of str).
        targets: as written (list of str), or absolute paths if `has_target_files`.
        has_target_files: whether targets are images, such as masks (bool).
        target_names: names of the target columns (list of str), or None.
        header: column names of the list (list of str), or None.
        notes: lines (list of str) on how the data was read.
    """

    source: str
    images: list
    names: list
    targets: list
    has_target_files: bool = False
    target_names: list | None = None
    header: list | None = None
    notes: tuple = ()

    def __len__(self):
        return len(self.images)


def read_samples(path, root=None, group=None):
    """Return the Samples of a directory with one subdirectory per class, or of a list file.

    Args:
        path: of the directory or list (str).
        root: directory of the list's relative paths, or None: that of the list.
        group: --group; if it names a column of the list, this column is not a target.

    Raises:
        DanluError: there are no samples, lines are invalid, or the data is of another kind.
    """
    if os.path.isdir(path):
        inner = {entry.name.lower() for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith('.')}
        if inner and inner <= SPLIT_DIRECTORIES:
            raise DanluError(
                f'{path} is split already: it has the directories {", ".join(sorted(inner))}; give one of them'
            )
        listing, header = read_folder(path), None
    else:
        if path.lower().endswith(TABLE_ENDINGS):
            raise DanluError(f'{path}: split.py takes a directory of images or a list of them; {_advice_for(path)}')
        faults = ErrorCollector(path)
        listing, header = read_list(path, root, faults, many=True), header_of(path, root)
        faults.stop_if_any()
    images = [os.path.abspath(listing.image_path(index)) for index in range(len(listing))]
    names, targets = [name.replace(os.sep, '/') for name in listing.images], list(listing.targets)
    if not any(name.lower().endswith(IMAGE_EXTENSIONS) for name in names):
        raise DanluError(
            f'{path}: its first column names no image ({names[0]}); a table of numbers is split by --val_split of '
            'train.py'
        )
    if header is not None and group in listing.target_names:
        listing.target_names = [name for name in listing.target_names if name != group]
        if not listing.target_names:
            raise DanluError(f'{path}: without the column {group} of --group there is no target')
        columns = [read_column(path, root, name) for name in listing.target_names]
        targets = [' '.join(cells) for cells in zip(*columns, strict=True)]
    files = not os.path.isdir(path) and all(target.lower().endswith(IMAGE_EXTENSIONS) for target in targets)
    if files:
        targets = [os.path.abspath(listing.target_path(index)) for index in range(len(listing))]
    return Samples(path, images, names, targets, files, listing.target_names, header, tuple(listing.notes))


def _advice_for(path):
    """Return what to do with a file of another kind (str)."""
    if path.lower().endswith(('.npz', '.npy')):
        return 'for an array file, train.py has --val_split'
    return 'shards of a stream are split by moving whole shards'


def header_of(path, root=None):
    """Return the column names of a list (list of str), or None if it has no header."""
    return _format_of(path, root)[1]


def _format_of(path, root):
    """Return the ListFormat of a list and its header (list of str or None)."""
    root = root or Path(path).parent.absolute()
    with open_regular(path, 'r', encoding=encoding_of(path)) as file:
        lines = list(islice((line for line in file if not (is_blank(line) or is_comment(line, root))), FORMAT_LINES))
    found = find_format(path, root, lines, many=True)
    return found, split_columns(lines[0], found.separator) if found.header else None


def read_column(path, root, name):
    """Return a column (list of str) of a list with a header."""
    found, header = _format_of(path, root)
    root, values = root or Path(path).parent.absolute(), []
    with open_regular(path, 'r', encoding=encoding_of(path)) as file:
        for line in file:
            if not (is_blank(line) or is_comment(line, root)):
                cells = split_columns(line, found.separator)
                values.append(cells[header.index(name) + len(cells) - len(header)])  # pandas leaves out the first name
    return values[1:]


def group_samples(samples, group, root=None):
    """Return the group of each sample (int64 array (N,)) and lines (list of str) on the groups.

    Args:
        samples: Samples.
        group: the name of a column of the list, or a regular expression, which is searched in the name of each image:
            images with the same captured text, or the same match if nothing is captured, are a group.
        root: directory of the list's relative paths, or None.

    Raises:
        DanluError: the expression is invalid, or matches no name.
    """
    if samples.header is not None and group in samples.header:
        keys, missing = read_column(samples.source, root, group), []
    else:
        keys, missing = _matches(samples, group)
    texts = dict.fromkeys(key for key in keys if key is not None)
    codes = dict(zip(texts, range(len(texts)), strict=True))
    spare = iter(range(len(texts), len(texts) + len(missing)))
    groups = np.array([next(spare) if key is None else codes[key] for key in keys], np.int64)
    sizes = np.bincount(groups)
    notes = [f'groups by --group: {len(sizes):,}, of {sizes.min():,} to {sizes.max():,} samples']
    if missing:
        notes.append(
            f'--group matches no part of {len(missing):,} of {len(samples):,} names, such as {missing[0]}: each of '
            'these samples is a group of its own'
        )
    return groups, notes


def _matches(samples, group):
    """Return the key (str, or None without a match) of each sample, and the names (list of str) without a match."""
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise DanluError(f'--group {group}: not a valid regular expression ({error})') from None
    found = [pattern.search(name) for name in samples.names]
    keys = [None if match is None else '\0'.join(map(str, match.groups())) or match[0] for match in found]
    missing = [name for name, key in zip(samples.names, keys, strict=True) if key is None]
    if len(missing) == len(samples):
        columns = f' and no column ({", ".join(samples.header)})' if samples.header else ''
        raise DanluError(f'--group {group}: it matches no name{columns} of {samples.source}, such as {missing[0]}')
    return keys, missing
