"""Shards of a stream: tar archives of samples, and text files with one sample per line.

Walking over a shard yields the locations of its samples, not their contents. For an archive only headers are read:
10,000 samples of two files take a third of a second.
"""

import csv
import json
import os
import tarfile
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from data.lists.class_folder import extension_counts_text
from data.lists.list_format import encoding_of, path_with_slashes
from data.lists.picture_extensions import IMAGE_EXTENSIONS
from utils.base.errors import DanluError
from utils.base.file_names import name_fault, printable, unicode_form_hint
from utils.base.regular_files import NotRegularError, open_regular, read_regular_bytes
from utils.base.text_table import count_text

MASK_EXTENSIONS = tuple(f'{kind}{ending}' for kind in ('.mask', '.seg') for ending in IMAGE_EXTENSIONS)
LABEL_EXTENSIONS = ('.cls', '.json')
TARGET_FIELDS = ('target', 'label')  # alternatives, in a line or a .json file
COMPRESSED_EXTENSIONS = ('.tgz', '.tbz2', '.txz')
COMPRESSED_EXTENSIONS += tuple(
    kind + ending for kind in ('.tar', '.csv', '.jsonl') for ending in ('.gz', '.bz2', '.xz', '.zst', '.zip')
)
TRAILING_BYTES = 2**16  # checked after the end of an archive


class FileSpan(NamedTuple):
    """Location of a file in an archive."""

    ending: str  # from the first dot of the name, in lower case: '.jpg'
    offset: int  # bytes
    size: int  # bytes


def find_shards(path, root=None):
    """Return the shards (list) of a .tar, .csv or .jsonl file or of a directory with such files, sorted by name.

    Args:
        path: the file or directory; hidden files and sub-directories are skipped.
        root: directory of relative paths in .csv and .jsonl lines; default: the directory of the shard.

    Raises:
        DanluError: there are no shards, they are of several types, or they are compressed.
    """
    path = Path(path)
    try:
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_file()) if path.is_dir() else [path.name]
    except OSError as error:
        raise DanluError(f'{path} cannot be read: {error.strerror}') from None
    folder = path if path.is_dir() else path.parent
    names = [name for name in names if not name.startswith('.') or not path.is_dir()]
    packed = [name for name in names if name.lower().endswith(COMPRESSED_EXTENSIONS)]
    chosen = [name for name in names if name.lower().endswith(tuple(SHARD_TYPES))]
    for name in chosen:
        if fault := name_fault(name):
            raise DanluError(f'{folder / printable(name)}: {fault}')
    kinds = sorted({os.path.splitext(name)[1].lower() for name in chosen})
    if packed:
        raise DanluError(
            f'{folder / packed[0]} is compressed and cannot be read in parts: unpack it to a plain .tar, .csv or '
            '.jsonl (compression hardly makes images smaller)'
        )
    if not chosen:
        raise DanluError(
            f'{path}: no shard; a stream takes a {", ".join(SHARD_TYPES)} file or a directory of such files'
        )
    if len(kinds) > 1:
        raise DanluError(
            f'{path} has shards of several kinds ({", ".join(kinds)}): put each kind into its own directory'
        )
    return [SHARD_TYPES[kinds[0]](folder / name, root) for name in chosen]


def notes_of_others(path):
    """Return a note (list of str, one or none) on files and directories beside the shards, which are not read."""
    path, others, folders = Path(path), Counter(), 0
    for entry in os.scandir(path) if path.is_dir() else ():
        if entry.is_dir():
            folders += not entry.name.startswith('.')
        elif not entry.name.startswith('.') and not entry.name.lower().endswith(tuple(SHARD_TYPES)):
            others[os.path.splitext(entry.name)[1].lower()] += 1
    parts = (
        [f'{count_text(others.total(), "file")} ({extension_counts_text(others)}) that are no shards'] if others else []
    )
    parts += [f'what lies in {count_text(folders, "directory", "directories")}'] if folders else []
    return [f'{path}: left out: {", ".join(parts)}'] if parts else []


