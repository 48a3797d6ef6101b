"""Builds a Trainer's CheckpointSelector, optimizer and OptimizerStep, from options or ready-made objects."""

import torch

from utils.base.batches import length_or_none
from utils.base.errors import DanluError
from utils.distributed.fsdp import is_sharded
from utils.options.defaults import optimizer_line
from utils.training.checkpoint_selector import check_monitor, predictable_values, selector_from_options
from utils.training.layer_decay import layer_lr_table
from utils.training.optim import select_optimizer
from utils.training.optimizer_step import OptimizerStep
from utils.training.ready_parts import check_optimizer, optimizer_notes
from utils.training.ready_schedule import select_schedule

# A subclass of Trainer that overrides one of these methods may have values in its rows that are not predictable.
VALUE_METHODS = (
    'run_epoch train_per_epoch train_step record_loss loss_parts compute_loss val_per_epoch evaluate record_overall '
    'end_epoch'
).split()


def build_selector(trainer):
    """Return the CheckpointSelector of a Trainer that has loaders and metrics.

    Raises:
        DanluError: no epoch will have the monitored value.
    """
    changed = trainer.overridden(VALUE_METHODS)
    validates = trainer.val_loader is not None or 'val_per_epoch' in changed
    selection = selector_from_options(trainer.args, trainer.metrics['val'], validates)
    if not changed:
        check_monitor(selection, predictable_values(trainer.args, trainer.metrics['val'], trainer.loss))
    return selection


def build_optimizer(trainer, optimizer):
    """Give a Trainer the ready-made optimizer, or for None that of the options; return lines (list of str) on it."""
    if optimizer is not None:
        check_optimizer(optimizer, trainer.net)
        trainer.optimizer = optimizer
        return optimizer_notes(optimizer, trainer.net)
    trainer.optimizer = select_optimizer(trainer.net, trainer.args)
    table = layer_lr_table(trainer.net, trainer.optimizer) if trainer.args.lr_decay else []
    return [optimizer_line(trainer.args), *table]


def build_optimizer_step(trainer):
    """Return the OptimizerStep, which runs the optimizer, the schedule and the gradient scaler.

    Raises:
        DanluError: --parallel fsdp with --accumulate and a loss whose parts have different counts.
    """
    args, length = trainer.args, length_or_none(trainer.train_loader)
    steps = None if length is None else -(-length // args.accumulate)
    update = OptimizerStep(trainer.net, trainer.optimizer, select_schedule(trainer, steps), args, length)
    update.scaler = torch.amp.GradScaler(trainer.device.type, enabled=trainer.amp == 'fp16')
    update.accumulation.group_of_part = trainer.loss_groups()
    if update.accumulates_by_part() and is_sharded(trainer.net):
        raise DanluError(
            f'--accumulate {args.accumulate} with --parallel fsdp does not support a sum of losses that are means over '
            'different things, because their gradients are accumulated separately; use --parallel ddp or other losses'
        )
    return update
