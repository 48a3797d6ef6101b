"""--as: a new run that is a copy of another run at one of its checkpoints, and continues from there.

The copy looks like a run that was interrupted at that moment: last.pth is the checkpoint, best.pth has the best epoch
up to there, and TensorBoard's event files end there. It is then resumed like any run, with bit-identical results.
Nothing is written into the directory of the old run.
"""

import json
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

from utils.base.atomic_write import atomic_writer
from utils.base.errors import DanluError
from utils.base.record_schema import check_resume_state
from utils.base.regular_files import open_regular, read_regular_text, regular, write_regular_text
from utils.base.write_errors import suppress_cleanup_errors
from utils.distributed import processes
from utils.provenance.record import check_same_run
from utils.runs.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint, weights_of
from utils.runs.event_files import CONTINUED_FILE, EVENT_DIRECTORIES
from utils.runs.run_directory import make_directory_below
from utils.training.resume import newest_readable

# Files that a run writes at its start, or that are valid up to any epoch.
COPIED_FILES = (
    *('args.txt', 'env*.txt', 'source*.zip', 'record*.json'),
    *('witness.jsonl', 'first_steps.jsonl', 'skipped.txt', 'contents_*.bin'),
)
COPIED_DIRECTORIES = ('val_split',)
# Keys of a checkpoint for testing; the others are for resuming.
TEST_KEYS = ('format', 'model', 'args', 'epoch', 'step', 'metrics', 'record', 'fingerprint')


def begin_copy(args, parser):
    """Copy the run of args.resume at that checkpoint into a new run named by --as; args.resume becomes the copy.

    Args:
        args: options of train.py; model_dir and resume are changed.
        parser: parser of train.py, for errors.

    Returns:
        the directory of the copy (str).

    Raises:
        DanluError: the checkpoint cannot be resumed, or the copy cannot be written.
    """
    state, path = state_to_copy(args.resume, args.epochs)
    root = Path(args.checkpoints_dir)
    args.model_dir = make_directory_below([root], root / getattr(args, 'as'), parser, '--as')
    try:
        copy_run(state, path, Path(args.model_dir))
    except BaseException as error:
        with suppress_cleanup_errors(error):
            shutil.rmtree(args.model_dir)
        if isinstance(error, OSError):
            raise DanluError(f'--as: {args.model_dir} cannot be written: {error.strerror or error}') from error
        raise
    args.resume = args.model_dir
    print(f'new run: {args.model_dir}, which goes on from {path}')
    return args.model_dir


def state_to_copy(resume, epochs):
    """Return the state (dict) of the checkpoint that a new run starts from, and its path.

    Args:
        resume: path of the checkpoint, or of a run, whose newest checkpoint is used.
        epochs: epochs of the new run (int).

    Raises:
        DanluError: the checkpoint is damaged, for testing only, of another run, or has all epochs already.
    """
    path = Path(resume)
    state, path, _ = newest_readable(path)
    if 'optimizer' not in state:
        raise DanluError(f'--resume: {path} is for testing, it holds no optimizer; give last.pth or an epoch_*.pth')
    check_resume_state(state, path)
    check_same_run(state, path, path.parent)
    if state['epoch'] >= epochs:
        raise DanluError(
            f'--as: {path} is finished, at epoch {state["epoch"]} of {epochs}; to train longer, add --epochs '
            f'{state["epoch"] + epochs}'
        )
    return state, path


def copy_run(state, path, target):
    """Copy the files of a run, as they were when a checkpoint was saved, into a new directory.

    Args:
        state: content of the checkpoint (dict).
        path: path of the checkpoint (Path) in the directory of its run.
        target: the new directory (Path), which exists and is empty.

    Raises:
        DanluError, OSError: a file cannot be written.
    """
    run = path.parent
    for pattern in COPIED_FILES:
        for file in run.glob(pattern):
            shutil.copyfile(regular(file), target / file.name)
    for name in COPIED_DIRECTORIES:
        if (run / name).is_dir():
            shutil.copytree(run / name, target / name)
    name = uuid.uuid4().hex
    for file in target.glob('record*.json'):
        _replace_run_id(file, name, path)
    state = state | {
        'events': _copy_events(state.get('events'), run, target),
        'record': _with_run_id(state.get('record'), name, path),
    }
    _copy_best(state, path, target, name)
    _copy_top(state, run, target)
    save_checkpoint(target / LAST, state)
    note = f'a copy of {path}; the log up to there is in {run / "log.txt"}\n'
    write_regular_text(target / 'log.txt', note)


