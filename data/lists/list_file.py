"""What a list file or a directory names, held in a few flat arrays, and the faults found in it."""

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
from data.lists.file_stats import SIZE, STAT_COLUMNS, stat_files
from data.lists.list_format import FORMAT_LINES, find_format, is_blank, is_comment, replace_backslashes
from data.lists.string_array import StringArray, StringArrayBuilder, decode_strings
from utils.base.errors import DanluError
from utils.base.machine import cpu_cores
from utils.base.parallel_map import can_fork, parallel_call
from utils.base.regular_files import open_regular
from utils.options.prediction_hint import UnlabelledError

READ_BYTES = 2**20  # bytes of a list file that are parted together
MAX_CHECKED_SAMPLES, SAMPLED_CHECKS = (
    2_000_000,
    20_000,
)  # samples whose files are looked at before the first step; of more, so many of them


class ErrorCollector:
    """Collects what is wrong with a list: the first 20 are shown, all are counted."""

    MAX_ERRORS_SHOWN = 20

    def __init__(self, source):
        self.source, self.count, self.shown = source, 0, []
        self.unlabelled = None  # the first picture (Path) that stands without a target, where no line has one

    def add(self, where, what, index=None):
        """Note one fault: `where` is 'train.txt:12', `what` says what is wrong there, `index` is a sample's or None."""
        self.count += 1
        if len(self.shown) < self.MAX_ERRORS_SHOWN:
            self.shown.append('  ' + with_location(where, what))

    def stop_if_any(self):
        """Raise DanluError with the first faults and their count, if there are any."""
        if self.count:
            rest = (
                [f'  ... and {self.count - self.MAX_ERRORS_SHOWN} more'] if self.count > self.MAX_ERRORS_SHOWN else []
            )
            plural = 's' if self.count > 1 else ''
            lines = [f'{self.source} has {self.count} fault{plural}; mend or remove:', *self.shown, *rest]
            message = '\n'.join(lines)
            raise DanluError(message) if self.unlabelled is None else UnlabelledError(message, self.unlabelled)


def with_location(where, what):
    """Return the message (str) that `what` is wrong at `where`, which is not said twice."""
    return what if what.startswith(f'{where}: ') else f'{where}: {what}'


class Listing:
    """The samples of one split: picture paths, targets as text, and the lines they stand in.

    Args:
        source: the list file or directory, for messages.
        root: what the paths are relative to.
        images, targets: iterables or Packers of equal length, kept as PackedStrings; a target is a label, a class
            name, several of these with commas between them, numbers with blanks between them, or a picture's path.
        lines: array('i'), the line of each sample, or None for a directory.
    """

    def __init__(self, source, root, images, targets, lines=None):
        self.source, self.root = str(source), str(root)
        self.images, self.targets = StringArray(images), StringArray(targets)
        self.lines = torch.frombuffer(lines, dtype=torch.int32) if lines else None
        self._facts, self._sample, self._keep_alive = {}, None, None
        self.notes = []  # lines to print at the start
        self.target_names = None  # of the columns of the target (list of str), where there is a header

    def __len__(self):
        return len(self.images)

    def image_path(self, index):
        """Return the path (str) of a sample's picture."""
        return os.path.join(self.root, self.images[index])

    def target_path(self, index):
        """Return the path (str) of a sample's mask or target picture."""
        return os.path.join(self.root, self.targets[index])

    def where(self, index):
        """Return where a sample is named: 'lists/train.txt:12', or the picture's path for a directory."""
        return self.image_path(index) if self.lines is None else f'{self.source}:{self.lines[index].item()}'

    def part(self, indices):
        """Return the Listing of the samples `indices` (int64 tensor) alone."""
        kept = indices.tolist()
        images, targets = map(self.images.__getitem__, kept), map(self.targets.__getitem__, kept)
        part = Listing(self.source, self.root, images, targets)
        part.lines = None if self.lines is None else self.lines[indices]
        return part

    def with_fresh_stats(self):
        """Return a Listing of the same lines, which share their memory, whose files will be looked up again."""
        copied = copy(self)
        copied._facts, copied._sample, copied._keep_alive = {}, None, self  # which lives as long as a copy does
        return copied

    def random_positions(self):
        """Return the positions (int64 array, in order) of the samples whose files are looked at before the first step.

        That is all; of more than MOST samples it is DRAWN of them, as millions take a local disk minutes and a file
        server hours.
        """
        return random_positions(len(self), SAMPLED_CHECKS if len(self) > MAX_CHECKED_SAMPLES else len(self))

    def sample(self):
        """Return the Listing of `random_positions`, itself where that is all."""
        if len(self) <= MAX_CHECKED_SAMPLES:
            return self
        if self._sample is None:
            self._sample = self.part(torch.from_numpy(self.random_positions()))
        return self._sample

    def facts(self, of):
        """Return what file_stats.look_up finds of all files, int64 array (N, 3), once; `of`: 'images' or 'targets'."""
        if of not in self._facts:
            # As tensors, which processes share.
            self._facts[of] = torch.from_numpy(self._look_up(getattr(self, of)))
        return self._facts[of].numpy()

    def _look_up(self, strings):
        """Return what file_stats.look_up finds of PackedStrings, of many by as many processes as there are cores."""
        blocks = list(strings.blocks())
        if len(blocks) <= cpu_cores() or cpu_cores() == 1 or not can_fork():
            return stat_files(self.root, strings)
        # Memory that forked processes share, and of which, unlike of /dev/shm, a container has no small share.
        found = np.frombuffer(mmap(-1, len(strings) * STAT_COLUMNS * 8), np.int64).reshape(-1, STAT_COLUMNS)

        behind = np.cumsum([len(ends) - 1 for _, ends in blocks])  # each block

        def look(number):
            rows = stat_files(self.root, decode_strings(*blocks[number]))
            found[behind[number] - len(rows) : behind[number]] = rows

        for _, message in parallel_call(look, len(blocks), cpu_cores()):
            raise DanluError(message)
        return found

    def content_parts(self, target_files=False):
        """Return the SHA-256 (dict of str) of the names, the targets and the sizes of the files, in their order.

        That is no hash of what is in the files, which would have to be read for it, but one of another size under the
        same name is seen, if it is in `sample`. Nothing depends on where the directory lies, nor on comments and line
        ends of the list.

        Args:
            target_files: whether the targets are files, so that their sizes count too.
        """
        sizes = [self.sample().facts(of)[:, SIZE].tobytes() for of in ('images', 'targets')[: 1 + target_files]]
        return {
            'names': _sha256(self.images.packed.numpy(), self.images.ends.numpy()),
            'targets': _sha256(self.targets.packed.numpy(), self.targets.ends.numpy()),
            'sizes': _sha256(*sizes),
        }

    def content_hash(self, target_files=False):
        """Return the SHA-256 (str) of what `content_parts` returns."""
        return _sha256(*map(str.encode, self.content_parts(target_files).values()))


