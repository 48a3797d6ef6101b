"""The report on a step that was not finite: the message, and diverged.pth with its batches and weights."""

from pathlib import Path

import torch

from utils.base.batches import count_batch_samples
from utils.base.errors import DanluError
from utils.distributed import processes
from utils.distributed.fsdp import local_shard
from utils.runs.async_writer import snapshot
from utils.runs.checkpoint import save_checkpoint, unwrap_model
from utils.training.run_messages import repeat_command, resume_command, resumes_in_python

NONFINITE_FILE = 'diverged.pth'
MAX_NAMES_SHOWN = 8  # of samples or parameters in a message


def report_nonfinite(trainer, diverged, batches):
    """Write diverged.pth and return a message (str): what is not finite, where, in which samples, and what to do.

    The file is a checkpoint of the weights before the step. Its `diverged` holds what ('loss' or 'gradient'), epoch,
    loss, parameters (names of those whose gradients are not finite) and batches. Each batch has its number, the names
    of its samples, the positions of samples that are not finite, and the data. With several processes, each process
    adds its share of a batch.

    Args:
        trainer: train.Trainer.
        diverged: utils.training.nonfinite_guard.NonFiniteError; after one for a gradient, the gradients still exist.
        batches: dict from the number of each batch to (batch, names of its samples or None).
    """
    found, bad_samples = [], []
    for number, (batch, names) in batches.items():
        names = names or [f'{index} of batch {number}' for index in range(count_batch_samples(batch))]
        bad = nonfinite_positions(batch)
        bad_samples += [names[index] for index in bad]
        found.append({'number': number, 'samples': names, 'not_finite': bad, 'batch': plain_batch(batch)})
    ranks = processes.all_gather(processes.on_cpu((found, bad_samples)))
    found, bad_samples = ([item for rank in ranks for item in rank[position]] for position in (0, 1))
    parameters = nonfinite_gradients(unwrap_model(trainer.net)) if diverged.what == 'gradient' else []
    facts = {'what': diverged.what, 'epoch': trainer.epoch + 1, 'loss': diverged.value, 'parameters': parameters}
    facts |= {'batches': found}
    # Called by all processes, because sharded weights are gathered from all of them.
    state = trainer.state(trainer.session.last_row()) | {'step': diverged.steps, 'diverged': facts}
    saved = processes.broadcast_from_rank0(lambda: save_diverged(trainer, state))
    samples = bad_samples or [name for each in found for name in each['samples']]
    return (
        f'{describe_location(trainer, diverged)}{f" in {shorten_names(parameters)}" if parameters else ""}; samples '
        f'{"that are not finite themselves" if bad_samples else "in it"}: {shorten_names(samples)}. '
        f'{saved}. {next_steps(trainer, bool(bad_samples))}'
    )


def describe_location(trainer, diverged):
    """Return what is not finite, and where (str): 'the loss of batch 5 of epoch 3 (step 85) is nan'."""
    numbers = shorten_names(diverged.batches)
    several = 'es' if len(diverged.batches) > 1 else ''
    where = f'batch{several} {numbers} of epoch {trainer.epoch + 1} (step {diverged.steps + 1})'
    if diverged.what == 'loss':
        return f'the loss of {where} is {diverged.value}'
    return f'the gradient of {where} is not finite (its loss is finite)'


def next_steps(trainer, in_data=False):
    """Return what the user can do (str); `in_data`: whether samples are not finite (bool)."""
    args = trainer.args
    own = 'optimizer' in getattr(trainer, 'given', ())
    lower = f'{repeat_command(trainer)} --lr {args.lr / 10:g}'
    if own or resumes_in_python(trainer):
        lower = 'that of the ready-made optimizer' if own else f'train_args(lr={args.lr / 10:g}, ...)'
    text = 'Fix the data' if in_data else f'Check the data, or lower the learning rate: {lower}'
    if args.on_nan == 'stop' and trainer.session.saved_position is not None:
        text += f'; or go on without it: {resume_command(trainer, on_nan="skip")}'
    return text


def save_diverged(trainer, state):
    """Write `state` (dict) as diverged.pth and return a sentence (str) about the file."""
    if trainer.args.dry_run:
        return 'A dry run keeps nothing of it'
    path = Path(trainer.args.model_dir, NONFINITE_FILE)
    try:
        save_checkpoint(path, snapshot(state, {}))
    except DanluError as error:  # a full disk must not hide the message about the step
        return str(error)
    return f'{path} holds the weights before it, and the batch'


def nonfinite_positions(batch):
    """Return the positions (list of int) of a batch's samples with a value that is not finite in a (B, ...) tensor."""
    batch = batch.values() if isinstance(batch, dict) else batch
    parts = [part for part in batch if torch.is_tensor(part) and part.dim() and part.is_floating_point()]
    bad = [~part.isfinite().flatten(1).all(1) if part.dim() > 1 else ~part.isfinite() for part in parts]
    return sorted({position for each in bad for position in each.nonzero().flatten().tolist()})


def nonfinite_gradients(net):
    """Return the names (list of str) of a network's parameters whose gradients are not finite. Waits for the device."""
    found = []
    for name, parameter in net.named_parameters():
        gradient = parameter.grad
        gradient = None if gradient is None else local_shard(gradient)
        if gradient is not None and not (gradient._values() if gradient.is_sparse else gradient).isfinite().all():
            found.append(name)
    return list(dict.fromkeys(name for names in processes.all_gather(found) for name in names))


def plain_batch(value):
    """Return a batch as a checkpoint may hold it: nested tensors and plain values, anything else as its repr."""
    if isinstance(value, dict):
        return {str(key): plain_batch(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_batch(item) for item in value]
    return value if torch.is_tensor(value) or isinstance(value, int | float | str | bool | None) else repr(value)


def shorten_names(names):
    """Return names or numbers as text (str): the first MAX_NAMES_SHOWN and how many more there are."""
    more = len(names) - MAX_NAMES_SHOWN
    return ', '.join(map(str, names[:MAX_NAMES_SHOWN])) + (f' and {more} more' if more > 0 else '')
