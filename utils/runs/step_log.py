"""Lines in log.txt during an epoch (--log_steps)."""

import datetime

from utils.base.progress import running_text
from utils.base.text_table import number_text
from utils.distributed import processes


def time_of_day():
    """Return the local date and time (str): '2026-11-29 14:05:33'."""
    return f'{datetime.datetime.now():%Y-%m-%d %H:%M:%S}'


class StepLog:
    """Writes the loss and metrics of the epoch so far to log.txt at a fixed interval of optimizer steps.

    Args:
        interval_steps: optimizer steps between lines (int), or None for no lines.
        last: step of the last line (int).
    """

    def __init__(self, interval_steps, last=0):
        self.interval_steps, self.last = interval_steps, last

    def due(self, update):
        """Return whether a line is due after the optimizer step that `update` (Update) did last (bool)."""
        return (
            self.interval_steps is not None
            and update.steps // self.interval_steps > self.last // self.interval_steps
            and not update.waiting_batches
        )

    def write(self, trainer, epoch, progress):
        """Write a line; waits for the device.

        Args:
            trainer: train.Trainer.
            epoch: number (int).
            progress: utils.base.progress.Progress of the epoch.
        """
        update = trainer.update
        self.last = update.steps
        text = running_text(trainer.session.finite_loss(epoch), trainer.metrics['train'])
        if processes.is_first():
            samples = f'{progress.done:,}' + (f'/{progress.total:,}' if progress.total else '')
            place = f'step {update.steps}, epoch {epoch}/{trainer.args.epochs}, {samples} samples'
            lr = number_text(update.schedule.last_lr, trimmed=True)
            rates = f'lr {lr} | {time_of_day()}, {progress.rate():,.0f} img/s'
            trainer.logger.write(f'{place}  {text} {rates}')
