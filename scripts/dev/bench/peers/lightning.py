"""Lightning: `usual` as its documentation shows it; `stripped` with logger, bar, checkpoints and torchmetrics off."""

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torchmetrics.classification import MulticlassAccuracy

from scripts.dev.bench.common import loaders, loss_of, network, optimizer
from scripts.dev.bench.task import CLASSES


class Classifier(L.LightningModule):
    """The task's network, loss and optimizer."""

    def __init__(self, task):
        super().__init__()
        self.task, self.net = task, network(task)
        self.accuracy = MulticlassAccuracy(CLASSES, average='micro')
        self.right = self.seen = 0

    def training_step(self, batch, _):
        """Return the loss of a batch."""
        images, targets = batch
        loss = loss_of(self.net(images), targets)
        if self.task.extras:
            self.log('train_loss', loss, prog_bar=True)
        return loss

    def validation_step(self, batch, _):
        """Count the right predictions of a batch, by torchmetrics or by hand."""
        images, targets = batch
        logits = self.net(images)
        if self.task.extras:
            self.accuracy(logits, targets)
            self.log('val_loss', loss_of(logits, targets), prog_bar=True)
            self.log('val_acc', self.accuracy, prog_bar=True)
        else:
            self.right += (logits.argmax(1) == targets).sum()
            self.seen += len(targets)

    def configure_optimizers(self):
        """Return the optimizer."""
        return optimizer(self.net.parameters(), self.task)


class EpochStart(L.Callback):
    """Hands each epoch's accuracy on and waits for the turn."""

    def __init__(self, turn):
        self.turn, self.first = turn, True

    def on_train_epoch_start(self, trainer, module):
        """Called before the first batch of an epoch is asked for."""
        if self.first or trainer.val_dataloaders is None:
            accuracy = None
        elif module.task.extras:
            accuracy = float(trainer.callback_metrics['val_acc'])
        else:
            accuracy = float(module.right) / module.seen
        self.first, module.right, module.seen = False, 0, 0
        self.turn(accuracy)


def train(task, turn):
    """Let Lightning's Trainer fit."""
    callbacks, logger = [EpochStart(turn)], False
    if task.extras:
        # The bar that Lightning has by itself; where rich is installed, too, it would take that one.
        callbacks += [TQDMProgressBar(), ModelCheckpoint()]
        logger = TensorBoardLogger(task.scratch)
    trainer = L.Trainer(
        max_epochs=task.epochs, accelerator='gpu' if task.device == 'cuda' else 'cpu', devices=1, callbacks=callbacks,
        logger=logger, enable_progress_bar=task.extras, enable_checkpointing=task.extras,
        default_root_dir=task.scratch, enable_model_summary=task.extras,
    )  # fmt: skip
    train_loader, test_loader = loaders(task)
    trainer.fit(Classifier(task), train_loader, test_loader)
