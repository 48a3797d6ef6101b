"""Opening the session of a run: the weights or the state it starts from, its files, and the first lines of the log."""

import math
from pathlib import Path

from options import get_train_model_dir, main_options, save_args, train_parser
from utils.base.atomic_write import remove_partial
from utils.base.record_schema import recorded_args
from utils.distributed import processes
from utils.logger import Logger, TimeBudget
from utils.options import given_parts
from utils.options.arguments import names_of
from utils.options.model_source import keep_source
from utils.provenance.checkpoint_check import check_loaded, explain_misfit
from utils.provenance.duplicate_run import DuplicateCheck
from utils.provenance.output_fingerprint import OutputFingerprinter
from utils.provenance.record import check_same_run
from utils.provenance.replay_log import REPLAY_STEPS, ReplayLog
from utils.provenance.resume_check import ResumeCheck
from utils.runs.checkpoint import load_named_checkpoint, load_selected_weights
from utils.runs.lock import select_lock
from utils.runs.step_log import StepLog
from utils.tasks.target_scale import loaded_scale_note
from utils.training.hooks import Hook
from utils.training.resume import (
    RunFinished,
    draw_missing_curves,
    read_resume_state,
    rename_damaged,
    restore_trainer,
)
from utils.training.run_copy import begin_copy, without_failed_copy
from utils.training.run_messages import position_text, repeat_command, start_lines


