"""Resuming a run: the checkpoint to resume from, restoring it, and the remaining batches."""

import os
import shlex
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from utils.base.errors import DanluError, first_line
from utils.base.record_schema import check_resume_state
from utils.base.seeding import get_rng_state, set_rng_state
from utils.base.text_table import printable
from utils.distributed import processes
from utils.drawing.curves import draw_run
from utils.provenance.checkpoint_check import check_loaded, explain_misfit
from utils.runs.checkpoint import BEST, LAST, PREVIOUS, load_checkpoint, load_weights, weights_of
from utils.runs.weights_file import ENDING, metadata_of_checkpoint, write_weights_file

DAMAGED_FILE = 'last.damaged.pth'


class RunFinished(DanluError):
    """All epochs of the run are done; not an error with --resume auto, which batch systems repeat."""


def newest_readable(run):
    """Return the newest readable state (dict) of a run, its path, and a note (str or None) on damaged files.

    Args:
        run: directory (Path) of the run, or one of its checkpoints, which is then read.

    Raises:
        DanluError: none of last.pth, last.prev.pth and epoch_*.pth is readable.
    """
    if not run.is_dir():
        return load_checkpoint(run), run, None
    faults = []
    kept = sorted(run.glob('epoch_*.pth'), key=lambda path: (len(path.name), path.name), reverse=True)
    for path in [run / LAST, run / PREVIOUS, *kept]:
        if path.name != LAST and not path.exists():
            continue
        try:
            state = load_checkpoint(path)
        except DanluError as error:
            faults.append(str(error))
            continue
        return state, path, f'resuming from {path.name} instead: {"; ".join(faults)}' if faults else None
    raise DanluError(f'--resume: no readable checkpoint in {run}: {"; ".join(faults)}{_best_weights_hint(run)}')


def _best_weights_hint(run):
    """Return how to use best.pth of a run that cannot be resumed (str); '' if it is not readable."""
    best = run / 'best.pth'
    try:
        load_checkpoint(best)
    except DanluError:
        return ''
    path, options = shlex.quote(str(best)), shlex.quote(f'@{run / "args.txt"}')
    return (
        f'. best.pth can be read. To test it: python eval.py --load_model_path {path}; to start a new run from its '
        f'weights: python train.py {options} --load_model_path {path}'
    )


def rename_damaged(path, run):
    """Rename a damaged last.pth to last.damaged.pth, so that the next save does not overwrite last.prev.pth with it.

    Args:
        path: path of the checkpoint (Path) that the run resumes from.
        run: directory (Path) of the run.

    Returns:
        A line (list of one str) if a file was renamed, else [].
    """
    last = run / LAST
    if path == last or not last.exists():
        return []
    os.replace(last, run / DAMAGED_FILE)
    return [f'the damaged {LAST} is kept as {DAMAGED_FILE}']


def read_resume_state(args, repeat_command, selection):
    """Return the state (dict) of args.resume, its path, and a note (str) on damaged files, or None.

    Args:
        args: options; resume and epochs are used.
        repeat_command: the command (str) that repeats the run from its start.
        selection: utils.training.checkpoint_selector.CheckpointSelector of the run.

    Raises:
        DanluError: the checkpoint is damaged, for testing only, or not the newest of its run.
        RunFinished: all epochs are done.
    """
    path = Path(args.resume)
    state, path, note = newest_readable(path)
    if 'optimizer' not in state:
        raise DanluError(f'--resume: {path} is for testing, it holds no optimizer; give the directory of the run')
    check_resume_state(state, path)
    newest = path.parent / LAST
    if not note and path.name != LAST and newest.is_file() and load_checkpoint(newest)['epoch'] > state['epoch']:
        raise DanluError(
            f'--resume: going on from {path} would write over the epochs after it; to go on from there in a new run: '
            f'{repeat_command.partition(" @")[0]} --resume {shlex.quote(str(path))} --as NAME; to start a new run from '
            f'its weights alone: {repeat_command} --load_model_path {shlex.quote(str(path))}'
        )
    if state['epoch'] >= args.epochs:
        draw_missing_curves(path, state, selection)
        raise RunFinished(
            f'{path.parent} is finished, at epoch {state["epoch"]} of {args.epochs}; to train longer, add --epochs '
            f'{state["epoch"] + args.epochs}'
        )
    return state, path, note


def draw_missing_curves(path, state, selection):
    """Draw the curves of a finished run that was killed after its last epoch, before the curves were drawn.

    Args:
        path: path of the run's checkpoint (Path).
        state: content of the checkpoint (dict).
        selection: utils.training.checkpoint_selector.CheckpointSelector of the run.
    """
    curves = path.with_name('curves.png')
    if not processes.is_first():
        return
    if state['recorder']['history'] and not (curves.exists() and curves.stat().st_mtime >= path.stat().st_mtime):
        draw_run(path.parent, state['recorder']['history'], selection)


