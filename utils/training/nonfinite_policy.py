"""--on_nan: what a run does when a loss or a gradient is not finite.

stop ends the run before the optimizer step; skip continues without the batch. rollback restores the last saved weights
and continues after the batch. It also skips the batches since the save, because weights that diverge over many steps
would diverge again on the same batches (Chowdhery et al. 2022, PaLM, section 5.1). Skipped batches count as steps of
the schedule.
"""

import warnings
import weakref
from pathlib import Path

import numpy as np

from utils.base.errors import DanluError
from utils.base.seeding import get_rng_state, set_rng_state
from utils.base.text_table import number_text
from utils.distributed import processes
from utils.runs.checkpoint import LAST, load_checkpoint, load_weights
from utils.training.nonfinite_guard import NonFiniteError
from utils.training.nonfinite_report import describe_location, next_steps, report_nonfinite, shorten_names

MAX_FAILURES_IN_A_ROW = 10  # without a finite step in between; more failures are not caused by single batches
MAX_ROLLBACKS = 3  # to the same weights
MIN_GRADIENT_SCALE = 1e-4  # of a GradScaler: gradients that overflow at this scale are not finite (as in fairseq)
# Attribute of NonFinitePolicy -> key in last.pth.
STATE_KEYS = {
    'skipped_batches': 'left_out',
    'failures_in_a_row': 'in_a_row',
    'rollbacks': 'gone_back',
    'is_rolled_back': 'fresh',
}


