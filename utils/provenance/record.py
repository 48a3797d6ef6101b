"""The record of a run: env.txt, source.zip, record.json, and `record` in every checkpoint.

The record is a dict of plain values:

    format      1
    date        ISO 8601 with time zone
    experiment  SHA-256 of the relevant options, the code and the data: equal for identical runs; None if objects were
                passed to the Trainer, the data has no hash, or the code changed during the run
    run         random hexadecimal id, the same in all checkpoints of a run; older records have none
    code        SHA-256 of the code that runs use: utils.provenance.project_source.code_hash
    source      file name and sha256 of the archive of the project's source files
    git         commit and changed paths, or None: utils.provenance.environment.git_state
    versions    versions of Python, torch and the packages of the objects in use
    components  hash of each definition in use, by kind: utils.provenance.code_fingerprint
    opened      hash of each other file that was read while the run was built: see utils.provenance.used_files
    data        for each split: list (or data type), sha256, samples and more: data_record of
                data/checks/dataset_fingerprint.py; from the end of the first epoch on also contents: sha256 of the
                hashes of the samples' bytes, and how many samples were read
    variables   environment variables that the code and the libraries read: {name: value, None if not set}
    imported    versions of the imported packages
    outside     hash of each imported file that is neither the project's nor installed, by its path
    given_parts class, file and line of each object passed to the Trainer, by role; absent if there is none
"""

import hashlib
import json
import os
import re
import shlex
import uuid
from itertools import count
from pathlib import Path

from utils.base.abbreviation import enumerate_items, surround
from utils.base.atomic_write import atomic_writer
from utils.base.errors import DanluError
from utils.base.known_archives import known_directory, note_archive
from utils.base.record_schema import RECORD, fault_of
from utils.base.registry import PROJECT
from utils.base.regular_files import open_regular, read_regular_bytes, read_regular_text
from utils.distributed import processes
from utils.options.arguments import names_of
from utils.provenance.code_fingerprint import describe_changes, find_changed_files, find_changes, hash_components
from utils.provenance.contents import DATA_OF_SPLIT
from utils.provenance.contents_log import NEW_EXPERIMENT
from utils.provenance.entry_points import definition_name, find_entry_points, interactive_definitions, packages_of
from utils.provenance.environment import (
    command_line,
    environment_of,
    git_state,
    iso_timestamp,
    variables_read_by,
    versions_of,
)
from utils.provenance.project_source import code_hash, read_files, zip_bytes
from utils.provenance.symbol_resolver import Source
from utils.provenance.used_files import imported_versions, opened_file_hashes, outside_files, stop_watching
from utils.tasks.tasks import task_of

FORMAT = 1
IDENTITY_KEYS = ('code', 'source', 'versions', 'data')  # if one of them changes, a resumed run is another experiment
ARCHIVE_NAME = re.compile(r'source(_\d+)?\.zip')
ALL_IN_LOG = ' (all in log.txt)'


