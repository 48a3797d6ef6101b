"""The code of runs, then and now: what a source.zip holds, and whether today's code is another."""

import zipfile
import zlib
from functools import lru_cache

from utils.base.regular_files import regular
from utils.provenance.project_source import code_hash, read_files

LARGEST = 4 * 2**20  # bytes of one file in an archive that are read
MOST = 64 * 2**20  # bytes of all of them


@lru_cache
def code_today():
    """Return the hash (str) of the project's code as it is now, as record.json has it under `code`."""
    return code_hash(read_files())


def code_line(code):
    """Return how the code of this hash (str, or None: not known) stands to today's (str)."""
    if not isinstance(code, str):
        return 'not recorded'
    return 'as it is today' if code == code_today() else 'has changed since'


def archived_files(run):
    """Return the source files of a run (dict from relative path to bytes), read in memory; {} without an archive.

    An archive is a stranger's file: none of its names is written to, and no more than so much is unpacked.
    """
    name = run.archive
    if name is None:
        return {}
    files, left = {}, MOST
    try:
        with zipfile.ZipFile(regular(run.path / name)) as archive:
            for info in archive.infolist():
                if info.is_dir() or info.file_size > LARGEST or left <= 0:
                    continue
                with archive.open(info) as file:
                    files[info.filename] = file.read(LARGEST)
                left -= len(files[info.filename])
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError, zlib.error):
        return files
    return files
