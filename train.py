# PYTHON_ARGCOMPLETE_OK
"""Train a network.

    python train.py                                       # LeNet on the digits that ship with Danlu
    python train.py --data_type folder --train_list photos/train --val_list photos/val --model_type torchvision:resnet18
    python train.py @checkpoints/lenet_exp/args.txt --lr 0.01     # a run again, with one change
    python train.py --resume checkpoints/lenet_exp --epochs 20    # go on

Everything a run leaves is in its directory, checkpoints/<model_type>_<save_prefix>/.
"""

import math
import os
import shlex
import shutil
import time
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

from options import (
    changed_options,
    get_train_model_dir,
    parse_train_args,
    prepare_train_args,
    resumes_if_begun,
    save_args,
    train_args,
    train_parser,
)
from utils.base import rank_env
from utils.base.atomic_write import remove_partial
from utils.base.errors import DanluError, message_of, run_main
from utils.base.process_setup import keep_freed_memory, postpone_compiler, share_busy_cores
from utils.runs.run_directory import remove_unstarted

if __name__ == '__main__':
    # --help and a wrong option are answered before torch is imported, which takes seconds
    if rank_env.rank_info().local == 0:  # the others would say the same
        run_main(parse_train_args, 'train.py')
    share_busy_cores()
    keep_freed_memory()

import torch

from data.checks.class_balance import note_of_missing, notes_of_classes, notes_of_ignored
from data.checks.class_notes import class_notes
from data.checks.dataset_fingerprint import data_record, dataset_of
from data.data_entry import check_ready_made, notes_of, select_eval_loader
from data.lists.bad_samples import check_skipped, write_skipped
from data.predicting import predict
from data.ready_made import select_loaders, values_of
from loss import select_loss
from metrics import select_metrics
from model.model_entry import equip_multi_gpu, equip_processes, select_model, with_sync_bn
from utils.base.batches import length_or_none
from utils.base.machine import describe_device, select_gpus, set_threads
from utils.base.notebook import CellCurves
from utils.base.progress import running_text
from utils.base.record_schema import recorded_args
from utils.base.seeding import be_deterministic, get_rng_state, mix_seed, seed_everything, set_rng_state
from utils.base.streams import guarded_output
from utils.base.write_errors import close_afterwards, explain_write_errors, suppress_cleanup_errors
from utils.distributed import processes
from utils.distributed.fsdp import broadcast_buffers, full_tensors, is_sharded
from utils.drawing.scatter import scatter
from utils.logger import Logger, TimeBudget
from utils.metrics.ready_metrics import ready_metrics
from utils.options import given_parts
from utils.options.arguments import names_of
from utils.options.defaults import optimizer_line
from utils.options.model_source import keep_source
from utils.options.validation_options import has_validation
from utils.provenance.checkpoint_check import check_loaded
from utils.provenance.duplicate_run import identical_run
from utils.provenance.environment import program_of
from utils.provenance.output_fingerprint import OutputFingerprinter, standard_probe
from utils.provenance.record import Record, check_same_run
from utils.provenance.replay_log import REPLAY_STEPS, ReplayLog
from utils.provenance.resume_check import ResumeCheck
from utils.runs.checkpoint import FORMAT, load_checkpoint, load_selected_weights, unwrap_model
from utils.runs.lock import select_lock
from utils.runs.result_directory import is_tested
from utils.runs.step_log import StepLog
from utils.runs.summaries import summary_of_trainer
from utils.tasks.target_scale import describe_target_scale, loaded_scale_note, scale_outputs
from utils.tasks.tasks import target_names, task_of
from utils.training.batch_transform import PICTURE_DIMENSIONS
from utils.training.checkpoint_selector import check_monitor, known_values, select_monitor
from utils.training.continuation import begin_training, note_plan, take_data
from utils.training.dry_run import dry_run
from utils.training.engine import Engine
from utils.training.error_hints import explained
from utils.training.freeze import freeze, train_mode
from utils.training.layer_decay import layer_table
from utils.training.lr_finder import find_lr
from utils.training.nonfinite_policy import Divergence
from utils.training.nonfinite_report import advice
from utils.training.optim import select_optimizer
from utils.training.optimizer_step import OptimizerStep
from utils.training.override_checks import check_overrides
from utils.training.precision import choose_fast
from utils.training.preemption import GONE, Interrupted, select_interruption
from utils.training.pretrained_config import note_of_weights
from utils.training.profiler import with_profiler
from utils.training.ready_parts import (
    ReplaceableParts,
    check_model,
    check_optimizer,
    note_on_scheduler,
    notes_on_optimizer,
    ready_loss,
    settle_one_output,
    waits_for_data,
)
from utils.training.ready_schedule import select_schedule, value_for
from utils.training.resume import (
    RunFinished,
    batches_from,
    draw_missing,
    read_state,
    restore,
    resume_state,
    rng_state_with,
    set_aside,
    set_resume_state,
    take_best_weights,
)
from utils.training.run_copy import begin_copy, without_failed_copy
from utils.training.run_messages import end_lines, epoch_lines, interrupted_line, place_line, start_lines

