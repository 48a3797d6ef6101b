"""Detecting the format of a list file: separator, header, index column, and Windows paths.

The plain format, `image<TAB or space>target`, is detected from the first lines and read in blocks
(data/lists/fast_list_parser.py). Formats of pandas, Excel and Windows are converted to it, and a note reports this.
"""

import codecs
import csv
import os
import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data.lists.picture_extensions import IMAGE_EXTENSIONS
from utils.base.errors import DanluError
from utils.base.regular_files import open_regular

WORD_PATTERN = re.compile(r'"([^"]*)"|(\S+)')
FORMAT_LINES = 20  # read to detect the format
IMAGE_COLUMN_NAMES = set(
    'image images img path paths file files filename filenames file_name filepath file_path image_path img_path '
    'image_name image_file picture'.split()
)
TARGET_COLUMN_NAMES = set('label labels target targets class classes class_id category mask masks'.split())
INDEX_COLUMN_NAMES = {'', 'index', 'idx', 'id', 'unnamed: 0'}
BACKSLASH, SLASH = b'\\/'


@dataclass(frozen=True)
class ListFormat:
    """The format of a list's lines.

    Args:
        separator: ',' or ';', or None for a tab or spaces.
        header: whether the first line that is not a comment names the columns.
        count: number of columns, or None: image and target, without a header or index.
        image: the column of the image.
        targets: the columns of the target, or None: all others.
        note: line for the log (str), or None.
        target_names: names of the target columns (list of str), if there is a header.
    """

    separator: str | None = None
    header: bool = False
    count: int | None = None
    image: int = 0
    targets: tuple | None = None
    note: str | None = None
    target_names: list | None = None

    @property
    def is_plain(self):
        """Return whether all lines except a header are `image<TAB or space>target`."""
        return self.separator is None and self.count is None

    def columns(self, line):
        """Return image and target columns (list of str) of a line; all columns of an invalid line."""
        found = split_columns(line, self.separator)
        if self.count is None or len(found) != self.count:
            return found
        return [found[self.image], *(found[place] for place in self.targets)]


PLAIN = ListFormat()


def is_blank(line):
    """Return whether a line is empty or white space."""
    return not line.strip()


def is_comment(line, root=None):
    """Return whether a line begins with # and not with the name of an existing file below `root` (None: not checked).

    Args:
        line: str.
        root: directory of the list's relative paths.
    """
    if not line.lstrip().startswith('#'):
        return False
    ways = [] if root is None else [split_columns(line, separator) for separator in (None, ',', ';')]
    return not any(len(columns) > 1 and columns[0] != '#' and path_exists(root, columns[0]) for columns in ways)


def split_columns(line, separator=None):
    """Return the columns (list of str) of a line, separated by `separator`, or by tabs or spaces (None)."""
    line = line.strip('\r\n')
    if separator is not None:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]
    if '\t' in line:
        return [column.strip().strip('"') for column in line.strip().split('\t')]
    if '"' in line:
        return [quoted or plain for quoted, plain in WORD_PATTERN.findall(line)]
    return line.split()


def path_exists(root, name):
    """Return whether a path exists, as written or with backslashes replaced by slashes."""
    return bool(name) and any(os.path.exists(os.path.join(root, text)) for text in {name, name.replace('\\', '/')})


def find_format(path, root, lines, many):
    """Return the ListFormat of a list.

    Args:
        path: of the list, for messages.
        root: directory of its relative paths.
        lines: its first lines (list of str) without blank lines and comments.
        many: whether a target may have several columns.

    Raises:
        DanluError: the header does not determine the target columns.
    """
    rows = [split_columns(line) for line in lines]
    if not rows or (len(rows[0]) == 2 and not rows[0][1].startswith((',', ';')) and path_exists(root, rows[0][0])):
        return PLAIN
    separator = _separator(path, root, lines, rows)
    if separator is not None:
        rows = [split_columns(line, separator) for line in lines]
    header = rows[0] if _is_header(root, rows) else None
    rows = rows[header is not None :]
    indexed = _has_index(root, header, rows)
    if header is None and separator is None and not indexed:
        return PLAIN
    count = len(rows[0]) if rows else len(header)
    if header is not None and indexed and len(header) == count - 1:
        header = ['', *header]
    names = header if header is not None and len(header) == count else [None] * count
    image, targets = _column_positions(path, names, int(indexed), many)
    plain = separator is None and not indexed and (image, targets) == (0, tuple(range(1, count)))
    if header is None and not many and len(targets) > 1:  # an invalid line, reported later
        targets = tuple(range(image + 1, count))
    note = _note(path, separator, header, names, indexed, image, targets)
    called = None if names[0] is None else [names[place] for place in targets]
    return ListFormat(separator, header is not None, None if plain else count, image, targets, note, called)


