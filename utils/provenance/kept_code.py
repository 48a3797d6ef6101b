"""The code that tests ran with: .code/<hash>.zip beside the runs, one archive for each version. Imports no torch.

Each line of the ledger names the archive of its test, so that the code can be read, and run again by
`eval.py --code FILE`. The project's tests, scripts and documents are left out, as testing a checkpoint does not use
them. The name is a hash of the files and not of the archive, whose bytes depend on the version of zlib.
"""

import errno
import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

from utils.base.errors import MACHINE_ERRNOS
from utils.base.known_archives import note_archive
from utils.base.regular_files import naming, open_regular
from utils.base.write_errors import error_reason, write_error
from utils.provenance.project_source import files_hash, kept_files, read_files, zip_bytes

DIRECTORY = '.code'  # the dot hides it from everything that lists runs


def kept_archive(directory, digest):
    """Return the path (Path) of the archive of a version of the code, which may not exist.

    Args:
        directory: directory of the runs, in which the ledger lies.
        digest: `source` of a ledger line (str).
    """
    return Path(directory, DIRECTORY, f'{digest}.zip')


def keep_code(directory, digest, place):
    """Write the archive of today's code unless it exists; return lines (list of str) on what could not be done.

    Processes may do so at the same time: each writes a file of its own and renames it.

    Args:
        directory: directory of the runs.
        digest: files_hash(kept_files(...)) of the code that a test ran with (str).
        place: directory of the test, which the note on the user's own archives names.

    Raises:
        WriteError: the archive cannot be written now, for example on a full disk.
    """
    path = kept_archive(directory, digest)
    if path.is_file():
        return []
    files = kept_files(read_files())
    if files_hash(files) != digest:
        return ['the code of this test is not kept: its files changed while it was read']
    data = zip_bytes(files)
    try:
        _write_atomically(path, data)
    except OSError as error:
        if error.errno in MACHINE_ERRNOS and error.errno != errno.EROFS:
            raise write_error(path, error) from error
        return [f'the code of this test is not kept: {path} cannot be written ({error_reason(error)})']
    return note_archive(hashlib.sha256(data).hexdigest(), place)


def _write_atomically(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.stem}.{uuid.uuid4().hex}.partial')
    try:
        with naming(partial), open_regular(partial, 'wb') as file:
            file.write(data)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
