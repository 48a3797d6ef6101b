"""--on_nan: what a run does about a loss or a gradient that is not finite.

stop ends the run before that step; skip goes on without the batch. rollback goes back to the last saved weights and
goes on behind the batch, without those since the saving either: where weights went astray over many steps, the same
batches would lead them there again (Chowdhery et al. 2022, PaLM, section 5.1). Batches left out count as steps of the
schedule.
"""

import warnings
import weakref
from pathlib import Path

import numpy as np

from utils.base.errors import DanluError
from utils.base.seeding import get_rng_state, set_rng_state
from utils.distributed import processes
from utils.runs.checkpoint import LAST, load_checkpoint, load_weights
from utils.training.nonfinite_guard import NonFiniteError
from utils.training.nonfinite_report import advice, few, inspect, place

IN_A_ROW = 10  # times without a good step in between: then it is not the batches
GO_BACK = 3  # times to the same weights
LEAST_SCALE = 1e-4  # of a GradScaler: gradients that overflow even so are not finite (fairseq stops there too)


class NonFinitePolicy:
    """Does what args.on_nan says when a step of a trainer raises NonFiniteError.

    Args:
        trainer: train.Trainer, whose args, update and loaders are there.
    """

    def __init__(self, trainer):
        # A circle would keep worker processes until the garbage collector comes by.
        self.trainer, self.policy = weakref.proxy(trainer), trainer.args.on_nan
        self.left_out, self.in_a_row = [], 0  # left_out: numbers of this epoch's batches
        self.gone_back, self.fresh = None, False  # [place of the weights, times], and whether no good step came since
        self.held = {}  # batches that may have to be looked at, of a loader that cannot make them again

    def start_epoch(self):
        """Begin to count anew."""
        self.left_out, self.held = [], {}

    def step(self, batch):
        """Return what the trainer's train_step returns for a batch, or None: it was left out."""
        trainer, update = self.trainer, self.trainer.update
        update.number, taken = trainer.batch + 1, update.taken
        if not hasattr(trainer.train_loader, 'rebuild_batch'):
            self.held = {number: self.held[number] for number in update.open_batches() if number in self.held}
            self.held[update.number] = batch
        try:
            done = trainer.train_step(batch)
        except NonFiniteError as diverged:
            diverged.batches = [number or update.number for number in diverged.batches]  # 0: an Update of one's own
            self.handle_nonfinite(diverged)
            return None
        if update.taken > taken:
            self.in_a_row, self.fresh = 0, False
        return done

    def finish_epoch(self):
        """Take the step for which an epoch of unknown length has gradients left, and say what was left out.

        Raises:
            DanluError: there was no batch, or all of them were left out.
        """
        trainer = self.trainer
        try:
            trainer.update.finish()
        except NonFiniteError as diverged:
            self.handle_nonfinite(diverged)
        if not trainer.batch:
            raise DanluError('there is no batch to train on: the loader is empty')
        count = len(self.left_out)
        if count >= trainer.batch:
            raise DanluError(f'no batch of epoch {trainer.epoch + 1} could be learned from. {advice(trainer)}')
        if count:
            trainer.logger.print(
                f'--on_nan {self.policy}: {count} of {trainer.batch} batches of epoch {trainer.epoch + 1} left out: '
                f'{few(self.left_out)}'
            )

    def check_pending(self):
        """Make sure that all steps so far were finite; waits for the device.

        Raises:
            DanluError: one was not, or gradients of 16 bits overflow however small their scale is.
        """
        trainer, update = self.trainer, self.trainer.update
        try:
            update.guard.raise_pending(most=0)
        except NonFiniteError as diverged:
            self.handle_nonfinite(diverged)
        scale = update.scaler.get_scale() if update.scaler.is_enabled() else 1.0
        if scale < LEAST_SCALE:
            raise DanluError(
                f'the gradients at and before batch {trainer.batch} of epoch {trainer.epoch + 1} (step {update.steps}) '
                f'are not finite, whatever their scale (--amp fp16): it fell to {scale:.1g}. {advice(trainer)}'
            )

    def handle_nonfinite(self, diverged):
        """Go on after `diverged`, or end the run.

        Raises:
            DanluError: by --on_nan stop, or as it does not help to go on.
        """
        trainer = self.trainer
        if diverged.late:
            diverged = self.recompute(diverged)
        self.in_a_row += 1
        if self.policy == 'stop' or self.in_a_row == IN_A_ROW:
            often = f'for the {IN_A_ROW}th time in a row: ' if self.in_a_row == IN_A_ROW else ''
            raise DanluError(often + self.inspected(diverged))
        text = place(trainer, diverged) if self.left_out else self.inspected(diverged)
        self.left_out = sorted({*self.left_out, *diverged.batches})
        if self.policy == 'rollback':
            text += f'; went back to the weights of {self.roll_back(text)}'
        elif len(self.left_out) > len(diverged.batches):
            return  # the end of the epoch names them all
        trainer.logger.print(f'--on_nan {self.policy}: {text}')

    def recompute(self, late):
        """Compute a step once more and return its NonFiniteError, with its loss and gradients."""
        trainer, update = self.trainer, self.trainer.update
        update.waiting, update.left = 0, None
        for number in late.batches:
            update.number = number
            try:
                trainer.train_step(self.batch(number)[0])
            except NonFiniteError as found:
                return NonFiniteError(found.what, found.batches, late.steps, found.value)
        return late

    def inspected(self, diverged):
        """Write diverged.pth and return what there is to say (str)."""
        return inspect(self.trainer, diverged, {number: self.batch(number) for number in diverged.batches})

    def batch(self, number):
        """Return a batch of this epoch as train_step takes it, and the names (list of str) of its samples or None."""
        trainer = self.trainer
        if number in self.held:
            return self.held[number], None
        batch, indices = trainer.train_loader.rebuild_batch(trainer.epoch + 1, number)
        dataset = trainer.train_loader.dataset.dataset
        named = dataset.name if hasattr(dataset, 'name') else str
        return batch, [named(index) for index in np.asarray(indices).tolist()]

    def roll_back(self, text):
        """Take up the weights in last.pth, but go on where the run is; return where they are from (str).

        Raises:
            DanluError: that was done too often; `text` (str) says what happened.
        """
        trainer, update = self.trainer, self.trainer.update
        processes.broadcast_from_rank0(trainer.logger.checkpoints.finish)
        path = Path(trainer.args.model_dir, LAST)
        state = load_checkpoint(path)
        then, met = state['loader']['batch'], state['diverged']
        epoch = f'epoch {trainer.epoch}' if trainer.epoch else 'the beginning'
        weights_of = f'batch {then} of epoch {trainer.epoch + 1}' if then else epoch
        before = met['gone_back'] if met['fresh'] else [weights_of, 0]
        if before[1] == GO_BACK:
            raise DanluError(f'{text}. Going back to the weights of {before[0]} has not helped {GO_BACK} times')
        position, shown = (trainer.batch, trainer.epoch_rng), trainer.session.shown
        place_in_step = {name: getattr(update, name) for name in ('steps', 'left', 'waiting', 'together', 'numbers')}
        rng, last, in_a_row = get_rng_state(), max(self.left_out), self.in_a_row
        load_weights(trainer.net, state['model'], path)
        trainer.set_resume_state(state)
        set_rng_state(rng)
        self.take_up_sums(state, then)
        trainer.batch, trainer.epoch_rng, trainer.resumed_at = *position, 0
        trainer.session.shown = shown
        self.catch_up(place_in_step, state['step'])
        earlier = met['left_out'] if then else []  # or they are those of the epoch before
        self.left_out = sorted({*earlier, *range(then + 1, last + 1)})
        self.in_a_row, self.gone_back, self.fresh = in_a_row, [before[0], before[1] + 1], True
        trainer.session.preemption.asked = True  # or a run that is resumed would do otherwise
        return before[0]

    def take_up_sums(self, state, then):
        """Take up the sums and metrics of an epoch after `then` (int) batches."""
        trainer = self.trainer
        trainer.logger.recorder = type(trainer.logger.recorder)()
        if then:
            trainer.logger.recorder.load_state_dict(state['recorder']['epoch'])
        else:
            trainer.metrics['train'].reset()

    def catch_up(self, place_in_step, steps):
        """Count on from `steps` (int) to where the run is; of a step that is not complete all so far is left out."""
        update = self.trainer.update
        vars(update).update(place_in_step, lost=place_in_step['waiting'])
        self.trainer.optimizer.zero_grad(set_to_none=True)
        update.accumulation.start()
        update.guard.keep_buffers()
        with warnings.catch_warnings():  # that the optimizer has not stepped in between
            warnings.simplefilter('ignore')
            for _ in range(update.steps - steps):
                update.schedule.step()

    def state_dict(self):
        """Return what a resumed run goes on with (dict of plain values)."""
        return {name: getattr(self, name) for name in ('left_out', 'in_a_row', 'gone_back', 'fresh')}

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken."""
        vars(self).update({name: state[name] for name in self.state_dict() if name in state})
