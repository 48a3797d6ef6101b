"""Metrics of regression and restoration, whose targets are numbers. metrics.py has the registry and the rules."""

import copy

import torch

from utils.base.errors import DanluError
from utils.metrics.base import Metrics
from utils.metrics.ssim import image_quality
from utils.tasks.metric_values import VALUES_OF
from utils.tasks.targets import check_alike


class SumMetrics(Metrics):
    """Base of metrics that are means: sums in float64 on the device, divided once."""

    def __init__(self):
        self.reset()

    @classmethod
    def from_args(cls, args):
        """Build the metrics from the options (see metrics.select_metrics)."""
        return cls()

    def reset(self):
        """Forget everything that was counted."""
        super().reset()
        self._sums = None

    def running(self):
        """Return the monitored value so far: see metrics.Metrics.

        Of a copy: how batches are put together for a sum decides its last bit, which progress lines must not change.
        """
        so_far = copy.copy(self)
        so_far._count_waiting()
        return {self.monitor: so_far.compute()[self.monitor]} if so_far.seen else {}

    def _add(self, sums):
        """Add sums of what is being counted: float64, of the same shape each time."""
        self._sums = sums if self._sums is None else self._sums + sums

    def _read(self):
        """Return the sums, float64, on the CPU.

        Raises:
            DanluError: nothing was counted, or a target is not a number.
        """
        self.check_targets()
        if self._sums is None:
            raise DanluError('no sample was evaluated: the set is empty')
        return self._sums.cpu()

    def check_targets(self):
        """Raise DanluError where a target so far is not a number; waits for the device."""
        self._count_waiting()
        if (first := self._first_wrong()) is not None:
            raise DanluError(
                f'the target of sample {first} of the pass holds nan or an infinite number: mend it, or leave the '
                'sample out'
            )


class RegressionMetrics(SumMetrics):
    """Metrics of T numbers per sample.

    rmse: root of the mean squared error, in the targets' units. The best checkpoint is the one with the least: unlike
        r2 it is there for every set, and unlike mae it grows with what mse, the default loss, punishes.
    mae: mean absolute error, in the targets' units.
    r2: coefficient of determination, 1 - squared error / squared deviation of the targets from their mean; at most 1,
        and 0 for who says the mean of the set. nan where the targets of the set are all the same. Of several targets
        the mean over those that have one.
    rmse/<i>, mae/<i>, r2/<i>: of the target i of several, by name, or from 0 on.

    Args:
        names: of the targets (list of str), or None.
    """

    monitor = 'rmse'
    mode = 'min'
    directions = VALUES_OF['regression']

    def __init__(self, names=None):
        self.names = names
        super().__init__()

    @classmethod
    def from_args(cls, args):
        """Build the metrics from the options (see metrics.select_metrics)."""
        return cls(getattr(args, 'target_names', None))

    def reset(self):
        """Forget everything that was counted."""
        super().reset()
        self._origin = None  # targets are counted from the first one: the squares of large numbers would not be exact

    def compute(self):
        """Return every metric, a dict from name to float; waits for the device.

        Raises:
            DanluError: nothing was counted, or a target is not a number.
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
        """Return what was counted so far (dict), for `merge`; see metrics.Metrics."""
        return super().reduce_state() | {'origin': self._origin}

    def merge(self, states, device):
        """Add what others have counted, each from an origin of its own; see metrics.Metrics."""
        for state in states:
            if state['origin'] is None:
                continue
            origin = state['origin'].to(device)
            if self._origin is None:
                self._origin = origin
            absolute, squared, sums, squares = state['_sums'].to(device)
            # Of t - b, as (t - a) + (a - b).
            apart = origin - self._origin
            moved = [sums + state['seen'] * apart, squares + 2 * apart * sums + state['seen'] * apart.square()]
            super().merge([state | {'_sums': torch.stack([absolute, squared, *moved])}], device)

    def _check(self, predictions, targets):
        """Raise DanluError unless both are numbers (N, T)."""
        check_alike('the metrics', predictions, targets, 2)

    def _count(self, predictions, targets):
        """Add numbers (N, T) to the sums: of absolute and squared errors, of targets and of their squares."""
        targets = targets.double()
        self._note_wrong(~targets.isfinite().all(1))
        if self._origin is None:
            self._origin = targets[0].clone()
        errors, targets = predictions.double() - targets, targets - self._origin
        self._add(torch.stack([errors.abs().sum(0), errors.square().sum(0), targets.sum(0), targets.square().sum(0)]))


class RestorationMetrics(SumMetrics):
    """Metrics of pictures in 0..1, means over the pictures; predictions are clamped to 0..1, as they would be saved.

    psnr: peak signal-to-noise ratio, 10 * log10(1 / mean squared error) of a picture, in dB; at most 100, so that one
        perfect picture does not make the mean infinite.
    ssim: structural similarity over the valid windows, from -1 to 1 (Wang et al. 2004; see utils/metrics/ssim.py); nan
        for a set with a picture of less than 11 pixels in height or width, the size of the window.
    mae: mean absolute error.
    """

    monitor = 'psnr'
    directions = VALUES_OF['restoration']

    def compute(self):
        """Return every metric, a dict from name to float; waits for the device.

        Raises:
            DanluError: nothing was counted, or a target is not a number.
        """
        psnr, ssim, mae = (self._read() / self.seen).tolist()
        return {'psnr': psnr, 'ssim': ssim, 'mae': mae}

    def _check(self, predictions, targets):
        """Raise DanluError unless both are pictures (N, C, H, W)."""
        check_alike('the metrics', predictions, targets, 4)

    def _count(self, predictions, targets):
        """Add pictures (N, C, H, W) to the sums: of psnr, ssim and mae."""
        self._note_wrong(~targets.isfinite().flatten(1).all(1))
        self._add(image_quality(predictions, targets).sum(1))
