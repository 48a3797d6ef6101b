"""Images without targets: directories, files, patterns, lists, tables, .tar shards and paths from standard input.

    for name, source, fault in UnlabelledFiles(['photos/', 'more.txt', '-']): ...

A walk holds the names of one directory (or pattern) at a time, so the number of images does not matter. What cannot be
read is yielded with a fault, and the walk goes on.
"""

import csv
import glob
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from data.lists.class_folder import ClassFolder
from data.lists.list_format import (
    IMAGE_COLUMN_NAMES,
    encoding_of,
    is_blank,
    is_comment,
    path_with_slashes,
    split_columns,
)
from data.lists.picture_extensions import IMAGE_EXTENSIONS
from data.lists.shards import COMPRESSED_EXTENSIONS, SHARD_TYPES, TarShard, find_shards
from data.lists.table import csv_rows
from utils.base.errors import DanluError
from utils.base.file_names import name_fault, printable, unicode_form_hint
from utils.base.regular_files import NotRegularError, open_regular, read_regular_bytes
from utils.options.predict_options import STDIN, is_pattern

LIST_EXTENSIONS = ('.txt', '.lst', '.list')
TABLE_EXTENSIONS = ('.csv', '.tsv')
NO_FILE = 'a pipe or a device, not a file'
FIRST_BYTES = 1024  # of a file with an unknown extension, to tell a list from an image


class UnlabelledImage(NamedTuple):
    """One image without a target."""

    name: str  # the path as given; in an archive behind the path of the archive
    source: Any  # path (str), or TarMember
    fault: str | None = None  # why there is nothing to read


class TarMember(NamedTuple):
    """Location of an image in a .tar shard."""

    path: str  # of the shard
    version: tuple  # as of data.lists.shards.TarShard
    span: Any  # data.lists.shards.FileSpan


class UnlabelledFiles:
    """Iterates over the images that words name, in their order; within a directory they are sorted by name.

    Args:
        words: list of str: `-` for standard input, patterns, directories, and files: images, lists (.txt, .lst,
            .list: a path per line, the columns behind it are ignored), .csv, .tsv (a column image, or the first one),
            .jsonl ({"image": path} per line) and .tar shards.
        root: directory of relative paths in lists; default: that of the list, for standard input the working directory.

    Attributes:
        notes: lines (list of str) on what the walk left out so far.
        lists: paths (list of str) of the text files that were read as lists.
    """

    def __init__(self, words, root=None):
        self.words, self.root, self.notes, self.lists = words, root, [], []

    def __iter__(self):
        for word in self.words:
            for path in sorted(glob.glob(word, recursive=True)) if is_pattern(word) else [word]:
                try:
                    yield from self._of_path(path)
                except NotRegularError:
                    yield UnlabelledImage(path, None, NO_FILE)
                except OSError as error:
                    yield UnlabelledImage(path, None, f'cannot be read: {error.strerror}')
                except UnicodeDecodeError as error:
                    yield UnlabelledImage(path, None, f'not UTF-8 text ({error.reason}): save it as UTF-8')
                except (DanluError, csv.Error) as error:
                    yield UnlabelledImage(path, None, str(error).removeprefix(f'{path}: '))

    def _of_path(self, path):
        if path == STDIN:
            return self._lines(sys.stdin, self.root or '')
        ending = os.path.splitext(path)[1].lower()
        if os.path.isdir(path):
            return self._directory(path)
        if path.lower().endswith(COMPRESSED_EXTENSIONS):
            raise DanluError('compressed, which cannot be read in parts: unpack it')
        if ending == '.tar':
            return _shard(TarShard(path))
        if ending in IMAGE_EXTENSIONS or not (ending in TEXT_READERS or _is_text(path)):
            return [_image(path, path)]  # if it is no image, reading it says so
        self.lists.append(path)
        return self._text(path, TEXT_READERS.get(ending, UnlabelledFiles._lines))

    def _directory(self, path):
        faults = _Faults()
        folder, count = ClassFolder(Path(path), faults), 0
        for name in folder.pictures(os.curdir):
            yield from faults.taken()
            name = os.path.join(path, os.path.normpath(name))
            yield UnlabelledImage(name, name)
            count += 1
        yield from faults.taken()
        if not count and any(name.lower().endswith('.tar') for name in os.listdir(path)):
            for shard in find_shards(path):
                yield from _shard(shard)
            return
        self.notes += folder.notes()

    def _text(self, path, reader):
        with open_regular(path, 'r', encoding=encoding_of(path), newline='') as file:
            yield from reader(self, file, self.root or os.path.dirname(path))

    def _lines(self, lines, root):
        for line in lines:
            line = line.rstrip('\r\n')
            if not is_blank(line) and not is_comment(line, root):
                yield _image(*_path_in(line, root))

    def _rows(self, file, root):
        column = None
        for _, cells in csv_rows(file):
            if column is None:
                names = [cell.lower() for cell in cells]
                column = next((place for place, name in enumerate(names) if name in IMAGE_COLUMN_NAMES), None)
                if column is not None:
                    continue
                column = _first_image_column(cells, root)
            text = cells[column] if column < len(cells) else ''
            yield _image(text, _joined(root, text)) if text else UnlabelledImage(', '.join(cells), None, 'no image')

    def _json_lines(self, file, root):
        for number, line in enumerate(file, 1):
            if is_blank(line):
                continue
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield UnlabelledImage(f'{file.name}:{number}', None, f'invalid JSON: {error}')
                continue
            names = [name for name in fields if name.lower() in IMAGE_COLUMN_NAMES] if isinstance(fields, dict) else []
            text = fields if isinstance(fields, str) else fields[names[0]] if names else None
            if isinstance(text, str) and text:
                yield _image(text, _joined(root, text))
            else:
                yield UnlabelledImage(f'{file.name}:{number}', None, 'no path as "image"')