class NonFinitePolicy:
    """Handles NonFiniteError of a training step as args.on_nan asks.

    Args:
        trainer: train.Trainer that has args, update and loaders; a weak reference is kept.

    Attributes:
        skipped_batches: numbers (list of int) of this epoch's skipped batches.
        failures_in_a_row: steps that were not finite since the last finite one (int).
        rollbacks: [where the weights are from (str), number of rollbacks to them (int)], or None.
        is_rolled_back: whether there was no finite step since the last rollback (bool).
        kept_batches: batches (dict by number) that may have to be reported, of a loader that cannot rebuild them.
    """

    def __init__(self, trainer):
        # A reference cycle would keep worker processes alive until the garbage collector runs.
        self.trainer, self.policy = weakref.proxy(trainer), trainer.args.on_nan
        self.skipped_batches, self.failures_in_a_row = [], 0
        self.rollbacks, self.is_rolled_back = None, False
        self.kept_batches = {}

    def start_epoch(self):
        """Reset the lists of this epoch's batches."""
        self.skipped_batches, self.kept_batches = [], {}

    def step(self, batch):
        """Return what the trainer's train_step returns for a batch, or None if the batch was skipped."""
        trainer, update = self.trainer, self.trainer.update
        update.batch_number, steps_before = trainer.batch + 1, update.steps_taken
        if not hasattr(trainer.train_loader, 'rebuild_batch'):
            self.kept_batches = {
                number: self.kept_batches[number]
                for number in update.unconfirmed_batches()
                if number in self.kept_batches
            }
            self.kept_batches[update.batch_number] = batch
        try:
            done = trainer.train_step(batch)
        except NonFiniteError as diverged:
            # A user's own OptimizerStep may leave the number at 0.
            diverged.batches = [number or update.batch_number for number in diverged.batches]
            self.handle_nonfinite(diverged)
            return None
        if update.steps_taken > steps_before:
            self.failures_in_a_row, self.is_rolled_back = 0, False
        return done

    def finish_epoch(self):
        """Take the step that an epoch of unknown length has gradients left for, and log the skipped batches.

        Raises:
            DanluError: the epoch had no batch, or all its batches were skipped.
        """
        trainer = self.trainer
        try:
            trainer.update.finish()
        except NonFiniteError as diverged:
            self.handle_nonfinite(diverged)
        if not trainer.batch:
            raise DanluError('there is no batch to train on: the loader is empty')
        count = len(self.skipped_batches)
        if count >= trainer.batch:
            raise DanluError(f'no batch of epoch {trainer.epoch + 1} could be learned from. {next_steps(trainer)}')
        if count:
            trainer.logger.print(
                f'--on_nan {self.policy}: {count} of {trainer.batch} batches of epoch {trainer.epoch + 1} left out: '
                f'{shorten_names(self.skipped_batches)}'
            )

    def check_pending(self):
        """Check that all steps so far were finite; waits for the device.

        Raises:
            DanluError: a step was not finite, or 16-bit gradients overflow even at the smallest scale.
        """
        trainer, update = self.trainer, self.trainer.update
        try:
            update.guard.raise_pending(most=0)
        except NonFiniteError as diverged:
            self.handle_nonfinite(diverged)
        scale = update.scaler.get_scale() if update.scaler.is_enabled() else 1.0
        if scale < MIN_GRADIENT_SCALE:
            raise DanluError(
                f'the gradients at and before batch {trainer.batch} of epoch {trainer.epoch + 1} (step {update.steps}) '
                f'are not finite, whatever their scale (--amp fp16): it fell to '
                f'{number_text(scale, trimmed=True)}. {next_steps(trainer)}'
            )

    def handle_nonfinite(self, diverged):
        """Apply the policy to a NonFiniteError.

        Raises:
            DanluError: the policy is 'stop', or skipping and rolling back did not help.
        """
        trainer = self.trainer
        if diverged.late:
            diverged = self.recompute(diverged)
        self.failures_in_a_row += 1
        if self.policy == 'stop' or self.failures_in_a_row == MAX_FAILURES_IN_A_ROW:
            often = (
                f'for the {MAX_FAILURES_IN_A_ROW}th time in a row: '
                if self.failures_in_a_row == MAX_FAILURES_IN_A_ROW
                else ''
            )
            raise DanluError(often + self.save_and_describe(diverged))
        text = describe_location(trainer, diverged) if self.skipped_batches else self.save_and_describe(diverged)
        self.skipped_batches = sorted({*self.skipped_batches, *diverged.batches})
        if self.policy == 'rollback':
            text += f'; went back to the weights of {self.roll_back(text)}'
        elif len(self.skipped_batches) > len(diverged.batches):
            return  # the end of the epoch logs all of them
        trainer.logger.print(f'--on_nan {self.policy}: {text}')

    def recompute(self, late):
        """Repeat a step that was found not finite later, and return its NonFiniteError with loss and gradients."""
        trainer, update = self.trainer, self.trainer.update
        update.waiting_batches, update.batches_left = 0, None
        for number in late.batches:
            update.batch_number = number
            try:
                trainer.train_step(self._named_batch(number)[0])
            except NonFiniteError as found:
                return NonFiniteError(found.what, found.batches, late.steps, found.value)
        return late

    def save_and_describe(self, diverged):
        """Write diverged.pth and return the message (str)."""
        return report_nonfinite(
            self.trainer, diverged, {number: self._named_batch(number) for number in diverged.batches}
        )

    def _named_batch(self, number):
        """Return a batch of this epoch as train_step takes it, and its samples' names (list of str) or None."""
        trainer = self.trainer
        if number in self.kept_batches:
            return self.kept_batches[number], None
        batch, indices = trainer.train_loader.rebuild_batch(trainer.epoch + 1, number)
        dataset = trainer.train_loader.samples
        named = dataset.name if hasattr(dataset, 'name') else str
        return batch, [named(index) for index in np.asarray(indices).tolist()]

    def roll_back(self, text):
        """Load the weights of last.pth, keep the position in the epoch, and return where the weights are from (str).

        Raises:
            DanluError: the run went back to these weights MAX_ROLLBACKS times; `text` (str) begins the message.
        """
        trainer, update = self.trainer, self.trainer.update
        processes.broadcast_from_rank0(trainer.logger.checkpoints.finish)
        path = Path(trainer.args.model_dir, LAST)
        state = load_checkpoint(path)
        saved_batch, policy_state = state['loader']['batch'], state['diverged']
        epoch = f'epoch {trainer.epoch}' if trainer.epoch else 'the beginning'
        origin = f'batch {saved_batch} of epoch {trainer.epoch + 1}' if saved_batch else epoch
        origin, count = policy_state['gone_back'] if policy_state['fresh'] else [origin, 0]
        if count == MAX_ROLLBACKS:
            raise DanluError(f'{text}. Going back to the weights of {origin} has not helped {MAX_ROLLBACKS} times')
        position, shown = (trainer.batch, trainer.epoch_rng), trainer.session.images_written
        counters = 'steps', 'batches_left', 'waiting_batches', 'step_batches', 'batch_numbers'
        step_position = {name: getattr(update, name) for name in counters}
        rng, last, failures = get_rng_state(), max(self.skipped_batches), self.failures_in_a_row
        load_weights(trainer.net, state['model'], path)
        trainer.set_resume_state(state)
        trainer.session.restore_hooks()
        set_rng_state(rng)
        self.restore_sums(state, saved_batch)
        trainer.batch, trainer.epoch_rng, trainer.resumed_at = *position, 0
        trainer.session.images_written = shown
        self.restore_position(step_position, state['step'])
        earlier = policy_state['left_out'] if saved_batch else []  # else they are of the epoch before
        self.skipped_batches = sorted({*earlier, *range(saved_batch + 1, last + 1)})
        self.failures_in_a_row, self.rollbacks, self.is_rolled_back = failures, [origin, count + 1], True
        trainer.session.preemption.save_requested = True  # so that a resumed run does the same
        return origin

    def restore_sums(self, state, saved_batch):
        """Restore the sums and metrics that the epoch had after `saved_batch` (int) batches."""
        trainer = self.trainer
        trainer.logger.recorder = type(trainer.logger.recorder)()
        if saved_batch:
            trainer.logger.recorder.load_state_dict(state['recorder']['epoch'])
        else:
            trainer.metrics['train'].reset()

    def restore_position(self, step_position, steps):
        """Advance the schedule from `steps` (int) to the run's position; batches of an incomplete step are skipped."""
        update = self.trainer.update
        vars(update).update(step_position, lost_batches=step_position['waiting_batches'])
        self.trainer.optimizer.zero_grad(set_to_none=True)
        update.accumulation.start()
        update.guard.save_buffers()
        with warnings.catch_warnings():  # the optimizer does not step in between
            warnings.simplefilter('ignore')
            for _ in range(update.steps - steps):
                update.schedule.step()

    def state_dict(self):
        """Return the state for last.pth (dict of plain values)."""
        return {key: getattr(self, name) for name, key in STATE_KEYS.items()}

    def load_state_dict(self, state):
        """Restore what `state_dict` returned."""
        vars(self).update({name: state[key] for name, key in STATE_KEYS.items() if key in state})
