"""What runs within the processes of the tests do not do again and again: it takes nine tenths of a small run's time.

Programs forked from the server of the tests (tests/program_server.py) take the shortcuts too, if they run the code of
the project itself. Programs in a new interpreter do everything, and so do the tests of curves.png and of the record.
"""

import os
import time
import zlib
from functools import cache, lru_cache

from PIL import Image

from utils.base.registry import PROJECT
from utils.base.regular_files import read_regular_bytes
from utils.drawing import curves
from utils.provenance import code_fingerprint, environment, kept_code, project_source, symbol_resolver
from utils.provenance.project_source import project_files, read_files, zip_bytes
from utils.provenance.source_ast import read_module
from utils.provenance.symbol_resolver import EXTERNAL_MARK, Source, SymbolResolver

real_figure_of, real_git = curves.figure_of, environment._git


class PlainFigure:
    """Stands for the figure of curves.png."""

    def __init__(self, *_):
        pass

    def savefig(self, path, dpi):
        """Write a small picture."""
        Image.new('RGB', (64, 48)).save(path)


class ProjectFiles:
    """Lists the project's source files, and looks at most once a second whether one has changed.

    Attributes:
        changes: how often they have changed (int).
        checksums: CRC-32 (int) of each file, by its relative path.
    """

    def __init__(self):
        self.names, self.stats, self.changes, self.checksums, self.looked = [], [], 0, {}, -1.0

    def look(self):
        """Look for changes, unless that was done just now."""
        if time.monotonic() - self.looked < 1:
            return
        names = project_files(PROJECT)
        stats = [(name, stat.st_mtime_ns, stat.st_size) for name in names for stat in [os.stat(PROJECT / name)]]
        if stats != self.stats:
            self.names, self.stats, self.changes = names, stats, self.changes + 1
            self.checksums = {name: zlib.crc32((PROJECT / name).read_bytes()) for name in names}
        self.looked = time.monotonic()

    def __call__(self, root=PROJECT):
        """Return the relative paths (sorted list of str) of the source files of a project."""
        if root != PROJECT:
            return project_files(root)
        self.look()
        return list(self.names)


class ProjectReaders:
    """Makes SymbolResolvers; reuses the project's as long as none of its files changes.

    A source.zip that holds the project's files as they are is read by the project's SymbolResolver too.

    Args:
        files: ProjectFiles.
    """

    def __init__(self, files):
        self.files, self.changes, self.reader = files, None, None

    def __call__(self, source):
        """Return the SymbolResolver of a Source."""
        if source.place == PROJECT or (source.zip_entries is not None and self.holds_the_project(source.zip_entries)):
            return self.of_project()
        return SymbolResolver(source)

    def holds_the_project(self, entries):
        """Return whether an archive's entries (dict from path to ZipInfo) are the project's files (bool)."""
        self.files.look()
        return {name: info.CRC for name, info in entries.items()} == self.files.checksums

    def of_project(self):
        """Return the SymbolResolver of the project."""
        self.files.look()
        if self.changes != self.files.changes:
            self.changes, self.reader = self.files.changes, SymbolResolver(Source(PROJECT))
        for known in (self.reader._found, self.reader.source._modules, self.reader.source._file_exists):
            for name in [name for name in known if EXTERNAL_MARK in name or name.startswith('/')]:
                del known[name]  # the files of a test
        return self.reader


class Packer:
    """Packs the project's files for source.zip, once as long as they stay the same."""

    def __init__(self):
        self.files, self.archive = None, None

    def __call__(self, files):
        """Return a zip archive (bytes) of `files` (dict from path to bytes)."""
        if files != self.files:
            self.files, self.archive = dict(files), zip_bytes(files)
        return self.archive


class FileReader:
    """Reads source files; those of the project once, as long as they stay the same."""

    def __init__(self):
        self.contents = {}

    def __call__(self, path):
        """Return the contents of a file (bytes)."""
        if not path.startswith(f'{PROJECT}{os.sep}'):
            return read_regular_bytes(path)
        stat = os.stat(path)
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self.contents.get(path, (None,))[0] != state:
            self.contents[path] = (state, read_regular_bytes(path))
        return self.contents[path][1]


@cache
def ask_git_of_project(*words):
    """Return what git says of the project (str), or None; asked once."""
    return real_git(PROJECT, *words)


def ask_git(root, *words):
    """Return the output of git (str), or None."""
    return ask_git_of_project(*words) if root == PROJECT else real_git(root, *words)


def take():
    """Take the shortcuts in this process."""
    from programs import notebook_use  # imports torch, which a process without tests does not need
    from utils.provenance import record

    files = ProjectFiles()
    notebook_use.write_index = lambda args: None  # as conftest.py adds --no_index to command lines
    project_source.project_files = symbol_resolver.project_files = files
    curves.figure_of, code_fingerprint.SymbolResolver = PlainFigure, ProjectReaders(files)
    record.zip_bytes, kept_code.zip_bytes = Packer(), Packer()
    project_source.read_regular_bytes, environment._git = FileReader(), ask_git
    os.fsync = lambda handle: None  # the files need not survive a power cut, and a busy disk takes seconds for each
    environment._variables_in = lru_cache(maxsize=1024)(environment._variables_in)
    symbol_resolver.read_module = lru_cache(maxsize=1024)(read_module)  # copies of the project differ in a file or two


def warm_up():
    """Take the shortcuts and read the project's code, so that processes forked from this one need not do it again."""
    take()
    from utils.provenance import record

    files = read_files()
    record.zip_bytes(files)
    kept_code.zip_bytes(project_source.kept_files(files))
    environment.variables_read_by(files)
    environment.git_state()
    reader = code_fingerprint.SymbolResolver(Source(PROJECT))
    for name in reader.reachable_from(['train.Trainer', 'eval.Evaluator']):
        reader.find(name)
