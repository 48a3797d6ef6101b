"""A ready-made learning rate scheduler (an object), in place of utils.training.optim.Schedule."""

import inspect

from torch.optim import lr_scheduler

from utils.base.errors import DanluError
from utils.training.optim import Schedule, base_lr, plain_state, restore_scheduler

STEP_ON = ('epoch', 'step', 'val')
# When torch's schedulers are stepped; for other classes step_on is needed.
STEP_SCHEDULERS = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)
EPOCH_SCHEDULERS = (
    *(lr_scheduler.StepLR, lr_scheduler.MultiStepLR, lr_scheduler.ExponentialLR, lr_scheduler.CosineAnnealingLR),
    *(lr_scheduler.CosineAnnealingWarmRestarts, lr_scheduler.PolynomialLR, lr_scheduler.LinearLR),
    *(lr_scheduler.ConstantLR, lr_scheduler.LambdaLR, lr_scheduler.MultiplicativeLR),
)


class ReadySchedule:
    """Steps a ready-made scheduler after each optimizer step, each epoch, or each validation.

    Schedulers of timm, which have step_update(updates) and step(epoch, metric), are called with both.

    Args:
        scheduler: object with step, state_dict and load_state_dict, like those of torch.optim.lr_scheduler.
        optimizer: torch.optim.Optimizer whose learning rate the scheduler changes.
        step_on: 'epoch', 'step', 'val' (step(value) after each validation), or None: derived from the class.
        selection: utils.training.checkpoint_selector.CheckpointSelector of the run.

    Attributes:
        last_lr: learning rate (float) of the last optimizer step; before the first step, that of the first step.
        value_column: for 'val', the column of history.csv that the scheduler gets (str), else None.

    Raises:
        DanluError: the object is not a scheduler of this optimizer, or step_on is needed.
    """

    def __init__(self, scheduler, optimizer, step_on, selection):
        check_scheduler(scheduler, optimizer)
        self.scheduler, self.optimizer = scheduler, optimizer
        self.step_on = resolve_step_on(scheduler, step_on)
        self.value_column = select_value_column(scheduler, selection) if self.step_on == 'val' else None
        self.last_lr, self.updates, self.epochs = base_lr(optimizer), 0, 0

    def step(self):
        """Update after an optimizer step."""
        self.last_lr, self.updates = base_lr(self.optimizer), self.updates + 1
        if is_of_timm(self.scheduler):
            self.scheduler.step_update(self.updates)
        elif self.step_on == 'step':
            self.scheduler.step()

    def end_epoch(self, value):
        """Update after an epoch with the value `value` (float) of `schedule_value`."""
        self.epochs += 1
        if is_of_timm(self.scheduler):
            self.scheduler.step(self.epochs, value)
        elif self.step_on == 'epoch':
            self.scheduler.step()
        elif self.step_on == 'val':
            self.scheduler.step(value)

    def state_dict(self):
        """Return the state: dict of plain values."""
        counts = {'updates': self.updates, 'epochs': self.epochs}
        return {'ready_made': plain_state(self.scheduler.state_dict()), 'last_lr': self.last_lr, **counts}

    def load_state_dict(self, state):
        """Restore what `state_dict` returned, after the optimizer has loaded its own state.

        Raises:
            DanluError: the state is that of a schedule of --schedule.
        """
        if 'ready_made' not in state:
            raise DanluError('the run had no ready-made scheduler: resume it without scheduler=')
        restore_scheduler(self.scheduler, state['ready_made'])
        self.last_lr, self.updates, self.epochs = (state[name] for name in ('last_lr', 'updates', 'epochs'))


def is_of_timm(scheduler):
    """Return whether a scheduler is one of timm, which is stepped with numbers (bool)."""
    return hasattr(scheduler, 'step_update')