class Record:
    """The record of a run that starts or resumes.

    Args:
        trainer: train.Trainer with all its parts.

    Attributes:
        values: the record (dict).
        archive: content of source.zip (bytes).
        is_unchanged: whether the record of the interrupted run is still valid (bool); False for a new run.
    """

    def __init__(self, trainer):
        files, roots = read_files(PROJECT), find_entry_points(trainer)
        self.archive, self.is_unchanged = zip_bytes(files), False
        self.values = {
            'format': FORMAT,
            'date': iso_timestamp(),
            'experiment': None,
            'run': uuid.uuid4().hex,
            'code': code_hash(files),
            'source': {'file': 'source.zip', 'sha256': hashlib.sha256(self.archive).hexdigest()},
            'git': git_state(PROJECT),
            'versions': versions_of(packages_of(roots)),
            'components': _components(roots),
            'data': trainer.data,
            'variables': variables_read_by(files),
            'imported': imported_versions(),
            'outside': outside_files(),
            'opened': opened_file_hashes([*files, *_paths_of(trainer.args)]),
        }
        stop_watching()
        if trainer.given:
            self.values['given_parts'] = trainer.args.given_parts
        self.values['experiment'] = experiment_of(trainer, self.values)

    def continue_record(self, state, directory):
        """Compare with the record of the interrupted run; return one line (str) for each difference (list).

        Args:
            state: the checkpoint (dict); old checkpoints have the hashes `identity` instead of a record.
            directory: run directory.
        """
        then = state.get('record') or _legacy_record(state.get('identity') or {})
        differences = record_differences(then, self.values, open_archive(then, directory))
        lines = [surround('changed since the run was interrupted: ', d, f'; {NEW_EXPERIMENT}') for d in differences]
        self.is_unchanged = _has_archive(then) and all(
            _identity_value(then, key) == _identity_value(self.values, key) for key in IDENTITY_KEYS
        )
        if self.is_unchanged:
            self.values = then | {'experiment': then.get('experiment') and self.values['experiment']}
        elif 'code' in then:
            self.values['experiment'] = None  # the first epochs ran with other code
        if 'run' in then:
            self.values['run'] = then['run']
        return lines

    def rewrite(self, trainer):
        """Write record.json again after a part or the number of epochs changed before the first step."""
        roots, values = find_entry_points(trainer), self.values
        values['versions'], values['components'] = versions_of(packages_of(roots)), _components(roots)
        values['experiment'] = experiment_of(trainer, values)
        if trainer.given:
            values['given_parts'] = trainer.args.given_parts
        self.write_values(Path(trainer.args.model_dir))

    def add_contents(self, contents, changed, directory):
        """Add the hashes of the bytes of samples, and write record.json again.

        Args:
            contents: results of utils.provenance.contents.SampleHashes.record by split (dict).
            changed: whether samples changed during the run (bool), so that it is no longer the recorded experiment.
            directory: run directory.
        """
        data = {
            split: values | {'contents': contents[split]} if split in contents else values
            for split, values in self.values['data'].items()
        }
        # New dictionaries, as a checkpoint with the present ones may still be being written.
        self.values = self.values | {'data': data} | ({'experiment': None} if changed else {})
        self.write_values(Path(directory))

    def write_values(self, directory):
        """Write record.json, or that of the resumed run, into the run directory (Path)."""
        with atomic_writer(directory / _sibling_name(self.values['source']['file'], 'record.json')) as file:
            json.dump(self.values, file, indent=1)
            file.write('\n')

    def write(self, directory, device):
        """Write env.txt, source.zip and record.json into the run directory; after a change env_2.txt and so on.

        Args:
            directory: run directory.
            device: device of the network (str).

        Returns:
            One line (list of str) if the archive cannot be registered as the user's own, else [].
        """
        directory, source = Path(directory), self.values['source']
        if self.is_unchanged:
            with open_regular(directory / _sibling_name(source['file'], 'env.txt'), 'a', encoding='utf-8') as file:
                file.write(f'resumed: {iso_timestamp()}, {command_line()}\n')
        else:
            source['file'] = _new_archive_name(directory)
            with atomic_writer(directory / source['file'], binary=True) as file:
                file.write(self.archive)
            with atomic_writer(directory / _sibling_name(source['file'], 'env.txt')) as file:
                lines = environment_of(self.values, device).items()
                file.write(''.join(f'{name}: {value}\n' for name, value in lines))
        self.write_values(directory)
        self.archive = None  # frees memory during the run
        return note_archive(source['sha256'], directory)


def _paths_of(args):
    """Return the lists and directories that options name (list of str): their contents are recorded elsewhere."""
    names = ('train_list', 'val_list', 'data_root', 'cache_dir', 'checkpoints_dir', 'model_dir', 'load_model_path')
    return [path for name in names if isinstance(path := getattr(args, name, None), str)]


def check_same_run(state, path, run):
    """Raise a DanluError if a checkpoint belongs to another run than the record.json of its directory.

    Args:
        state: the checkpoint (dict).
        path: path of the checkpoint.
        run: run directory (Path). Old records have no run id and are not checked.
    """
    own, found = run_id(read_record(run)), run_id(state.get('record'))
    if own is None or found is None or own == found:
        return
    raise DanluError(
        f'--resume: {path} belongs to another run than {run} (run id {found} in the checkpoint, {own} in '
        f'record.json). Resume the run of the checkpoint, or start a new run from its weights: python train.py '
        f'{shlex.quote(f"@{run}/args.txt")} --load_model_path {shlex.quote(str(path))}'
    )


def read_record(run):
    """Return the record.json of a run directory (dict), {} if it is missing or invalid."""
    try:
        record = json.loads(read_regular_text(Path(run, 'record.json')))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) and fault_of(record, RECORD) is None else {}


def run_id(record):
    """Return the run id (str) in a record, or None."""
    value = record.get('run') if isinstance(record, dict) else None
    return value if isinstance(value, str) else None


def _identity_value(record, key):
    if key == 'data':  # contents are known later
        splits = (record.get('data') or {}).items()
        return {split: {name: each[name] for name in each if name != 'contents'} for split, each in splits}
    return record[key].get('sha256') if key == 'source' else record.get(key)


