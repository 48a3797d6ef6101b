"""The session of a run: everything besides the training steps themselves.

The session locks and opens the run's directory, writes the record of code and data, the log, TensorBoard files and
checkpoints, verifies resumed steps, and ends the run cleanly on a signal or an error.
"""

import math
import weakref
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch

from utils.base.batches import length_or_none
from utils.base.errors import DanluError, message_of
from utils.base.language import terminal_language, use_language
from utils.base.notebook import CellCurves
from utils.base.progress import running_text
from utils.base.seeding import get_rng_state, set_rng_state
from utils.base.streams import guarded_output
from utils.base.write_errors import close_afterwards, explain_write_errors, suppress_cleanup_errors
from utils.distributed import processes
from utils.distributed.fsdp import broadcast_buffers, is_sharded
from utils.provenance.contents_log import ContentsLog
from utils.provenance.environment import program_of
from utils.provenance.record import Record
from utils.training.epoch_table import EpochTable, is_shown
from utils.training.error_hints import explain_machine_errors
from utils.training.hooks import load_hooks
from utils.training.nonfinite_report import next_steps
from utils.training.preemption import WORKER_EXIT_ERRORS, EvaluationInterrupted, select_preemption
from utils.training.profiler import with_profiler
from utils.training.ready_schedule import schedule_value
from utils.training.resume import (
    load_best_weights,
    loader_rng_state,
    remaining_batches,
    write_best_safetensors,
)
from utils.training.run_messages import (
    best_line,
    epoch_line,
    interrupted_line,
    position_text,
    test_line,
)
from utils.training.session_opening import SessionOpening

MAX_IMAGES = 8  # per split in TensorBoard
MAX_POINTS = 1024  # samples in a scatter plot, which is drawn if samples are not images