def select_schedule(trainer, steps):
    """Return the schedule of a train.Trainer: the ready-made one, else that of the options.

    Args:
        trainer: has args, optimizer, selection and, if a scheduler was given, `given_scheduler` and step_on.
        steps: optimizer steps per epoch (int), or None: not known.
    """
    if trainer.given_scheduler is None:
        return Schedule(trainer.optimizer, trainer.args, steps, trainer.selection.mode)
    return ReadySchedule(trainer.given_scheduler, trainer.optimizer, trainer.step_on, trainer.selection)


def schedule_value(schedule, selection, row):
    """Return the value (float) of an epoch's row (dict) that a schedule gets: its own column's or the monitored one."""
    watched = getattr(schedule, 'value_column', None)
    return row[watched] if watched in row else selection.value_of(row)


def check_scheduler(scheduler, optimizer):
    """Raise DanluError unless an object is a scheduler of this optimizer."""
    lacking = [name for name in ('step', 'state_dict', 'load_state_dict') if not hasattr(scheduler, name)]
    if lacking:
        raise DanluError(
            f'scheduler is of type {type(scheduler).__name__}, which has no {", ".join(lacking)}: give an object such '
            'as torch.optim.lr_scheduler.StepLR(optimizer, 10)'
        )
    own = getattr(scheduler, 'optimizer', optimizer)
    if own is not optimizer:
        raise DanluError(
            f"{type(scheduler).__name__} changes the learning rate of another optimizer than the Trainer's: build it "
            'with the optimizer that is handed over'
        )


def resolve_step_on(scheduler, step_on):
    """Return when a scheduler is stepped (str): step_on, or if it is None, derived from the class.

    Raises:
        DanluError: step_on is invalid, the class is not known, or `step` takes other arguments.
    """
    kind = type(scheduler).__name__
    if step_on is None:
        step_on = _step_on_by_class(scheduler)
    if step_on is None:
        raise DanluError(f"whether {kind} steps each epoch or each optimizer step is not known: step_on='epoch' or ...")
    if step_on not in STEP_ON:
        raise DanluError(f"step_on is 'epoch', 'step' or 'val', not {step_on!r}")
    if is_of_timm(scheduler):
        return 'epoch'
    takes_value = _needed_arguments(scheduler.step)
    if step_on != 'val' and takes_value:
        raise DanluError(f"{kind}.step takes {', '.join(takes_value)}: give step_on='val'")
    if step_on == 'val' and not inspect.signature(scheduler.step).parameters:
        raise DanluError(f"{kind}.step takes no value of validation: give step_on='epoch'")
    return step_on


def _step_on_by_class(scheduler):
    """Return when a scheduler of a known class is stepped (str), or None for other classes."""
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        return 'val'
    if isinstance(scheduler, STEP_SCHEDULERS) or _is_of_transformers(scheduler):
        return 'step'
    if is_of_timm(scheduler):
        return 'epoch'
    if isinstance(scheduler, EPOCH_SCHEDULERS):
        return 'epoch'
    within = getattr(scheduler, '_schedulers', ())  # SequentialLR, ChainedScheduler
    ways = {_step_on_by_class(part) for part in within}
    return ways.pop() if len(ways) == 1 else None


def _is_of_transformers(scheduler):
    """Return whether a scheduler is a LambdaLR of the package transformers (bool), which counts optimizer steps."""
    functions = [getattr(each, 'func', each) for each in getattr(scheduler, 'lr_lambdas', ())]
    return any((getattr(each, '__module__', None) or '').startswith('transformers') for each in functions)


def _needed_arguments(function):
    """Return the required arguments (list of str) of a function."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def select_value_column(scheduler, selection):
    """Return the column of history.csv (str) whose value a scheduler gets.

    This is the monitored one, or val/loss if the scheduler has mode 'min' and the monitored value has mode 'max'.

    Raises:
        DanluError: the scheduler has mode 'max', and the monitored value has mode 'min'.
    """
    mode = getattr(scheduler, 'mode', selection.mode)
    if mode == selection.mode:
        return selection.monitor
    if mode == 'min':
        return 'val/loss'
    raise DanluError(
        f"{type(scheduler).__name__} has mode 'max', and of {selection.monitor} lower values are better: give it "
        "mode='min', or monitor another value"
    )
