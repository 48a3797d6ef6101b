"""Calling train() again on one Trainer, with more epochs or after an interruption, and fit().

The Trainer resumes the run from its last.pth within the process; the result is bit-identical to one long run.
"""

from utils.base.errors import DanluError
from utils.options.resuming import ENDING_WITH_RUN
from utils.training.build import build_selector
from utils.training.nonfinite_policy import NonFinitePolicy
from utils.training.preemption import select_preemption

# Options that a Trainer reads only when it is built.
BUILD_OPTIONS = (
    'optimizer lr momentum beta weight_decay nesterov decay_weights_only lr_of lr_decay schedule warmup_epochs '
    'warmup_steps lr_steps gamma power lr_min plateau_patience accumulate clip_norm clip_value ema on_nan batch_size '
    'augment mixup cutmix balance loss loss_args label_smoothing class_weights metrics model_type model_args data_type '
    'train_list val_list seed amp'
).split()
SELECTOR_OPTIONS = ('patience', 'min_epochs', 'keep_top')  # may change before each call of train()


def remember_build(trainer):
    """Store the options and networks that a Trainer was built with, to detect later changes."""
    trainer.built_with = {
        name: getattr(trainer.args, name, None) for name in (*BUILD_OPTIONS, 'epochs', 'monitor', 'mode')
    }
    trainer.built_with |= {'resumed': bool(trainer.args.resume), 'net': trainer.net, 'model': trainer.model}


def begin_training(trainer, epochs=None):
    """Prepare a Trainer to train up to `epochs` (int; None: args.epochs), for the first time or again.

    Raises:
        DanluError: all epochs are done, or an option was changed that a Trainer reads only when it is built.
    """
    args, built_with = trainer.args, trainer.built_with
    if epochs is not None:
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise DanluError(f'train(epochs={epochs!r}): give a whole number of at least 1, the epochs in total')
        args.epochs = epochs
    _check_unchanged(trainer)
    if trainer.has_started and trainer.epoch >= args.epochs:
        raise DanluError(
            f'epoch {trainer.epoch} of {args.epochs} is done; to continue: train(epochs={2 * args.epochs}), the '
            'number of epochs in total'
        )
    for name in SELECTOR_OPTIONS:
        setattr(trainer.selection, name, getattr(args, name))
    changed = [name for name in ('epochs', 'monitor', 'mode') if getattr(args, name) != built_with[name]]
    if trainer.has_started:
        _reopen(trainer)
    elif changed and not built_with['resumed']:
        trainer.selection = build_selector(trainer)
        trainer.logger.selection = trainer.selection
        trainer.rebuild_optimizer_step()
        trainer.session.rewrite_record()
    remember_build(trainer)
    trainer.has_started = True


def _check_unchanged(trainer):
    """Raise DanluError if the network was replaced, or an option was changed that has no effect any more."""
    args, built_with = trainer.args, trainer.built_with
    for name in ('net', 'model'):
        if getattr(trainer, name) is not built_with[name]:
            raise DanluError(
                f'trainer.{name} was replaced, and the optimizer has the parameters of the one before: make a new '
                'Trainer with model=...'
            )
    fixed = [*BUILD_OPTIONS, *(('monitor', 'mode') if trainer.has_started or built_with['resumed'] else ())]
    for name in fixed:
        if getattr(args, name, None) != built_with[name]:
            raise DanluError(
                f'args.{name} was changed from {built_with[name]} to {getattr(args, name)}, which has no effect on a '
                'Trainer that is built: make a new one'
            )
    ends = trainer.given_scheduler is None and args.schedule in ENDING_WITH_RUN
    if ends and args.epochs != built_with['epochs'] and (trainer.has_started or built_with['resumed']):
        raise DanluError(
            f'--schedule {args.schedule} ends with the run, after {built_with["epochs"]} epochs: for a longer run make '
            'a new Trainer'
        )


def _reopen(trainer):
    """Resume the run of a Trainer whose train() has ended, from its last.pth."""
    args = trainer.args
    session = trainer.session
    if session.saved_position is None:
        raise DanluError('nothing was saved before the training was interrupted: make a new Trainer')
    args.resume = args.model_dir
    session.preemption = select_preemption(args)
    trainer.nonfinite = NonFinitePolicy(trainer)
    session.reset()
    trainer.rebuild_optimizer_step()
    session.open([])


def check_same_data(trainer, train_data, val_data):
    """Raise DanluError if fit() gets other data than the Trainer was built with."""
    for role, data in (('train_loader', train_data), ('val_loader', val_data)):
        if data is not None and data is not trainer.handed_parts[role]:
            raise DanluError(
                f'fit: the Trainer was built with other data as {role}: hand the data over in one place only, or make '
                'a new Trainer for other data, with model=trainer.net'
            )