class TarShard:
    """An uncompressed tar archive in the format of WebDataset.

    The files of a sample follow each other and share a key, the path up to the first dot of the name: `000123.jpg` with
    `000123.cls` (a label or class name), `000123.json` ({"label": ...} or {"target": ...}) or `000123.mask.png` (or
    .seg.png). Files with other extensions and hidden files (such as ._ files of macOS) are skipped.

    Args:
        path: the archive.
        root: not used.
    """

    identity = 'the names and sizes of the archives'

    def __init__(self, path, root=None):
        self.path, self.version = str(path), None  # version: identifies the archive at this path

    def where(self, name):
        """Return the location of a sample (str)."""
        return f'{self.path}: {name}'

    def walk(self, masks):
        """Yield (key, image, target) of each sample in order: str and two FileSpans; the target is None if missing.

        Args:
            masks: whether targets are masks; otherwise labels.

        Raises:
            DanluError: the archive is damaged, or a sample is ambiguous or has no image.
        """
        key, spans = None, []
        for new_key, span in self._files():
            if new_key != key and spans:
                yield from self._sample(key, spans, masks)
                spans = []
            key = new_key
            spans.append(span)
        if spans:
            yield from self._sample(key, spans, masks)

    def _files(self):
        """Yield (key, Span) of each file in the archive."""
        try:
            with (
                open_regular(self.path) as file,
                tarfile.open(fileobj=PositionTrackingFile(file), mode='r:') as archive,
            ):
                facts = os.fstat(file.fileno())
                self.version = facts.st_ino, facts.st_mtime_ns, facts.st_size
                while (member := archive.next()) is not None:
                    archive.members.clear()  # tarfile would keep them all in memory
                    parts = [part for part in member.name.split('/') if part not in ('', '.')]
                    if member.isreg() and not any(part.startswith('.') and part != '..' for part in parts):
                        if fault := name_fault(member.name):
                            raise DanluError(f'{self.path}: {printable(member.name)}: {fault}')
                        if member.issparse():
                            raise DanluError(
                                f'{self.path}: {printable(member.name)}: a sparse file of {member.size:,} bytes, '
                                'which is not read; pack the archive without --sparse'
                            )
                        stem, dot, ending = parts[-1].partition('.')
                        span = FileSpan((dot + ending).lower(), member.offset_data, member.size)
                        yield '/'.join([*parts[:-1], stem]), span
                file.seek(archive.offset)
                if file.read(TRAILING_BYTES).strip(b'\0'):  # tarfile stopped before the end
                    raise DanluError(
                        f'{self.path}: damaged at byte {archive.offset:,}, or several archives put together: what is '
                        'behind it cannot be read; create the archive again'
                    )
        except NotRegularError as error:
            raise DanluError(f'{self.path} cannot be read: {error.strerror}') from None
        except (tarfile.TarError, OSError) as error:
            raise DanluError(f'{self.path} cannot be read as a .tar, or only in part ({error}): get it again') from None

    def _sample(self, key, spans, masks):
        pictures = [span for span in spans if span.ending in IMAGE_EXTENSIONS]
        targets = [span for span in spans if span.ending in (MASK_EXTENSIONS if masks else LABEL_EXTENSIONS)]
        names = ', '.join(f'{key.rpartition("/")[2]}{span.ending}' for span in spans)
        if not pictures and not targets and not any(span.ending.endswith(IMAGE_EXTENSIONS) for span in spans):
            return
        if len(pictures) != 1:
            what = 'several images' if pictures else 'no image'
            hint = 'a mask ends in .mask.png' if pictures else 'a key ends at the first dot, so names take no other'
            raise DanluError(
                f'{self.where(key)}: {what} among {names}; the files of a sample follow one another; {hint}'
            )
        if len(targets) > 1 and not {span.ending for span in targets} == set(LABEL_EXTENSIONS):
            raise DanluError(f'{self.where(key)}: several targets among {names}; keep one')
        yield key, pictures[0], targets[0] if targets else None  # the first of .cls and .json

    def picture(self, span):
        """Return the content (bytes) of an image."""
        return self._content(span)

    def mask(self, span):
        """Return the content (bytes) of a mask.

        Raises:
            DanluError: there is none.
        """
        if span is None:
            raise DanluError('no mask: pack it behind the image as <key>.mask.png or <key>.seg.png')
        return self._content(span)

    def label(self, span):
        """Return the label (str) of a sample as stored.

        Raises:
            DanluError: there is none, or it is not text.
        """
        if span is None:
            raise DanluError('no label: pack it behind the image as <key>.cls or <key>.json')
        try:
            text = self._content(span).decode('utf-8-sig').strip()
        except UnicodeDecodeError:
            raise DanluError(f'its {span.ending} is not UTF-8 text') from None
        return target_field(_parse_json(text), f'its {span.ending}') if span.ending == '.json' else text

    def _content(self, span):
        content = OPEN_FILES.read(self.path, self.version, span.offset, span.size)
        if len(content) < span.size:
            raise DanluError('the archive ends within this file: get the archive again')
        return content

    def update_digest(self, digest):
        """Update a hashlib object with what `identity` names."""
        digest.update(f'{os.path.basename(self.path)}\0{os.path.getsize(self.path)}\0'.encode())


