"""What differs from the run of a checkpoint, where a test or a network no longer gives what was recorded.

The changes that are known to concern the result come first: definitions that the run used. Then everything else that
this process uses and that is not as it was: other files of the project, options, versions, environment variables.
"""

import difflib
from typing import NamedTuple

from utils.base.record_schema import recorded_args
from utils.base.registry import PROJECT
from utils.options.checks import shown
from utils.provenance.code_fingerprint import Source, describe_changes, find_changed_files
from utils.provenance.environment import changed_variables, variables_read_by, versions_of
from utils.provenance.project_source import NON_RUN_DIRECTORIES, is_run_code, read_files
from utils.provenance.record import changed_versions
from utils.provenance.used_files import (
    hash_of_file,
    imported_files,
    imported_versions,
    opened_files,
    outside_files,
)

SETTINGS = tuple('.json .yaml .yml .toml .cfg .ini .xml .txt'.split())  # endings of files that code reads
MAX_CAUSES = 8  # named one by one
MAX_DIFF_LINES = 60  # of all causes together
MAX_FILE_CHARACTERS = 2**18  # of a file whose diff is shown
NO_CAUSE = (
    'no cause found: no change of the code, options, versions and environment variables that were recorded is known'
)


class Cause(NamedTuple):
    """Something that differs.

    Attributes:
        text: one line (str), such as 'model/lenet/lenet.py: LeNet (model)'.
        diff: lines (list of str) of a unified diff; empty if there is no earlier text.
    """

    text: str
    diff: list = []


def component_causes(changes):
    """Return the Causes (list) for changed definitions (list of code_fingerprint.Change), one for each line."""
    by_name = {}
    for change in changes:
        by_name.setdefault(change.name, []).append(change)
    return [
        Cause(describe_changes(same)[0], [] if same[0].state == 'unreadable' else (same[0].diff or '').splitlines())
        for same in by_name.values()
    ]


def file_causes(then, listed=()):
    """Return the Causes (list) for files of the project that this process uses and that differ from a run's.

    Args:
        then: Source of the run, or None if there is no source.zip.
        listed: paths of files whose changes are known already.
    """
    if then is None:
        return []
    now, opened = Source(PROJECT), opened_files() or set()
    used = imported_files() | set(map(_source_of, opened))
    code = {path for path in used if path.endswith('.py')}
    changed = [path for path in find_changed_files(then, now, code) if path in code and path not in listed]
    read = [path for path in _changed_texts(then, now) if path in opened]
    return [Cause(path, _diff(path, then, now)) for path in changed + read]


def unread_file_causes(then):
    """Return the Causes (list) for other files of the project that have changed, and that code may have read."""
    if then is None:
        return []
    now, opened = Source(PROJECT), opened_files() or set()
    paths = [path for path in _changed_texts(then, now) if path not in opened and _may_be_read(path)]
    return [Cause(f'{path} (not seen to be read)', _diff(path, then, now)) for path in paths]


def _changed_texts(then, now):
    """Return the source files (list of str) that are no Python and that differ between two Sources."""
    paths = sorted(path for path in {*then.files(), *now.files()} if not path.endswith('.py'))
    return [path for path in paths if then.read_bytes(path) != now.read_bytes(path)]


def _source_of(path):
    """Return the source file (str) of a compiled file __pycache__/name.cpython-311.pyc, or the path unchanged."""
    folder, _, name = path.rpartition('/')
    if not name.endswith('.pyc'):
        return path
    return f'{folder.removesuffix("__pycache__")}{name.partition(".")[0]}.py'


def _may_be_read(path):
    """Return whether a run may read a file of this path (bool): settings, or code that is compiled.

    No document, test, script or list of requirements.
    """
    name = path.rpartition('/')[2]
    outside_of_runs = path.partition('/')[0] in NON_RUN_DIRECTORIES
    is_settings = name.endswith(SETTINGS) and not name.startswith('requirements')
    return not outside_of_runs and (is_settings or is_run_code(path))


def _diff(path, then, now):
    """Return the unified diff (list of str) of a file; empty if it is large or no text."""
    texts = [source.read(path) if source.has(path) else '' for source in (then, now)]
    if any(text is None or len(text) > MAX_FILE_CHARACTERS for text in texts):
        return []
    lines = [text.splitlines() for text in texts]
    return list(difflib.unified_diff(*lines, f'then/{path}', f'now/{path}', lineterm=''))


def option_causes(checkpoint, args, names):
    """Return the Causes (list) for options that differ from those in the checkpoint.

    Args:
        checkpoint: result of utils.runs.checkpoint.load_checkpoint.
        args: today's options.
        names: the options to compare (iterable of str).
    """
    trained = recorded_args(checkpoint) or {}
    return [
        Cause(f'--{name}: {shown(trained[name])} -> {shown(getattr(args, name))}')
        for name in names
        if name in trained and _plain(trained[name]) != _plain(getattr(args, name, trained[name]))
    ]


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def environment_causes(record):
    """Return the Causes (list) for changed versions, environment variables and files outside of the project.

    Args:
        record: record of the run (dict); records of older versions lack some values.
    """
    versions = versions_of(record.get('versions') or ())
    texts = changed_versions(record, {'versions': versions})
    imported = {name: version for name, version in (record.get('imported') or {}).items() if name not in versions}
    texts += changed_versions({'versions': imported}, {'versions': imported_versions()})
    if isinstance(record.get('variables'), dict):
        texts += changed_variables(record['variables'], variables_read_by(read_files()))
    outside, then = outside_files(), record.get('outside') or {}
    texts += [f'{path} (outside of the project)' for path in then if outside.get(path, then[path]) != then[path]]
    if 'outside' in record:
        texts += [f'{path} (outside of the project, new)' for path in outside if path not in then]
    opened = record.get('opened') or {}
    texts += [f'{path} (read by the run)' for path in opened if hash_of_file(path) != opened[path]]
    return [Cause(text) for text in texts]


def describe_causes(causes, with_diffs=True):
    """Return lines (list of str): each Cause with its diff, at most MAX_CAUSES causes and MAX_DIFF_LINES lines."""
    lines, remaining = [], MAX_DIFF_LINES if with_diffs else 0
    for cause in causes[:MAX_CAUSES]:
        lines.append(cause.text)
        lines += [f'  {line}' for line in cause.diff[:remaining]]
        if with_diffs and len(cause.diff) > remaining:
            lines.append(f'  ... and {len(cause.diff) - remaining} more lines')
        remaining = max(remaining - len(cause.diff), 0)
    more = [cause.text for cause in causes[MAX_CAUSES:]]
    return lines + ([f'and {len(more)} more: {", ".join(more[:MAX_CAUSES])}'] if more else []) or [NO_CAUSE]
