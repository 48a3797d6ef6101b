"""Hugging Face's Trainer, with its bar, its TensorBoard log, an evaluation and a checkpoint per epoch.

Its defaults are kept but for what would train another way than the rest: learning rate, its schedule and clipping.
"""

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from scripts.dev.bench.common import LEARNING_RATE, dataset, loss_of, network


class WithLoss(nn.Module):
    """The network as the Trainer wants one: it takes named inputs and returns its loss."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images, labels):
        """Return loss and logits (dict)."""
        logits = self.net(images)
        return {'loss': loss_of(logits, labels), 'logits': logits}


class EpochStart(TrainerCallback):
    """Hands each epoch's accuracy on and waits for the turn."""

    def __init__(self, turn):
        self.turn, self.accuracy = turn, None

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        """Called after validation."""
        self.accuracy = float(metrics['eval_accuracy'])

    def on_epoch_begin(self, args, state, control, **kwargs):
        """Called before the first batch of an epoch."""
        self.turn(self.accuracy)


def collate(samples):
    """Return a batch with names (dict)."""
    images, labels = zip(*samples, strict=True)
    return {'images': torch.stack(images), 'labels': torch.tensor(labels)}


def accuracy_of(evaluated):
    """Return the metrics (dict) of an evaluation's predictions."""
    return {'accuracy': np.mean(evaluated.predictions.argmax(-1) == evaluated.label_ids)}


def train(task, turn):
    """Let the Trainer train; its default optimizer, a fused AdamW without weight decay, is Adam."""
    arguments = TrainingArguments(
        output_dir=task.scratch, num_train_epochs=task.epochs, learning_rate=LEARNING_RATE,
        lr_scheduler_type='constant', max_grad_norm=0.0, per_device_train_batch_size=task.batch_size,
        per_device_eval_batch_size=task.batch_size, dataloader_num_workers=task.workers,
        dataloader_persistent_workers=task.workers > 0, eval_strategy='epoch', save_strategy='epoch',
        save_total_limit=2, report_to='tensorboard', use_cpu=task.device == 'cpu',
    )  # fmt: skip
    Trainer(
        model=WithLoss(network(task)), args=arguments, data_collator=collate, train_dataset=dataset(task, 'train'),
        eval_dataset=dataset(task, 'test'), compute_metrics=accuracy_of, callbacks=[EpochStart(turn)],
    ).train()  # fmt: skip
