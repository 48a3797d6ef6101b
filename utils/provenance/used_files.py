"""The files of the project that this process uses: imported modules, and files that it opened. Imports no torch."""

import hashlib
import os
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from utils.base.registry import PROJECT
from utils.base.regular_files import read_regular_bytes

PACKAGE_DIRECTORIES = ('site-packages', 'dist-packages')
LIBRARY = Path(sysconfig.get_path('stdlib')).resolve()
INSTALLED = tuple(f'{os.sep}{name}{os.sep}' for name in PACKAGE_DIRECTORIES)
DIGEST_DIGITS = 16
MAX_OPENED = 100_000  # paths; a test may open many images
watched = SimpleNamespace(opened=None)  # paths (set of str); None: this process does not note them


def is_installed(path):
    """Return whether a file (Path) belongs to Python or an installed package (bool)."""
    return any(part in PACKAGE_DIRECTORIES for part in path.parts) or path.is_relative_to(LIBRARY)


def watch_opened_files():
    """Note the files that this process opens from now on. Programs call it once; it cannot be undone."""
    if watched.opened is None:
        watched.opened = set()
        sys.addaudithook(_note_opened)


def _note_opened(event, arguments):
    if event == 'open' and isinstance(arguments[0], str) and len(watched.opened) < MAX_OPENED:
        watched.opened.add(arguments[0])


def opened_files():
    """Return the paths (set of str, relative to the project) that this process opened, or None if not watched."""
    if watched.opened is None:
        return None
    root = f'{PROJECT}{os.sep}'
    paths = (os.path.realpath(path) for path in watched.opened.copy())
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
    library = f'{LIBRARY}{os.sep}'
    own = (file for file in files if isinstance(file, str) and file.endswith('.py') and os.path.isabs(file))
    own = (file for file in own if not file.startswith(library) and not any(part in file for part in INSTALLED))
    return {path for path in map(Path.resolve, map(Path, own)) if not is_installed(path)}