PICTURES = 8  # of one split in TensorBoard
# A Trainer of one's own that overrides one of these may have other values in its rows than anybody knows beforehand.
RECORDING = (
    'run_epoch train_per_epoch train_step record_training record_loss loss_parts compute_loss val_per_epoch evaluate '
    'record_overall end_epoch'
).split()
POINTS = 1024  # where samples are no pictures, so that numbers are drawn as points


class Trainer(ReplaceableParts, Engine):
    """The training loop.

        trainer = Trainer(args)          # builds data, model, loss and optimizer by their names in args
        history = trainer.train()        # for each epoch: train_per_epoch, val_per_epoch, curves, checkpoints

    Args:
        args: options, from options.prepare_train_args or options.parse_train_args.
        model, train_loader, val_loader, loss: ready-made parts that replace those chosen by name. A loader yields
            (images, targets): uint8 images are normalised by args.mean and args.std, others are taken as ready (see
            data/ready_made.py). A loss may be a function (predictions, targets) -> 0-d tensor.
        optimizer, scheduler: objects; the scheduler is built with that optimizer, and brings it along where that is
            left out.
        step_on: when the scheduler steps, 'epoch', 'step' or 'val' (utils/training/ready_schedule.py); None: told by
            its class.
        metrics: torchmetrics, functions (predictions, targets), or a dict of them (utils/metrics/ready_metrics.py).

    Raises:
        DanluError: an option, the data, a checkpoint or a ready-made part is at fault.
    """

    def __init__(  # noqa: PLR0913 (one keyword for each part)
        self, args, model=None, train_loader=None, val_loader=None, loss=None, *, optimizer=None, scheduler=None,
        metrics=None, step_on=None,
    ):  # fmt: skip
        check_overrides(self, Trainer)
        if model is not None:
            check_model(model)
        parts = {'model': model, 'train_loader': train_loader, 'val_loader': val_loader, 'loss': loss,
                 'optimizer': optimizer, 'scheduler': scheduler, 'metrics': metrics}  # fmt: skip
        if waits_for_data(args, parts):
            self.waiting_for_data = args, parts, step_on
        else:
            self._build(args, parts, step_on)

    def _build(self, args, parts, step_on):
        """Build everything that training needs from options and ready-made `parts` (dict, None where there is none)."""
        parts = self.with_assigned(parts)
        model, loss = parts['model'], parts['loss']
        notes = ['options that differ from their defaults: ' + (', '.join(changed_options(args)) or 'none')]
        notes += getattr(args, 'past', [])  # what an older record has otherwise
        seed_everything(args.seed)
        if args.deterministic:
            be_deterministic()
        if parts['optimizer'] is None:
            parts = parts | {'optimizer': getattr(parts['scheduler'], 'optimizer', None)}
        notes += [*given_parts.take(args, parts), *self.note_given(args, parts, step_on)]
        device, gpus = select_gpus(args)
        self.begin_data(args, model, parts['train_loader'], parts['val_loader'])
        notes += [*self.notes_on_data(args), *settle_one_output(args, parts)]
        self.place = ', '.join(filter(None, (describe_device(args, gpus), processes.describe())))
        notes.append(f'device: {self.place}, threads: {set_threads(args.threads, self.workers)}')
        notes += processes.notes(args)
        net = select_model(args) if model is None else scale_outputs(model, args)
        self.net = with_sync_bn(net.to(device), args.sync_bn)
        notes += [*describe_target_scale(args), *note_of_weights(args), *freeze(self.net, args.freeze)]
        Engine.__init__(self, args, self.net, select_loss(args) if loss is None else ready_loss(loss), device)
        self.prepare.augment = getattr(getattr(self.train_loader, 'dataset', None), 'augment', None)
        self.bind_transforms(self.train_loader, self.val_loader)
        if args.fast:
            notes.append(choose_fast(self, alone=len(gpus) < 2 and processes.count() == 1))
        self.speed_up()
        self.spread(gpus)
        self.metrics = {split: self.begin_metrics(parts['metrics']) for split in ('train', 'val')}
        self.selection = self.select_selection()
        notes += [*self.selection.notes, *self.begin_optimizer(parts['optimizer'])]
        self.update = self.select_update()
        notes += note_on_scheduler(self.update.schedule)
        self.divergence = Divergence(self)
        self.epoch, self.batch, self.epoch_rng = 0, 0, None  # batch: how many of the epoch after are done
        self.resumed_at = 0  # the batch with which the next epoch begins
        self.sums = None  # of the epoch's training, once that is over
        self.drawn = {}  # of a resumed run: the state of `drawing`
        self.shown = []  # what of the epoch TensorBoard's files hold already: train, histograms, val
        self.events = None  # of a resumed run: see Logger
        self.saved = None  # how far it is in last.pth (str), once there is one
        self.interruption = select_interruption(args)
        if processes.rank():  # the first one draws as it would alone; what the others draw has to differ
            seed_everything(mix_seed(args.seed, processes.rank()))
        self.open_run(notes)
        note_plan(self)

    def __repr__(self):
        return summary_of_trainer(self)

    def begin_data(self, args, model, train_loader, val_loader):
        """Take ready-made loaders, or for None those of the options; without either there is no validation."""
        processes.check(args, train_loader, val_loader)
        if args.download and train_loader is None:
            processes.rank0_first(lambda: select_eval_loader(args))
        if args.val_split is not None:
            make_model_dir(args)
        self.train_loader, self.val_loader = select_loaders(args, model, train_loader, val_loader)
        check_ready_made(self.train_loader, args)
        self.workers = getattr(self.train_loader, 'num_workers', 0)
        self.data = data_record(args, self.train_loader, self.val_loader)

    def notes_on_data(self, args):
        """Return what is to be known of the training and validation data (list of str, lines for the log)."""
        train, val = (dataset_of(loader) for loader in (self.train_loader, self.val_loader))
        return [
            *notes_of(self.train_loader, self.val_loader),
            *notes_of_classes(train, args),
            *notes_of_ignored(val, args, 'validation'),
            *class_notes(train, args, 'train'),
            *class_notes(val, args, 'val'),
            *note_of_missing(train, val, args.class_names, args.ignore_index),
            *self.data['val']['shared'],
        ]

    def spread(self, gpus):
        """Let the network compute on several GPUs or in several processes, which take over how its weights lie."""
        if processes.count() == 1:
            self.model = equip_multi_gpu(self.net, gpus)
        else:
            self.model = equip_processes(self.net, self.device, self.args.parallel)

    def open_run(self, notes):
        """Load what the run begins with and open what it writes; where that fails, let go of its directory."""
        self.lock = None
        try:
            history = self.begin(notes)
            self.step_log = StepLog(self.args.log_steps, self.update.steps)
            self.start_records(history, notes)
        except BaseException:
            if self.lock is not None:
                self.lock.release()
            raise

    def begin(self, notes):
        """Load what the run begins with, add to `notes` what that is, and return the history of a resumed run."""
        args = self.args
        if args.resume and args.model_dir is None:  # a notebook that did not call prepare_train_args
            args.model_dir = args.resume = processes.broadcast_from_rank0(lambda: begin_copy(args, train_parser()))
        if args.resume:
            self.lock = select_lock(args.resume if Path(args.resume).is_dir() else Path(args.resume).parent)
            if processes.is_first():
                remove_partial(self.lock.path.parent)
            with without_failed_copy(args):
                return self.restore(notes)
        if args.load_model_path:
            checkpoint = load_checkpoint(args.load_model_path, args.trust_checkpoint, args.model_source)
            loaded = load_selected_weights(self.net, checkpoint, args)
            drift = check_loaded(self.net, checkpoint, args.load_model_path, args, loaded, 'weights')
            notes += [*loaded, *drift.lines, *loaded_scale_note(args, recorded_args(checkpoint))]
        return []

    def start_records(self, history, notes):
        """Open what is written from now on: args.txt, the Logger with `history` (list of rows), the first lines."""
        args, self.is_closed = self.args, False
        make_model_dir(args)
        if not processes.is_first():
            self.look_on(history)
            return
        if not args.resume:
            self.lock = select_lock(args.model_dir)
            write_skipped(self.train_loader, args)
        if self.lock.stale_owner:
            notes.append(f'{self.lock.stale_owner}, which had this run, is gone')
        keep_source(args)
        save_args(args, args.model_dir, note=f'resumed after {self.saved}' if args.resume else None)
        if not (args.dry_run or args.find_lr):
            notes += self.write_record()
        aside = {'from_data', *names_of(args, repeated=False)}
        options = {name: value for name, value in vars(args).items() if name not in aside}
        self.logger = Logger(args.model_dir, history, self.update.steps, self.events, options, self.selection)
        if self.batch:
            self.logger.recorder.load_state_dict(self.logger_state)
        if not self.logger.continued:  # then TensorBoard forgets what it has of the epoch that was interrupted
            self.shown = []
        self.witness = ResumeCheck(args.model_dir, resumed=bool(args.resume))
        self.first_steps = ReplayLog(args.model_dir, 0 if args.resume else REPLAY_STEPS)
        self.fingerprints = OutputFingerprinter(self)
        self.drawing = {split: TimeBudget(0.005, state=self.drawn.get(split)) for split in ('train', 'val')}
        self.to_profile = args.profile  # until the first epoch
        for line in start_lines(self, notes):
            self.logger.print(line)

    def look_on(self, history):
        """Open nothing: this is not the process that writes."""
        self.lock, self.logger = select_lock(self.args.model_dir), Logger(self.args.model_dir, history, enabled=False)
        if self.batch:
            self.logger.recorder.load_state_dict(self.logger_state)
        self.witness, self.first_steps = (
            ResumeCheck(self.args.model_dir, resumed=False),
            ReplayLog(self.args.model_dir, 0),
        )
        self.drawing = {split: TimeBudget(0.0, math.inf) for split in ('train', 'val')}
        self.fingerprints, self.to_profile = OutputFingerprinter(self), False

    def renew_record(self):
        """Write args.txt and record.json anew where a part was replaced before training."""
        if processes.is_first() and not (self.args.dry_run or self.args.find_lr):
            save_args(self.args, self.args.model_dir)
            self.record.rewrite(self)

    def write_record(self):
        """Write env.txt, source.zip and record.json; return lines (list of str), as where the same was run already."""
        args = self.args
        notes = self.record.write(args.model_dir, self.place)
        return notes if args.resume else notes + identical_run(args, self.record.values['experiment'], self.selection)

    def select_metrics(self):
        """Return new metrics, those of the task: see metrics.py. A new task that has others overrides this."""
        return select_metrics(self.args)

    def select_selection(self):
        """Return the Selection of the best epochs; a value that no epoch will have is refused."""
        validates = self.val_loader is not None or type(self).val_per_epoch is not Trainer.val_per_epoch
        selection = select_monitor(self.args, self.metrics['val'], validates)
        if all(getattr(type(self), name) is getattr(Trainer, name) for name in RECORDING):
            check_monitor(selection, known_values(self.args, self.metrics['val'], self.loss))
        return selection

    def begin_metrics(self, metrics):
        """Return new metrics: ready-made ones, or for None those of `select_metrics`."""
        return self.select_metrics() if metrics is None else ready_metrics(metrics, self.args, self.device)

    def begin_optimizer(self, optimizer):
        """Take a ready-made optimizer, or for None that of the options; return lines (list of str) on it."""
        if optimizer is not None:
            check_optimizer(optimizer, self.net)
            self.optimizer = optimizer
            return notes_on_optimizer(optimizer, self.net)
        self.optimizer = select_optimizer(self.net, self.args)
        return [optimizer_line(self.args), *(layer_table(self.net, self.optimizer) if self.args.lr_decay else [])]

    def select_update(self):
        """Return the Update, which takes the optimizer, the schedule and gradients of 16 bits in its care."""
        args, length = self.args, length_or_none(self.train_loader)
        steps = None if length is None else -(-length // args.accumulate)
        update = OptimizerStep(self.net, self.optimizer, select_schedule(self, steps), args, length)
        update.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == 'fp16')
        update.accumulation.alike = self.parts_counted_alike()
        if update.sums_apart() and is_sharded(self.net):
            raise DanluError(
                f'--accumulate {args.accumulate}: not with --parallel fsdp and a sum of losses that are means over '
                'different things, whose gradients are added up separately; take --parallel ddp or other losses'
            )
        return update

    def train(self, epochs=None, live=False):
        """Train up to args.epochs and return the history: a list of rows (dict), one per epoch.

        `epochs` (int) sets args.epochs, the number of epochs in total. Called again, with more epochs or after an
        interruption, train() goes on in the same run, to the same bits as one long run.

        In a notebook the cell shows the curves at the end; with `live` they are drawn anew after each epoch, also into
        curves.png alone where there is no notebook.

        The network then has the weights of best.pth, which with --ema are averages; with --keep_last_weights those of
        the last epoch. A run that is interrupted leaves the weights that it had.
        """
        if self.args.dry_run or self.args.find_lr:  # main() does what they ask for instead
            self.close()
            raise DanluError(
                '--dry_run and --find_lr are for train.py and not for train(): leave them out, or call '
                'utils.training.dry_run.dry_run or utils.training.lr_finder.find_lr instead of it'
            )
        begin_training(self, epochs)
        self.curves = CellCurves(live)
        # To the end of all of it: a signal is not to find a picture half drawn.
        with guarded_output(), self.explaining(), self.interruption.watching(), close_afterwards(self.close):
            self.run_epochs()
        self.curves.show(self.logger)
        return self.logger.history

    def fit(self, train_data=None, val_data=None, epochs=None, patience=None, monitor=None, mode=None):
        """Train on loaders or data sets, and return the history, as `train` does.

        Args:
            train_data, val_data: as train_loader and val_loader of the constructor, for a Trainer that was given a
                model and no data. Without val_data nothing is validated.
            epochs, patience, monitor, mode: the options of these names; None: as they are.
        """
        given = {'epochs': epochs, 'patience': patience, 'monitor': monitor, 'mode': mode}
        given = {name: value for name, value in given.items() if value is not None}
        args = self.waiting_for_data[0] if 'waiting_for_data' in vars(self) else self.args
        for name, value in vars(train_args(**given)).items():
            if name in given:
                setattr(args, name, value)
        if train_data is not None:
            self.build_waiting(train_loader=train_data, val_loader=val_data)
        take_data(self, train_data, val_data)
        return self.train()

    def evaluate(self, batches, metrics=None, on_batch=None):
        """Return the values of a loader or data set (dict), as validation has them.

        With `metrics` it is the evaluation of Engine, which returns the number of samples too.
        """
        if metrics is not None:
            return super().evaluate(batches, metrics, on_batch)
        with self.eval_weights():
            return values_of(self, batches, self.metrics['val'])

    def predict(self, pictures):
        """Return what the network makes of a batch, of pictures or of a loader: see data.predicting.predict."""
        with self.eval_weights():
            return predict(self, pictures)

    def report(self):
        """Test best.pth as `eval.py --report` does and return the page, which the cell of a notebook shows.

        Raises:
            DanluError: there is no best.pth yet, or the Trainer has a `step` or the like of its own.
        """
        from eval import report_of  # what only tests need is imported when one is to be done

        return report_of(self)

    def run_epochs(self):
        """Run the epochs that are left; whatever ends them is in the log."""
        try:
            if self.args.on_nan == 'rollback':
                self.save_within_epoch()  # to have something to go back to
            for epoch in range(self.epoch + 1, self.args.epochs + 1):
                self.run_epoch(epoch)
                self.curves.epoch_ended(self.logger)
                if why := self.why_stop(epoch):
                    self.logger.print(f'stopped after epoch {epoch}: {why}')
                    break
            for line in [*take_best_weights(self), *end_lines(self)]:
                self.logger.print(line)
        except BaseException as error:
            why = processes.why_ended(error)
            with suppress_cleanup_errors(error):
                self.logger.write(f'stopped by {why or f"{type(error).__name__} {message_of(error)}"}'.rstrip())
                if why or isinstance(error, KeyboardInterrupt) or self.interruption.signal is not None:
                    self.logger.print(interrupted_line(self))
            if self.interruption.signal is not None and isinstance(error, GONE):
                self.interruption.stop()  # it has ended the worker processes of a ready-made loader in a step
            raise

    @contextmanager
    def explaining(self):
        """Say in one line what the machine lacks where the body of the `with` fails for that: memory, space ..."""
        with explain_write_errors(self.args.model_dir, program_of(self)), explained(self.args):
            yield

    def close(self):
        """Finish what is being written and let go of the run's directory."""
        self.is_closed = True
        try:
            self.logger.close()
        finally:
            self.lock.release()

    def run_epoch(self, epoch):
        """Train once, validate, and save what came of it."""
        started = time.perf_counter()
        self.train_per_epoch(epoch)
        self.val_per_epoch(epoch)
        self.logger.record('seconds', time.perf_counter() - started)
        row = self.logger.history[-1] = processes.from_first_value(self.logger.save_curves(epoch))
        self.end_epoch(epoch, row)

    def train_per_epoch(self, epoch):
        """Train once over the training data, or over what a resumed run has left of it."""
        train_mode(self.model, self.args.freeze)
        batches, stepped, to_show, self.sums = self.start_epoch(epoch), False, False, None
        progress = self.logger.progress(batches, f'epoch {epoch}/{self.args.epochs}')
        length = length_or_none(self.train_loader)
        every = min(self.args.print_freq, length or self.args.print_freq)  # once at least
        for batch in self.interruption.guarded(with_profiler(self, progress), self.save_within_epoch):
            self.witness.before_step(self)
            self.first_steps.before_step(self)
            done = self.divergence.step(batch)
            self.batch += 1
            if done is not None:
                self.first_steps.after_step(self, done[0], done[2])
                if line := self.witness.after_step(self, done[0], done[2]):
                    self.logger.print(line)
                stepped = True
                self.show_first(done[0], done[1].detach(), done[2], epoch)
            to_show = to_show or self.batch % every == 0
            if to_show and stepped and not self.update.waiting:  # only here the loop waits for the device
                to_show = False
                progress.show(running_text(self.finite_loss(epoch), self.metrics['train']))
                self.logger.save_steps(self.update.steps, self.update.schedule.last_lr)
            if stepped and self.step_log.due(self.update):
                self.step_log.write(self, epoch, progress)
            if self.update.steps == self.args.max_steps:
                break
            if self.batch != length and self.interruption.due(self.update.steps) and not self.update.waiting:
                self.save_within_epoch()
        self.divergence.finish()
        if not self.batch:
            raise DanluError('there is no batch to train on: the loader is empty')
        self.divergence.end_epoch()
        self.finite_loss(epoch)
        if is_sharded(self.net):
            broadcast_buffers(self.net)
        self.sums = self.logger.recorder.state_dict()
        self.record_training(progress)
        if self.args.histograms and 'histograms' not in self.shown:
            self.shown.append('histograms')
            self.logger.save_histograms(self.net, epoch)
        if self.batch == length and self.interruption.due(self.update.steps):
            self.save_within_epoch()

    def start_epoch(self, epoch):
        """Return the batches (iterable) of an epoch; of one that a resumed run has begun the rest."""
        self.batch, self.resumed_at = self.resumed_at, 0
        self.update.start_epoch(self.batch)
        if self.batch:
            return batches_from(self.train_loader, epoch, self.batch, self.epoch_rng)
        self.metrics['train'].reset()
        self.shown = []
        self.divergence.start_epoch()
        self.epoch_rng = rng_state_with(self.train_loader)
        return batches_from(self.train_loader, epoch, 0, None)

    def save_within_epoch(self):
        """Save the state between two steps, or before validation; end the run if it was asked to end."""
        self.save({'last.pth': self.state(self.last_row()) | self.resume_state()})

    def save(self, states):
        """Write checkpoints (dict from name to state), last.pth among them; end the run if it was asked to end."""
        self.divergence.check_pending()
        if processes.is_first() or is_sharded(self.net):
            self.fingerprints.add_to(states)
        self.witness.is_pending = processes.is_first()
        events = self.logger.flush()  # what a resumed run does not write again
        for state in states.values():
            if 'recorder' in state:
                state['events'] = events
        self.logger.save_check_points(states)
        self.interruption.saved(self.update.steps)
        self.saved = place_line(self)
        if self.interruption.signal is not None:
            self.logger.checkpoints.finish()
            self.interruption.stop()

    def record_training(self, progress):
        """Record what an epoch's training came to."""
        self.record_overall('train', processes.all_reduce_metrics(self.metrics['train'], self.device).compute())
        self.logger.record('lr', self.update.schedule.last_lr)
        self.logger.record('images_per_second', progress.rate())
        self.logger.record('data_wait', progress.wait_share())
        if self.device.type == 'cuda':
            self.logger.record('gpu_memory_gib', torch.cuda.max_memory_allocated(self.device) / 2**30)

    def show_first(self, images, predictions, targets, epoch):
        """Write the first batch of an epoch's training to TensorBoard: pictures, and once the network's graph."""
        if 'train' in self.shown:
            return
        self.save_pictures(first_of(images, predictions, targets), 'train', epoch)
        if self.args.add_graph and epoch == 1:
            self.logger.save_graph(self.net, images[:PICTURES])

    def train_step(self, batch):
        """Learn from one batch and return (images, predictions, targets). Several losses or optimizers: override it."""
        counts = not processes.is_padding(self.train_loader, self.update.number - 1)
        with processes.gradient_sync(self.model, self.update.ends_step()):
            images, predictions, targets = self.step(batch)
            loss = self.compute_loss(predictions, targets)
            loss, parts = processes.all_reduce_loss(loss, lambda: self.loss_parts(loss, predictions, targets), counts)
            parts = self.loss_parts(loss, predictions, targets) if parts is None else parts
            self.update(loss, parts)
        self.record_loss(self.logger, 'train/loss', loss, predictions, targets, parts)
        if counts:
            self.compute_metrics(predictions.detach(), targets, self.metrics['train'])
        return images, predictions, targets

    def val_per_epoch(self, epoch):
        """Evaluate once over the validation data, where there is any, as eval.py does."""
        if self.val_loader is None:
            return

        def keep_first(start, images, predictions, targets):
            if start == 0:
                self.save_pictures(first_of(images, predictions, targets), 'val', epoch)

        progress = self.logger.progress(self.val_loader, f'validate {epoch}/{self.args.epochs}')
        rng = get_rng_state()
        try:
            with self.eval_weights():
                results, seen = self.evaluate(progress, self.metrics['val'], keep_first)
        except GONE:  # or Interrupted, which is one of them
            if self.interruption.signal is None:
                raise
            set_rng_state(rng)
            self.save_within_epoch()
        set_rng_state(rng)  # a ready-made loader may have drawn
        if progress.total is not None and seen != progress.total:
            raise DanluError(f'validation saw {seen} of {progress.total} samples: the loader left some out')
        self.record_overall('val', results)

    def check_preemption(self):
        """End a validation that is under way when the process is asked to end."""
        if self.is_closed:  # trainer.evaluate after an interrupted training
            return
        self.interruption.agree()
        if self.interruption.signal is not None:
            raise Interrupted

    def save_pictures(self, shown, split, epoch):
        """Write the first samples of an epoch, unless epochs are so short that drawing would slow them down."""
        if split in self.shown:  # a run that was interrupted after that has written them
            return
        self.shown.append(split)
        if processes.is_first() and (self.drawing[split].due() or epoch == self.args.epochs):
            with self.drawing[split].spending():
                self.logger.save_imgs(self.gen_imgs_to_write(*shown, split), epoch)

    def gen_imgs_to_write(self, images, predictions, targets, split):
        """Return the pictures for TensorBoard: dict from a tag to a uint8 array (H, W, 3)."""
        if images.dim() != PICTURE_DIMENSIONS:  # features, signals ... of which there is nothing to see
            if task_of(self.args).target != 'numbers':
                return {}
            points = scatter(predictions, targets, target_names(self.args))
            return {} if points is None else {f'{split}/samples': points}
        columns = 1 if task_of(self.args).by_pixel else 4
        return {f'{split}/samples': self.draw_sheet(images, predictions, targets, columns)}

    def record_overall(self, split, values):
        """Record an epoch's values, without those of single classes (which result.txt has)."""
        for name, value in values.items():
            if '/' not in name:
                self.logger.record(f'{split}/{name}', value)

    def finite_loss(self, epoch):
        """Return the epoch's mean training loss so far; stop if there was something on the way that is not finite."""
        self.divergence.check_pending()
        loss = self.logger.recorder.mean('train/loss')
        if not math.isfinite(loss):  # of a train_step of one's own, which recorded what it did not learn from
            raise DanluError(f'the training loss is {loss} after batch {self.batch} of epoch {epoch}. {advice(self)}')
        return loss

    def end_epoch(self, epoch, row):
        """Report an epoch and save its checkpoints."""
        self.epoch, better = epoch, self.selection.take(row)
        self.update.schedule.end_epoch(value_for(self.update.schedule, self.selection, row))
        best = better and not math.isnan(self.selection.value_of(row))
        self.logger.print(*epoch_lines(row, self.args.epochs, self.selection.monitor, best))
        for note in self.selection.note_of_nan(self.logger.history):
            self.logger.print(note)
        with self.eval_weights():
            states = {name: self.state(row) for name in ['best.pth'] * better + self.top_names(row)}
        self.batch = 0
        state = self.state(row) | self.resume_state()
        if self.args.save_freq and epoch % self.args.save_freq == 0:
            states[f'epoch_{epoch:04d}.pth'] = state
        self.save(states | {'last.pth': state})

    def top_names(self, row):
        """Return the name (list of str) of this epoch's checkpoint if it is a best one; remove those that are not.

        To all processes the same, as weights in shards are put together by all of them.
        """
        if not self.args.keep_top:
            return []
        top = self.selection.top(self.logger.history)
        for epoch in {row['epoch'] for row in self.logger.history} - top if processes.is_first() else ():
            Path(self.args.model_dir, f'top_{epoch:04d}.pth').unlink(missing_ok=True)
        return [f'top_{row["epoch"]:04d}.pth'] if row['epoch'] in top else []

    def last_row(self):
        """Return the row (dict) of the last epoch that ended; {} where none has."""
        return self.logger.history[-1] if self.logger.history else {}

    def why_stop(self, epoch):
        """Return why the run ends after this epoch (str), or None: it goes on."""
        if self.args.max_steps is not None and self.update.steps >= self.args.max_steps:
            return f'--max_steps {self.args.max_steps} are done'
        return None if epoch == self.args.epochs else self.selection.why_stop(epoch)

    def eval_weights(self):
        """Return a context in which the network has the weights that are tested and saved: with --ema the average."""
        return nullcontext() if self.update.ema is None else self.update.ema.in_network()

    def state(self, row):
        """Return what testing needs (dict)."""
        args = dict(vars(self.args))
        return {'format': FORMAT, 'model': full_tensors(unwrap_model(self.net).state_dict()), 'args': args,
                'epoch': self.epoch, 'step': self.update.steps, 'metrics': row,
                'record': self.record.values if processes.is_first() else None}  # fmt: skip

    def probe(self):
        """Return what the network is asked for a checkpoint's fingerprint: a tensor, or a tuple or dict of arguments.

        Noise of the size of a sample; a network that takes something else overrides this. See
        utils/provenance/output_fingerprint.py.
        """
        return standard_probe(self.args)

    def resume_state(self):
        """Return what resuming needs besides (dict)."""
        return resume_state(self)

    def set_resume_state(self, state):
        """Go back to what `resume_state` returned; `state` (dict) holds it, beside what `state` returned."""
        set_resume_state(self, state)

    def restore(self, notes):
        """Go back to where the run of args.resume stood, add to `notes` what it was, and return its history."""
        state, path, note = read_state(self.args, self.repeat_command(), self.selection)
        run = self.lock.path.parent
        check_same_run(state, path, run)
        if note:
            notes += [note, *(set_aside(path, run) if processes.is_first() else [])]
        check_skipped(self.train_loader, self.args)
        notes += restore(self, state, path)
        if why := self.why_stop(self.epoch):
            draw_missing(path, state, self.selection)
            raise RunFinished(f'--resume: {path} ended after epoch {self.epoch}: {why}')
        notes += self.record.continue_record(state, run) if processes.is_first() else []
        self.logger_state, self.events = state['recorder'].get('epoch'), state.get('events')
        then, now = state['args'], vars(self.args)
        aside = {*names_of(self.args, repeated=False), 'given_parts', *given_parts.unused_options(self.args)}
        changed = [f'{k} {then[k]} -> {now[k]}' for k in now if k not in aside and now[k] != then.get(k, now[k])]
        self.saved = place_line(self)
        notes.append(f'resumed after {self.saved}' + (f'; changed: {", ".join(changed)}' if changed else ''))
        return state['recorder']['history']

    @cached_property
    def record(self):
        """Return the Record of what this run is made of: code, data, versions; its `values` are in every checkpoint."""
        return Record(self)

    def repeat_command(self):
        """Return the command (str) that repeats the run."""
        return f'python {program_of(self)} @{shlex.quote(os.path.join(self.args.model_dir, "args.txt"))}'


