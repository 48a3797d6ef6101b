"""What is said about a step that was not finite, and diverged.pth: its batches and the weights that met them."""

from pathlib import Path

import torch

from utils.base.batches import count_batch_samples
from utils.base.errors import DanluError
from utils.distributed import processes
from utils.distributed.fsdp import local_shard
from utils.runs.async_writer import snapshot
from utils.runs.checkpoint import save_checkpoint, unwrap_model
from utils.training.run_messages import how_to_resume, repeat_command, resumes_in_python

FILE = 'diverged.pth'
SHOWN = 8  # samples or parameters that a message names


def inspect(trainer, diverged, batches):
    """Write diverged.pth and return what happened, where, to which samples, and what to do next (str).

    The file is a checkpoint of the weights from before the step, with what was met in `diverged`: what ('loss' or
    'gradient'), epoch, loss, parameters (names of those whose gradients are not finite) and batches, for each its
    number, the names of its samples, the positions of those that are not finite themselves, and the batch; of several
    processes for the part of each.

    Args:
        trainer: train.Trainer.
        diverged: utils.training.nonfinite_guard.NonFiniteError; of a gradient the gradients are still there.
        batches: dict from the number of each of its batches to (batch, names of its samples or None).
    """
    found, at_fault = [], []
    for number, (batch, names) in batches.items():
        names = names or [f'{index} of batch {number}' for index in range(count_batch_samples(batch))]
        bad = not_finite(batch)
        at_fault += [names[index] for index in bad]
        found.append({'number': number, 'samples': names, 'not_finite': bad, 'batch': plain(batch)})
    every = processes.all_gather(processes.on_cpu((found, at_fault)))
    found, at_fault = ([item for each in every for item in each[place]] for place in (0, 1))
    parameters = bad_gradients(unwrap_model(trainer.net)) if diverged.what == 'gradient' else []
    facts = {'what': diverged.what, 'epoch': trainer.epoch + 1, 'loss': diverged.value, 'parameters': parameters}
    facts |= {'batches': found}
    # Not by the first process alone: weights in shards are put together by all of them.
    state = trainer.state(trainer.session.last_row()) | {'step': diverged.steps, 'diverged': facts}
    there = processes.broadcast_from_rank0(lambda: written(trainer, state))
    samples = at_fault or [name for each in found for name in each['samples']]
    return (
        f'{place(trainer, diverged)}{f" in {few(parameters)}" if parameters else ""}; samples '
        f'{"that are not finite themselves" if at_fault else "in it"}: {few(samples)}. '
        f'{there}. {advice(trainer, bool(at_fault))}'
    )


def place(trainer, diverged):
    """Return what is not finite where (str): 'the loss of batch 5 of epoch 3 (step 85) is nan'."""
    numbers = few(diverged.batches)
    several = 'es' if len(diverged.batches) > 1 else ''
    where = f'batch{several} {numbers} of epoch {trainer.epoch + 1} (step {diverged.steps + 1})'
    if diverged.what == 'loss':
        return f'the loss of {where} is {diverged.value}'
    return f'the gradient of {where} is not finite, though the loss is,'


def advice(trainer, in_data=False):
    """Return what to do next (str); `in_data`: samples are not finite themselves."""
    args = trainer.args
    own = 'optimizer' in getattr(trainer, 'given', ())
    lower = f'{repeat_command(trainer)} --lr {args.lr / 10:g}'
    if own or resumes_in_python(trainer):
        lower = 'that of the ready-made optimizer' if own else f'train_args(lr={args.lr / 10:g}, ...)'
    text = 'Mend the data' if in_data else f'Look at the data, or lower the learning rate: {lower}'
    if args.on_nan == 'stop' and trainer.session.saved is not None:
        text += f'; or go on without it: {how_to_resume(trainer, on_nan="skip")}'
    return text


def written(trainer, state):
    """Write `state` (dict) as diverged.pth and return a sentence (str) about it."""
    if trainer.args.dry_run:
        return 'A dry run keeps nothing of it'
    path = Path(trainer.args.model_dir, FILE)
    try:
        save_checkpoint(path, snapshot(state, {}))
    except DanluError as error:  # a full disk is not to hide why it was written
        return str(error)
    return f'{path} holds the weights before it, and the batch'


def not_finite(batch):
    """Return the positions (list of int) of a batch's samples that are not finite in one of its tensors (B, ...)."""
    batch = batch.values() if isinstance(batch, dict) else batch
    parts = [part for part in batch if torch.is_tensor(part) and part.dim() and part.is_floating_point()]
    bad = [~part.isfinite().flatten(1).all(1) if part.dim() > 1 else ~part.isfinite() for part in parts]
    return sorted({position for each in bad for position in each.nonzero().flatten().tolist()})


def bad_gradients(net):
    """Return the names (list of str) of a network's parameters whose gradients are not finite. Waits for the device."""
    found = []
    for name, parameter in net.named_parameters():
        gradient = parameter.grad
        gradient = None if gradient is None else local_shard(gradient)
        if gradient is not None and not (gradient._values() if gradient.is_sparse else gradient).isfinite().all():
            found.append(name)
    return list(dict.fromkeys(name for names in processes.all_gather(found) for name in names))


def plain(value):
    """Return a batch as a checkpoint may hold it: what is no tensor, no plain value and no nest of them as its repr."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if torch.is_tensor(value) or isinstance(value, int | float | str | bool | None) else repr(value)


def few(names):
    """Return names or numbers as one word (str), the first of them where there are many."""
    more = len(names) - SHOWN
    return ', '.join(map(str, names[:SHOWN])) + (f' and {more} more' if more > 0 else '')
