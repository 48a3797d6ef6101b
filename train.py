# PYTHON_ARGCOMPLETE_OK
"""Train a network.

    python train.py                                       # LeNet on the digits that ship with Danlu
    python train.py --data_type folder --train_list photos/train --val_list photos/val --model_type torchvision:resnet18
    python train.py @checkpoints/lenet_exp/args.txt --lr 0.01     # repeat a run with one change
    python train.py --resume checkpoints/lenet_exp --epochs 20    # resume a run

All files of a run are in its directory, checkpoints/<model_type>_<save_prefix>/.
"""

import shutil
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from options import changed_options, parse_train_args, prepare_train_args, resumes_if_begun, train_args
from utils.base import rank_env
from utils.base.desktop import open_in_browser
from utils.base.errors import DanluError, run_main
from utils.base.process_setup import keep_freed_memory, postpone_compiler, share_busy_cores
from utils.provenance.used_files import watch_opened_files
from utils.runs.run_directory import remove_unstarted

if __name__ == '__main__':
    # --help and option errors are printed before torch is imported, which takes seconds.
    if rank_env.rank_info().local == 0:  # one process prints for all
        run_main(parse_train_args, 'train.py')
    share_busy_cores()
    keep_freed_memory()
    watch_opened_files()

from data.lists.bad_samples import check_skipped, write_skipped
from data.predicting import predict
from data.ready_made import values_of
from data.training_data import notes_on_training_data, select_training_data
from loss import select_loss
from metrics import select_metrics
from model.model_entry import select_model, spread, with_sync_bn
from utils.base.machine import describe_device, select_gpus, set_threads
from utils.base.seeding import be_deterministic, mix_seed, seed_everything
from utils.base.write_errors import explain_write_errors, suppress_cleanup_errors
from utils.distributed import processes
from utils.distributed.fsdp import full_tensors
from utils.drawing.scatter import scatter
from utils.metrics.ready_metrics import ready_metrics
from utils.options import given_parts
from utils.options.validation_options import has_validation
from utils.provenance.output_fingerprint import standard_probe
from utils.runs.checkpoint import FORMAT, unwrap_model
from utils.runs.result_directory import is_tested
from utils.runs.summaries import summary_of_trainer
from utils.tasks.target_scale import describe_target_scale, scale_outputs
from utils.tasks.tasks import target_names, task_of
from utils.training.batch_transform import PICTURE_DIMENSIONS
from utils.training.build import build_optimizer, build_optimizer_step, build_selector
from utils.training.continuation import begin_training, check_same_data, remember_build
from utils.training.dry_run import dry_run
from utils.training.engine import Engine
from utils.training.error_hints import explain_machine_errors
from utils.training.freeze import freeze, train_mode
from utils.training.lr_finder import find_lr
from utils.training.network_device import data_device, placed
from utils.training.nonfinite_policy import NonFinitePolicy
from utils.training.override_checks import check_overrides
from utils.training.precision import choose_speed_options
from utils.training.pretrained_config import pretrained_notes
from utils.training.ready_parts import check_model, may_wait_for_data, ready_loss, scheduler_notes, use_one_output
from utils.training.replaceable_parts import ReplaceableParts
from utils.training.resume import RunFinished, resume_state, set_resume_state
from utils.training.run_copy import without_failed_copy
from utils.training.run_messages import page_lines, summary_lines
from utils.training.session import RunSession, drawn_samples, make_model_dir
from utils.training.trackers import finish_trackers, trackers_of


