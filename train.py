# PYTHON_ARGCOMPLETE_OK
"""Train a network.

    python train.py                                       # LeNet on the digits that ship with Danlu
    python train.py --data_type folder --train_list photos/train --val_list photos/val --model_type torchvision:resnet18
    python train.py @checkpoints/lenet_exp/args.txt --lr 0.01     # repeat a run with one change
    python train.py --resume checkpoints/lenet_exp --epochs 20    # resume a run

All files of a run are in its directory, checkpoints/<model_type>_<save_prefix>/.
"""

import time

from options import parse_train_args
from utils.base import rank_env
from utils.base.errors import DanluError, run_main
from utils.base.process_setup import keep_freed_memory, postpone_compiler, share_busy_cores
from utils.provenance.used_files import watch_opened_files

if __name__ == '__main__':
    # --help and option errors are printed before torch is imported, which takes seconds.
    if rank_env.rank_info().local == 0:  # one process prints for all
        run_main(parse_train_args, 'train.py')
    share_busy_cores()
    keep_freed_memory()
    watch_opened_files()

from programs.notebook_use import NotebookUse
from programs.train_command import run
from programs.trainer_build import TrainerBuild
from utils.distributed import processes
from utils.runs.summaries import summary_of_trainer
from utils.training.continuation import begin_training
from utils.training.engine import Engine, without_gradients
from utils.training.freeze import train_mode
from utils.training.override_checks import check_overrides
from utils.training.ready_parts import check_model, may_wait_for_data
from utils.training.replaceable_parts import ReplaceableParts
from utils.training.trainer_state import TrainerState
from utils.training.validation_samples import ValidationSamples


class Trainer(ReplaceableParts, TrainerBuild, TrainerState, NotebookUse, Engine):
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
        drawn = ValidationSamples(self.val_loader)

        def on_batch(start, images, predictions, targets):
            if start == 0:
                self.session.fingerprints.note_inputs(images)
            drawn.add(images, predictions, targets)

        progress = self.logger.progress(self.val_loader, f'validate {epoch}/{self.args.epochs}')
        with self.session.validating(), self.eval_weights():
            results, seen = self.evaluate(progress, self.metrics['val'], on_batch)
            with without_gradients(self.model):
                self.session.save_pictures(drawn, 'val', epoch)
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

    def check_preemption(self):
        """End a running validation when a signal asks the process to end."""
        self.session.check_preemption()

    def call_hooks(self, moment, *values):
        """Call a method of the session and of each hook; `moment` is its name (see utils/training/hooks.py)."""
        for hook in (self.session, *self.hooks):
            getattr(hook, moment)(self, *values)

    def close(self):
        """Finish writing and unlock the run's directory."""
        self.is_closed = True
        self.session.close()

    @property
    def logger(self):
        """The Logger of the run."""
        return self.session.logger

    @property
    def record(self):
        """The Record of the run's code, data and versions."""
        return self.session.record


def main(argv=None):
    """Train with the options of the command line (or `argv`, list of str), test best.pth, and print a summary."""
    run(argv, Trainer)


if __name__ == '__main__':
    postpone_compiler()
    run_main(main, 'train.py')
