"""Unpacks the source.zip of a run into a cached directory from which Python can start. Imports no torch.

Archives may come from strangers: no file is written outside the directory, and no links are created from the archive.
Files of the project that are not source, such as data/digits.npz, are not in the archive and are linked instead.
"""

import hashlib
import io
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from utils.base.errors import DanluError
from utils.base.registry import PROJECT
from utils.base.regular_files import open_regular, read_regular_bytes
from utils.base.text_table import size_text
from utils.provenance.project_source import project_files

MAX_ARCHIVE_FILES, MAX_ARCHIVE_BYTES = 20_000, 2**28
FORBIDDEN_CHARACTERS = '\\:' if os.name == 'nt' else '\\'  # path separators and drives
# Raised by zipfile for damaged archives.
DAMAGE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def read_archive(path, sha256):
    """Return the files (dict from relative path to bytes) of a source.zip.

    Args:
        path: Path of the archive.
        sha256: expected hash (str), from the checkpoint.

    Raises:
        DanluError: the archive is missing, has another hash, is damaged or too large, or has invalid entries.
    """
    try:
        if path.stat().st_size > MAX_ARCHIVE_BYTES:
            raise DanluError(f'{path} is larger than {size_text(MAX_ARCHIVE_BYTES)}, so it is no source.zip')
        data = read_regular_bytes(path)
    except OSError as error:
        raise DanluError(
            f'{path}, the code of the run, cannot be read: {error.strerror}; if the checkpoint was copied, copy '
            'source.zip from its directory too'
        ) from error
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise DanluError(
            f'{path} is damaged or of another run: its SHA-256 is {found[:16]}..., the checkpoint has {sha256[:16]}...'
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if fault := fault_of_entries(entries, MAX_ARCHIVE_FILES, MAX_ARCHIVE_BYTES):
                raise DanluError(f'{path} is not unpacked: {fault}')
            return {entry.filename: archive.read(entry) for entry in entries}
    except DAMAGE_ERRORS as error:
        raise DanluError(f'{path} is damaged or no zip archive ({type(error).__name__}: {error})') from error


def fault_of_entries(entries, max_files, max_bytes):
    """Return the first problem (str) with the entries of an archive (list of ZipInfo), or None.

    Args:
        entries: of an archive that may come from a stranger.
        max_files, max_bytes: allowed number of files, and of bytes that unpacking writes (int).
    """
    if len(entries) > max_files or sum(entry.file_size for entry in entries) > max_bytes:
        return f'it holds more than {max_files:,} files or {size_text(max_bytes)}'
    names = [entry.orig_filename for entry in entries]  # the names in the file: zipfile changes some
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    known = set()
    for entry, name in zip(entries, names, strict=True):
        odd = any(character in FORBIDDEN_CHARACTERS or ord(character) < 32 for character in name)
        if odd or any(part in ('', '.', '..') for part in name.split('/')):
            return f'{name[:200]!r} is not a valid path'
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            return f'{name!r} is not a regular file'
        if name in known or name in folders:
            return f'{name!r} appears twice'
        known.add(name)
    return None


@contextmanager
def unpack_cached(files, digest):
    """Yield a directory (Path) with these files; it stays in the user's cache, or is temporary without a cache.

    Args:
        files: dict from relative path to bytes.
        digest: SHA-256 of the archive (str), the key in the cache. A cached directory is compared with `files`.

    Raises:
        DanluError: neither cache nor temporary directory is writable.
    """
    with ExitStack() as stack:
        try:
            place = _unpack_into_cache(files, digest)
        except (OSError, RuntimeError):  # RuntimeError: no home directory
            place = None
        if place is None:
            try:
                folder = tempfile.TemporaryDirectory(prefix='danlu_', ignore_cleanup_errors=True)
                place = Path(stack.enter_context(folder))
                _write_directory(place, files)
                _link_data(place, files)
            except OSError as error:
                raise DanluError(
                    f'the code of the run cannot be unpacked: {error}; set XDG_CACHE_HOME to another directory'
                ) from error
        yield place


def cache_directory():
    """Return the cache (Path): below XDG_CACHE_HOME or ~/.cache. Users may delete it at any time."""
    named = Path(os.environ.get('XDG_CACHE_HOME', ''))
    return (named if named.is_absolute() else Path.home() / '.cache') / 'danlu' / 'source'


def _unpack_into_cache(files, digest):
    """Return the directory (Path) in the cache that holds `files`; created if missing or damaged."""
    root, project = cache_directory(), hashlib.sha256(str(PROJECT).encode()).hexdigest()
    place = root / f'{digest[:32]}-{project[:8]}'  # the links lead into this project
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _holds_exactly(place, files):
        _create_directory(place, files)
    _link_data(place, files)
    return place


def _create_directory(place, files):
    """Create the directory `place` atomically; a damaged directory of that name is removed."""
    made = Path(tempfile.mkdtemp(prefix=f'{place.name}.', dir=place.parent))
    try:
        _write_directory(made / 'new', files)
        if os.path.lexists(place) and not _holds_exactly(place, files):
            os.rename(place, made / 'old')
        try:
            os.rename(made / 'new', place)
        except OSError:
            if not _holds_exactly(place, files):  # else another process was faster
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _holds_exactly(place, files):
    """Return whether a directory holds exactly `files` (bool), apart from links and __pycache__."""
    found = {}
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if name != '__pycache__']
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                found[path.relative_to(place).as_posix()] = read_regular_bytes(path)
    return found == files


def _write_directory(place, files):
    place.mkdir(exist_ok=True)
    for name, data in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_regular(path, 'wb') as file:
            file.write(data)


def _link_data(place, files):
    """Link everything beside the sources of the project that is not source: files, and directories without source."""
    sources = set(project_files())
    folders = {parent.as_posix() for name in (*files, *sources) for parent in PurePosixPath(name).parents}
    for folder in {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}:
        if not (PROJECT / folder).is_dir():
            continue
        with os.scandir(PROJECT / folder) as entries:
            beside = [entry.name for entry in entries if not entry.name.startswith(('.', '__pycache__'))]
        for name in beside:
            relative = PurePosixPath(folder, name).as_posix()
            if relative not in sources | folders and relative not in files:
                _link(place / relative, PROJECT / relative)


def _link(link, target):
    if link.is_symlink() and os.readlink(link) == str(target):
        return
    partial = link.with_name(f'{link.name}.{os.getpid()}.partial')
    os.symlink(target, partial)
    os.replace(partial, link)
