"""runs.py pack: a run in one archive, without data, which eval.py tests in another clone. Imports no torch.

The archive holds the run's directory below run/, the code of its tests below .code/, and packed.json. Left out are
files with samples in them (images, report.html, TensorBoard's files, diverged.pth) and, unless they are asked for, all
checkpoints but best.pth.
"""

import glob
import hashlib
import importlib.metadata
import json
import os
import shutil
import uuid
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from utils.base.errors import DanluError, message_of
from utils.base.known_archives import SHA256
from utils.base.regular_files import open_regular, regular
from utils.base.text_table import count_text
from utils.options.validation_options import SPLIT_DIRECTORY
from utils.provenance.kept_code import DIRECTORY, kept_archive
from utils.provenance.project_source import code_hash, files_hash, read_files
from utils.provenance.source_archive import DAMAGE_ERRORS, MAX_ARCHIVE_BYTES, fault_of_entries, read_archive
from utils.runs.results import result_files, result_test
from utils.runs.run import Run
from utils.runs.run_directory import make_new_directory

FORMAT = 1
MANIFEST, RUN = 'packed.json', 'run'
SUFFIX = '.zip'
BEST, LAST = 'best.pth', 'last.pth'
WITH_SAMPLES = ('report*.html', 'events.out*', 'diverged.pth', 'look*.png')
DIRECTORIES_WITH_SAMPLES = ('viz', 'viz.*', 'outputs', 'outputs.*', 'steps')
LEFT_OUT = ('lock', MANIFEST, '*.partial', 'ledger_line.json', 'trace.json.gz')
MAX_FILES = 20_000
MAX_EXPANSION = 20  # bytes unpacked per byte of the archive; weights and texts stay far below


def packed_files(run, all_checkpoints=False):
    """Return the files of a run (dict from the name in the archive to its Path) that are packed.

    Args:
        run: utils.runs.run.Run.
        all_checkpoints: whether to pack all checkpoints, with which the run can be resumed, and not only best.pth.
    """
    found = {}
    for folder, folders, names in os.walk(run.path):
        folders[:] = [name for name in folders if not _matches(name, (*DIRECTORIES_WITH_SAMPLES, 'partial*'))]
        for name in sorted(names):
            path = Path(folder, name)
            if _matches(name, WITH_SAMPLES + LEFT_OUT) or not path.is_file():
                continue
            if path.suffix == '.pth' and name != BEST and not all_checkpoints:
                continue
            found[f'{RUN}/{path.relative_to(run.path).as_posix()}'] = path
    digests = {result_test(path, run.path).get('source') for path in result_files(run.path)}
    kept = (kept_archive(run.path.parent, each) for each in digests if each and SHA256.fullmatch(each))
    return found | {f'{DIRECTORY}/{path.name}': path for path in kept if path.is_file()}


def _matches(name, patterns):
    return any(fnmatch(name, pattern) for pattern in patterns)