def make_model_dir(args):
    """Make the directory of the run for a notebook, which did not call prepare_train_args."""
    if args.model_dir is None:
        args.model_dir = processes.broadcast_from_rank0(lambda: get_train_model_dir(args))
        processes.move_log_into(args.model_dir)


def first_of(images, predictions, targets):
    """Return the samples of a batch that are drawn: its first ones."""
    count = PICTURES if images.dim() > 2 else POINTS
    return images[:count], predictions[:count], targets[:count]


def main(argv=None):
    """Train by the command line (or `argv`, list of str)."""
    with processes.init_distributed(lambda: select_gpus(parse_train_args(argv))[0]):
        args, trainer = run(argv)
    if args is None or not args.report or rank_env.rank_info().rank:
        return
    if not has_validation(args):
        print('no report.html: there is no validation data (--val_list none) to test best.pth on')
        return
    from eval import complete_test, report_on  # what only tests need is imported when one is to be done

    if trainer is None:
        complete_test(args)
    else:  # of several processes the loader has a share of the samples for each
        loader = trainer.val_loader if rank_env.rank_info().count == 1 else None
        report_on(args, loader, trainer.net if args.compile else None)


def run(argv):
    """Do what the command line asks for.

    Returns:
        args, of a run whose best.pth is to be tested, else None; and the Trainer, None where nothing was left to train.
    """
    args = processes.broadcast_from_rank0(lambda: prepare_train_args(argv))
    processes.move_log_into(args.model_dir or args.resume)
    try:
        with without_failed_copy(args), explain_write_errors(args.model_dir), explained(args):
            trainer = Trainer(args)
            if args.dry_run:
                dry_run(trainer, lambda: select_model(args))
            elif args.find_lr:
                find_lr(trainer)
    except RunFinished as finished:
        if args.report and processes.broadcast_from_rank0(lambda: lacks_test(args)):
            if processes.is_first():
                print(f'{args.model_dir}: all epochs are done; testing best.pth, which was interrupted')
            return args, None
        if not resumes_if_begun(argv):
            raise
        if processes.is_first():
            print(f'nothing to do: {finished}')
        return None, None
    except BaseException as error:
        if not args.resume and processes.is_first():
            with suppress_cleanup_errors(error):
                remove_unstarted(args.model_dir)
        raise
    finally:
        if args.dry_run:
            shutil.rmtree(args.model_dir, ignore_errors=True)
    if args.dry_run or args.find_lr:
        return None, None
    trainer.train()
    return args, trainer


def lacks_test(args):
    """Return whether the test at the end of a run is missing (bool); args: its options."""
    best = Path(args.model_dir, 'best.pth')
    return has_validation(args) and best.exists() and not is_tested(best)


if __name__ == '__main__':
    postpone_compiler()
    run_main(main, 'train.py')