def _has_archive(record):
    """Return whether a record names a valid source archive (bool); checkpoints of strangers may hold any path."""
    return bool(ARCHIVE_NAME.fullmatch(str((record.get('source') or {}).get('file'))))


def _components(roots):
    """Return the hashes of the definitions in use: {kind: {name: hash}}."""
    names = {
        kind: [
            name for name in (thing if isinstance(thing, str) else definition_name(thing) for thing in things) if name
        ]
        for kind, things in roots.items()
    }
    found = hash_components(names, Source(PROJECT))
    return {kind: hashes | interactive_definitions(roots[kind]) for kind, hashes in found.items()}


def experiment_of(trainer, record):
    """Return the SHA-256 (str) of options, code and data, or None if these do not define the run: see the module."""
    data = [split for split in record['data'].values() if split['samples'] != 0]  # 0: there is no validation
    if trainer.given or any(split['sha256'] is None for split in data):
        return None
    aside = {'from_data', *names_of(trainer.args, experiment=False)}
    options = {name: value for name, value in vars(trainer.args).items() if name not in aside}
    if trainer.args.val_split is not None:
        options['val_list'] = None  # a file in the run directory, split from the training data
    if task_of(trainer.args).target == 'mask' and trainer.args.palette is not None:  # decodes RGB masks
        options['palette'] = trainer.args.palette
    options['gpus'] = len(trainer.args.gpus or [0])  # several GPUs split a batch
    if processes.count() > 1:  # sums over processes round differently
        options['processes'] = processes.count()
    data = [split['sha256'] for split in record['data'].values()]
    whole = json.dumps([options, record['code'], record['components'], data], sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()


def _legacy_record(identity):
    """Return the record (dict) of a checkpoint that is older than records: the code hash only.

    Hashes of data are not comparable, because list hashes did not include file sizes then.
    """
    return {'code': identity['code']} if 'code' in identity else {}


def record_differences(then, now, archive=None):
    """Return the differences between two records (list of str): data of each split, versions, code.

    Args:
        then, now: records (dict); `now` describes the current project.
        archive: Source of the source.zip of `then`, or None if it is not available.
    """
    found = []
    for split, what in DATA_OF_SPLIT.items():
        before, after = (record.get('data', {}).get(split, {}).get('sha256') for record in (then, now))
        if before and after and before != after:
            found.append(f'the {what}')
    found += changed_versions(then, now)
    if 'code' in then and then['code'] != now['code']:
        found += code_differences(then, archive)
    return found


def changed_versions(then, now):
    """Return the changed package versions between two records (list of str: 'torch 2.14 -> 2.15')."""
    before, after = then.get('versions') or {}, now.get('versions') or {}
    return [
        f'{name} {before[name]} -> {after[name]}' for name in before if after.get(name, before[name]) != before[name]
    ]


def code_differences(then, archive):
    """Return the changed definitions and files in one line (list of AbbreviatedText), [] if only comments changed.

    Args:
        then: record (dict).
        archive: Source of the source.zip of `then`, or None.
    """
    now = Source(PROJECT)
    parts = describe_changes(found := find_changes(then, archive, now))
    if archive is not None:
        parts += [path for path in find_changed_files(archive, now) if path not in {change.path for change in found}]
        if not parts:
            return []
    return [surround('the code of ', enumerate_items(parts, ', ', ALL_IN_LOG)) if parts else 'the code']


def open_archive(record, directory):
    """Return the Source of the source.zip of a record, or None if there is none with the recorded hash.

    It is searched in `directory`, and in the directory of the run that wrote it, if that was a run of this user: a
    checkpoint may have been copied alone.
    """
    if not record or not _has_archive(record):
        return None
    file, sha256 = record['source']['file'], record['source'].get('sha256')
    for place in (directory, known_directory(sha256)):
        try:
            path = place and Path(place, file)
            if path and hashlib.sha256(read_regular_bytes(path)).hexdigest() == sha256:
                return Source(path)
        except OSError:
            continue
    return None


def _new_archive_name(directory):
    """Return a free name (str) for the archive: source.zip, or source_2.zip after a resume with changes."""
    for number in count(1):
        name = 'source.zip' if number == 1 else f'source_{number}.zip'
        if not any(
            (directory / _sibling_name(name, other)).exists() for other in ('source.zip', 'env.txt', 'record.json')
        ):
            return name
    return None


def _sibling_name(archive, name):
    """Return the name (str) of a file with the number of its archive: env_2.txt for source_2.zip and env.txt."""
    stem, ending = os.path.splitext(name)
    return f'{stem}{os.path.splitext(archive)[0].removeprefix("source")}{ending}'
