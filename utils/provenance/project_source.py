"""The source files of the project, and their archive. Imports no torch.

Data, runs, environments, caches and hidden files are excluded. The same files always give the same archive (another
build of zlib may give other bytes with the same content).
"""

import hashlib
import heapq
import io
import os
import re
import zipfile
from contextlib import suppress
from itertools import islice

from utils.base.registry import PROJECT
from utils.base.regular_files import open_regular, read_regular_bytes
from utils.provenance.used_files import unwatched

CODE = frozenset('.py .pyi .pyx .c .cc .cpp .cu .cuh .h .hpp .sh'.split())
TEXTS = frozenset('.txt .md .rst .toml .cfg .ini .yaml .yml .json .xml .ipynb .html .css .js'.split())
MAX_TEXT_BYTES = 2**19  # lists and annotations are larger
MAX_UNNAMED_BYTES = 2**16  # of a file without extension, such as LICENSE or .ci/run
DATA_DIRECTORY_ENTRIES = 1000  # a directory with more entries holds data, unless it is a package
MAX_TEXTS_OF_ONE_KIND = 100  # more in one directory are data, such as a label file for each image
MAX_ENTRIES = 50_000  # scanned in directories that are not packages
INCLUDED_HIDDEN = ('.ci', '.run', '.github')
OUTPUT_DIRECTORIES = ('checkpoints', 'datasets')  # at the top level, unless they are packages
EXCLUDED_DIRECTORIES = ('__pycache__', 'node_modules', 'site-packages', 'wandb', 'mlruns')
SECRET = re.compile(r'(^|[^a-z])(secrets?|credentials?|passwords?|tokens?|api_?keys?)([^a-z]|$)', re.IGNORECASE)
NON_RUN_DIRECTORIES = (
    'tests',
    'scripts',
    'docs',
    '.ci',
    '.run',
    '.github',
)  # directories whose code takes no part in a run
DOCUMENTS = ('.md', '.rst')
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date in a zip archive


@unwatched()
def project_files(root=PROJECT):
    """Return the source files of the project: sorted paths (list of str) relative to `root`, with slashes.

    Directories close to source files are scanned first, and at most MAX_ENTRIES entries, so that a large data directory
    in the project costs little time. Links to directories are not followed.
    """
    root, found, left = str(root), [], MAX_ENTRIES
    waiting = [(0, 0, '')]  # levels above without source files, depth, path
    while waiting and left > 0:
        barren, depth, folder = heapq.heappop(waiting)
        entries = _entries(os.path.join(root, folder), depth)
        if entries is None:
            left -= DATA_DIRECTORY_ENTRIES
            continue
        names = {entry.name for entry in entries}
        left -= 0 if '__init__.py' in names or not depth else len(entries)
        if depth and _is_environment_or_run(os.path.join(root, folder), names):
            continue
        sources = _source_names(entries)
        found += [f'{folder}{name}' for name in sources]
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and _may_hold_sources(entry, depth):
                heapq.heappush(waiting, (0 if sources else barren + 1, depth + 1, f'{folder}{entry.name}/'))
    return sorted(found)


def _entries(path, depth):
    """Return the entries of a directory (list of os.DirEntry), or None if there are so many that they are data."""
    try:
        with os.scandir(path) as entries:
            first = list(islice(entries, DATA_DIRECTORY_ENTRIES + 1))
            if depth and len(first) > DATA_DIRECTORY_ENTRIES and not os.path.isfile(os.path.join(path, '__init__.py')):
                return None
            return first + list(entries)
    except OSError:  # removed or not readable
        return []


def _is_environment_or_run(path, names):
    """Return whether a directory with these names is a Python environment, a run or a test (bool)."""
    if 'pyvenv.cfg' in names or 'conda-meta' in names:
        return True
    if 'args.txt' not in names:
        return False
    try:
        with open_regular(os.path.join(path, 'args.txt')) as file:
            return file.read(9) == b'# python '  # as utils.options.args_file writes it
    except OSError:  # a pipe, or not readable
        return False


def _may_hold_sources(entry, depth):
    name = entry.name
    if not _is_archivable(name):
        return name in INCLUDED_HIDDEN
    if depth == 0 and name in OUTPUT_DIRECTORIES:
        return os.path.isfile(os.path.join(entry.path, '__init__.py'))
    return name not in EXCLUDED_DIRECTORIES and not name.endswith('.egg-info')


def _source_names(entries):
    """Return the names (list of str) of the source files among the entries of a directory."""
    by_ending = {}
    for entry in entries:
        ending = os.path.splitext(entry.name)[1].lower()
        wanted = (ending in CODE or ending in TEXTS or not ending) and _is_archivable(entry.name)
        if wanted and entry.is_file():
            by_ending.setdefault(ending, []).append(entry)
    found = []
    for ending, those in by_ending.items():
        if ending in CODE:
            found += [entry.name for entry in those]
        elif len(those) <= MAX_TEXTS_OF_ONE_KIND:
            found += [entry.name for entry in those if _is_text(entry, ending) and not SECRET.search(entry.name)]
    return found


def _is_archivable(name):
    """Return whether a file name is not hidden and valid UTF-8, which archives need (bool)."""
    return not name.startswith('.') and os.fsencode(name).decode('utf-8', 'replace') == name


def _is_text(entry, ending):
    """Return whether a file is small enough and, without extension, holds text (bool)."""
    with suppress(OSError):
        size = entry.stat().st_size
        if ending:
            return size <= MAX_TEXT_BYTES
        if size <= MAX_UNNAMED_BYTES:
            with open_regular(entry.path) as file:
                return b'\0' not in file.read()
    return False


@unwatched()
def read_files(root=PROJECT):
    """Return the content of the source files of the project (dict from relative path to bytes)."""
    found = {}
    for name in project_files(root):
        with suppress(OSError):  # removed meanwhile, or not readable
            found[name] = read_regular_bytes(os.path.join(root, name))
    return found


def zip_bytes(files):
    """Return a zip archive (bytes) of `files` (dict from path to bytes); equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, ZIP_EPOCH)
            info.create_system, info.external_attr, info.compress_type = 3, 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, files[name])
    return buffer.getvalue()


def is_run_code(name):
    """Return whether runs use the file of this relative path (bool): code, but no test or script."""
    ending = os.path.splitext(name)[1].lower()
    return ending in CODE and ending != '.sh' and name.partition('/')[0] not in NON_RUN_DIRECTORIES


def code_hash(files):
    """Return the SHA-256 (str) of the run code among `files` (dict from relative path to bytes)."""
    return files_hash({name: data for name, data in files.items() if is_run_code(name)})


def files_hash(files):
    """Return the SHA-256 (str) of the names and contents of `files` (dict from relative path to bytes)."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b'\0' + hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


def kept_files(files):
    """Return those of `files` (dict from relative path to bytes) that a run or test may read: no test, script, text."""
    return {
        name: data
        for name, data in files.items()
        if name.partition('/')[0] not in NON_RUN_DIRECTORIES and not name.endswith(DOCUMENTS)
    }