class SessionOpening(Hook):
    """Base of utils.training.session.RunSession with the methods that open a run."""

    def open(self, notes):
        """Load weights or a state, and open the run's files; on failure, unlock its directory.

        Args:
            notes: lines (list of str) for the start of the log.
        """
        self.lock = None
        try:
            history = self._load(notes)
            self.step_log = StepLog(self.args.log_steps, self.trainer.update.steps)
            self._open_files(history, notes)
        except BaseException:
            if self.lock is not None:
                self.lock.release()
            raise

    def _load(self, notes):
        """Load the initial weights, or the state of a resumed run; return the history, which is [] for a new run."""
        args = self.args
        if args.resume and args.model_dir is None:  # a notebook without prepare_train_args
            args.model_dir = args.resume = processes.broadcast_from_rank0(lambda: begin_copy(args, train_parser()))
        if args.resume:
            self.lock = select_lock(args.resume if Path(args.resume).is_dir() else Path(args.resume).parent)
            if processes.is_first():
                remove_partial(self.lock.path.parent)
            with without_failed_copy(args):
                return self._restore(notes)
        if args.load_model_path:
            checkpoint = load_named_checkpoint(args)
            with explain_misfit(checkpoint, args.load_model_path, args):
                loaded = load_selected_weights(self.trainer.net, checkpoint, args)
            check = check_loaded(self.trainer.net, checkpoint, args.load_model_path, args, loaded, 'weights')
            notes += [*loaded, *check.lines, *loaded_scale_note(args, recorded_args(checkpoint))]
        return []

    def _restore(self, notes):
        """Restore the run of args.resume, add its position to `notes`, and return its history."""
        trainer, args = self.trainer, self.args
        state, path, note = read_resume_state(args, repeat_command(trainer), trainer.selection)
        run = self.lock.path.parent
        check_same_run(state, path, run)
        if note:
            notes += [note, *(rename_damaged(path, run) if processes.is_first() else [])]
        self.on_resume()
        notes += restore_trainer(trainer, state, path)
        if why := self.stop_reason(trainer.epoch):
            draw_missing_curves(path, state, trainer.selection)
            raise RunFinished(f'{run} is finished, at epoch {trainer.epoch}: {why}; to train longer, raise that limit')
        if processes.is_first():
            notes += self.record.continue_record(state, run)
            self.contents.resume(run, state.get('record') or {}, self.record.values)
        self.recorder_state, self.events = state['recorder'].get('epoch'), state.get('events')
        then, now = state['args'], vars(args)
        ignored = {*names_of(args, repeated=False), 'given_parts', *given_parts.unused_options(args)}
        changed = [f'{k} {then[k]} -> {now[k]}' for k in now if k not in ignored and now[k] != then.get(k, now[k])]
        self.saved_position = position_text(trainer)
        notes.append(f'resumed after {self.saved_position}' + (f'; changed: {", ".join(changed)}' if changed else ''))
        return state['recorder']['history']

    def _open_files(self, history, notes):
        """Write args.txt, open the Logger with `history` (list of rows), and log the first lines."""
        trainer, args = self.trainer, self.args
        trainer.is_closed = False
        make_model_dir(args)
        if not processes.is_first():
            self._open_silently(history)
            return
        if not args.resume:
            self.lock = select_lock(args.model_dir)
            self.on_new_run()
        if self.lock.stale_owner:
            notes.append(f'{self.lock.stale_owner}, which had this run, is gone')
        keep_source(args)
        save_args(args, args.model_dir, note=f'resumed after {self.saved_position}' if args.resume else None)
        if not (args.dry_run or args.find_lr):
            notes += self._write_record()
        # TensorBoard's table shows few columns; its runs share data and task, and what follows from the data.
        of_data = {'data_type', 'task', 'from_data', *getattr(args, 'from_data', [])}
        ignored = of_data | names_of(args, repeated=False)
        options = {name: value for name, value in main_options(args).items() if name not in ignored}
        self.logger = Logger(args.model_dir, history, trainer.update.steps, self.events, options, trainer.selection)
        if trainer.batch:
            self.logger.recorder.load_state_dict(self.recorder_state)
        if not self.logger.continued:  # then TensorBoard's files lose the interrupted epoch
            self.images_written = []
        self.resume_check = ResumeCheck(args.model_dir, resumed=bool(args.resume))
        self.replay_log = ReplayLog(args.model_dir, 0 if args.resume else REPLAY_STEPS)
        self.fingerprints = OutputFingerprinter(trainer)
        states = {split: self.drawing_state.get(split) for split in ('train', 'val')}
        self.drawing_budgets = {split: TimeBudget(0.005, state=state) for split, state in states.items()}
        self.is_profile_due = args.profile  # False once the first epoch has begun
        for line in start_lines(trainer, notes):
            self.logger.print(line)

    def _open_silently(self, history):
        """Set up a rank above 0, which writes nothing."""
        args = self.args
        self.lock, self.logger = select_lock(args.model_dir), Logger(args.model_dir, history, enabled=False)
        if self.trainer.batch:
            self.logger.recorder.load_state_dict(self.recorder_state)
        self.resume_check = ResumeCheck(args.model_dir, resumed=False)
        self.replay_log = ReplayLog(args.model_dir, 0, late=0)
        self.drawing_budgets = {split: TimeBudget(0.0, math.inf) for split in ('train', 'val')}
        self.fingerprints, self.is_profile_due = OutputFingerprinter(self.trainer), False

    def _write_record(self):
        """Write env.txt, source.zip and record.json; return lines (list of str), e.g. on an identical earlier run."""
        notes = self.record.write(self.args.model_dir, self.device_description)
        self.contents.start(self.loaders())
        notes += self.contents.update(self.record, self.loaders(), self.args.model_dir)
        if self.args.resume:
            return notes
        self.duplicates = DuplicateCheck(self.args, self.record.values, self.trainer.selection)
        return notes + self.duplicates.start(self.loaders())

    def loaders(self):
        """Return the loaders of the run by split (dict); without validation that of 'val' is None."""
        return {'train': self.trainer.train_loader, 'val': self.trainer.val_loader}

    def rewrite_record(self):
        """Rewrite args.txt and record.json after a part was replaced before training."""
        if processes.is_first() and not (self.args.dry_run or self.args.find_lr):
            save_args(self.args, self.args.model_dir)
            self.record.rewrite(self.trainer)


def make_model_dir(args):
    """Make the run's directory where a notebook did not call prepare_train_args."""
    if args.model_dir is None:
        args.model_dir = processes.broadcast_from_rank0(lambda: get_train_model_dir(args))
        processes.move_log_into(args.model_dir)