def pack(run, target, all_checkpoints=False):
    """Write the archive of a run and return the names of its files (list of str).

    Args:
        run: utils.runs.run.Run.
        target: path of the archive (Path), which must not exist.
        all_checkpoints: see `packed_files`.

    Raises:
        DanluError: the run is in use or has no checkpoint, or the archive exists or cannot be written.
    """
    if os.path.lexists(target):
        raise DanluError(f'{target} exists; --output gives another name')
    if run.holder:
        raise DanluError(f'{run.name} is in use by {run.holder}; pack it when it has ended')
    files = packed_files(run, all_checkpoints)
    checkpoint = next((name for name in (BEST, LAST) if f'{RUN}/{name}' in files), None)
    if checkpoint is None:
        raise DanluError(f'{run.path} has no {BEST} to pack; --all_checkpoints packs its other checkpoints')
    with open_regular(run.path / checkpoint) as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    manifest = {'format': FORMAT, 'run': run.path.name, 'checkpoint': checkpoint, 'sha256': digest}
    partial = target.with_name(f'{target.name}.{uuid.uuid4().hex}.partial')
    try:
        with open_regular(partial, 'xb') as file, zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(MANIFEST, json.dumps(manifest))
            for name, path in files.items():  # weights and archives hardly get smaller
                stored = path.suffix in ('.pth', SUFFIX, '.png')
                archive.write(regular(path), name, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
        os.replace(partial, target)
    except OSError as error:
        raise DanluError(f'{target} cannot be written: {error.strerror or error}') from None
    finally:
        partial.unlink(missing_ok=True)
    return list(files)


def with_unpacked(given):
    """Return the options of eval.py with the checkpoint of an archive that `pack` wrote in place of the archive.

    Args:
        given: Options of the command line; load_model_path and words are replaced if it is such an archive.

    Raises:
        DanluError: the archive is damaged or cannot be unpacked.
    """
    path = Path(given.load_model_path)
    if path.suffix.lower() != SUFFIX or not is_packed(path):
        return given
    run, is_new = unpack(path, Path(given.checkpoints_dir))
    print(f'{path}: {"unpacked into" if is_new else "the run is already in"} {run}')
    for line in missing_here(Run(run), given.given):
        print(line)
    checkpoint = str(run / (BEST if (run / BEST).is_file() else LAST))
    given.load_model_path, given.words = checkpoint, [*given.words, '--load_model_path', checkpoint]
    return given


def is_packed(path):
    """Return whether a file is an archive that `pack` wrote (bool)."""
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            return MANIFEST in archive.namelist()
    except (OSError, *DAMAGE_ERRORS):
        return False


def unpack(path, root):
    """Unpack an archive into the directory of all runs; return the directory (Path) of the run, and whether it is new.

    An archive that was unpacked before, or whose run is there, is not unpacked again; no file is written over.

    Args:
        path: of the archive (Path).
        root: directory of all runs (Path).

    Raises:
        DanluError: the archive is damaged, or cannot be unpacked.
    """
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            entries = archive.infolist()
            largest = max(MAX_ARCHIVE_BYTES, MAX_EXPANSION * path.stat().st_size)
            if fault := fault_of_entries(entries, MAX_FILES, largest):
                raise DanluError(f'{path} is not unpacked: {fault}')
            manifest = _manifest(archive.read(MANIFEST), path)
            if known := _known_run(root, manifest):
                return known, False
            run = _extract(archive, entries, root, manifest)
            _keep_code(archive, entries, root)
            return run, True
    except OSError as error:
        raise DanluError(f'{path} cannot be unpacked into {root}: {error.strerror or error}') from error
    except DAMAGE_ERRORS as error:
        raise DanluError(f'{path} is damaged ({type(error).__name__}: {message_of(error)}); copy it again') from error


def _manifest(data, path):
    """Return the contents of packed.json (dict); anything but what `pack` writes raises a DanluError."""
    manifest = json.loads(data)
    name = manifest.get('run') if isinstance(manifest, dict) else None
    plain = isinstance(name, str) and name == PurePosixPath(name).name and name.isprintable() and name[:1] not in '.-'
    known = plain and manifest.get('checkpoint') in (BEST, LAST) and SHA256.fullmatch(str(manifest.get('sha256')))
    if not known or '\\' in name:
        raise DanluError(f'{path} is not unpacked: its {MANIFEST} is not one that runs.py pack writes')
    return manifest


def _known_run(root, manifest):
    """Return the directory (Path) of the same run below `root`, or None."""
    for run in sorted(root.glob(f'{glob.escape(manifest["run"])}*')):
        try:
            with open_regular(run / manifest['checkpoint']) as file:
                if hashlib.file_digest(file, 'sha256').hexdigest() == manifest['sha256']:
                    return run
        except OSError:
            continue
    return None


def _extract(archive, entries, root, manifest):
    """Write the files below run/ into a new directory, which gets its name when it is complete; return it (Path)."""
    partial = root / f'.unpacked_{uuid.uuid4().hex}'
    try:
        for entry in entries:
            folder, _, name = entry.filename.partition('/')
            if folder != RUN or not name:
                continue
            target = partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, open_regular(target, 'wb') as file:
                shutil.copyfileobj(source, file, 2**20)
        run = Path(make_new_directory(root / manifest['run']))
        os.rmdir(run)
        os.rename(partial, run)
        return run
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _keep_code(archive, entries, root):
    """Keep the code of tests; archives whose files do not have the hash in their names are left out."""
    for entry in entries:
        folder, _, name = entry.filename.partition('/')
        digest = name.removesuffix(SUFFIX)
        target = kept_archive(root, digest)
        if (
            folder != DIRECTORY
            or not SHA256.fullmatch(digest)
            or target.exists()
            or entry.file_size > MAX_ARCHIVE_BYTES
        ):
            continue
        target.parent.mkdir(exist_ok=True)
        partial = target.with_name(f'{digest}.{uuid.uuid4().hex}.partial')
        data = archive.read(entry)
        try:
            with open_regular(partial, 'wb') as file:
                file.write(data)
            if files_hash(read_archive(partial, hashlib.sha256(data).hexdigest())) == digest:
                os.replace(partial, target)
        except DanluError:
            continue
        finally:
            partial.unlink(missing_ok=True)


def missing_here(run, given=()):
    """Return lines (list of str) on what a test of a run needs and this machine or project does not have.

    Args:
        run: utils.runs.run.Run.
        given: names of the options on the command line, which need no file of the record.
    """
    lines = []
    for name in ('val_list', 'data_root'):
        path = run.options.get(name)
        if isinstance(path, str) and path != 'none' and name not in given and not os.path.exists(path):
            split = ' (a list of the run, in its directory)' if SPLIT_DIRECTORY in Path(path).parts else ''
            lines.append(f'missing here: --{name} {path}{split}{_described(run)}; give --{name}')
    for name, version in sorted((run.recorded('versions') or {}).items()):
        if name != 'python' and not _is_installed(name):
            lines.append(f'missing here: the package {name}, {version} in the run: pip install {name}')
    if (code := run.recorded('code')) is not None and code != code_hash(read_files()):
        lines.append('the code of this project is not that of the run; to test with the code of the run: --code then')
    return lines


def _described(run):
    samples, digest = (run.recorded('data', 'val', key) for key in ('samples', 'sha256'))
    return (
        f', {count_text(samples, "sample")}, sha256 {digest[:12]}'
        if isinstance(samples, int) and isinstance(digest, str)
        else ''
    )


def _is_installed(name):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
