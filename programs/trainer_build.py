"""Building a Trainer from options and ready-made parts."""

from functools import partial

from data.lists.bad_samples import check_skipped, write_skipped
from data.training_data import notes_on_training_data, select_training_data
from loss import select_loss
from metrics import select_metrics
from model.model_entry import select_model, spread, with_sync_bn
from options import changed_options
from utils.base.machine import describe_device, select_gpus, set_threads
from utils.base.seeding import be_deterministic, mix_seed, seed_everything
from utils.distributed import processes
from utils.metrics.ready_metrics import ready_metrics
from utils.options import given_parts
from utils.tasks.target_scale import describe_target_scale, scale_outputs
from utils.training.build import build_optimizer, build_optimizer_step, build_selector
from utils.training.continuation import remember_build
from utils.training.engine import Engine
from utils.training.freeze import freeze
from utils.training.network_device import data_device, placed
from utils.training.nonfinite_policy import NonFinitePolicy
from utils.training.precision import choose_speed_options
from utils.training.pretrained_config import pretrained_notes
from utils.training.ready_parts import ready_loss, scheduler_notes, use_one_output
from utils.training.session import RunSession
from utils.training.session_opening import make_model_dir
from utils.training.trackers import trackers_of


class TrainerBuild:
    """Base of train.Trainer with the methods that build its attributes, in their order."""

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
