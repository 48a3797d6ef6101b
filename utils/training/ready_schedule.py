"""A learning-rate scheduler handed over as an object, in the place of utils.training.optim.Schedule."""

import inspect

from torch.optim import lr_scheduler

from utils.base.errors import DanluError
from utils.training.optim import Schedule, base_lr, plain_state, restore_scheduler

STEP_ON = ('epoch', 'step', 'val')
# Which schedulers are stepped when; of others nobody knows.
STEP_SCHEDULERS = (lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR)
EPOCH_SCHEDULERS = (
    *(lr_scheduler.StepLR, lr_scheduler.MultiStepLR, lr_scheduler.ExponentialLR, lr_scheduler.CosineAnnealingLR),
    *(lr_scheduler.CosineAnnealingWarmRestarts, lr_scheduler.PolynomialLR, lr_scheduler.LinearLR),
    *(lr_scheduler.ConstantLR, lr_scheduler.LambdaLR, lr_scheduler.MultiplicativeLR),
)


class ReadySchedule:
    """Steps a ready-made scheduler after each optimizer step, each epoch, or each validation.

    Those of timm, which have step_update(updates) beside step(epoch, metric), get both numbers.

    Args:
        scheduler: object with step, state_dict and load_state_dict, as those of torch.optim.lr_scheduler.
        optimizer: torch.optim.Optimizer whose learning rate it changes.
        step_on: 'epoch', 'step', 'val' (step(value) after each validation), or None: told by its class.
        selection: utils.training.checkpoint_selector.CheckpointSelector of the run.

    Attributes:
        last_lr: the learning rate (float) of the last optimizer step; before the first step that of the first step.
        value_column: of 'val', the column of history.csv that it gets (str), else None.

    Raises:
        DanluError: it is no scheduler, is one of another optimizer, or its class does not tell when it steps.
    """

    def __init__(self, scheduler, optimizer, step_on, selection):
        check_scheduler(scheduler, optimizer)
        self.scheduler, self.optimizer = scheduler, optimizer
        self.step_on = resolve_step_on(scheduler, step_on)
        self.value_column = select_value_column(scheduler, selection) if self.step_on == 'val' else None
        self.last_lr, self.updates, self.epochs = base_lr(optimizer), 0, 0

    def step(self):
        """Go on after an optimizer step."""
        self.last_lr, self.updates = base_lr(self.optimizer), self.updates + 1
        if is_of_timm(self.scheduler):
            self.scheduler.step_update(self.updates)
        elif self.step_on == 'step':
            self.scheduler.step()

    def end_epoch(self, value):
        """Go on after an epoch whose watched value was `value` (float), see `schedule_value`."""
        self.epochs += 1
        if is_of_timm(self.scheduler):
            self.scheduler.step(self.epochs, value)
        elif self.step_on == 'epoch':
            self.scheduler.step()
        elif self.step_on == 'val':
            self.scheduler.step(value)

    def state_dict(self):
        """Return where it stands: dict of plain values."""
        counts = {'updates': self.updates, 'epochs': self.epochs}
        return {'ready_made': plain_state(self.scheduler.state_dict()), 'last_lr': self.last_lr, **counts}

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken, after the optimizer has loaded its own state.

        Raises:
            DanluError: the run was made with a schedule of --schedule.
        """
        if 'ready_made' not in state:
            raise DanluError('the run had no ready-made scheduler: resume it without scheduler=')
        restore_scheduler(self.scheduler, state['ready_made'])
        self.last_lr, self.updates, self.epochs = (state[name] for name in ('last_lr', 'updates', 'epochs'))


def is_of_timm(scheduler):
    """Return whether a scheduler is stepped by numbers, as those of timm (bool)."""
    return hasattr(scheduler, 'step_update')


def select_schedule(trainer, steps):
    """Return the schedule of a train.Trainer: its ready-made one, else that of the options.

    Args:
        trainer: with args, optimizer, selection and, where a scheduler was handed over, `given_scheduler` and step_on.
        steps: optimizer steps per epoch (int), or None: not known.
    """
    if trainer.given_scheduler is None:
        return Schedule(trainer.optimizer, trainer.args, steps, trainer.selection.mode)
    return ReadySchedule(trainer.given_scheduler, trainer.optimizer, trainer.step_on, trainer.selection)


def schedule_value(schedule, selection, row):
    """Return the value (float) of an epoch's row (dict) that a schedule gets: the monitored one, or its own."""
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
    """Return when a scheduler is stepped (str): as step_on says, or by its class where that is None.

    Raises:
        DanluError: step_on is no such word, its class does not tell, or `step` takes other arguments.
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
    """Return when a scheduler of torch is stepped (str), or None: its class does not tell."""
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
    """Return the arguments (list of str) without which a function cannot be called."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def select_value_column(scheduler, selection):
    """Return which column of history.csv a scheduler by value gets (str).

    That is the monitored one, unless the scheduler looks for lower values and higher ones are monitored: then val/loss.

    Raises:
        DanluError: it looks for higher values, and lower ones are monitored.
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