def _separator(path, root, lines, rows):
    """Return the comma or semicolon that separates the columns of all lines (str), or None for tabs or spaces."""
    for separator in ',;':
        having = sum(separator in line for line in lines)  # an invalid line may lack it
        if separator not in lines[0] or 2 * having < len(lines) or any('\t' in line for line in lines):
            continue
        found = [split_columns(line, separator) for line in lines]
        if all(len(row) == 1 for row in rows):
            return separator
        by_blanks = any(len(row) > 1 and not row[1].startswith(separator) and path_exists(root, row[0]) for row in rows)
        by_commas = any(path_exists(root, cell) for row in found for cell in row[:2])
        if not by_blanks and (by_commas or str(path).lower().endswith('.csv')):
            return separator
    return None


def _is_header(root, rows):
    """Return whether the first row (list of str) names the columns."""
    first = [cell.lower() for cell in rows[0]]
    if len(first) < 2 or any(map(_is_number, first)) or any(path_exists(root, cell) for cell in rows[0]):
        return False
    if IMAGE_COLUMN_NAMES & set(first):
        return True
    no_picture = not any(cell.endswith(IMAGE_EXTENSIONS) for cell in first)
    return no_picture and len(rows) > 1 and any(path_exists(root, cell) for cell in rows[1][:2])


def _has_index(root, header, rows):
    """Return whether the first column counts the lines, as written by pandas."""
    if not rows or any(len(row) < 3 or not re.fullmatch(r'\d{1,12}', row[0]) for row in rows):
        return False
    numbers = [int(row[0]) for row in rows]
    if any(later != before + 1 for before, later in pairwise(numbers)):
        return False
    if header is not None and len(header) == len(rows[0]) and header[0].lower() not in INDEX_COLUMN_NAMES:
        return False
    first = rows[0]
    return not path_exists(root, first[0]) and (
        path_exists(root, first[1]) or first[1].lower().endswith(IMAGE_EXTENSIONS)
    )


def _column_positions(path, names, first, many):
    """Return the column of the image (int) and those of the target (tuple of int).

    Args:
        path: of the list, for messages.
        names: column names (list of str), or list of None without a header.
        first: the first column after the index (int).
        many: whether a target may have several columns.
    """
    known = [str(name or '').lower() for name in names]
    image = next((place for place, name in enumerate(known) if place >= first and name in IMAGE_COLUMN_NAMES), first)
    others = tuple(place for place in range(first, len(names)) if place != image)
    targets = tuple(place for place in others if known[place] in TARGET_COLUMN_NAMES) or others
    if len(targets) > 1 and not many and names[0] is not None:
        raise DanluError(
            f'{path}: its header names the columns {", ".join(names)}: call the one with the target "label" or '
            '"target", or remove the others'
        )
    return image, targets


def _note(path, separator, header, names, indexed, image, targets):
    """Return the note (str) on how a list is read."""
    parts = [f'columns separated by {separator!r}'] * (separator is not None)
    parts += [f'the first line is a header ({", ".join(header or [])})'] * (header is not None)
    parts += ['the first column counts the lines and is left out'] * indexed
    if names[0] is not None:
        parts.append(f'image: {names[image]}, target: {", ".join(names[place] for place in targets)}')
    return f'{path}: {"; ".join(parts)}'


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def encoding_of(path):
    """Return the encoding (str) of a text file: UTF-16 if it has that byte order mark, otherwise UTF-8."""
    with open_regular(path) as file:
        return 'utf-16' if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else 'utf-8-sig'


def replace_backslashes(root, strings, chosen):
    """Replace backslashes by slashes in paths that only exist with slashes, in place; return how many (int).

    Args:
        root: directory of relative paths.
        strings: data.lists.string_array.StringArray.
        chosen: function: count -> positions (int64 array) to look up among so many paths. If all of these only exist
            with slashes, all paths are changed.
    """
    packed, ends = strings.packed.numpy(), strings.ends.numpy()
    signs = np.flatnonzero(packed[: ends[-1]] == BACKSLASH)
    if not len(signs):
        return 0
    owners = np.searchsorted(ends, signs, side='right') - 1
    having = np.unique(owners)
    looked_at = having[chosen(len(having))]
    wrong = [index for index in looked_at.tolist() if path_with_slashes(root, strings[index]) != strings[index]]
    changed = having if len(wrong) == len(looked_at) else np.array(wrong, np.int64)
    packed[signs[np.isin(owners, changed)]] = SLASH
    return len(changed)


def path_with_slashes(root, text):
    """Return a path (str) below root, with slashes for backslashes if the file only exists with slashes."""
    if '\\' not in text or os.path.exists(os.path.join(root, text)):
        return text
    replaced = text.replace('\\', '/')
    return replaced if os.path.exists(os.path.join(root, replaced)) else text
