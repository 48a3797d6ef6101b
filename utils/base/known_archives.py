"""The source archives that this user's own runs wrote: --code runs these without asking, others need permission.

Each run leaves a file in the user's state directory: $XDG_STATE_HOME/danlu/archives, or ~/.local/state/danlu/archives.
Its name is the SHA-256 of the run's source.zip; its first line has the run's directory and the time. The directory of a
run itself is no evidence: a run that was moved stays known, and a run copied from elsewhere is unknown.
Imports no torch.
"""

import datetime
import hashlib
import os
import re
import sys
from pathlib import Path

from utils.base.errors import DanluError
from utils.base.regular_files import open_regular, read_regular_text, write_regular_text

SHA256 = re.compile('[0-9a-f]{64}')


def state_directory():
    """Return the directory with one file per known archive (Path): below XDG_STATE_HOME or ~/.local/state.

    Raises:
        RuntimeError: there is no home directory.
    """
    named = Path(os.environ.get('XDG_STATE_HOME', ''))
    return (named if named.is_absolute() else Path.home() / '.local' / 'state') / 'danlu' / 'archives'


def note_archive(sha256, run):
    """Record that a run of this user wrote an archive; return a line (list of one str) if that fails, else [].

    Args:
        sha256: of the archive's bytes (hexadecimal str).
        run: the run's directory.
    """
    try:
        path = state_directory() / sha256
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_regular_text(path, f'{os.path.abspath(run)}, {datetime.datetime.now():%Y-%m-%d %H:%M}\n')
    except (OSError, RuntimeError) as error:
        return [f'eval.py --code then will ask before it runs the code of this run, as that cannot be noted: {error}']
    return []


def find_known_run(sha256):
    """Return the run of this user that wrote an archive, with the time (str), or None if the archive is unknown."""
    if not SHA256.fullmatch(sha256):
        return None
    try:
        return read_regular_text(state_directory() / sha256, errors='replace').partition('\n')[0] or 'a run'
    except (OSError, RuntimeError):
        return None


def known_directory(sha256):
    """Return the directory (str) of the run of this user that wrote an archive, as it was then, or None."""
    known = find_known_run(sha256) if isinstance(sha256, str) else None
    directory = known.rpartition(', ')[0] if known else ''
    return directory if os.path.isabs(directory) else None


def is_own_run(directory):
    """Return whether a directory holds the source archive of a run of this user (bool)."""
    for path in Path(directory).glob('source*.zip'):
        try:
            with open_regular(path) as file:
                found = hashlib.file_digest(file, 'sha256').hexdigest()
        except OSError:
            continue
        if find_known_run(found):
            return True
    return False


def check_permission(path, sha256, trusted):
    """Return who wrote the programs of an archive (str); programs of unknown origin need the user's permission.

    Args:
        path: of the archive.
        sha256: of its bytes (str).
        trusted: whether --trust_code was given (bool). Otherwise the user is asked if there is a terminal.

    Raises:
        DanluError: permission is not given.
    """
    if known := find_known_run(sha256):
        return f'the programs of your run {known}'
    stranger = f'--code runs the programs in {path}, and no run of yours is known to have written them'
    if trusted:
        return 'programs of nobody known, allowed by --trust_code'
    if not _is_terminal():
        raise DanluError(
            f'{stranger} (they are of another person or machine, or of a run before such notes were kept). If you '
            'trust whom they are from: --trust_code'
        )
    print(f'{stranger}. Run them? [y/N] ', end='', file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ('y', 'yes'):
        raise DanluError(f'--code: the programs in {path} are not run')
    return 'programs of nobody known, allowed by the answer'


def _is_terminal():
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
