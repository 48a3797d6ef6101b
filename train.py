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
from contextlib import nullcontext
from pathlib import Path

from options import (
    NOT_REPEATED,
    changed_options,
    get_train_model_dir,
    parse_train_args,
    prepare_train_args,
    save_args,
)
from utils.errors import DanluError, message_of, run_main
from utils.run_directory import remove_unstarted
from utils.startup import keep_freed_memory, postpone_compiler, share_busy_cores

if __name__ == '__main__':
    # --help and a wrong option are answered before torch is imported, which takes seconds
    run_main(parse_train_args, 'train.py')
    share_busy_cores()
    keep_freed_memory()

import torch

from data.data_entry import notes_of, select_eval_loader, select_train_loader
from loss import select_loss
from metrics import select_metrics
from model.model_entry import equip_multi_gpu, select_model
from utils import viz
from utils.checkpoint import FORMAT, load_checkpoint, load_weights, unwrapped, weights_of
from utils.dry_run import dry_run
from utils.engine import Engine
from utils.freeze import freeze, train_mode
from utils.logger import Allowance, Logger
from utils.lr_finder import find_lr
from utils.machine import describe_device, select_gpus, set_threads
from utils.optim import Schedule, base_lr, select_optimizer
from utils.profiling import watched
from utils.progress import length_of
from utils.report import end_lines, epoch_line, interrupted_line, start_lines
from utils.scatter import scatter
from utils.seeding import be_deterministic, get_rng_state, seed_everything, set_rng_state
from utils.selection import Selection
from utils.speed import find_fast
from utils.tasks import has_pictures, target_names, task_of
from utils.update import Update

PICTURES = 8  # of one split in TensorBoard
POINTS = 1024  # where samples are no pictures, so that numbers are drawn as points


