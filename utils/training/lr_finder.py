"""--find_lr: try learning rates from tiny to huge, one per step, and plot what becomes of the loss.

The range test of Smith 2015, Cyclical Learning Rates for Training Neural Networks, section 3.3.
"""

import math
from pathlib import Path

import numpy as np

from utils.base.errors import DanluError
from utils.base.regular_files import made_regular
from utils.drawing.matplotlib_import import import_matplotlib
from utils.training.freeze import train_mode
from utils.training.run_messages import repeat_command

MIN_TRIED_LR, MAX_TRIED_LR, TRIED_LR_COUNT = 1e-7, 10.0, 120
LOSS_SMOOTHING = 0.9  # share of the past in the smoothed loss
SLOPE_WINDOW_STEPS = 9  # learning rates over which the slope is smoothed: a single lucky batch is not a place to choose
DIVERGENCE_FACTOR = 4.0  # times the least loss so far: from there on it diverges


def find_lr(trainer):
    """Try the learning rates, write find_lr.png into the run's directory and print what to choose.

    The trainer's network is spoilt by it: nothing can be trained with it afterwards.

    Args:
        trainer: train.Trainer, ready to train.

    Returns:
        the learning rate (float) at which the loss falls most steeply.

    Raises:
        DanluError: the loader is empty, or the loss falls nowhere.
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
    print(f'learning rates: the loss falls most steeply at {steepest:.2g}, is least at {rates[losses.argmin()]:.2g}')
    print(f'plot: {path}')
    print(f'to train with it: {repeat_command(trainer)} --lr {steepest:.2g}')
    return float(steepest)


def try_learning_rates(trainer):
    """Return the learning rates that were tried and the smoothed losses after each (float64 arrays, equally long)."""
    train_mode(trainer.model, trainer.args.freeze)
    batches = repeat_batches(trainer.train_loader)
    rates, losses, smoothed = [], [], 0.0
    for number, rate in enumerate(np.geomspace(MIN_TRIED_LR, MAX_TRIED_LR, TRIED_LR_COUNT), 1):
        for group in trainer.optimizer.param_groups:
            group['lr'] = rate * group.get('lr_share', 1.0)
        _, predictions, targets = trainer.step(next(batches))
        loss = trainer.compute_loss(predictions, targets)
        trainer.optimizer.zero_grad(set_to_none=True)
        scaler = trainer.update.scaler  # passes everything through, unless gradients have 16 bits
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
    """Yield a loader's batches, again and again.

    Raises:
        DanluError: there is none.
    """
    while True:
        batch = None
        for batch in loader:
            yield batch
        if batch is None:
            raise DanluError('there is no batch to train on: the loader is empty')


def plot_losses(path, rates, losses, steepest):
    """Plot smoothed losses over learning rates (arrays) into a PNG file, the steepest place marked."""
    import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout='constrained')
    axes = figure.add_subplot()
    axes.semilogx(rates, losses, color='#0072B2')
    axes.axvline(steepest, color='#D55E00', ls='--', label=f'falls most steeply: {steepest:.2g}')
    axes.set(xlabel='learning rate', ylabel='training loss, smoothed')
    # What diverges at the end would press everything else flat.
    axes.set_ylim(losses.min() - 0.05 * np.ptp(losses), losses[0] + 0.5 * (losses[0] - losses.min()))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(made_regular(path), dpi=100)
