"""The source code of a run or test, from its archive, and whether it differs from today's code."""

import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from utils.base.known_archives import SHA256
from utils.base.regular_files import regular
from utils.provenance.kept_code import kept_archive
from utils.provenance.project_source import code_hash, files_hash, kept_files, read_files
from utils.runs.run import Run

MAX_FILE_BYTES = 4 * 2**20  # per file in an archive
MAX_ARCHIVE_BYTES = 64 * 2**20


@lru_cache
def code_today():
    """Return the hash (str) of the project's code today, as in `code` of record.json."""
    return code_hash(read_files())


@lru_cache
def source_today():
    """Return the hash (str) of the project's files that a test may read, as in `source` of a ledger line."""
    return files_hash(kept_files(read_files()))


def is_by_code_today(test):
    """Return whether a test (dict, see utils/runs/results.py) ran with the code of the project today (bool).

    Files that were added to the project since the test, for example lists, do not count: the test did not read them.
    """
    if test.get('code') != code_today():
        return False
    if test.get('source', source_today()) == source_today():
        return True
    owner = test.get('owner')
    archive = kept_archive_of(test, owner.parent) if owner else None
    then = {} if archive is None else kept_files(files_in(archive))
    return files_hash(then) == test['source'] and then.items() <= kept_files(read_files()).items()


def code_line(code):
    """Return whether the code with this hash (str, or None) is today's code (str, for a message)."""
    if not isinstance(code, str):
        return 'not recorded'
    return 'the same as today' if code == code_today() else 'has changed since'


def archived_files(run):
    """Return the source files of a run (dict from relative path to bytes); {} without an archive."""
    return {} if run.archive is None else files_in(run.path / run.archive)


def kept_archive_of(test, checkpoints_dir):
    """Return the path of the archive with the code of a test (dict, see results.py), or None if there is none.

    A test before archives of tests were kept has that of its run, if the run's code was the same.
    """
    owner, digest = test.get('owner'), test.get('source')
    for directory in [*([owner.parent] if owner else []), Path(checkpoints_dir)]:
        if isinstance(digest, str) and SHA256.fullmatch(digest) and kept_archive(directory, digest).is_file():
            return kept_archive(directory, digest)
    run = Run(owner) if owner else None
    if run and run.archive and isinstance(test.get('code'), str) and run.recorded('code') == test['code']:
        return run.path / run.archive
    return None


def files_in(path):
    """Return the files (dict from relative path to bytes) in an archive; those that can be read if it is damaged.

    The archive is not trusted: nothing is written to disk, and at most MAX_ARCHIVE_BYTES are unpacked.
    """
    files, remaining = {}, MAX_ARCHIVE_BYTES
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            for info in archive.infolist():
                if info.is_dir() or info.file_size > MAX_FILE_BYTES or remaining <= 0:
                    continue
                with archive.open(info) as file:
                    files[info.filename] = file.read(MAX_FILE_BYTES)
                remaining -= len(files[info.filename])
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError, zlib.error):
        return files
    return files
