"""The source code of a run, from its source.zip, and whether it differs from today's code."""

import zipfile
import zlib
from functools import lru_cache

from utils.base.regular_files import regular
from utils.provenance.project_source import code_hash, read_files

MAX_FILE_BYTES = 4 * 2**20  # per file in an archive
MAX_ARCHIVE_BYTES = 64 * 2**20


@lru_cache
def code_today():
    """Return the hash (str) of the project's code today, as in `code` of record.json."""
    return code_hash(read_files())


def code_line(code):
    """Return whether the code with this hash (str, or None) is today's code (str, for a message)."""
    if not isinstance(code, str):
        return 'not recorded'
    return 'the same as today' if code == code_today() else 'has changed since'


def archived_files(run):
    """Return the source files of a run (dict from relative path to bytes); {} without an archive.

    The archive is not trusted: nothing is written to disk, and at most MAX_ARCHIVE_BYTES are unpacked.
    """
    name = run.archive
    if name is None:
        return {}
    files, remaining = {}, MAX_ARCHIVE_BYTES
    try:
        with zipfile.ZipFile(regular(run.path / name)) as archive:
            for info in archive.infolist():
                if info.is_dir() or info.file_size > MAX_FILE_BYTES or remaining <= 0:
                    continue
                with archive.open(info) as file:
                    files[info.filename] = file.read(MAX_FILE_BYTES)
                remaining -= len(files[info.filename])
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError, zlib.error):
        return files
    return files
