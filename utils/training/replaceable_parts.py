"""Assigning a Trainer's optimizer, scheduler and loss before training begins."""

from utils.base.errors import DanluError
from utils.options.given_parts import note_part
from utils.training.build import build_selector
from utils.training.ready_parts import check_optimizer, optimizer_notes, ready_loss, unused_option_notes


class ReplaceableParts:
    """Lets users set `trainer.optimizer`, `trainer.scheduler` and `trainer.loss` until training begins.

    An assigned part replaces the part of the options in training, log and record. Once training has begun, a new loss
    applies from the next batch on, and assigning an optimizer or scheduler raises DanluError.
    """

    optimizer_ = loss_ = given_scheduler = step_on = None
    has_started = is_replacing = False

    @property
    def is_customised(self):
        """Whether the Trainer is a user's subclass or has ready-made parts (bool)."""
        return bool(self.given) or ReplaceableParts not in type(self).__bases__

    def overridden(self, names):
        """Return those of the methods `names` that a subclass of train.Trainer replaces (set of str)."""
        base = next(each for each in type(self).__mro__ if ReplaceableParts in each.__bases__)
        return {name for name in names if getattr(type(self), name) is not getattr(base, name)}

    def is_open(self):
        """Return whether the Trainer is built and its run is open (bool)."""
        session = vars(self).get('session')
        return session is not None and session.logger is not None

    @property
    def optimizer(self):
        """The optimizer (torch.optim.Optimizer)."""
        self.build_deferred()
        return self.optimizer_

    @optimizer.setter
    def optimizer(self, optimizer):
        if not self.can_be_replaced('optimizer'):
            self.optimizer_ = optimizer
            return
        if self.given_scheduler is not None:
            raise DanluError(
                'trainer.optimizer: the ready-made scheduler belongs to the one before; assign trainer.scheduler = '
                'Scheduler(optimizer), which brings its optimizer along'
            )
        check_optimizer(optimizer, self.net)
        self.optimizer_ = optimizer
        self.install_part('optimizer', optimizer_notes(optimizer, self.net))

    @property
    def scheduler(self):
        """The ready-made scheduler, or the utils.training.optim.Schedule of --schedule."""
        self.build_deferred()
        return self.update.schedule if self.given_scheduler is None else self.given_scheduler

    @scheduler.setter
    def scheduler(self, scheduler):
        if not self.can_be_replaced('scheduler'):
            raise DanluError('trainer.scheduler is there once the Trainer is: give Trainer(..., scheduler=...)')
        optimizer = getattr(scheduler, 'optimizer', self.optimizer_)
        before = self.given_scheduler, self.optimizer_
        check_optimizer(optimizer, self.net)
        self.given_scheduler, self.optimizer_ = scheduler, optimizer
        try:
            self.install_part('scheduler')
        except DanluError:
            self.given_scheduler, self.optimizer_ = before
            raise
        if optimizer is not before[1]:
            self.install_part('optimizer', optimizer_notes(optimizer, self.net))

    @property
    def loss(self):
        """The loss (nn.Module)."""
        self.build_deferred()
        return self.loss_

    @loss.setter
    def loss(self, loss):
        self.build_deferred()
        if not self.is_open() or self.is_replacing:
            self.loss_ = loss
            return
        self.loss_ = ready_loss(loss).to(self.device)
        if self.has_started:  # applies from the next batch on
            self.update.accumulation.group_of_part = self.loss_groups()
            self.given = {*self.given, 'loss'}
            note_part(self.args, 'loss', loss)
            return
        self.selection = build_selector(self)
        self.install_part('loss', [f'loss: {type(loss).__name__}, ready-made'])

    def __getattr__(self, name):
        """Build a Trainer that waits for the data of fit() when another attribute is used first."""
        if name.startswith('__') or 'deferred_build' not in vars(self):
            return object.__getattribute__(self, name)  # raises AttributeError for the right name, also in properties
        self.build_deferred()
        return getattr(self, name)

    def build_deferred(self, **data):
        """Build a Trainer that waits for data, with the loaders `data` (dict) or with the data of the options."""
        if 'deferred_build' in vars(self):
            args, parts, step_on = self.__dict__.pop('deferred_build')
            self.build(args, parts | data, step_on)

    def with_assigned(self, parts):
        """Return ready-made parts (dict) with those that a subclass assigned before it called super().__init__()."""
        early = {role: vars(self).get(f'{role}_') for role in ('optimizer', 'loss')}
        return parts | {role: part for role, part in early.items() if parts[role] is None}

    def register_parts(self, args, parts, step_on):
        """Store which of the parts (dict) are given, not None; return lines (list of str) on options without effect."""
        self.given = {name for name, part in parts.items() if part is not None}
        self.given_scheduler, self.step_on, self.handed_parts = parts['scheduler'], step_on, parts
        self.ready_made = bool(self.given & {'model', 'train_loader', 'val_loader'})
        if step_on is not None and self.given_scheduler is None:
            raise DanluError(f'step_on={step_on!r}: there is no scheduler=... that it could be about')
        return unused_option_notes(args, self.given)

    def can_be_replaced(self, name):
        """Return whether a part exists and may be replaced (bool); False while the Trainer is being built.

        Raises:
            DanluError: training has begun, or the run was resumed with the state of the part.
        """
        self.build_deferred()
        if not self.is_open() or self.is_replacing:
            return False
        if self.has_started:
            raise DanluError(f'trainer.{name}: training has begun with another one; give a new Trainer {name}=...')
        if self.args.resume:
            raise DanluError(f'trainer.{name}: the run was resumed with another one; give it to Trainer as {name}=...')
        return True

    def rebuild_optimizer_step(self):
        """Build a new OptimizerStep and schedule, with the learning rates that the optimizer was built with."""
        self.is_replacing = True
        try:
            for group in self.optimizer_.param_groups if self.given_scheduler is None else ():
                group['lr'] = group.pop('initial_lr', group['lr'])  # which the warm-up has lowered
            self.update = self.select_update()
        finally:
            self.is_replacing = False

    def install_part(self, name, notes=()):
        """Make the Trainer use an assigned part, and update log and record."""
        self.rebuild_optimizer_step()
        self.given = {*self.given, name}
        self.handed_parts = self.handed_parts | {name: self.loss_ if name == 'loss' else self.handed_parts[name]}
        parts = {'optimizer': self.optimizer_, 'scheduler': self.given_scheduler, 'loss': self.loss_}
        note_part(self.args, name, parts[name])
        for line in [*notes, *unused_option_notes(self.args, {name})]:
            self.logger.print(line)
        self.session.rewrite_record()
