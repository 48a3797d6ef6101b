"""Listing, the samples of a list file or directory in a few flat arrays, and ErrorCollector."""

import codecs
import hashlib
import io
import os
from array import array
from copy import copy
from mmap import mmap
from pathlib import Path

import numpy as np
import torch

from data.lists.class_folder import ClassFolder
from data.lists.fast_list_parser import split_plain_lines
from data.lists.file_stats import FILE_SIZE, STAT_COLUMNS, stat_files
from data.lists.list_format import FORMAT_LINES, find_format, is_blank, is_comment, replace_backslashes
from data.lists.string_array import StringArray, StringArrayBuilder, decode_strings
from utils.base.errors import DanluError
from utils.base.machine import cpu_cores
from utils.base.parallel_map import can_fork, parallel_call
from utils.base.regular_files import open_regular
from utils.options.prediction_hint import UnlabelledError

READ_BYTES = 2**20  # block size for reading a list file
MAX_CHECKED_SAMPLES, SAMPLED_CHECKS = (
    2_000_000,
    20_000,
)  # files checked before training; of larger lists a sample


class ErrorCollector:
    """Collects errors in a list: counts all and keeps the first 20.

    Args:
        source: the list file or directory, for messages.
        remedy: what helps besides fixing or removing the samples (str), or ''.
    """

    MAX_ERRORS_SHOWN = 20

    def __init__(self, source, remedy=''):
        self.source, self.remedy, self.count, self.shown = source, remedy, 0, []
        self.unlabelled = None  # first image (Path) without a target, if no line has one

    def add(self, where, what, index=None):
        """Add an error: `where` is 'train.txt:12', `what` the error, `index` that of the sample or None."""
        self.count += 1
        if len(self.shown) < self.MAX_ERRORS_SHOWN:
            self.shown.append('  ' + with_location(where, what))

    def stop_if_any(self):
        """Raise DanluError with the first errors and their number, if there are any."""
        if self.count:
            rest = (
                [f'  ... and {self.count - self.MAX_ERRORS_SHOWN} more'] if self.count > self.MAX_ERRORS_SHOWN else []
            )
            found = (
                '1 invalid entry; fix or remove it'
                if self.count == 1
                else (f'{self.count:,} invalid entries; fix or remove them')
            )
            lines = [f'{self.source} has {found}{self.remedy}:', *self.shown, *rest]
            message = '\n'.join(lines)
            raise DanluError(message) if self.unlabelled is None else UnlabelledError(message, self.unlabelled)


def with_location(where, what):
    """Return the message 'where: what' (str); the location is not repeated."""
    return what if what.startswith(f'{where}: ') else f'{where}: {what}'


class Listing:
    """The samples of one split: image paths, targets as text, and line numbers.

    Args:
        source: the list file or directory, for messages.
        root: directory of relative paths.
        images, targets: iterables or StringArrayBuilders of equal length, kept as StringArrays. A target is a label, a
            class name, several of these separated by commas, numbers separated by spaces, or an image path.
        lines: array('i'), line number of each sample, or None for a directory.
    """

    def __init__(self, source, root, images, targets, lines=None):
        self.source, self.root = str(source), str(root)
        self.images, self.targets = StringArray(images), StringArray(targets)
        self.lines = torch.frombuffer(lines, dtype=torch.int32) if lines else None
        self._facts, self._sample, self._keep_alive = {}, None, None
        self.notes = []  # printed at the start
        self.target_names = None  # column names of the targets (list of str), if there is a header

    def __len__(self):
        return len(self.images)

    def image_path(self, index):
        """Return the path (str) of a sample's image."""
        return os.path.join(self.root, self.images[index])

    def target_path(self, index):
        """Return the path (str) of a sample's mask or target image."""
        return os.path.join(self.root, self.targets[index])

    def where(self, index):
        """Return the location of a sample (str): 'lists/train.txt:12', or the image path for a directory."""
        return self.image_path(index) if self.lines is None else f'{self.source}:{self.lines[index].item()}'

    def subset_of(self, indices):
        """Return the Listing of the samples `indices` (int64 tensor)."""
        kept = indices.tolist()
        images, targets = map(self.images.__getitem__, kept), map(self.targets.__getitem__, kept)
        part = Listing(self.source, self.root, images, targets)
        part.lines = None if self.lines is None else self.lines[indices]
        return part

    def with_fresh_stats(self):
        """Return a Listing with the same lines in shared memory, whose files are looked up again."""
        copied = copy(self)
        copied._facts, copied._sample, copied._keep_alive = {}, None, self  # keeps the original in _OPEN_LISTINGS
        return copied

    def random_positions(self):
        """Return the positions (int64 array, sorted) of the samples whose files are checked before training.

        These are all samples, or SAMPLED_CHECKS of more than MAX_CHECKED_SAMPLES: checking millions of files takes
        minutes on a local disk and hours on a file server.
        """
        return random_positions(len(self), SAMPLED_CHECKS if len(self) > MAX_CHECKED_SAMPLES else len(self))

    def sample(self):
        """Return the Listing of the samples to check, itself if these are all."""
        if len(self) <= MAX_CHECKED_SAMPLES:
            return self
        if self._sample is None:
            self._sample = self.subset_of(torch.from_numpy(self.random_positions()))
        return self._sample

    def facts(self, of):
        """Return stat_files of all files, int64 array (N, 3), looked up once; `of`: 'images' or 'targets'."""
        if of not in self._facts:
            # tensors are shared with worker processes
            self._facts[of] = torch.from_numpy(self._stat(getattr(self, of)))
        return self._facts[of].numpy()

    def _stat(self, strings):
        """Return stat_files of a StringArray; many strings are distributed over one process per core."""
        blocks = list(strings.blocks())
        if len(blocks) <= cpu_cores() or cpu_cores() == 1 or not can_fork():
            return stat_files(self.root, strings)
        # Memory shared by forked processes; /dev/shm is often small in containers.
        found = np.frombuffer(mmap(-1, len(strings) * STAT_COLUMNS * 8), np.int64).reshape(-1, STAT_COLUMNS)

        behind = np.cumsum([len(ends) - 1 for _, ends in blocks])  # first row after each block

        def look(number):
            rows = stat_files(self.root, decode_strings(*blocks[number]))
            found[behind[number] - len(rows) : behind[number]] = rows

        for _, message in parallel_call(look, len(blocks), cpu_cores()):
            raise DanluError(message)
        return found

    def content_parts(self, target_files=False):
        """Return SHA-256 hashes (dict of str) of the names, the targets and the file sizes, in order.

        The contents of files are not hashed, as they would have to be read; a file of another size under the same name
        is noticed if it is in `sample`. The hashes do not depend on the directory, comments or line ends of the list.

        Args:
            target_files: whether the targets are files whose sizes count too.
        """
        sizes = [self.sample().facts(of)[:, FILE_SIZE].tobytes() for of in ('images', 'targets')[: 1 + target_files]]
        return {
            'names': _sha256(self.images.packed.numpy(), self.images.ends.numpy()),
            'targets': _sha256(self.targets.packed.numpy(), self.targets.ends.numpy()),
            'sizes': _sha256(*sizes),
        }

    def content_hash(self, target_files=False):
        """Return the SHA-256 (str) of `content_parts`."""
        return _sha256(*map(str.encode, self.content_parts(target_files).values()))