class RunSession(SessionOpening):
    """The session of one Trainer, its attribute `session`; on ranks above 0 it writes nothing.

    Args:
        trainer: train.Trainer with data, network, loss, metrics, optimizer and step; a weak reference is kept.
        device_description: text (str) for env.txt.
        on_resume: function() called before a resumed run is restored; may raise DanluError.
        on_new_run: function() called once the directory of a new run is locked.

    Attributes:
        logger: Logger; None until the session is open.
        lock: lock of the run's directory.
        preemption: Preemption: received signals, and when to save.
        images_written: what TensorBoard's files already have of this epoch (list of str): 'train', 'histograms', 'val'.
        training_sums: the Recorder's state after the training of an epoch (dict), or None before.
        saved_position: position of the state in last.pth (str), or None if nothing was saved.
        contents: ContentsLog: the bytes of the samples that were read.
        duplicates: DuplicateCheck of a new run, or None.
        has_summary: whether train.py prints utils.training.run_messages.summary_lines after its test (bool).
    """

    def __init__(self, trainer, device_description, on_resume, on_new_run):
        self._trainer = weakref.ref(trainer)  # a cycle would keep worker processes alive until they time out
        self.args, self.device_description = trainer.args, device_description
        self.on_resume, self.on_new_run = on_resume, on_new_run
        self.preemption = select_preemption(trainer.args)
        self.logger = self.lock = self.saved_position = None
        self.has_summary, self.contents, self.duplicates = False, ContentsLog(), None
        self.reset()

    def reset(self):
        """Reset the state of the epoch before the run is opened again."""
        self.training_sums, self.images_written = None, []
        # State of a resumed run:
        self.events = None  # see Logger
        self.drawing_state = {}  # of `drawing_budgets`
        self.hook_states = []  # of trainer.hooks, which are added after the Trainer is built

    @property
    def trainer(self):
        """The train.Trainer."""
        return self._trainer()

    @cached_property
    def record(self):
        """The Record of the run's code, data and versions; its `values` are in every checkpoint."""
        return Record(self.trainer)

    # Closing

    def record_contents(self):
        """Add to the record what all processes have read; log which samples have changed."""
        self.contents.collect(self.loaders())
        if processes.is_first():
            for line in self.contents.update(self.record, self.loaders(), self.args.model_dir):
                self.logger.print(line)

    def close(self):
        """Finish writing and unlock the run's directory."""
        try:
            self.logger.close()
        finally:
            self.lock.release()

    @contextmanager
    def running(self, live):
        """Return the context of train(): handles signals, explains errors, logs why the run ended, closes it.

        Args:
            live: whether a notebook draws the curves after each epoch (bool).
        """
        self.curves, self.epoch_table = CellCurves(live), EpochTable()
        # Signals are handled until everything is closed: a signal must not interrupt the drawing of an image.
        closing = close_afterwards(self.trainer.close)
        with guarded_output(), self._explaining(), self.preemption.catch_signals(), closing:
            try:
                yield
            except BaseException as error:
                self._log_end(error)
                with suppress_cleanup_errors(error):
                    self.trainer.call_hooks('after_error', error)
                raise
        self.curves.show(self.logger)
        if not self.has_summary:  # else train.py writes it after its test
            self.trainer.write_runs_page()

    @contextmanager
    def _explaining(self):
        """Return a context that turns errors of the machine (memory, disk space ...) into one line."""
        with explain_write_errors(self.args.model_dir, program_of(self.trainer)), explain_machine_errors(self.args):
            yield

    def _log_end(self, error):
        """Log why the run ended and, if a signal or another process ended it, how to resume it."""
        why = processes.why_ended(error)
        with suppress_cleanup_errors(error):
            self.logger.write(f'stopped by {why or f"{type(error).__name__} {message_of(error)}"}'.rstrip())
            if why or isinstance(error, KeyboardInterrupt) or self.preemption.signal is not None:
                self.logger.print(interrupted_line(self.trainer))
        if self.preemption.signal is not None and isinstance(error, WORKER_EXIT_ERRORS):
            self.preemption.raise_for_signal()  # the signal ended the worker processes of a ready-made loader

    # Moments of the loop

    def before_train(self, trainer):
        """Restore the hooks of a resumed run; save the first weights for --on_nan rollback."""
        self.restore_hooks()
        if self.args.on_nan == 'rollback':
            self.save_within_epoch()

    def restore_hooks(self):
        """Load the states of hooks that last.pth had, once; log which of them match no hook."""
        for name in load_hooks(self.trainer.hooks, self.hook_states):
            self.logger.print(
                f'the state of the hook {name} in last.pth is not used: trainer.hooks has no such hook; append it '
                'before train()'
            )
        self.hook_states = []

    def batches(self, epoch):
        """Yield the batches of an epoch, or the remaining ones of a resumed epoch, with a progress bar."""
        trainer = self.trainer
        self.training_sums = None
        self.has_stepped = self.is_display_due = False
        length = length_or_none(trainer.train_loader)
        self.print_freq = min(self.args.print_freq, length or self.args.print_freq)  # once at least
        self.progress = self.logger.progress(self._remaining(epoch), f'epoch {epoch}/{self.args.epochs}')
        yield from self.preemption.guard_batches(with_profiler(trainer, self.progress), self.save_within_epoch)

    def _remaining(self, epoch):
        """Return the remaining batches (iterable) of an epoch."""
        trainer = self.trainer
        trainer.batch, trainer.resumed_at = trainer.resumed_at, 0
        trainer.update.start_epoch(trainer.batch)
        if trainer.batch:
            return remaining_batches(trainer.train_loader, epoch, trainer.batch, trainer.epoch_rng)
        trainer.metrics['train'].reset()
        self.images_written = []
        trainer.nonfinite.start_epoch()
        trainer.epoch_rng = loader_rng_state(trainer.train_loader)
        return remaining_batches(trainer.train_loader, epoch, 0, None)

    def before_step(self, trainer):
        """Fingerprint the weights before the step if the step is recorded or verified."""
        self.resume_check.before_step(trainer)
        self.replay_log.before_step(trainer)

    def after_step(self, trainer, images, predictions, targets):
        """Record and verify the step, and draw the epoch's first batch."""
        self.replay_log.after_step(trainer, images, targets)
        if line := self.resume_check.after_step(trainer, images, targets):
            self.logger.print(line)
        self.has_stepped = True
        if 'train' in self.images_written:
            return
        epoch = trainer.epoch + 1
        self.save_pictures(FirstSamples(trainer.batch - 1, images, predictions.detach(), targets), 'train', epoch)
        if self.args.add_graph and epoch == 1:
            self.logger.save_graph(trainer.net, images[:MAX_IMAGES])

    def after_batch(self, epoch):
        """Show progress and save if due; called after each batch, also a skipped one.

        Returns:
            whether --max_steps is reached (bool).
        """
        trainer, update = self.trainer, self.trainer.update
        self.is_display_due = self.is_display_due or trainer.batch % self.print_freq == 0
        if self.is_display_due and self.has_stepped and not update.waiting_batches:
            self.is_display_due = False  # the loop waits for the device only here
            self.progress.show(running_text(self.finite_loss(epoch), trainer.metrics['train']))
            self.logger.save_steps(update.steps, update.schedule.last_lr)
        if self.has_stepped and self.step_log.due(update):
            self.step_log.write(trainer, epoch, self.progress)
        if update.steps == self.args.max_steps:
            return True
        if (
            trainer.batch != length_or_none(trainer.train_loader)
            and self.preemption.is_save_due(update.steps)
            and not update.waiting_batches
        ):
            self.save_within_epoch()
        return False

    def finish_training(self, epoch):
        """Record the training results of an epoch, and save before the validation if due."""
        trainer, logger = self.trainer, self.logger
        self.finite_loss(epoch)
        if is_sharded(trainer.net):
            broadcast_buffers(trainer.net)
        self.training_sums = logger.recorder.state_dict()
        values = processes.all_reduce_metrics(trainer.metrics['train'], trainer.device).compute()
        trainer.record_overall('train', values)
        logger.record('lr', trainer.update.schedule.last_lr)
        logger.record('images_per_second', self.progress.rate())
        logger.record('data_wait', self.progress.wait_share())
        if trainer.device.type == 'cuda':
            logger.record('gpu_memory_gib', torch.cuda.max_memory_allocated(trainer.device) / 2**30)
        if self.args.histograms and 'histograms' not in self.images_written:
            self.images_written.append('histograms')
            logger.save_histograms(trainer.net, epoch)
        if trainer.batch == length_or_none(trainer.train_loader) and self.preemption.is_save_due(trainer.update.steps):
            self.save_within_epoch()

    def finite_loss(self, epoch):
        """Return the epoch's mean training loss so far.

        Raises:
            DanluError: a step was not finite, or the loss that a user's own train_step recorded is not finite.
        """
        trainer = self.trainer
        trainer.nonfinite.check_pending()
        loss = self.logger.recorder.mean('train/loss')
        if not math.isfinite(loss):
            raise DanluError(
                f'the training loss is {loss} after batch {trainer.batch} of epoch {epoch}. {next_steps(trainer)}'
            )
        return loss

    def after_epoch(self, trainer, row):
        """Log an epoch's values (dict), mark the best epoch, and step the schedule."""
        selection, schedule = trainer.selection, trainer.update.schedule
        self.is_better = selection.update_best(row)
        schedule.end_epoch(schedule_value(schedule, selection, row))
        best = self.is_better and not math.isnan(selection.value_of(row))
        values = row, self.args.epochs, selection.monitor, best
        self.logger.print(epoch_line(*values), self.epoch_table.lines(*values) if is_shown() else None)
        for note in selection.nan_notes(self.logger.history):
            self.logger.print(note)
        self.record_contents()
        for line in [] if self.duplicates is None else self.duplicates.finish(self.loaders()):
            self.logger.print(line)

    def save_epoch(self, row):
        """Save the checkpoints of an epoch with the values `row` (dict)."""
        trainer, epoch = self.trainer, row['epoch']
        with trainer.eval_weights():
            states = {name: trainer.state(row) for name in ['best.pth'] * self.is_better + self._top_names(row)}
        trainer.batch = 0
        state = trainer.state(row) | trainer.resume_state()
        if self.args.save_freq and epoch % self.args.save_freq == 0:
            states[f'epoch_{epoch:04d}.pth'] = state
        self.save(states | {'last.pth': state})

    def ends_after(self, epoch):
        """Draw a notebook's curves, log why the run ends after this epoch if it does, and return whether (bool)."""
        self.curves.epoch_ended(self.logger)
        why = self.stop_reason(epoch)
        if why:
            self.logger.print(f'stopped after epoch {epoch}: {why}')
        return bool(why)

    def stop_reason(self, epoch):
        """Return why the run ends after this epoch (str), or None to continue."""
        if self.args.max_steps is not None and self.trainer.update.steps >= self.args.max_steps:
            return f'--max_steps {self.args.max_steps} are done'
        return None if epoch == self.args.epochs else self.trainer.selection.stop_reason(epoch)

    def after_train(self, trainer):
        """Give the network the weights of best.pth, and log the best value and, if no test follows, how to test it."""
        for line in [*load_best_weights(trainer), *write_best_safetensors(trainer)]:
            self.logger.print(line)
        if not self.has_summary:
            with use_language(terminal_language(self.args.lang)):
                lines = [best_line(trainer), *test_line(trainer)]
            for line in lines:
                self.logger.print(line)
        elif self.logger.enabled:  # train.py prints it
            self.logger.write(best_line(trainer).full)

    # Saving

    def last_row(self):
        """Return the row (dict) of the last finished epoch, or {}."""
        return self.logger.history[-1] if self.logger.history else {}

    def save_within_epoch(self):
        """Save the state between two steps or before validation; end the run if a signal asked for it."""
        trainer = self.trainer
        self.record_contents()
        self.save({'last.pth': trainer.state(self.last_row()) | trainer.resume_state()})

    def save(self, states):
        """Write checkpoints (dict from name to state) including last.pth; end the run if a signal asked for it."""
        trainer = self.trainer
        trainer.nonfinite.check_pending()
        if processes.is_first() or is_sharded(trainer.net):
            self.fingerprints.add_to(states)
        self.resume_check.is_pending = processes.is_first()
        events = self.logger.flush()  # a resumed run continues the event files from there
        for state in states.values():
            if 'recorder' in state:
                state['events'] = events
        self.logger.save_check_points(states)
        self.preemption.mark_saved(trainer.update.steps)
        self.replay_log.after_save()
        self.saved_position = position_text(trainer)
        if self.preemption.signal is not None:
            self.logger.checkpoints.finish()
            self.preemption.raise_for_signal()

    def _top_names(self, row):
        """Return [name of this epoch's top checkpoint (str)], or [] if it is not among the best; remove obsolete ones.

        All processes return the same, because sharded weights are gathered from all of them.
        """
        if not self.args.keep_top:
            return []
        top = self.trainer.selection.top_epochs(self.logger.history)
        for epoch in {row['epoch'] for row in self.logger.history} - top if processes.is_first() else ():
            Path(self.args.model_dir, f'top_{epoch:04d}.pth').unlink(missing_ok=True)
        return [f'top_{row["epoch"]:04d}.pth'] if row['epoch'] in top else []

    def check_preemption(self):
        """Raise EvaluationInterrupted during validation if a signal asked the process to end."""
        if self.trainer.is_closed:  # trainer.evaluate() after an interrupted training
            return
        self.preemption.sync_signals()
        if self.preemption.signal is not None:
            raise EvaluationInterrupted

    @contextmanager
    def validating(self):
        """Return the context of validation: restores the random generators; saves if a signal interrupts it."""
        rng = get_rng_state()
        try:
            yield
        except WORKER_EXIT_ERRORS:  # includes EvaluationInterrupted
            if self.preemption.signal is None:
                raise
            set_rng_state(rng)
            self.save_within_epoch()
        set_rng_state(rng)  # a ready-made loader may have drawn

    def save_pictures(self, drawn, split, epoch):
        """Write samples of an epoch to TensorBoard, unless drawing would slow down very short epochs.

        Args:
            drawn: FirstSamples, or utils.training.validation_samples.ValidationSamples.
            split: 'train' or 'val'.
            epoch: from 1.
        """
        if split in self.images_written:  # also by an interrupted run
            return
        self.images_written.append(split)
        is_due = self.drawing_budgets[split].due() or epoch == self.args.epochs
        if processes.is_first() and is_due and drawn.places:
            trainer = self.trainer
            with self.drawing_budgets[split].spending():
                # An attribute, as projects override the drawing methods with the arguments that these have.
                loader = {'train': trainer.train_loader, 'val': trainer.val_loader}[split]
                samples = drawn.samples()
                trainer.drawn_names = loader.names_at(drawn.places) if hasattr(loader, 'names_at') else []
                self.logger.save_imgs(trainer.gen_imgs_to_write(*samples, split), epoch)
                trainer.drawn_names = ()


class FirstSamples:
    """The first samples of a batch.

    Args:
        number: of the batch in its epoch, from 0.
        images, predictions, targets: the batch.

    Attributes:
        places: (number of the batch, position in the batch) of each sample (list of pairs of int), both from 0.
    """

    def __init__(self, number, images, predictions, targets):
        self.parts = drawn_samples(images, predictions, targets)
        self.places = [(number, position) for position in range(len(self.parts[0]))]

    def samples(self):
        """Return images, predictions and targets of the samples."""
        return self.parts


def drawn_samples(images, predictions, targets):
    """Return the first samples of a batch, as many as are drawn."""
    count = MAX_IMAGES if images.dim() > 2 else MAX_POINTS
    return images[:count], predictions[:count], targets[:count]
