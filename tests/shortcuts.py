"""What runs within the processes of the tests do not do again and again: it takes nine tenths of a small run's time.

Programs forked from the server of the tests (tests/program_server.py) take the shortcuts too, if they run the code of
the project itself. Programs in a new interpreter do everything, and so do the tests of curves.png and of the record.
"""

import os
from functools import cache

from PIL import Image

from utils.base.registry import PROJECT
from utils.base.regular_files import read_regular_bytes
from utils.drawing import curves
from utils.provenance import code_fingerprint, environment, project_source
from utils.provenance.project_source import read_files, zip_bytes
from utils.provenance.symbol_resolver import EXTERNAL_MARK, Source, SymbolResolver

real_figure_of, real_git = curves.figure_of, environment._git


class PlainFigure:
    """Stands for the figure of curves.png."""

    def __init__(self, *_):
        pass

    def savefig(self, path, dpi):
        """Write a small picture."""
        Image.new('RGB', (64, 48)).save(path)


class ProjectReaders:
    """Makes SymbolResolvers; reuses the project's as long as none of its files changes."""

    def __init__(self):
        self.state, self.reader = None, None

    def __call__(self, source):
        """Return the SymbolResolver of a Source."""
        if source.place != PROJECT:
            return SymbolResolver(source)
        stats = [(name, os.stat(os.path.join(source.place, name))) for name in source.files()]
        state = [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
        if self.state != state:
            self.state, self.reader = state, SymbolResolver(source)
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
    from utils.provenance import record  # imports torch, which a process without tests does not need

    curves.figure_of, code_fingerprint.SymbolResolver, record.zip_bytes = PlainFigure, ProjectReaders(), Packer()
    project_source.read_regular_bytes, environment._git = FileReader(), ask_git


def warm_up():
    """Take the shortcuts and read the project's code, so that processes forked from this one need not do it again."""
    take()
    from utils.provenance import record

    record.zip_bytes(read_files())
    environment.git_state()
    reader = code_fingerprint.SymbolResolver(Source(PROJECT))
    for name in reader.reachable_from(['train.Trainer', 'eval.Evaluator']):
        reader.find(name)