class Trainer(Engine):
    """The training loop.

        trainer = Trainer(args)          # builds data, model, loss and optimizer by their names in args
        history = trainer.train()        # for each epoch: train_per_epoch, val_per_epoch, curves, checkpoints

    Args:
        args: options, from options.prepare_train_args or options.parse_train_args.
        model, train_loader, val_loader, loss: ready-made parts that replace those chosen by name. A loader yields
            (images, targets): uint8 images are normalised by args.mean and args.std, float ones are taken as ready.

    Raises:
        DanluError: an option, the data or a checkpoint is at fault.
    """

    def __init__(self, args, model=None, train_loader=None, val_loader=None, loss=None):
        notes = ['options that differ from their defaults: ' + (', '.join(changed_options(args)) or 'none')]
        seed_everything(args.seed)
        if args.deterministic:
            be_deterministic()
        device, gpus = select_gpus(args)
        self.train_loader = select_train_loader(args) if train_loader is None else train_loader
        self.val_loader = select_eval_loader(args) if val_loader is None else val_loader
        self.ready_made = any(part is not None for part in (model, train_loader, val_loader))
        check_loader(self.train_loader, args, model)
        self.workers = getattr(self.train_loader, 'num_workers', 0)
        notes += notes_of(self.train_loader, self.val_loader)
        notes.append(f'device: {describe_device(args, gpus)}, threads: {set_threads(args.threads, self.workers)}')
        self.net = (select_model(args) if model is None else model).to(device)
        notes += freeze(self.net, args.freeze)
        super().__init__(args, equip_multi_gpu(self.net, gpus), select_loss(args) if loss is None else loss, device)
        self.prepare.augment = getattr(getattr(self.train_loader, 'dataset', None), 'augment', None)
        self.take_from(self.train_loader, self.val_loader)
        if args.fast:
            notes.append(self.choose_fast())
        self.speed_up()
        self.metrics = {split: self.select_metrics() for split in ('train', 'val')}
        self.selection = self.select_monitor()
        self.optimizer = select_optimizer(self.net, args)
        self.update = self.select_update()
        self.epoch, history = 0, []
        if args.resume:
            history = self.restore(notes)
        elif args.load_model_path:
            checkpoint = load_checkpoint(args.load_model_path, args.trust_checkpoint)
            weights, strict = weights_of(checkpoint, args.load_model_path), not args.load_not_strict
            notes += load_weights(self.net, weights, args.load_model_path, strict, args.load_exclude or ())
        self.start_records(history, notes)

    def start_records(self, history, notes):
        """Open what is written from now on: args.txt, the Logger with `history` (list of rows), the first lines."""
        args = self.args
        if args.model_dir is None:  # a notebook that did not call prepare_train_args
            args.model_dir = get_train_model_dir(args)
        save_args(args, args.model_dir, note=f'resumed after epoch {self.epoch}' if args.resume else None)
        options = {name: value for name, value in vars(args).items() if name not in (*NOT_REPEATED, 'from_data')}
        self.logger = Logger(args.model_dir, history, self.update.steps, options)
        self.drawing = {split: Allowance(0.005) for split in ('train', 'val')}
        self.to_profile = args.profile  # until the first epoch
        for line in start_lines(self, notes):
            self.logger.print(line)

    def select_metrics(self):
        """Return new metrics, those of the task: see metrics.py. A new task that has others overrides this."""
        return select_metrics(self.args)

    def select_monitor(self):
        """Return the Selection by args.monitor or the task's own choice."""
        args, metrics = self.args, self.metrics['val']
        monitor = args.monitor or f'val/{metrics.monitor}'
        name = monitor.partition('/')[2]
        own = metrics.mode if name == metrics.monitor else getattr(metrics, 'directions', {}).get(name, 'max')
        mode = args.mode or ('min' if name.partition('_')[0] == 'loss' else own)  # loss_ce is a part of a sum
        return Selection(monitor, mode, args.patience, args.min_epochs, args.keep_top)

    def select_update(self):
        """Return the Update, which takes the optimizer, the schedule and gradients of 16 bits in its care."""
        args, length = self.args, length_of(self.train_loader)
        steps = None if length is None else -(-length // args.accumulate)
        schedule = Schedule(self.optimizer, args, steps, self.selection.mode)
        update = Update(self.net, self.optimizer, schedule, args, length)
        update.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == 'fp16')
        return update

    def train(self):
        """Train up to args.epochs and return the history: a list of rows (dict), one per epoch."""
        try:
            if self.args.dry_run or self.args.find_lr:  # main() does what they ask for instead
                raise DanluError(
                    '--dry_run and --find_lr are for train.py and not for train(): leave them out, or call '
                    'utils.dry_run.dry_run or utils.lr_finder.find_lr instead of it'
                )
            for epoch in range(self.epoch + 1, self.args.epochs + 1):
                self.run_epoch(epoch)
                if why := self.why_stop(epoch):
                    self.logger.print(f'stopped after epoch {epoch}: {why}')
                    break
            for line in end_lines(self):
                self.logger.print(line)
        except BaseException as error:
            self.logger.write(f'stopped by {type(error).__name__} {message_of(error)}'.rstrip())
            if isinstance(error, KeyboardInterrupt):
                self.logger.print(interrupted_line(self))
            if self.args.deterministic and 'does not have a deterministic implementation' in str(error):
                raise DanluError(f'--deterministic: {str(error).partition(", but")[0]}; leave it out') from error
            raise
        finally:
            self.logger.close()
        return self.logger.history

    def run_epoch(self, epoch):
        """Train once, validate, and save what came of it."""
        started = time.perf_counter()
        self.train_per_epoch(epoch)
        self.val_per_epoch(epoch)
        self.logger.record('seconds', time.perf_counter() - started)
        self.end_epoch(epoch, self.logger.save_curves(epoch))

    def train_per_epoch(self, epoch):
        """Train once over the training data."""
        train_mode(self.model, self.args.freeze)
        self.metrics['train'].reset()
        set_epoch(self.train_loader, epoch)
        progress = self.logger.progress(self.train_loader, f'epoch {epoch}/{self.args.epochs}')
        self.update.start_epoch()
        step = 0
        for step, batch in enumerate(watched(self, progress), 1):
            images, predictions, targets = self.train_step(batch)
            if step == 1:
                shown = first_of(images, predictions.detach(), targets)
            if step % self.args.print_freq == 0:  # the only places where the loop waits for the device
                progress.show(f'loss {self.finite_loss(epoch, step):.4f}')
                self.logger.save_steps(self.update.steps, base_lr(self.optimizer))
            if self.update.steps == self.args.max_steps:
                break
        self.update.finish()
        if not step:
            raise DanluError('there is no batch to train on: the loader is empty')
        self.finite_loss(epoch, step)
        self.record_overall('train', self.metrics['train'].compute())
        self.logger.record('lr', base_lr(self.optimizer))
        self.logger.record('images_per_second', progress.rate())
        self.logger.record('data_wait', progress.wait_share())
        if self.device.type == 'cuda':
            self.logger.record('gpu_memory_gib', torch.cuda.max_memory_allocated(self.device) / 2**30)
        self.save_pictures(shown, 'train', epoch)
        if self.args.histograms:
            self.logger.save_histograms(self.net, epoch)
        if self.args.add_graph and epoch == 1:
            self.logger.save_graph(self.net, shown[0])

    def train_step(self, batch):
        """Learn from one batch and return (images, predictions, targets). Several losses or optimizers: override it."""
        images, predictions, targets = self.step(batch)
        loss = self.compute_loss(predictions, targets)
        self.update(loss)
        self.record_loss(self.logger, 'train/loss', loss, predictions, targets)
        self.compute_metrics(predictions.detach(), targets, self.metrics['train'])
        return images, predictions, targets

    def val_per_epoch(self, epoch):
        """Evaluate once over the validation data, as eval.py does."""

        def keep_first(start, images, predictions, targets):
            if start == 0:
                self.save_pictures(first_of(images, predictions, targets), 'val', epoch)

        progress = self.logger.progress(self.val_loader, f'validate {epoch}/{self.args.epochs}')
        with self.for_testing():
            results, seen = self.evaluate(progress, self.metrics['val'], keep_first)
        if progress.total is not None and seen != progress.total:
            raise DanluError(f'validation saw {seen} of {progress.total} samples: the loader left some out')
        self.record_overall('val', results)

    def save_pictures(self, shown, split, epoch):
        """Write the first samples of an epoch, unless epochs are so short that drawing would slow them down."""
        if self.drawing[split].due() or epoch == self.args.epochs:
            with self.drawing[split].spending():
                self.logger.save_imgs(self.gen_imgs_to_write(*shown, split), epoch)

    def gen_imgs_to_write(self, images, predictions, targets, split):
        """Return the pictures for TensorBoard: dict from a tag to a uint8 array (H, W, 3)."""
        if images.dim() == 2:  # features, of which there is nothing to see
            points = task_of(self.args).target == 'numbers'
            return {f'{split}/samples': scatter(predictions, targets, target_names(self.args))} if points else {}
        columns = 1 if task_of(self.args).by_pixel else 4
        return {f'{split}/samples': viz.grid(self.draw_samples(images, predictions, targets), columns)}

    def record_overall(self, split, values):
        """Record an epoch's values, without those of single classes (which result.txt has)."""
        for name, value in values.items():
            if '/' not in name:
                self.logger.record(f'{split}/{name}', value)

    def finite_loss(self, epoch, step):
        """Return the epoch's mean training loss so far; stop if it is no longer a number."""
        loss = self.logger.recorder.mean('train/loss')
        if not math.isfinite(loss):
            if hasattr(self.metrics['train'], 'check_targets'):
                self.metrics['train'].check_targets()
            raise DanluError(
                f'the training loss became {loss} in epoch {epoch}, at or before step {step}. Look at the data or '
                f'lower the learning rate: {self.again()} --lr {self.args.lr / 10:g}'
            )
        return loss

    def end_epoch(self, epoch, row):
        """Report an epoch and save its checkpoints."""
        self.epoch, better = epoch, self.selection.take(row)
        self.update.schedule.end_epoch(self.selection.value_of(row))
        self.logger.print(epoch_line(row, self.args.epochs) + ('  best' if better else ''))
        with self.for_testing():
            if better:
                self.logger.save_check_point('best.pth', self.state(row))
            if self.args.keep_top:
                self.keep_top(row)
        state = self.state(row) | self.resume_state()
        if self.args.save_freq and epoch % self.args.save_freq == 0:
            self.logger.save_check_point(f'epoch_{epoch:04d}.pth', state)
        self.logger.save_check_point('last.pth', state)

    def keep_top(self, row):
        """Keep the checkpoints, for testing, of the args.keep_top best epochs, of which this may be one."""
        top = self.selection.top(self.logger.history)
        if row['epoch'] in top:
            self.logger.save_check_point(f'top_{row["epoch"]:04d}.pth', self.state(row))
        for epoch in {row['epoch'] for row in self.logger.history} - top:
            Path(self.args.model_dir, f'top_{epoch:04d}.pth').unlink(missing_ok=True)

    def why_stop(self, epoch):
        """Return why the run ends after this epoch (str), or None: it goes on."""
        if self.args.max_steps is not None and self.update.steps >= self.args.max_steps:
            return f'--max_steps {self.args.max_steps} are done'
        return None if epoch == self.args.epochs else self.selection.why_stop(epoch)

    def for_testing(self):
        """Return a context in which the network has the weights that are tested and saved: with --ema the average."""
        return nullcontext() if self.update.ema is None else self.update.ema.in_network()

    def state(self, row):
        """Return what testing needs (dict)."""
        args = dict(vars(self.args))
        return {'format': FORMAT, 'model': unwrapped(self.net).state_dict(), 'args': args, 'epoch': self.epoch,
                'step': self.update.steps, 'metrics': row}  # fmt: skip

    def resume_state(self):
        """Return what resuming needs besides (dict)."""
        ema = {} if self.update.ema is None else {'ema': self.update.ema.state_dict()}
        return ema | {'optimizer': self.optimizer.state_dict(), 'scheduler': self.update.schedule.state_dict(),
                      'scaler': self.update.scaler.state_dict(), 'rng': get_rng_state(), 'best': self.selection.best,
                      'recorder': {'history': self.logger.history}}  # fmt: skip

    def set_resume_state(self, state):
        """Go back to what `resume_state` returned; `state` (dict) holds it, beside what `state` returned."""
        self.optimizer.load_state_dict(state['optimizer'])
        self.update.schedule.load_state_dict(state.get('scheduler', {}))
        if self.update.scaler.is_enabled():
            self.update.scaler.load_state_dict(state['scaler'])
        if self.update.ema is not None:
            self.update.ema.load_state_dict(state['ema'])
        self.selection.best = state['best']
        set_rng_state(state['rng'])

    def restore(self, notes):
        """Go back to where the run of args.resume stood, add to `notes` what it was, and return its history."""
        path = Path(self.args.resume)
        path = path / 'last.pth' if path.is_dir() else path
        state = load_checkpoint(path)
        if 'optimizer' not in state:
            raise DanluError(f'--resume: {path} is for testing, it holds no optimizer; give the directory of the run')
        newest = path.parent / 'last.pth'
        if path.name != newest.name and newest.is_file() and load_checkpoint(newest)['epoch'] > state['epoch']:
            raise DanluError(
                f'--resume: going on from {path} would write over the epochs after it; for a new run from there: '
                f'{self.again()} --load_model_path {shlex.quote(str(path))}'
            )
        if state['epoch'] >= self.args.epochs:
            raise DanluError(
                f'--resume: {path} has reached epoch {state["epoch"]} of {self.args.epochs}; to go on, add --epochs '
                f'{state["epoch"] + self.args.epochs}'
            )
        notes += load_weights(self.net, state['model'], path)
        self.set_resume_state(state)
        self.epoch, self.update.steps = state['epoch'], state['step']
        if why := self.why_stop(self.epoch):
            raise DanluError(f'--resume: {path} ended after epoch {self.epoch}: {why}')
        then, now = state['args'], vars(self.args)
        changed = [f'{k} {then[k]} -> {now[k]}' for k in now if k not in NOT_REPEATED and now[k] != then.get(k, now[k])]
        notes.append(f'resumed after epoch {self.epoch}' + (f'; changed: {", ".join(changed)}' if changed else ''))
        return state['recorder']['history']

    def choose_fast(self):
        """Turn on those of channels_last, amp and compile that args left open and that help; return a line (str)."""
        wanted = {'channels_last': True, 'amp': 'bf16', 'compile': True}
        if self.device.type == 'cpu':
            del wanted['compile']  # a minute, to learn that it gains next to nothing: docs/performance.md
        elif not torch.cuda.is_bf16_supported(including_emulation=False):
            wanted['amp'] = 'fp16'
        if not has_pictures(self.args):
            del wanted['channels_last']
        if self.model is not self.net:
            wanted.pop('compile', None)  # not on several GPUs
        wanted = {name: value for name, value in wanted.items() if getattr(self.args, name) is None}
        state = get_rng_state()
        batch = next(iter(self.train_loader), None)
        if batch is None:
            raise DanluError('there is no batch to train on: the loader is empty')
        found, line = find_fast(self.net, self.compute_loss, self.to_device(batch), wanted)
        set_rng_state(state)
        for name, value in found.items():
            setattr(self.args, name, value)
        return line

    def again(self):
        """Return the command (str) that repeats the run."""
        return f'python train.py @{shlex.quote(os.path.join(self.args.model_dir, "args.txt"))}'