class LineShard:
    """A text file with one sample per line: the path of the image, and the target.

    Args:
        path: the file, UTF-8.
        root: directory of relative paths; default: that of the file.
    """

    identity = 'the lines, not the files that they name'

    def __init__(self, path, root=None):
        self.path, self.root = str(path), str(root or Path(path).parent.absolute())

    def where(self, name):
        """Return the location of a sample (str)."""
        return f'{self.path}:{name}'

    def walk(self, masks):
        """Yield (line, image, target) of each sample in order: line number from 1, and two texts as written.

        Raises:
            DanluError: the file cannot be read, or a line is invalid.
        """
        try:
            with open_regular(self.path, 'r', encoding=encoding_of(self.path), newline='') as file:
                for number, fields in self.rows(file):
                    try:
                        picture = fields.get('image') if isinstance(fields, dict) else None
                        if not isinstance(picture, str) or not picture:
                            raise DanluError(f'no path as "image"{_fields_text(fields)}')
                        if fault := name_fault(picture):
                            raise DanluError(f'{printable(picture)!r}: {fault}')
                        sample = number, picture, target_field(fields, 'it')
                    except DanluError as error:
                        raise DanluError(f'{self.where(number)}: {error}') from None
                    yield sample
        except UnicodeDecodeError as error:
            raise DanluError(f'{self.path} is not UTF-8 text ({error.reason}): save it as UTF-8') from None
        except OSError as error:
            raise DanluError(f'{self.path} cannot be read: {error.strerror}') from None

    def picture(self, name):
        """Return the content (bytes) of an image."""
        path = Path(self.root, path_with_slashes(self.root, name))
        try:
            return read_regular_bytes(path)
        except NotRegularError:
            raise DanluError(f'{path}: a pipe or a device, not a file') from None
        except FileNotFoundError:
            raise DanluError(f'{path}: no such file{unicode_form_hint(path)}') from None
        except (OSError, ValueError) as error:
            raise DanluError(f'{path}: cannot be read: {error}') from None

    def mask(self, name):
        """Return the content (bytes) of a mask."""
        return self.picture(name)

    def label(self, text):
        """Return the label (str) of a sample as written."""
        return text

    def update_digest(self, digest):
        """Update a hashlib object with what `identity` names."""
        with open_regular(self.path) as file:
            while block := file.read(2**20):
                digest.update(block.replace(b'\r', b''))  # independent of line ends


class CsvShard(LineShard):
    """A .csv file whose first line names its columns: image, and target or label; other columns are ignored."""

    def rows(self, file):
        """Yield (line number, fields) of each line: int and dict."""
        reader = csv.DictReader(file, strict=True)
        try:
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            if 'image' not in columns or not set(columns) & set(TARGET_FIELDS):
                raise DanluError(
                    f'{self.path}:1: a .csv begins with a line that names its columns, image and target (or label), '
                    f'separated by commas; this one begins with {", ".join(columns) or "nothing"}'
                )
            for fields in reader:
                yield reader.line_num, fields
        except csv.Error as error:
            raise DanluError(f'{self.where(reader.reader.line_num)}: {error}') from None


class JsonLinesShard(LineShard):
    """A .jsonl file: each line is {"image": path, "target": ...} or with "label"; other fields are ignored."""

    def rows(self, file):
        """Yield (line number, parsed JSON) of each line."""
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield number, _parse_json(line)
                except DanluError as error:
                    raise DanluError(f'{self.where(number)}: {error}') from None


SHARD_TYPES = {'.tar': TarShard, '.csv': CsvShard, '.jsonl': JsonLinesShard}


class PositionTrackingFile:
    """A file for tarfile that keeps its own position, as tarfile asks for it twice per header."""

    def __init__(self, file):
        self.file, self.position = file, 0

    def tell(self):
        """Return the position (int)."""
        return self.position

    def seek(self, position):
        """Set the position (int)."""
        self.position = self.file.seek(position)

    def read(self, size):
        """Return the next `size` bytes, or fewer at the end."""
        content = self.file.read(size)
        self.position += len(content)
        return content


class OpenFiles(threading.local):
    """Reads parts of files and keeps some files open per thread and process, as opening is slow on file servers."""

    MAX_OPEN_FILES = 4  # usually enough for the shards in a shuffle buffer

    def __init__(self):
        self.files = {}

    def read(self, path, version, offset, size):
        """Return `size` bytes (fewer at the end) of the file `path` from `offset`.

        The file is reopened if its `version` (any hashable value) changed.

        Raises:
            DanluError: the file cannot be read.
        """
        key = os.getpid(), path, version  # a forked process shares file positions with its parent
        try:
            if key not in self.files:
                while len(self.files) >= self.MAX_OPEN_FILES:
                    self.files.pop(next(iter(self.files))).close()
                self.files[key] = open_regular(path)
            self.files[key].seek(offset)
            return self.files[key].read(size)
        except OSError as error:
            raise DanluError(f'{path} cannot be read: {error.strerror}') from None


OPEN_FILES = OpenFiles()


def target_field(fields, what):
    """Return the target (str) from the fields of a line or a .json file.

    Raises:
        DanluError: there is none, or it is neither text nor an integer.
    """
    values = (
        [fields[name] for name in TARGET_FIELDS if fields.get(name) is not None] if isinstance(fields, dict) else []
    )
    if not values:
        raise DanluError(f'{what} has neither "target" nor "label"{_fields_text(fields)}')
    if isinstance(values[0], bool) or not isinstance(values[0], str | int):
        raise DanluError(f'{what} has {values[0]!r} for a target: it takes a label (a whole number) or a text')
    return str(values[0]).strip()


def _fields_text(fields):
    return f'; its fields: {", ".join(map(str, fields))}' if isinstance(fields, dict) else ', it is no {...}'


def _parse_json(text):
    try:
        return json.loads(text)
    except RecursionError:
        raise DanluError('invalid JSON: nested too deeply') from None
    except ValueError as error:
        raise DanluError(f'invalid JSON: {error}') from None