TEXT_READERS = {
    **dict.fromkeys(LIST_EXTENSIONS, UnlabelledFiles._lines),
    **dict.fromkeys(TABLE_EXTENSIONS, UnlabelledFiles._rows),
    '.jsonl': UnlabelledFiles._json_lines,
}


class _Faults:
    """Takes the faults of a ClassFolder and gives them back as UnlabelledImages."""

    def __init__(self):
        self.found = []

    def add(self, where, what):
        self.found.append(UnlabelledImage(where, None, what))

    def taken(self):
        found, self.found = self.found, []
        return found


def _image(name, source):
    """Return the UnlabelledImage of a path (str)."""
    fault = name_fault(name)
    return UnlabelledImage(printable(name), source, fault) if fault else UnlabelledImage(name, source)


def _joined(root, text):
    return os.path.join(root, path_with_slashes(root, text))


def _path_in(line, root):
    """Return the image that a line of a list names: the path as written, and below root.

    This is the whole line, or its first column if only that exists: a line may have a target, and a path may have
    blanks.
    """
    whole = line.strip()
    first = (split_columns(whole) or [''])[0]
    for text in (whole, first, *(whole.partition(sign)[0] for sign in ',;')):
        if text and os.path.exists(path := _joined(root, text)):
            return text, path
    text = whole if whole.lower().endswith(IMAGE_EXTENSIONS) else first
    return text, _joined(root, text)


def _first_image_column(cells, root):
    """Return the position of the image in the first row of a table without a header (int)."""
    found = (place for place, text in enumerate(cells) if text and os.path.exists(_joined(root, text)))
    named = (place for place, text in enumerate(cells) if text.lower().endswith(IMAGE_EXTENSIONS))
    column = next(found, next(named, None))
    if column is None:
        raise DanluError(
            f'its first line is {", ".join(cells[:10])}: it needs a column with the paths of the images, called image'
        )
    return column


def _is_text(path):
    with open_regular(path) as file:
        return b'\0' not in file.read(FIRST_BYTES)


def _shard(shard):
    """Yield the images of a shard (of SHARD_TYPES)."""
    if not isinstance(shard, SHARD_TYPES['.tar']):
        raise DanluError(f'{shard.path}: give this file itself')
    try:
        for key, span, _ in shard.walk(masks=False):
            name = f'{shard.path}/{key}{span.ending}'
            yield UnlabelledImage(name, TarMember(shard.path, shard.version, span))
    except DanluError as error:
        yield UnlabelledImage(shard.path, None, str(error).removeprefix(f'{shard.path}: '))


def content_of(image):
    """Return the content (bytes) of an UnlabelledImage.

    Raises:
        DanluError: it cannot be read; the message does not contain its name.
    """
    if image.fault is not None:
        raise DanluError(image.fault)
    if isinstance(image.source, TarMember):
        shard = TarShard(image.source.path)
        shard.version = image.source.version
        return shard.picture(image.source.span)
    try:
        return read_regular_bytes(image.source)
    except NotRegularError:
        raise DanluError(NO_FILE) from None
    except FileNotFoundError:
        raise DanluError(f'no such file{unicode_form_hint(image.source)}') from None
    except (OSError, ValueError) as error:
        raise DanluError(f'cannot be read: {getattr(error, "strerror", None) or error}') from None
