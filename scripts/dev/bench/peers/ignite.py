"""PyTorch-Ignite, as its quick start does it: supervised trainer and evaluator, bar, TensorBoard, checkpoints."""

from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, DiskSaver, ProgressBar, TensorboardLogger, global_step_from_engine
from ignite.metrics import Accuracy, Loss

from scripts.dev.bench.common import loaders, loss_of, network, optimizer


def train(task, turn):
    """Let Ignite's engine run."""
    train_loader, test_loader = loaders(task)
    net = network(task)
    adam = optimizer(net.parameters(), task)
    trainer = create_supervised_trainer(net, adam, loss_of, task.device)
    metrics = {'accuracy': Accuracy(), 'loss': Loss(loss_of)}
    evaluator = create_supervised_evaluator(net, metrics=metrics, device=task.device)

    @trainer.on(Events.EPOCH_STARTED)
    def wait_for_turn():
        turn(evaluator.state.metrics.get('accuracy'))

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate():
        evaluator.run(test_loader)

    ProgressBar().attach(trainer, output_transform=lambda loss: {'loss': loss})
    logger = TensorboardLogger(log_dir=task.scratch)
    logger.attach_output_handler(
        trainer, event_name=Events.ITERATION_COMPLETED(every=100), tag='training',
        output_transform=lambda loss: {'batch_loss': loss},
    )  # fmt: skip
    logger.attach_output_handler(
        evaluator, event_name=Events.EPOCH_COMPLETED, tag='validation', metric_names='all',
        global_step_transform=global_step_from_engine(trainer),
    )  # fmt: skip
    best = Checkpoint(
        {'model': net, 'optimizer': adam}, DiskSaver(f'{task.scratch}/models'), n_saved=2, score_name='accuracy',
        global_step_transform=global_step_from_engine(trainer),
    )  # fmt: skip
    evaluator.add_event_handler(Events.COMPLETED, best)
    trainer.run(train_loader, max_epochs=task.epochs)
