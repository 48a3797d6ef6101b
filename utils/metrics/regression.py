"""Metrics of regression and restoration. metrics.py has the registry."""

import copy

import torch

from utils.base.errors import DanluError
from utils.metrics.base import Metrics
from utils.metrics.ssim import image_quality
from utils.tasks.targets import check_float_targets
from utils.tasks.tasks import TASKS


class SumMetrics(Metrics):
    """Base of metrics that are means: float64 sums on the device, divided once."""

    def __init__(self):
        self.reset()

    @classmethod
    def from_args(cls, args):
        """Build the metrics from the options (see metrics.select_metrics)."""
        return cls()

    def reset(self):
        """Start a new pass."""
        super().reset()
        self._sums = None

    def running(self):
        """Return the monitored value so far (see metrics.Metrics).

        It counts in a copy: the grouping of batches changes the last bit of a sum, and printing must not change it.
        """
        so_far = copy.copy(self)
        so_far._count_waiting()
        return {self.monitor: so_far.compute()[self.monitor]} if so_far.seen else {}

    def _add(self, sums):
        """Add float64 sums, of the same shape each time."""
        self._sums = sums if self._sums is None else self._sums + sums

    def _read(self):
        """Return the sums, float64, on the CPU.

        Raises:
            DanluError: nothing was counted, or a target is not finite.
        """
        self.check_targets()
        if self._sums is None:
            raise DanluError('no sample was evaluated: the set is empty')
        return self._sums.cpu()

    def check_targets(self):
        """Raise DanluError if a target so far is not finite; synchronises the device."""
        self._count_waiting()
        if (first := self._first_wrong()) is not None:
            raise DanluError(
                f'the target of sample {first} of the pass is nan or infinite: correct it, or leave the sample out'
            )


class RegressionMetrics(SumMetrics):
    """Metrics of T numbers per sample.

    rmse: root mean squared error, in the units of the targets. The best checkpoint has the lowest: unlike r2 it is
        defined for every data set, and unlike mae it follows mse, the default loss.
    mae: mean absolute error, in the units of the targets.
    r2: coefficient of determination, 1 - squared error / squared deviation of the targets from their mean; at most 1,
        0 for predicting the mean. nan if all targets are equal. For several targets the mean over those with a value.
    rmse/<i>, mae/<i>, r2/<i>: the values of target i of several, by name or index.

    Args:
        names: of the targets (list of str), or None.
    """

    monitor = 'rmse'
    mode = 'min'
    directions = TASKS['regression'].values

    def __init__(self, names=None):
        self.names = names
        super().__init__()

    @classmethod
    def from_args(cls, args):
        """Build the metrics from the options (see metrics.select_metrics)."""
        return cls(getattr(args, 'target_names', None))

    def reset(self):
        """Start a new pass."""
        super().reset()
        self._origin = None  # the first target, subtracted from all: squares of large numbers lose precision

    def compute(self):
        """Return every metric, a dict from name to float; synchronises the device.

        Raises:
            DanluError: nothing was counted, or a target is not finite.
        """
        absolute, squared, sums, squares = self._read() / self.seen
        spread = squares - sums.square()
        r2 = torch.where(spread > 0, 1 - squared / spread, torch.nan)
        values = {'rmse': squared.mean().sqrt(), 'mae': absolute.mean(), 'r2': r2.nanmean()}
        if len(r2) > 1:
            for name, of_each in (('rmse', squared.sqrt()), ('mae', absolute), ('r2', r2)):
                names = self.names if self.names and len(self.names) == len(r2) else range(len(r2))
                values |= {f'{name}/{of}': value for of, value in zip(names, of_each, strict=True)}
        return {name: value.item() for name, value in values.items()}

    def reduce_state(self):
        """Return what was counted so far (dict), for `merge` (see metrics.Metrics)."""
        return super().reduce_state() | {'origin': self._origin}

    def merge(self, states, device):
        """Add the counts of other processes, each relative to its own origin (see metrics.Metrics)."""
        for state in states:
            if state['origin'] is None:
                continue
            origin = state['origin'].to(device)
            if self._origin is None:
                self._origin = origin
            absolute, squared, sums, squares = state['_sums'].to(device)
            # Sums of t - b from sums of t - a: t - b = (t - a) + (a - b).
            apart = origin - self._origin
            moved = [sums + state['seen'] * apart, squares + 2 * apart * sums + state['seen'] * apart.square()]
            super().merge([state | {'_sums': torch.stack([absolute, squared, *moved])}], device)

    def _check(self, predictions, targets):
        """Raise DanluError unless both are float (N, T)."""
        check_float_targets('the metrics', predictions, targets, 2)

    def _count(self, predictions, targets):
        """Add the sums of absolute and squared errors, of targets and of squared targets, of (N, T)."""
        targets = targets.double()
        self._note_wrong(~targets.isfinite().all(1))
        if self._origin is None:
            self._origin = targets[0].clone()
        errors, targets = predictions.double() - targets, targets - self._origin
        self._add(torch.stack([errors.abs().sum(0), errors.square().sum(0), targets.sum(0), targets.square().sum(0)]))


class RestorationMetrics(SumMetrics):
    """Metrics of images in 0..1, means over the images; predictions are clamped to 0..1, as saving would do.

    psnr: peak signal-to-noise ratio of an image, 10 * log10(1 / mean squared error), in dB; at most 100, so that one
        perfect image does not make the mean infinite.
    ssim: structural similarity over the valid windows, -1..1 (Wang et al. 2004; see utils/metrics/ssim.py); nan for a
        data set with an image of less than 11 pixels (the window) in height or width.
    mae: mean absolute error.
    """

    monitor = 'psnr'
    directions = TASKS['restoration'].values

    def compute(self):
        """Return every metric, a dict from name to float; synchronises the device.

        Raises:
            DanluError: nothing was counted, or a target is not finite.
        """
        psnr, ssim, mae = (self._read() / self.seen).tolist()
        return {'psnr': psnr, 'ssim': ssim, 'mae': mae}

    def _check(self, predictions, targets):
        """Raise DanluError unless both are images (N, C, H, W)."""
        check_float_targets('the metrics', predictions, targets, 4)

    def _count(self, predictions, targets):
        """Add the sums of psnr, ssim and mae of images (N, C, H, W)."""
        self._note_wrong(~targets.isfinite().flatten(1).all(1))
        self._add(image_quality(predictions, targets).sum(1))