def random_positions(count, most):
    """Return `most` of `count` positions (int64 array, sorted), the same ones each time; all if there are no more."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, most, replace=False))


def _sha256(*buffers):
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def read_list(path, root=None, faults=None, many=False):
    """Return the Listing of a list file: `image<TAB or space>target` per line; `#` comments, blank lines allowed.

    Paths with spaces need double quotes or tab-separated columns. Other formats that data.lists.list_format detects,
    such as headers, commas and backslashes, are reported in `notes`.

    Args:
        path: the list file, UTF-8 or UTF-16 with a byte order mark, any line ends.
        root: directory of relative paths; default: the list file's directory.
        faults: ErrorCollector for invalid lines, to report them with other errors; None: raise at once.
        many: the target may have several columns, which are joined by spaces.

    Raises:
        DanluError: the file cannot be read, is not text, names no sample, or as above.
    """
    path, given, faults = Path(path), faults, faults or ErrorCollector(path)
    reader = _ListReader(path, root or path.parent.absolute(), faults, many)
    try:
        for block in _blocks(path):
            reader.add(block)
    except UnicodeDecodeError as error:
        raise DanluError(f'{path} is not UTF-8 text ({error.reason}): save it as UTF-8') from None
    except OSError as error:  # for example, it no longer exists
        raise DanluError(f'{path} cannot be read: {error.strerror}') from None
    if reader.first_unlabelled and not reader.lines:
        faults.unlabelled = Path(root or path.parent, reader.first_unlabelled)
    if given is None or not reader.lines:
        faults.stop_if_any()
    if not reader.lines:
        raise DanluError(f'{path} names no sample: it needs lines of image<TAB or space>target')
    return reader.listing()


class _ListReader:
    """Collects the samples from the blocks of a list file; arguments as for read_list."""

    def __init__(self, path, root, faults, many):
        self.path, self.root, self.faults, self.many = path, root, faults, many
        self.images, self.targets, self.lines = StringArrayBuilder(), StringArrayBuilder(), array('i')
        self.lines_before = 0
        self.format = self.first_unlabelled = self.header = None
        self.hash_named = 0  # number of image names that begin with #

    def add(self, block):
        """Add the samples of a block (bytes) of whole lines."""
        if self.format is None:
            self._find_format(block)
        plain = self.format is not None and self.format.is_plain and self.header is None
        if not plain or (columns := split_plain_lines(block)) is None:
            self._add_lines(block)
            return
        self.images.extend(*columns[0])
        self.targets.extend(*columns[1])
        count = len(columns[0][1])
        self.lines.frombytes(np.arange(self.lines_before + 1, self.lines_before + count + 1, dtype=np.int32).tobytes())
        self.lines_before += count

    def _find_format(self, block):
        if b'\0' in block:
            raise DanluError(f'{self.path} is not UTF-8 text (it holds bytes of 0, as UTF-16 does): save it as UTF-8')
        first = []
        for line in _text_lines(block):
            if not (is_blank(line) or is_comment(line, self.root)):
                first.append(line)
            if len(first) == FORMAT_LINES:
                break
        if not first:
            return  # only comments so far
        self.format = find_format(self.path, self.root, first, self.many)
        self.header = first[0] if self.format.header else None

    def _add_lines(self, block):
        for line in _text_lines(block):
            self.lines_before += 1
            if is_blank(line) or is_comment(line, self.root):
                continue
            if self.header is not None:  # this line
                self.header = None
                continue
            self._add_line(line)

    def _add_line(self, line):
        columns = self.format.columns(line)
        if self.many and len(columns) > 2 and all(columns):
            columns[1:] = [' '.join(columns[1:])]
        if len(columns) == 2 and all(columns):
            self.images.append(columns[0])
            self.targets.append(columns[1])
            self.lines.append(self.lines_before)
            self.hash_named += line.startswith('#')
        else:
            self.faults.add(f'{self.path}:{self.lines_before}', _wrong_columns(columns))
            self.first_unlabelled = self.first_unlabelled or (columns[0] if len(columns) == 1 else None)

    def listing(self):
        """Return the Listing of all samples."""
        having = [b'\\' in packer.bytes for packer in (self.images, self.targets)]
        listing = Listing(self.path, self.root, self.images, self.targets, self.lines)
        listing.notes += [self.format.note] * (self.format.note is not None)
        listing.target_names = self.format.target_names
        if self.hash_named:
            what = 'line begins with # and names a file: read as a sample'
            if self.hash_named > 1:
                what = 'lines begin with # and name files: read as samples'
            listing.notes.append(f'{self.path}: {self.hash_named:,} {what}')
        strings = [part for part, has in zip((listing.images, listing.targets), having, strict=True) if has]
        changed = sum(replace_backslashes(self.root, part, _checked_positions) for part in strings)
        if changed:
            paths = f'{changed:,} path' + 's' * (changed > 1)
            listing.notes.append(f'{self.path}: {paths} with backslashes: read with slashes, as only those name files')
        return listing


def _checked_positions(count):
    return random_positions(count, SAMPLED_CHECKS if count > MAX_CHECKED_SAMPLES else count)


def _text_lines(block):
    return io.StringIO(block.decode('utf-8'), newline=None)


def _blocks(path):
    """Yield the content of a list file in blocks (bytes, UTF-8) of whole lines, without the byte order mark."""
    with open_regular(path) as file:
        block = file.read(READ_BYTES)
        if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            yield from _blocks_of_utf16(path)
            return
        block = block.removeprefix(codecs.BOM_UTF8)
        while block:
            yield block + file.readline()
            block = file.read(READ_BYTES)


def _blocks_of_utf16(path):
    with open_regular(path, 'r', encoding='utf-16', newline='') as file:
        while block := file.read(READ_BYTES):
            yield (block + file.readline()).encode('utf-8')


def _wrong_columns(columns):
    hint = '; a path with blanks needs "quotes" or a tab behind it' if len(columns) > 2 else ''
    if len(columns) == 1 and ',' in columns[0]:
        hint = '; a tab or a blank separates them, not a comma'
    empty = '' if all(columns) else ', one of them empty,'
    return f'{len(columns)} column{"s" * (len(columns) > 1)}{empty} instead of image and target{hint}'


def read_folder(path, faults=None):
    """Return the Listing of a directory with one sub-directory per class; images may be nested at any depth.

    Hidden files and directories (thumbnails, .ipynb_checkpoints, ._ files of macOS) and files without an image
    extension are skipped; `notes` of the Listing has their number by extension. Each directory is read once, also if
    links lead to it.

    Args:
        path: the directory.
        faults: ErrorCollector for file names that are not UTF-8, to report them with other errors; None: raise at once.

    Returns:
        Listing whose targets are the names of the sub-directories, in sorted order on every machine.

    Raises:
        DanluError: there are no sub-directories, or one of them has no image or cannot be read.
    """
    path, wrong = Path(path), ErrorCollector(path)
    images, targets = StringArrayBuilder(), StringArrayBuilder()
    folder = ClassFolder(path, wrong if faults is None else faults)
    for name in _classes_of(folder):
        before, unread = len(images), folder.unreadable_files.copy()
        for image in folder.pictures(name):
            images.append(image)
            targets.append(name)
        if len(images) == before:
            wrong.add(path / name, folder.why_empty(name, folder.unreadable_files - unread))
    wrong.stop_if_any()
    listing = Listing(path, path, images, targets)
    listing.notes = folder.notes()
    return listing


def _classes_of(folder):
    names = folder.classes()
    if not names:
        message = f'{folder.path} has no sub-directories: folder data needs one per class, with its images inside'
        raise UnlabelledError(message, folder.path / f'*{folder.ending}') if folder.ending else DanluError(message)
    return names