def check_loader(loader, args, model):
    """Refuse what a ready-made training loader cannot do or does not tell; `model` is a ready-made one or None."""
    outputs = task_of(args).outputs
    needed = [outputs] if model is not None else dict.fromkeys((outputs, 'image_size', 'channels'))
    if missing := [f'--{name}' for name in needed if getattr(args, name) is None]:
        raise DanluError(f'ready-made loaders do not tell everything: give {", ".join(missing)}')
    dataset = getattr(loader, 'dataset', None)
    for option, wanted, part in (
        ('--augment', args.augment != 'none', 'augment'),
        ('--mixup or --cutmix', args.mixup or args.cutmix, 'mixing'),
    ):
        if wanted and getattr(dataset, part, None) is None:
            raise DanluError(f'{option} needs the loader that --data_type names: leave out train_loader')


def first_of(images, predictions, targets):
    """Return the samples of a batch that are drawn: its first ones."""
    count = PICTURES if images.dim() > 2 else POINTS
    return images[:count], predictions[:count], targets[:count]


def set_epoch(loader, epoch):
    """Tell the loader's sampler which epoch comes, if it wants to know."""
    for sampler in (getattr(loader, 'batch_sampler', None), getattr(loader, 'sampler', None)):
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(epoch)


def main(argv=None):
    """Train by the command line (or `argv`, list of str)."""
    args = prepare_train_args(argv)
    try:
        trainer = Trainer(args)
        if args.dry_run:
            dry_run(trainer, lambda: select_model(args))
        elif args.find_lr:
            find_lr(trainer)
    except BaseException:
        if not args.resume:
            remove_unstarted(args.model_dir)
        raise
    finally:
        if args.dry_run:
            shutil.rmtree(args.model_dir, ignore_errors=True)
    if not (args.dry_run or args.find_lr):
        trainer.train()


if __name__ == '__main__':
    postpone_compiler()
    run_main(main, 'train.py')
