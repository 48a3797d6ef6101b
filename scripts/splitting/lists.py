"""Writes the list files of the parts, and the table of equal and similar images."""

import csv
import os

from utils.base.atomic_write import atomic_writer
from utils.base.csv_text import escape_cell
from utils.base.errors import DanluError

DUPLICATES = 'duplicates.csv'


def refuse_existing(paths):
    """Raise DanluError if one of the files (list of Path) exists: a list that a run was trained on must not change."""
    existing = [str(path) for path in paths if path.exists()]
    if existing:
        raise DanluError(f'--out: {existing[0]} exists already; give another directory, or delete it')


def write_list(path, samples, indices, comment):
    """Write a list file: image, tab, target per line, with paths relative to the list, so that all can be moved.

    Args:
        path: Path of the list.
        samples: scripts.splitting.samples.Samples.
        indices: samples to write (int64 array).
        comment: first line (str).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder, several = os.path.realpath(path.parent), len(samples.target_names or ()) > 1
    lines = [f'# {comment}']
    if several:
        lines.append('\t'.join(['image', *samples.target_names]))
    for index in indices.tolist():
        target = samples.targets[index]
        target = _relative(target, folder) if samples.has_target_files else target
        cells = [_relative(samples.images[index], folder), *(target.split(' ') if several else [target])]
        for cell in cells:
            if cell != cell.strip().strip('"') or any(sign in cell for sign in '\t\r\n'):
                raise DanluError(
                    f'{samples.images[index]}: {cell!r} cannot be written to a list, as it has a tab, a line break, or '
                    'a space or quote at an end; rename it'
                )
        lines.append('\t'.join(cells))
    with atomic_writer(path) as file:
        file.write('\n'.join(lines) + '\n')


def _relative(path, folder):
    """Return a path (str) relative to a directory, with slashes; absolute on another drive of Windows."""
    try:
        return os.path.relpath(path, folder).replace(os.sep, '/')
    except ValueError:
        return path


def write_duplicates(path, samples, groups, kinds, parts):
    """Write a row for each image that has an equal or similar one: group, image, target, kind, part.

    Args:
        path: Path of the file.
        samples: scripts.splitting.samples.Samples.
        groups: group of each sample (int64 array (N,)) by equality and similarity alone.
        kinds: dict from the index of a sample to 'equal' or 'similar'.
        parts: name of the part of each sample (list of str).
    """
    with atomic_writer(path) as file:
        writer = csv.writer(file)
        writer.writerow(['group', 'image', 'target', 'kind', 'part'])
        for index in sorted(kinds, key=lambda index: (groups[index], index)):
            row = [samples.names[index], samples.targets[index], kinds[index], parts[index]]
            writer.writerow([int(groups[index]), *map(escape_cell, row)])
