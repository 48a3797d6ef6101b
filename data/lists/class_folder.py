"""Directories with one sub-directory per class: their images, and counts of skipped files."""

import os
from collections import Counter

from data.lists.picture_extensions import IMAGE_EXTENSIONS
from utils.base.errors import DanluError
from utils.base.file_names import RENAME_HINT, name_fault, printable
from utils.base.text_table import count_text

MAX_EXTENSIONS_SHOWN = 10


class ClassFolder:
    """Walks over the images of a directory, each sub-directory once, and counts skipped files.

    A symbolic link to a directory is followed unless the directory is also reached without the link: a link to a parent
    directory or to another class adds no image.

    Args:
        path: the directory (Path).
        faults: data.lists.list_file.ErrorCollector for file names that are not UTF-8.

    Attributes:
        unreadable_files: number of files in other formats (Counter), by lower-case extension, '' for none.
        hidden: number of hidden images and hidden directories.
        images_beside_classes: number of images beside the class directories.
        ending: extension of the images beside the class directories (str), or None.
        links: links that were not followed (list of str), relative to the directory.
    """

    def __init__(self, path, faults):
        self.path, self.faults = path, faults
        self.unreadable_files, self.hidden, self.images_beside_classes, self.links = Counter(), 0, 0, []
        self.ending = None
        self.visited, self.linked, self.real, self.misnamed = set(), set(), None, None

    def classes(self):
        """Return the names of the sub-directories (sorted list of str) without hidden ones.

        Raises:
            DanluError: the directory cannot be read, or a class name is not UTF-8.
        """
        names = []
        try:
            for entry in os.scandir(self.path):
                if not entry.is_dir():
                    self.images_beside_classes += is_picture(entry.name)
                    self.ending = os.path.splitext(entry.name)[1] if is_picture(entry.name) else self.ending
                elif entry.name.startswith('.'):
                    self.hidden += 1
                else:
                    names.append(entry.name)
        except OSError as error:  # for example, it no longer exists
            raise DanluError(f'{self.path} cannot be read: {error.strerror}') from None
        for name in sorted(names):
            if fault := name_fault(name):
                raise DanluError(f'{printable(os.path.join(self.path, name))}: {fault}')
        return sorted(names)

    def pictures(self, name):
        """Yield the paths (str, relative to the directory) of a class's images, sorted within each directory."""
        top = os.path.join(self.path, name)
        if not self._visit(top):
            return
        for folder, below, files in os.walk(top, onerror=_refuse, followlinks=True):
            kept = sorted(directory for directory in below if not directory.startswith('.'))
            self.hidden += len(below) - len(kept)
            below[:] = [directory for directory in kept if self._visit(os.path.join(folder, directory), folder)]
            relative = os.path.relpath(folder, self.path)
            for file in sorted(files):
                if is_picture(file) and not file.startswith('.'):
                    yield from self._if_valid_name(os.path.join(relative, file))
                elif file.startswith('.'):
                    self.hidden += is_picture(file)
                else:
                    self.unreadable_files[os.path.splitext(file)[1].lower()] += 1

    def _visit(self, directory, above=None):
        """Return whether to read a directory (bool): once, and through a link only if it is not reached otherwise."""
        through_link = above in self.linked or (above is not None and os.path.islink(directory))
        identity = _identity(directory)
        if through_link:
            self.linked.add(directory)
            self.real = self._without_links() if self.real is None else self.real
        if identity in self.visited or (through_link and identity in self.real):
            self.links.append(os.path.relpath(directory, self.path))
            return False
        self.visited.add(identity)
        return True

    def _without_links(self):
        """Return the identities (set) of the directory and all directories in the classes, not through links."""
        found = {_identity(self.path)}
        for entry in os.scandir(self.path):
            for folder, below, _ in os.walk(entry.path) if not entry.name.startswith('.') else ():
                below[:] = [directory for directory in below if not directory.startswith('.')]
                found.add(_identity(folder))
        return found

    def _if_valid_name(self, picture):
        """Yield the path of an image (str), or add an error if its name is not UTF-8."""
        if fault := name_fault(picture):
            self.misnamed = picture.split(os.sep)[0]
            self.faults.add(printable(os.path.join(self.path, picture)), fault)
        else:
            yield picture

    def why_empty(self, name, unread):
        """Return why a class has no image (str); `unread` (Counter): its files in other formats, by extension."""
        if self.misnamed == name:
            return f'no image in this class has a name in UTF-8; {RENAME_HINT}'
        if name in self.links:
            return 'this class leads to a directory of another class; remove one of the two'
        return 'no image (.png .jpg .tif ...) in this class' + (
            f'; its files are {extension_counts_text(unread)}, which cannot be read here' if unread else ''
        )

    def notes(self):
        """Return a note (list of str, one or none) on skipped files."""
        parts = []
        if self.unreadable_files:
            parts.append(
                f'{count_text(self.unreadable_files.total(), "file")} '
                f'({extension_counts_text(self.unreadable_files)}) that cannot be read here'
            )
        if self.images_beside_classes:
            parts.append(f'{count_text(self.images_beside_classes, "image")} beside the class directories')
        if self.hidden:
            parts.append(f'{self.hidden:,} hidden (a name that begins with a dot)')
        if self.links:
            first = 'the first is ' * (len(self.links) > 1) + printable(self.links[0])
            parts.append(f'{count_text(len(self.links), "link")} to directories that are read anyway ({first})')
        return [f'{self.path}: left out: {", ".join(parts)}'] if parts else []


def is_picture(name):
    """Return whether a file name (str) has the extension of a supported image format."""
    return name.lower().endswith(IMAGE_EXTENSIONS)


def extension_counts_text(counts):
    """Return counts by extension (Counter) as text: '.heic 3, no ending 1'."""
    ordered = sorted((-count, ending or 'no ending') for ending, count in counts.items())
    shown = [f'{printable(ending)} {-count:,}' for count, ending in ordered[:MAX_EXTENSIONS_SHOWN]]
    return ', '.join(shown) + ', ...' * (len(counts) > MAX_EXTENSIONS_SHOWN)


def _identity(directory):
    """Return device and inode of a directory, or its real path if there is no inode."""
    facts = os.stat(directory)
    return (facts.st_dev, facts.st_ino) if facts.st_ino else os.path.realpath(directory)


def _refuse(error):
    raise DanluError(f'{error.filename} cannot be read: {error.strerror}') from None
