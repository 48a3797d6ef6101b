"""Losses of segmentation that compare regions: Dice and Tversky. loss.py has the registry."""

import torch
from torch import nn

from utils.base.errors import DanluError
from utils.losses.common import at_least_float32
from utils.options.loss_options import given_args
from utils.tasks.targets import check_classes, wrong_class


class RegionLoss(nn.Module):
    """Base of the losses that compare the predicted and the true region of each class.

    With p the softmax probabilities, g the one-hot targets, and sums over the counted pixels of one image, a subclass
    defines a similarity, and

        loss of the image = 1 - mean similarity over the classes that occur in its targets

    The loss of a batch is the mean over its images. A class that does not occur in the targets of an image is left out,
    as its similarity would be 0 however little of it is predicted; pixels predicted as that class still lower the
    similarity of the other classes. The background is a class like any other, so an image that shows only background
    has a finite loss. An image whose pixels are all ignored adds 0 and does not count. A nan among logits gives nan.

    Args:
        num_classes: K.
        ignore_index: pixels of this value are ignored; None: no pixel is.
    """

    def __init__(self, num_classes, ignore_index=None):
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def similarity(self, probabilities, truth, sizes):
        """Return the similarity of prediction and truth, 0..1, (N, K).

        Args:
            probabilities, truth: (N, K, H, W), 0 at ignored pixels.
            sizes: the number of true pixels of each class, (N, K).
        """
        raise NotImplementedError(f'{type(self).__name__} must define similarity(probabilities, truth, sizes)')

    def forward(self, predictions, targets):
        """Return the mean loss of the images, 0..1, a 0-d tensor of at least float32.

        Args:
            predictions: logits, (N, K, H, W), floating point.
            targets: class indices 0..K-1 or the ignore index, (N, H, W), int64.

        Raises:
            DanluError: the shapes do not match, the targets are not int64, or (on a CPU) a target is outside 0..K-1.
        """
        check_classes('the loss', predictions, targets)
        count = self.count(predictions, targets)
        return self._losses(predictions, targets).sum() / (count if isinstance(count, int) else count.clamp(min=1))

    def each(self, predictions, targets):
        """Return the loss of each image, (N,), and whether any of its pixels counts, (N,) bool, or None: all count."""
        counted = self._counted(targets)
        return self._losses(predictions, targets), None if counted is None else counted.flatten(1).any(1)

    def _losses(self, predictions, targets):
        """Return the loss of each image, (N,), 0 where no pixel counts."""
        probabilities = at_least_float32(predictions).softmax(1)
        counted = self._counted(targets)
        # scatter_ raises for a target outside 0..K-1 on every device, without synchronising.
        indices = targets if counted is None else torch.where(counted, targets, 0)
        try:
            truth = torch.zeros_like(probabilities).scatter_(1, indices[:, None], 1)
        except RuntimeError:
            if wrong := wrong_class(targets, predictions.shape[1], self.ignore_index):
                raise DanluError(wrong) from None
            raise
        if counted is not None:  # multiplied, not filled, so that a nan stays a nan
            probabilities = probabilities * counted[:, None]
            truth = truth * counted[:, None]
        sizes = truth.sum((2, 3))
        there = sizes > 0
        return ((1 - self.similarity(probabilities, truth, sizes)) * there).sum(1) / there.sum(1).clamp(min=1)

    def count(self, predictions, targets):
        """Return the number of images with a counted pixel; same arguments as `forward`.

        Returns:
            int, N; with an ignore index a 0-d int64 tensor on the targets' device.
        """
        counted = self._counted(targets)
        return targets.shape[0] if counted is None else counted.flatten(1).any(1).sum()

    def _counted(self, targets):
        """Return a mask of the targets that are not ignored, bool, or None without an ignore index."""
        return None if self.ignore_index is None else targets != self.ignore_index


class Dice(RegionLoss):
    """Soft Dice loss for segmentation with several classes (Milletari et al. 2016, V-Net); see RegionLoss.

        dice_c = 2 * sum(p_c * g_c) / (sum(p_c ** 2) + sum(g_c ** 2))

    Args:
        num_classes: K.
        ignore_index: pixels of this value are ignored; None: no pixel is.
    """

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see select_loss)."""
        return cls(args.num_classes, args.ignore_index)

    def similarity(self, probabilities, truth, sizes):
        """Return the Dice coefficient (see RegionLoss)."""
        overlap = (probabilities * truth).sum((2, 3))
        # The clamp only changes classes that are neither true nor predicted, which do not count.
        return 2 * overlap / (probabilities.square().sum((2, 3)) + sizes).clamp(min=1e-8)


class Tversky(RegionLoss):
    """Tversky loss for segmentation with several classes (Salehi et al. 2017); see RegionLoss.

        tversky_c = TP / (TP + alpha * FP + beta * FN)

    with TP = sum(p_c * g_c), FP = sum(p_c * (1 - g_c)) and FN = sum((1 - p_c) * g_c). A larger beta penalises missed
    pixels more than false positives; the defaults are those of the paper.

    Args:
        num_classes: K.
        ignore_index: pixels of this value are ignored; None: no pixel is.
        alpha, beta: at least 0, beta above 0.

    Raises:
        DanluError: alpha or beta is out of range.
    """

    def __init__(self, num_classes, ignore_index=None, alpha=0.3, beta=0.7):
        super().__init__(num_classes, ignore_index)
        if alpha < 0 or beta <= 0:  # with beta=0, a class with one correct pixel would have a perfect score
            raise DanluError(f'--loss_args: tversky needs alpha of 0 or more and beta above 0, not {alpha} and {beta}')
        self.alpha, self.beta = alpha, beta

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see select_loss)."""
        return cls(args.num_classes, args.ignore_index, **given_args(args, 'tversky'))

    def similarity(self, probabilities, truth, sizes):
        """Return the Tversky index (see RegionLoss)."""
        overlap = (probabilities * truth).sum((2, 3))
        wrong, missed = probabilities.sum((2, 3)) - overlap, sizes - overlap
        return overlap / (overlap + self.alpha * wrong + self.beta * missed).clamp(min=1e-8)