@contextmanager
def without_failed_copy(args):
    """Return a context that removes the copy made by --as on an error."""
    try:
        yield
    except BaseException:
        if getattr(args, 'as') and args.model_dir and processes.is_first():
            shutil.rmtree(args.model_dir, ignore_errors=True)
        raise


def _with_run_id(record, name, path):
    """Return a record (dict, or None) with the id (str) of the new run and the checkpoint (Path) it starts from."""
    if not isinstance(record, dict):
        return record
    return record | {'run': name, 'copy_of': {'run': record.get('run'), 'checkpoint': str(path)}}


def _replace_run_id(file, name, path):
    """Replace the run's id in a copied record.json; an unreadable one is not changed."""
    try:
        record = _with_run_id(json.loads(read_regular_text(file)), name, path)
    except (ValueError, RecursionError):
        return
    with atomic_writer(file) as written:
        json.dump(record, written, indent=1)
        written.write('\n')


def _copy_best(state, path, target, name):
    """Write best.pth from a checkpoint of the best epoch up to there; print a note if there is none."""
    best = state['best'] and state['best']['epoch']
    if not best:
        return
    candidates = [BEST, f'top_{best:04d}.pth', f'epoch_{best:04d}.pth']
    for file in dict.fromkeys([*(path.parent / each for each in candidates), path]):
        if not file.is_file():
            continue
        try:
            found = load_checkpoint(file)
        except DanluError:
            continue  # damaged; the old run reports it when it is resumed or tested
        if found.get('epoch') != best:
            continue
        kept = {key: found[key] for key in TEST_KEYS if key in found}
        kept |= {'model': weights_of(found, file), 'record': _with_run_id(found.get('record'), name, path)}
        save_checkpoint(target / BEST, kept)
        return
    print(
        f'--as: the weights of epoch {best}, the best one up to there, are not in {path.parent} any more: best.pth is '
        'missing until a later epoch is better'
    )


def _copy_top(state, run, target):
    """Copy the top_*.pth of --keep_top up to the state's epoch."""
    for file in run.glob('top_*.pth'):
        number = file.stem.removeprefix('top_')
        if number.isdecimal() and int(number) <= state['epoch']:
            shutil.copyfile(regular(file), target / file.name)


def _copy_events(sizes, run, target):
    """Copy TensorBoard's event files up to their sizes in a checkpoint; return the sizes of the copies (dict).

    Args:
        sizes: sizes of the event files in bytes (dict), from the checkpoint, or None.
        run, target: directories (Path).

    Returns:
        None if the files were changed: TensorBoard's curves then start with the copy.
    """
    if not isinstance(sizes, dict):
        return None
    copied = {}
    for below in EVENT_DIRECTORIES:
        own = {name: size for name, size in sizes.items() if Path(name).parent == Path(below)}
        continued = (Path(below) / CONTINUED_FILE).as_posix()
        if not all(_has_bytes(run / name, size) for name, size in own.items()):
            # A resumed run has joined the event files into one.
            own = {continued: sum(own.values())}
            if not _has_bytes(run / continued, own[continued]):
                return None
        for name, size in own.items():
            (target / name).parent.mkdir(exist_ok=True)
            with open_regular(run / name) as source, open_regular(target / name, 'wb') as copy:
                copy.write(source.read(size))
        copied |= own
    return copied


def _has_bytes(path, size):
    return path.is_file() and path.stat().st_size >= size