def restore_trainer(trainer, state, path):
    """Restore a trainer from `state` (dict); return lines (list of str) on what was loaded."""
    with explain_misfit(state, path, trainer.args):
        lines = load_weights(trainer.net, state['model'], path)
    trainer.epoch, trainer.update.steps = state['epoch'], state['step']
    trainer.update.explain_state_errors = partial(explain_state_errors, path)
    trainer.set_resume_state(state)
    with trainer.eval_weights():
        lines += check_loaded(trainer.net, state, path, trainer.args, lines, 'resume').lines
    if (then := len(state.get('processes', [None]))) != processes.count():
        lines.append(f'processes: {then} -> {processes.count()}: same order, same samples; values equal to rounding')
    if trainer.args.accumulate > 1 and 'accumulates' not in state.get('loader', {}):
        lines.append(
            f'accumulate: a step has the gradient of its {trainer.args.accumulate} batches as one; the run began with '
            'an earlier version, which took the mean of their gradients: other values where batches count differently '
            '(a smaller last batch, ignored targets, class weights)'
        )
    if trainer.batch and state['train_metrics'] is None:
        lines.append('the training metrics of this epoch are those of its rest: they cannot be saved')
    return lines


@contextmanager
def explain_state_errors(path):
    """Return a context that turns errors of loading a state that does not fit into DanluError.

    Args:
        path: path of the state's checkpoint.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = f'{type(error).__name__}: {first_line(error)}'
        raise DanluError(
            f'--resume: {path} is damaged or was changed: its state cannot be taken up ({printable(reason)}); give '
            'another checkpoint of the run'
        ) from error


def load_best_weights(trainer):
    """Load the weights of best.pth into a trainer's network at the end of its run, unless args.keep_last_weights.

    With --ema these are averaged weights; both the network and the average then have them.

    Returns:
        lines (list of str): why the network keeps the last weights, if best.pth is not readable; else [].
    """
    if trainer.args.keep_last_weights:
        return []
    processes.broadcast_from_rank0(trainer.logger.checkpoints.finish)
    ema, path = trainer.update.ema, Path(trainer.args.model_dir, BEST)
    if ema is None and trainer.selection.best['epoch'] == trainer.epoch:
        return []  # the network already has them
    try:
        weights = weights_of(load_checkpoint(path), path)
    except DanluError as error:
        return [f'the network keeps the weights of the last epoch: {error}']
    for net in [trainer.net] if ema is None else [trainer.net, ema.average.module]:
        load_weights(net, weights, path)
    return []


def write_best_safetensors(trainer):
    """Write the weights of best.pth to best.safetensors, if args.save_safetensors says so; return lines (list of str).

    Raises:
        WriteError: the file cannot be written.
    """
    path = Path(trainer.args.model_dir, BEST)
    if not trainer.args.save_safetensors or not processes.is_first():
        return []
    trainer.logger.checkpoints.finish()
    try:
        checkpoint = load_checkpoint(path)
    except DanluError as error:
        return [f'best.safetensors is not written: {error}']
    target = path.with_suffix(ENDING)
    write_weights_file(target, weights_of(checkpoint, path), metadata_of_checkpoint(checkpoint))
    return [f'weights: {target}']


def loader_rng_state(loader):
    """Return the state of the global generators and of a ready-made DataLoader's own ones (dict)."""
    return get_rng_state() | {'loader': [generator.get_state() for generator in _loader_generators(loader)]}


def set_loader_rng_state(loader, state):
    """Restore what `loader_rng_state` returned; older checkpoints lack the loader's own generators."""
    set_rng_state(state)
    for generator, own in zip(_loader_generators(loader), state.get('loader', []), strict=False):
        generator.set_state(own)


def _loader_generators(loader):
    sampler = getattr(loader, 'batch_sampler', None)
    holders = (loader, getattr(loader, 'sampler', None), sampler, getattr(sampler, 'sampler', None))
    found = [getattr(holder, 'generator', None) for holder in holders]
    return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())


def remaining_batches(loader, epoch, start, epoch_rng):
    """Return the batches (iterable) of an epoch from number `start` (0: the first) on.

    Danlu's own loader starts there. Another loader is iterated up to there, with the random generators (a DataLoader's
    own included) as they were at the start of the epoch. This is exact if the loader uses no other generators, has the
    same number of workers, and does not keep workers between epochs.
    """
    own = getattr(loader, 'batch_sampler', None)
    if hasattr(own, 'start'):
        own.set_epoch(epoch, start)
        return loader
    for sampler in (own, getattr(loader, 'sampler', None)):
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)
    if not start:
        return loader
    state = get_rng_state()
    set_loader_rng_state(loader, epoch_rng)
    rest = RemainingBatches(loader, start)
    set_rng_state(state)
    return rest


class RemainingBatches:
    """The remaining batches of a loader; the constructor skips the first `start` batches."""

    def __init__(self, loader, start):
        self.batches = iter(loader)
        for _ in islice(self.batches, start):
            pass
        for name in ('dataset', 'batch_sampler'):  # from which the number of samples is read
            if hasattr(loader, name):
                setattr(self, name, getattr(loader, name))

    def __iter__(self):
        return self.batches