class Trainer(ReplaceableParts, Engine):
    """The training loop.

        trainer = Trainer(args)          # builds data, model, loss and optimizer by their names in args
        history = trainer.train()        # for each epoch: train_per_epoch, val_per_epoch, end_epoch

    Args:
        args: options, from options.prepare_train_args or options.parse_train_args.
        model, train_loader, val_loader, loss: ready-made parts that replace those chosen by name. A loader yields
            (images, targets): uint8 images are normalised by args.mean and args.std, others are used as they are (see
            data/ready_made.py). A loss may be a function (predictions, targets) -> 0-d tensor.
        optimizer, scheduler: objects; the scheduler belongs to that optimizer. If only the scheduler is given, its
            optimizer is used.
        step_on: when the scheduler steps, 'epoch', 'step' or 'val' (utils/training/ready_schedule.py); None: derived
            from its class.
        metrics: torchmetrics, functions (predictions, targets), or a dict of them (utils/metrics/ready_metrics.py).

    Attributes:
        args, device: options and torch.device.
        net, model: the network, and the network wrapped in DataParallel, DistributedDataParallel or compiled.
        train_loader, val_loader, loss, optimizer, scheduler, metrics: the parts of the training; metrics by split.
        update: OptimizerStep: from a loss to new weights. selection: CheckpointSelector: the best epoch.
        nonfinite: NonFinitePolicy: handles losses and gradients that are not finite.
        session: RunSession: the run's directory, log, record, checkpoints and signals; logger: its Logger.
        hooks: list of Hook (utils/training/hooks.py).
        epoch, batch: number of finished epochs, and of finished batches of the next epoch.

    Raises:
        DanluError: an option, the data, a checkpoint or a ready-made part is invalid.
    """

    # Building

    def __init__(  # noqa: PLR0913 (one keyword for each part)
        self, args, model=None, train_loader=None, val_loader=None, loss=None, *, optimizer=None, scheduler=None,
        metrics=None, step_on=None,
    ):  # fmt: skip
        check_overrides(self, Trainer)
        if model is not None:
            check_model(model)
        parts = {'model': model, 'train_loader': train_loader, 'val_loader': val_loader, 'loss': loss,
                 'optimizer': optimizer, 'scheduler': scheduler, 'metrics': metrics}  # fmt: skip
        self.hooks = []
        if may_wait_for_data(args, parts):
            self.deferred_build = args, parts, step_on
        else:
            self.build(args, parts, step_on)

    def build(self, args, parts, step_on):
        """Build all parts of the training from options and ready-made `parts` (dict; None: not given)."""
        parts = self.with_assigned(parts)
        notes = ['options that differ from their defaults: ' + (', '.join(changed_options(args)) or 'none')]
        notes += getattr(args, 'past', [])  # lines on options that older records have under other names or values
        seed_everything(args.seed)
        if args.deterministic:
            be_deterministic()
        if parts['optimizer'] is None:
            parts = parts | {'optimizer': getattr(parts['scheduler'], 'optimizer', None)}
        notes += [*given_parts.note_parts(args, parts), *self.register_parts(args, parts, step_on)]
        device, gpus = select_gpus(args)
        notes += self.build_data(args, parts)
        notes += use_one_output(args, parts)
        where = ', '.join(filter(None, (describe_device(gpus, device), processes.describe())))
        notes.append(f'device: {where}, threads: {set_threads(args.threads, self.workers)}')
        notes += processes.notes(args)
        notes += self.build_network(args, parts, device, gpus)
        notes += self.build_learning(parts)
        self.epoch, self.batch, self.epoch_rng = 0, 0, None
        self.resumed_at = 0  # finished batches of the next epoch in a resumed run
        loader = self.train_loader
        skipped = partial(check_skipped, loader, args), partial(write_skipped, loader, args)
        self.session = RunSession(self, where, *skipped)
        if processes.rank():  # rank 0 draws as a single process would; other ranks need other random numbers
            seed_everything(mix_seed(args.seed, processes.rank()))
        self.session.open(notes)
        self.hooks += trackers_of(args)
        remember_build(self)

    def build_data(self, args, parts):
        """Build the loaders, and return lines (list of str) on their data."""
        if args.val_split is not None:
            make_model_dir(args)  # for the list files of both splits
        self.train_loader, self.val_loader, self.data = select_training_data(
            args, parts['model'], parts['train_loader'], parts['val_loader']
        )
        self.workers = getattr(self.train_loader, 'num_workers', 0)
        return notes_on_training_data(args, self.train_loader, self.val_loader, self.data)

    def build_network(self, args, parts, device, gpus):
        """Build the network and the loss on their devices; return lines (list of str) on them."""
        model, loss = parts['model'], parts['loss']
        net = select_model(args) if model is None else scale_outputs(model, args)
        self.net, device = with_sync_bn(placed(net, device), args.sync_bn), data_device(device)
        notes = [*describe_target_scale(args), *pretrained_notes(args), *freeze(self.net, args.freeze)]
        Engine.__init__(self, args, self.net, select_loss(args) if loss is None else ready_loss(loss), device)
        self.prepare.augment = getattr(getattr(self.train_loader, 'dataset', None), 'augment', None)
        self.bind_transforms(self.train_loader, self.val_loader)
        if args.fast:
            notes.append(choose_speed_options(self, alone=len(gpus) < 2 and processes.count() == 1))
        self.apply_speed_options()
        self.model = spread(self.net, gpus, device, args.parallel)
        return notes

    def build_learning(self, parts):
        """Build metrics, optimizer, schedule and their policies; return lines (list of str) on them."""
        ready = parts['metrics']
        self.metrics = {
            split: self.select_metrics() if ready is None else ready_metrics(ready, self.args, self.device)
            for split in ('train', 'val')
        }
        self.selection = build_selector(self)
        notes = [*self.selection.notes, *build_optimizer(self, parts['optimizer'])]
        self.update = self.select_update()
        self.nonfinite = NonFinitePolicy(self)
        return notes + scheduler_notes(self.update.schedule)

    def select_metrics(self):
        """Return new metrics of the task (see metrics.py). A new task with other metrics overrides this method."""
        return select_metrics(self.args)

    def select_update(self):
        """Return a new OptimizerStep: backward pass, and the steps of optimizer and schedule."""
        return build_optimizer_step(self)

    def __repr__(self):
        return summary_of_trainer(self)

    # The loop

    def train(self, epochs=None, live=False):
        """Train up to args.epochs and return the history: a list of rows (dict), one per epoch.

        `epochs` (int) sets args.epochs, the total number of epochs. Called again, with more epochs or after an
        interruption, train() resumes the same run; the result is bit-identical to one long run.

        In a notebook the cell shows the curves at the end. With `live` they are redrawn after each epoch, outside of a
        notebook into curves.png only.

        The network then has the weights of best.pth, which are averages with --ema; with --keep_last_weights it has
        those of the last epoch. After an interruption it has its current weights.
        """
        if self.args.dry_run or self.args.find_lr:  # main() runs these modes
            self.close()
            raise DanluError(
                '--dry_run and --find_lr are for train.py and not for train(): leave them out, or call '
                'utils.training.dry_run.dry_run or utils.training.lr_finder.find_lr instead of it'
            )
        begin_training(self, epochs)
        with self.session.running(live):
            self.call_hooks('before_train')
            for epoch in range(self.epoch + 1, self.args.epochs + 1):
                self.run_epoch(epoch)
                if self.session.ends_after(epoch):
                    break
            self.call_hooks('after_train')
        return self.logger.history

    def run_epoch(self, epoch):
        """Train and validate for one epoch, and save the results."""
        started = time.perf_counter()
        self.train_per_epoch(epoch)
        self.val_per_epoch(epoch)
        self.logger.record('seconds', time.perf_counter() - started)
        row = self.logger.history[-1] = processes.from_first_value(self.logger.save_curves(epoch))
        self.end_epoch(epoch, row)

    def train_per_epoch(self, epoch):
        """Train once over the training data, or over the remaining batches of a resumed epoch."""
        train_mode(self.model, self.args.freeze)
        for batch in self.session.batches(epoch):
            self.call_hooks('before_step')
            done = self.nonfinite.step(batch)  # calls train_step; None: --on_nan skips the batch
            self.batch += 1
            if done is not None:
                self.call_hooks('after_step', *done[:3])
            if self.session.after_batch(epoch):
                break
        self.nonfinite.finish_epoch()
        self.session.finish_training(epoch)

    def train_step(self, batch):
        """Train on one batch and return (images, predictions, targets). Override it for several optimizers."""
        counts = not processes.is_padding(self.train_loader, self.update.batch_number - 1)
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
        """Evaluate once on the validation data, if there is any, as eval.py does."""
        if self.val_loader is None:
            return

        def keep_first(start, images, predictions, targets):
            if start == 0:
                self.session.fingerprints.note_inputs(images)
                self.session.save_pictures(drawn_samples(images, predictions, targets), 'val', epoch)

        progress = self.logger.progress(self.val_loader, f'validate {epoch}/{self.args.epochs}')
        with self.session.validating(), self.eval_weights():
            results, seen = self.evaluate(progress, self.metrics['val'], keep_first)
        if progress.total is not None and seen != progress.total:
            raise DanluError(f'validation saw {seen} of {progress.total} samples: the loader left some out')
        self.record_overall('val', results)

    def end_epoch(self, epoch, row):
        """Report an epoch with the values `row` (dict), and save its checkpoints."""
        self.epoch = epoch
        self.call_hooks('after_epoch', row)
        self.session.save_epoch(row)

    def record_overall(self, split, values):
        """Record an epoch's values, except values per class (which result.txt has)."""
        for name, value in values.items():
            if '/' not in name:
                self.logger.record(f'{split}/{name}', value)

    def gen_imgs_to_write(self, images, predictions, targets, split):
        """Return the images for TensorBoard: dict from a tag to a uint8 array (H, W, 3)."""
        if images.dim() != PICTURE_DIMENSIONS:  # features, signals ..., which are not drawn
            if task_of(self.args).target != 'numbers':
                return {}
            points = scatter(predictions, targets, target_names(self.args))
            return {} if points is None else {f'{split}/samples': points}
        columns = 1 if task_of(self.args).by_pixel else 4
        return {f'{split}/samples': self.draw_sample_grid(images, predictions, targets, columns)}

    def check_preemption(self):
        """End a running validation when a signal asks the process to end."""
        self.session.check_preemption()

    def call_hooks(self, moment, *values):
        """Call a method of the session and of each hook; `moment` is its name (see utils/training/hooks.py)."""
        for hook in (self.session, *self.hooks):
            getattr(hook, moment)(self, *values)

    # Other uses of a Trainer

    def fit(self, train_data=None, val_data=None, epochs=None, patience=None, monitor=None, mode=None):
        """Train on loaders or data sets, and return the history, as `train` does.

        Args:
            train_data, val_data: like train_loader and val_loader of the constructor, for a Trainer with a ready-made
                model and no data. Without val_data there is no validation.
            epochs, patience, monitor, mode: the options of these names; None: not changed.
        """
        given = {'epochs': epochs, 'patience': patience, 'monitor': monitor, 'mode': mode}
        given = {name: value for name, value in given.items() if value is not None}
        args = self.deferred_build[0] if 'deferred_build' in vars(self) else self.args
        for name, value in vars(train_args(**given)).items():
            if name in given:
                setattr(args, name, value)
        if train_data is not None:
            self.build_deferred(train_loader=train_data, val_loader=val_data)
        check_same_data(self, train_data, val_data)
        return self.train()

    def evaluate(self, batches, metrics=None, on_batch=None):
        """Return the loss and metrics of a loader or data set (dict), as validation computes them.

        With `metrics` this is Engine.evaluate, which also returns the number of samples.
        """
        if metrics is not None:
            return super().evaluate(batches, metrics, on_batch)
        with self.eval_weights():
            return values_of(self, batches, self.metrics['val'])

    def predict(self, pictures):
        """Return the network's predictions for a batch, images or a loader: see data.predicting.predict."""
        with self.eval_weights():
            return predict(self, pictures)

    def report(self):
        """Test best.pth as `eval.py --report` does and return the page, which a notebook's cell shows.

        Raises:
            DanluError: there is no best.pth yet, or the Trainer overrides methods of the evaluation.
        """
        from eval import report_of  # imported on use: training does not need it

        return report_of(self)

    def close(self):
        """Finish writing and unlock the run's directory."""
        self.is_closed = True
        self.session.close()

    # State

    @property
    def logger(self):
        """The Logger of the run."""
        return self.session.logger

    @property
    def record(self):
        """The Record of the run's code, data and versions."""
        return self.session.record

    def eval_weights(self):
        """Return a context in which the network has the weights for testing and saving: with --ema the average."""
        return nullcontext() if self.update.ema is None else self.update.ema.in_network()

    def state(self, row):
        """Return the content of a checkpoint for testing (dict)."""
        args = dict(vars(self.args))
        return {'format': FORMAT, 'model': full_tensors(unwrap_model(self.net).state_dict()), 'args': args,
                'epoch': self.epoch, 'step': self.update.steps, 'metrics': row, 'device': self.device.type,
                'record': self.record.values if processes.is_first() else None}  # fmt: skip

    def probe(self):
        """Return the inputs for a checkpoint's output fingerprint: a tensor, or a tuple or dict of arguments.

        By default noise of a sample's shape; override it for a network with other inputs. See
        utils/provenance/output_fingerprint.py.
        """
        return standard_probe(self.args)

    def resume_state(self):
        """Return the additional content of a checkpoint for resuming (dict)."""
        return resume_state(self)

    def set_resume_state(self, state):
        """Restore what `resume_state` returned; the dict `state` also holds the content for testing."""
        set_resume_state(self, state)