def random_positions(count, most):
    """Return `most` of `count` positions (int64 array, in order), always the same ones; all where they are no more."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, most, replace=False))


def _sha256(*buffers):
    digest = hashlib.sha256()
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def read_list(path, root=None, faults=None, many=False):
    """Read a list file: `image<TAB or blank>target` per line, `#` comments and blank lines allowed.

    Paths that hold blanks stand in double quotes, or the line is separated by a tab. What data.lists.list_format knows
    besides, such as a header, commas and backslashes, is read too; `notes` of the Listing says so.

    Args:
        path: the list file, UTF-8 or UTF-16 with a byte order mark, any line ends.
        root: what its paths are relative to; default: the list file's directory.
        faults: ErrorCollector that takes the lines without exactly two columns, so that they are reported with whatever
            else is wrong; None: they are an error at once.
        many: a line's target may have several columns, which become one text with blanks between them.

    Raises:
        DanluError: the file cannot be read, is no text, names no sample, or as above.
    """
    path, given, faults = Path(path), faults, faults or ErrorCollector(path)
    reader = _ListReader(path, root or path.parent.absolute(), faults, many)
    try:
        for block in _blocks(path):
            reader.add(block)
    except UnicodeDecodeError as error:
        raise DanluError(f'{path} is no UTF-8 text ({error.reason}): save it as UTF-8') from None
    except OSError as error:  # a checkpoint may name a list that is gone
        raise DanluError(f'{path} cannot be read: {error.strerror}') from None
    if reader.first_unlabelled and not reader.lines:
        faults.unlabelled = Path(root or path.parent, reader.first_unlabelled)
    if given is None or not reader.lines:
        faults.stop_if_any()
    if not reader.lines:
        raise DanluError(f'{path} names no sample: it needs lines of image<TAB or blank>target')
    return reader.listing()


class _ListReader:
    """Takes the blocks of a list file and collects its samples; arguments as for read_list."""

    def __init__(self, path, root, faults, many):
        self.path, self.root, self.faults, self.many = path, root, faults, many
        self.images, self.targets, self.lines = StringArrayBuilder(), StringArrayBuilder(), array('i')
        self.lines_before = 0  # lines before the block
        self.format = self.first_unlabelled = self.header = None  # alone: the first picture without a target
        self.hash_named = 0  # samples whose names begin with #

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
            raise DanluError(f'{self.path} is no UTF-8 text (it holds bytes of 0, as UTF-16 does): save it as UTF-8')
        first = []
        for line in _text_lines(block):
            if not (is_blank(line) or is_comment(line, self.root)):
                first.append(line)
            if len(first) == FORMAT_LINES:
                break
        if not first:
            return  # comments alone so far
        self.format = find_format(self.path, self.root, first, self.many)
        self.header = first[0] if self.format.header else None

    def _add_lines(self, block):
        for line in _text_lines(block):
            self.lines_before += 1
            if is_blank(line) or is_comment(line, self.root):
                continue
            if self.header is not None:  # which is the first of these
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
    """Read a directory with one sub-directory per class; pictures may lie at any depth below it.

    Hidden files and directories are left out: thumbnails, .ipynb_checkpoints, the ._ files of macOS. So are files that
    do not end as pictures do; `notes` of the Listing says how many of which ending. Each directory is read once, also
    where links lead to it.

    Args:
        path: the directory.
        faults: ErrorCollector that takes the files whose names are not UTF-8, so that they are reported with whatever
            else is wrong; None: they are an error at once.

    Returns:
        Listing whose targets are the sub-directories' names, in sorted order, so that it is the same on every machine.

    Raises:
        DanluError: there are no sub-directories, or one of them holds no picture or cannot be read.
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
        message = f'{folder.path} has no sub-directories: folder data needs one per class, with its pictures inside'
        raise UnlabelledError(message, folder.path / f'*{folder.ending}') if folder.ending else DanluError(message)
    return names


def folder_classes(path):
    """Return the class names (sorted list of str) of a directory: its sub-directories, hidden ones left out.

    Raises:
        DanluError: it has none, or cannot be read, or one of them has a name that is not UTF-8.
    """
    return _classes_of(ClassFolder(path, None))
