"""Losses of regression and restoration. loss.py has the registry."""

import torch.nn.functional as F
from torch import nn

from utils.base.errors import DanluError
from utils.losses.common import at_least_float32
from utils.metrics.ssim import WINDOW, structural_similarity
from utils.options.loss_options import given_args
from utils.tasks.targets import check_float_targets


class L1(nn.Module):
    """Mean absolute error."""

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see loss.select_loss)."""
        return cls()

    def forward(self, predictions, targets):
        """Return the mean over all numbers of the batch, a 0-d tensor of at least float32.

        Args:
            predictions: (N, T) or (N, C, H, W), floating point.
            targets: of the same shape, float32.

        Raises:
            DanluError: the shapes do not match or the targets are not float32.
        """
        check_float_targets('the loss', predictions, targets)
        return self.mean(at_least_float32(predictions), targets)

    def each(self, predictions, targets):
        """Return the loss of each sample, (N,), and None: all samples have the same weight."""
        return self.mean(at_least_float32(predictions), targets, 'none').flatten(1).mean(1), None

    def mean(self, predictions, targets, reduction='mean'):
        """Return the mean loss over all numbers, a 0-d tensor; with the reduction 'none' the loss of each number."""
        return F.l1_loss(predictions, targets, reduction=reduction)

    def count(self, predictions, targets):
        """Return the divisor of the mean (int): the number of targets."""
        return targets.numel()


class MSE(L1):
    """Mean squared error."""

    def mean(self, predictions, targets, reduction='mean'):
        """Return the mean loss over all numbers, or the loss of each (see L1)."""
        return F.mse_loss(predictions, targets, reduction=reduction)


class Huber(L1):
    """Huber loss: half the squared error up to delta, linear above (Huber 1964), so that outliers have less effect.

    Args:
        delta: above 0, in the units of the loss: in standard deviations for standardised targets. Images are in 0..1,
            where the default of 1 gives half of MSE.

    Raises:
        DanluError: delta is out of range.
    """

    def __init__(self, delta=1.0):
        super().__init__()
        if delta <= 0:
            raise DanluError(f'--loss_args: delta of huber must be above 0, not {delta}')
        self.delta = delta

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see loss.select_loss)."""
        return cls(**given_args(args, 'huber'))

    def mean(self, predictions, targets, reduction='mean'):
        """Return the mean loss over all numbers, or the loss of each (see L1)."""
        return F.huber_loss(predictions, targets, reduction=reduction, delta=self.delta)


class Charbonnier(L1):
    """Charbonnier loss, sqrt(error ** 2 + eps ** 2): L1 that is smooth at 0 (Charbonnier et al. 1994).

    Args:
        eps: above 0; the default is that of Lai et al. 2017 (LapSRN).

    Raises:
        DanluError: eps is out of range.
    """

    def __init__(self, eps=1e-3):
        super().__init__()
        if eps <= 0:
            raise DanluError(f'--loss_args: eps of charbonnier must be above 0, not {eps}')
        self.eps = eps

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see loss.select_loss)."""
        return cls(**given_args(args, 'charbonnier'))

    def mean(self, predictions, targets, reduction='mean'):
        """Return the mean loss over all numbers, or the loss of each (see L1)."""
        losses = ((predictions - targets).square() + self.eps**2).sqrt()
        return losses.mean() if reduction == 'mean' else losses


class SSIM(nn.Module):
    """1 - structural similarity of images in 0..1 (Wang et al. 2004; Zhao et al. 2017 as a loss), in float32."""

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see loss.select_loss).

        Raises:
            DanluError: the images are smaller than the window.
        """
        if args.image_size:
            _check_size(args.image_size)
        return cls()

    def forward(self, predictions, targets):
        """Return the mean over the images, 0..2, a 0-d float32 tensor.

        Args:
            predictions: (N, C, H, W), floating point.
            targets: of the same shape, float32, 0..1.

        Raises:
            DanluError: the shapes do not match, the targets are not float32, or images are smaller than the window.
        """
        check_float_targets('the loss', predictions, targets, 4)
        _check_size(predictions.shape[2:])
        return 1 - structural_similarity(predictions, targets).mean()

    def each(self, predictions, targets):
        """Return the loss of each image, (N,), and None: all images have the same weight."""
        return 1 - structural_similarity(predictions, targets), None

    def count(self, predictions, targets):
        """Return the number of images (int)."""
        return len(targets)


def _check_size(size):
    """Raise DanluError if images of this size (height, width) are smaller than the window."""
    if min(size) < WINDOW:
        raise DanluError(
            f'--loss ssim needs images of at least {WINDOW}x{WINDOW} pixels, and they have {size[0]}x{size[1]}: give a '
            'larger --image_size, or another loss'
        )
