"""Danlu as it is used: everything that its Trainer does for a run is on, nothing is replaced but the tiny networks."""

import itertools

from options import parse_train_args
from scripts.dev.bench.common import LEARNING_RATE, STRIDE, network
from scripts.dev.bench.task import CLASSES, RESNETS, SIZES
from train import Trainer
from utils.base.process_setup import keep_freed_memory

# The options of each kind of work, as a user gives them on train.py's command line.
OPTIONS = {
    'small': '--data_type mnist --data_root {data} --model_type lenet',
    'compute': '--data_type mem_list --train_list {data}/train.txt --val_list {data}/test.txt '
    '--model_type torchvision:resnet18',
    'cifar': '--data_type mem_list --train_list {data}/train.txt --val_list {data}/test.txt '
    '--model_type torchvision:resnet18',
    'photos': '--data_type list --train_list {data}/train.txt --val_list {data}/test.txt --augment standard',
    'masks': '--data_type list --train_list {data}/train.txt --val_list {data}/test.txt --task segmentation '
    '--augment flip',
    'tiny': '--data_type folder --train_list {data}/train --val_list {data}/test --augment flip',
}
CACHE_SIDE = 256  # pixels, --cache_size for images of 224x224
# Options of a style besides; of others there are none.
STYLES = {
    'fast': '--fast',
    'pillow': '--decoder pillow',
    'torchcodec': '--decoder torchcodec',
    'torchcodec_gpu': '--decoder torchcodec_gpu',
    'cache': '--cache_dir {scratch}/cache --cache_size {short}',
}


def command_line(task):
    """Return the options of a Task (list) for train.py's command line."""
    places = {'data': task.data, 'scratch': task.scratch, 'short': max(CACHE_SIDE, min(SIZES[task.work]))}
    words = f'{OPTIONS[task.work]} {STYLES.get(task.style, "")}'.format(**places).split()
    words += ['--num_classes', CLASSES, '--image_size', *SIZES[task.work], '--batch_size', task.batch_size]
    words += ['--lr', LEARNING_RATE, '--epochs', task.epochs, '--device', task.device]
    words += ['--checkpoints_dir', task.scratch]
    words += ['--threads', task.threads] if task.threads else []
    return words + ([] if task.workers is None else ['--num_workers', task.workers])


def train(task, turn):
    """Run Trainer.train(); for work on input its training passes alone, as the other contestants."""
    args = parse_train_args(command_line(task))
    keep_freed_memory()  # as train.py does
    if task.work in ('small', *RESNETS):
        Timed(args, turn).train()
    trainer = EveryEighthPixel(args, model=network(task)) if task.work == 'masks' else Trainer(args, network(task))
    for epoch in itertools.count(1):
        turn()
        trainer.train_per_epoch(epoch)


class Timed(Trainer):
    """A Trainer that says when an epoch begins."""

    def __init__(self, args, turn):
        super().__init__(args)
        self.turn = turn

    def train_per_epoch(self, epoch):
        """Wait for the turn, then train."""
        history = self.logger.history
        self.turn(history[-1]['val/acc'] if history else None)
        super().train_per_epoch(epoch)


class EveryEighthPixel(Trainer):
    """A Trainer whose network and loss look at every eighth pixel each way, as bench.common.loss_of."""

    def step(self, batch):
        """Return (images, predictions, targets) of a batch."""
        images, predictions, targets = super().step(batch)
        return images[..., ::STRIDE, ::STRIDE], predictions, targets[..., ::STRIDE, ::STRIDE]
