"""The files of the project that this process uses: imported modules, and files that it opened. Imports no torch."""

import hashlib
import os
import sys
import sysconfig
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from utils.base.registry import PROJECT
from utils.base.regular_files import open_regular, read_regular_bytes

PACKAGE_DIRECTORIES = ('site-packages', 'dist-packages')
LIBRARY = Path(sysconfig.get_path('stdlib')).resolve()
INSTALLED = tuple(f'{os.sep}{name}{os.sep}' for name in PACKAGE_DIRECTORIES)
DIGEST_DIGITS = 16
MAX_OPENED = 100_000  # paths; a test may open many images
MAX_HASHED, MAX_OF_ONE_DIRECTORY = 200, 20  # opened files; more in one directory are data
HEAD_BYTES, TAIL_BYTES = 2**20, 2**16  # of a file that are hashed, with its size
SYSTEM_DIRECTORIES = tuple(
    f'{os.sep}{name}{os.sep}' for name in 'bin dev etc lib lib64 proc run sbin sys usr var'.split()
)
# Position of the path in the arguments of Python's audit events. Those of `import` name compiled extensions only.
PATH_POSITIONS = {'open': 0, 'ctypes.dlopen': 0, 'import': 1}
# paths (set of str); None: this process does not note them. `active`: whether further ones are noted.
watched = SimpleNamespace(opened=None, active=False)


def is_installed(path):
    """Return whether a file (Path) belongs to Python or an installed package (bool)."""
    return any(part in PACKAGE_DIRECTORIES for part in path.parts) or path.is_relative_to(LIBRARY)


def watch_opened_files():
    """Note the files that this process opens from now on. Programs call it once; it cannot be undone."""
    if watched.opened is None:
        watched.opened, watched.active = set(), True
        sys.addaudithook(_note_opened)


def stop_watching():
    """Note no further files: a training opens its images in each epoch."""
    watched.active = False


@contextmanager
def unwatched():
    """Note no files in the body of a `with` or a function that reads sources of the project to compare them."""
    active, watched.active = watched.active, False
    try:
        yield
    finally:
        watched.active = active


def _note_opened(event, arguments):
    if event not in PATH_POSITIONS or not watched.active:
        return
    path, flags = arguments[PATH_POSITIONS[event]], arguments[-1] if event == 'open' else os.O_RDONLY
    is_read = not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR)
    if is_read and isinstance(path, str) and len(watched.opened) < MAX_OPENED:
        watched.opened.add(path)


def opened_file_hashes(left_out):
    """Return the hashes of the files that this process read: {path: hash}, {} if it does not note them.

    They are settings, tables, weights or compiled libraries that a network or data set of the user reads. Left out are
    Python files, files of the system and of packages, hidden files, and directories of many files, which are data.

    Args:
        left_out: source files of the project (relative paths), which an archive has, and other paths or directories.
    """
    out, folders = set(_real_paths(os.path.join(PROJECT, path) for path in left_out)), {}
    for path in sorted(set(_real_paths(watched.opened or ()))):
        parents = {path, *map(str, Path(path).parents)}
        if out.isdisjoint(parents) and _may_hold_settings(path):
            folders.setdefault(os.path.dirname(path), []).append(path)
    paths = [path for those in folders.values() if len(those) <= MAX_OF_ONE_DIRECTORY for path in those][:MAX_HASHED]
    root = f'{PROJECT}{os.sep}'
    hashes = {path.removeprefix(root): hash_of_file(path) for path in paths}
    return {path: digest for path, digest in hashes.items() if digest is not None}


def _real_paths(paths):
    """Return what os.path.realpath returns for each path (list of str); each directory is looked up once."""
    found, folders = [], {}
    for path in paths:
        folder, name = os.path.split(path)
        if name in ('', '.', '..') or os.path.islink(path):
            found.append(os.path.realpath(path))
            continue
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        found.append(os.path.join(folders[folder], name))
    return found


def _may_hold_settings(path):
    """Return whether an opened file may be read by code of the user (bool)."""
    hidden = any(part.startswith('.') for part in Path(path).parts)
    ours = path.startswith((f'{sys.prefix}{os.sep}', f'{sys.base_prefix}{os.sep}', *SYSTEM_DIRECTORIES))
    program = path.endswith(('.py', '.pyc'))
    return not (hidden or ours or program or is_installed(Path(path))) and os.path.isfile(path)


def hash_of_file(path):
    """Return a hash (str) of the size, the beginning and the end of a file, or None if it cannot be read.

    Args:
        path: absolute, or relative to the project.
    """
    try:
        with open_regular(PROJECT / path) as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode() + file.read(HEAD_BYTES))
            file.seek(max(HEAD_BYTES, size - TAIL_BYTES))
            digest.update(file.read(TAIL_BYTES))
    except OSError:
        return None
    return digest.hexdigest()[:DIGEST_DIGITS]


def opened_files():
    """Return the paths (set of str, relative to the project) that this process opened, or None if not watched."""
    if watched.opened is None:
        return None
    root = f'{PROJECT}{os.sep}'
    paths = _real_paths(watched.opened.copy())
    return {path.removeprefix(root).replace(os.sep, '/') for path in paths if path.startswith(root)}


def imported_files():
    """Return the files of the imported modules of the project, as paths (set of str) relative to it."""
    return {path.relative_to(PROJECT).as_posix() for path in _module_files() if path.is_relative_to(PROJECT)}


def outside_files():
    """Return the hashes of imported files that are neither the project's nor installed: {path: hash}."""
    found = {}
    for path in _module_files():
        if not path.is_relative_to(PROJECT):
            with suppress(OSError):  # removed since
                found[str(path)] = hashlib.sha256(read_regular_bytes(path)).hexdigest()[:DIGEST_DIGITS]
    return dict(sorted(found.items()))


def imported_versions():
    """Return the versions (dict of str) that the imported packages state in `__version__`, by the package's name."""
    found = {}
    for name, module in list(sys.modules.items()):
        if '.' in name or not hasattr(module, '__dict__'):
            continue
        version, file = (vars(module).get(each) for each in ('__version__', '__file__'))
        if isinstance(version, str) and isinstance(file, str) and any(part in file for part in INSTALLED):
            found[name] = str(version)
    return dict(sorted(found.items()))


def _module_files():
    """Return the source files (set of Path) of the imported modules that are not installed."""
    files = {vars(module).get('__file__') for module in list(sys.modules.values()) if hasattr(module, '__dict__')}
    paths = (_source_file(file) for file in files if isinstance(file, str))
    return {path for path in paths if path is not None}


@cache
def _source_file(file):
    """Return the path (Path) of a module's file (str), links followed; None if it is installed or not Python."""
    if not (file.endswith('.py') and os.path.isabs(file)) or is_installed(Path(file)):
        return None
    path = Path(file).resolve()
    return None if is_installed(path) else path