def main(argv=None):
    """Train with the options of the command line (or `argv`, list of str), test best.pth, and print a summary."""
    with processes.init_distributed(lambda: select_gpus(parse_train_args(argv))[0]):
        args, trainer = run(argv)
    if args is None or rank_env.rank_info().rank:
        return
    report = None
    try:
        report = test_best_epoch(args, trainer) if args.report else None
    finally:  # also after Ctrl-C: a tracker would show the run as running for ever
        if trainer is not None:
            finish_trackers(trainer, report)
    index = write_index(args.checkpoints_dir) if args.index else None
    lines = page_lines(report, index) if trainer is None else summary_lines(trainer, report, index)
    print('\n'.join(lines))
    if report and args.open:
        open_in_browser(report)


def test_best_epoch(args, trainer):
    """Test best.pth of a finished run as `eval.py --report` does; return the path of report.html, or None without it.

    Args:
        args: options of the run.
        trainer: its Trainer, or None if an earlier process trained.
    """
    if not has_validation(args):
        print('no report.html: there is no validation data (--val_list none) to test best.pth on')
        return None
    from eval import complete_test, report_on  # imported on use: training does not need it

    if trainer is None:
        return complete_test(args)
    # With several processes the loader has only this process's share of the samples.
    loader = trainer.val_loader if rank_env.rank_info().count == 1 else None
    return report_on(args, loader, trainer.net if args.compile else None)


test_best_epoch.__test__ = False  # pytest would collect it


def write_index(checkpoints_dir):
    """Write the page of all runs and return its path; if that fails, print why and return None: the run is complete."""
    from utils.html_report.runs_page import write_runs_page  # imported on use: training does not need it

    try:
        return write_runs_page(checkpoints_dir)[0]
    except (DanluError, OSError) as error:
        print(f'the page of all runs is left out: {error}')
        return None


def run(argv):
    """Train, or run --dry_run or --find_lr.

    Returns:
        args if best.pth is to be tested, else None; and the Trainer, or None if all epochs were done already.
    """
    args = processes.broadcast_from_rank0(lambda: prepare_train_args(argv))
    processes.move_log_into(args.model_dir or args.resume)
    try:
        with without_failed_copy(args), explain_write_errors(args.model_dir), explain_machine_errors(args):
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
    trainer.session.has_summary = True
    trainer.train()
    return args, trainer


def lacks_test(args):
    """Return whether the test at the end of a run with options `args` is missing (bool)."""
    best = Path(args.model_dir, 'best.pth')
    return has_validation(args) and best.exists() and not is_tested(best)


if __name__ == '__main__':
    postpone_compiler()
    run_main(main, 'train.py')
