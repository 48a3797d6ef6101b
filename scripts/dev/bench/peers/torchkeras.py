"""torchkeras: KerasModel.fit with a torchmetrics accuracy and its bar, as its README shows it outside a notebook."""

from torch import nn
from torchkeras import KerasModel
from torchkeras.kerascallbacks import TensorBoardCallback
from torchmetrics.classification import MulticlassAccuracy

from scripts.dev.bench.common import loaders, network, optimizer
from scripts.dev.bench.task import CLASSES


class EpochEnd:
    """Callback that hands an epoch's accuracy on and waits for the turn. The checkpoint counts to the next epoch."""

    def __init__(self, turn):
        self.turn = turn

    def on_fit_start(self, model):
        """Called before the first epoch."""
        self.turn()

    def on_validation_epoch_end(self, model):
        """Called after each epoch."""
        self.turn(model.history['val_acc'][-1])


def train(task, turn):
    """Let KerasModel fit; it clips gradients at norm 1, which cannot be turned off."""
    net = network(task)
    model = KerasModel(
        net,
        loss_fn=nn.CrossEntropyLoss(),
        metrics_dict={'acc': MulticlassAccuracy(CLASSES, average='micro')},
        optimizer=optimizer(net.parameters(), task),
    )
    train_loader, test_loader = loaders(task)
    model.fit(
        train_loader, test_loader, epochs=task.epochs, ckpt_path=f'{task.scratch}/checkpoint', patience=task.epochs,
        monitor='val_acc', mode='max', callbacks=[TensorBoardCallback(task.scratch), EpochEnd(turn)], plot=False,
        cpu=task.device == 'cpu',
    )  # fmt: skip
