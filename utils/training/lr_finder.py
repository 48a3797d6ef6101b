"""--find_lr: the learning rate range test: one step per learning rate, from tiny to huge, and a plot of the loss.

Smith 2015, Cyclical Learning Rates for Training Neural Networks, section 3.3.
"""

import math
from pathlib import Path

import numpy as np

from utils.base.errors import DanluError
from utils.base.regular_files import made_regular
from utils.base.text_table import number_text
from utils.drawing.fonts import families_of
from utils.drawing.matplotlib_import import import_matplotlib
from utils.training.freeze import train_mode
from utils.training.run_messages import repeat_command

MIN_TRIED_LR, MAX_TRIED_LR, TRIED_LR_COUNT = 1e-7, 10.0, 120
LOSS_SMOOTHING = 0.9  # weight of the past in the exponential moving average
SLOPE_WINDOW_STEPS = 9  # moving average of the loss before its slope is taken, against single lucky batches
DIVERGENCE_FACTOR = 4.0  # the test ends at this multiple of the lowest loss so far


def find_lr(trainer):
    """Run the test, write find_lr.png into the run's directory and print the suggested learning rate.

    The trainer's network cannot be trained afterwards.

    Args:
        trainer: train.Trainer, ready to train.

    Returns:
        the learning rate (float) at which the loss falls most steeply.

    Raises:
        DanluError: the loader is empty, or the loss does not fall at any learning rate.
    """
    rates, losses = try_learning_rates(trainer)
    trainer.close()
    if len(losses) < 2 * SLOPE_WINDOW_STEPS:
        raise DanluError('--find_lr: the loss is not finite from the start: look at the data, the loss and --amp')
    window = np.full(SLOPE_WINDOW_STEPS, 1 / SLOPE_WINDOW_STEPS)
    falling = np.convolve(losses, window, 'valid')[: max(2, losses.argmin())]  # up to the lowest loss
    slopes = np.gradient(falling)
    steepest = rates[slopes.argmin() + SLOPE_WINDOW_STEPS // 2]
    if slopes.min() >= 0:
        raise DanluError('--find_lr: the loss does not fall at any learning rate: look at the data and the loss')
    path = Path(trainer.args.model_dir) / 'find_lr.png'
    plot_losses(path, rates, losses, steepest)
    told, lowest = (number_text(rate, trimmed=True) for rate in (steepest, rates[losses.argmin()]))
    print(f'learning rates: the loss falls most steeply at {told} (suggested), and is lowest at {lowest}')
    print(f'plot: {path}')
    print(f'to train with it: {repeat_command(trainer)} --lr {told}')
    return float(steepest)


def try_learning_rates(trainer):
    """Return the tried learning rates and the smoothed loss of each (float64 arrays of the same length)."""
    train_mode(trainer.model, trainer.args.freeze)
    batches = repeat_batches(trainer.train_loader)
    rates, losses, smoothed = [], [], 0.0
    for number, rate in enumerate(np.geomspace(MIN_TRIED_LR, MAX_TRIED_LR, TRIED_LR_COUNT), 1):
        for group in trainer.optimizer.param_groups:
            group['lr'] = rate * group.get('lr_share', 1.0)
        _, predictions, targets = trainer.step(next(batches))
        loss = trainer.compute_loss(predictions, targets)
        trainer.optimizer.zero_grad(set_to_none=True)
        scaler = trainer.update.scaler  # disabled unless gradients have 16 bits
        scaler.scale(loss).backward()
        trainer.update.guard.step(scaler)
        scaler.update()
        smoothed = LOSS_SMOOTHING * smoothed + (1 - LOSS_SMOOTHING) * loss.item()
        unbiased = smoothed / (1 - LOSS_SMOOTHING**number)
        if not math.isfinite(unbiased):
            break
        if number > TRIED_LR_COUNT // 10 and unbiased > DIVERGENCE_FACTOR * min(losses):
            break
        rates.append(rate)
        losses.append(unbiased)
    return np.array(rates), np.array(losses)


def repeat_batches(loader):
    """Yield a loader's batches endlessly.

    Raises:
        DanluError: the loader is empty.
    """
    while True:
        batch = None
        for batch in loader:
            yield batch
        if batch is None:
            raise DanluError('there is no batch to train on: the loader is empty')


def plot_losses(path, rates, losses, steepest):
    """Plot smoothed losses over learning rates (arrays) into a PNG file; mark the `steepest` one and the minimum."""
    matplotlib = import_matplotlib()
    from matplotlib.figure import Figure

    title, least = f'learning rate range test of {path.parent.name}', rates[losses.argmin()]
    suggested, minimum = (number_text(rate, trimmed=True) for rate in (steepest, least))
    with matplotlib.rc_context({'font.family': families_of([title])}):  # the name of a run may be Chinese
        figure = Figure(figsize=(6.4, 4), layout='constrained')
        axes = figure.add_subplot()
        axes.semilogx(rates, losses, color='#0072B2')
        axes.axvline(steepest, color='#D55E00', ls='--', label=f'suggestion (steepest fall): {suggested}')
        axes.axvline(least, color='#555555', ls=':', label=f'minimum: {minimum}')
        axes.plot([least], [losses.min()], 'o', mfc='none', mec='#555555')
        axes.set(title=title, xlabel='learning rate', ylabel='training loss, smoothed')
        # The diverging end would flatten the rest of the curve.
        axes.set_ylim(losses.min() - 0.05 * np.ptp(losses), losses[0] + 0.5 * (losses[0] - losses.min()))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(made_regular(path), dpi=100)
