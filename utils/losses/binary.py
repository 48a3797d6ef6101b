"""Loss of binary classification with one logit. loss.py has the registry."""

import torch
import torch.nn.functional as F
from torch import nn

from utils.base.errors import DanluError
from utils.losses.common import at_least_float32, checked_weights

CLASSES = 2


class OneLogit(nn.Module):
    """Binary cross entropy of one logit per sample, the logit of class 1.

    It equals the cross entropy of two classes with the logits (0, z).

    Args:
        class_weights: weights of class 0 and of class 1, at least 0, or None. With weights the mean is the weighted
            mean, as in loss.CrossEntropy.

    Raises:
        DanluError: class_weights are out of range, or there are not two of them.
    """

    def __init__(self, class_weights=None):
        super().__init__()
        self.register_buffer('class_weights', checked_weights(class_weights, CLASSES), persistent=False)

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see loss.select_loss)."""
        if args.num_classes != CLASSES:
            raise DanluError(
                f'--loss bce: for task classification it has one logit for two classes, and there are '
                f'{args.num_classes}: give --loss ce'
            )
        return cls(args.class_weights)

    def forward(self, predictions, targets):
        """Return the mean over the batch, a 0-d tensor of at least float32.

        Args:
            predictions: logits, (N, 1) or (N,), floating point.
            targets: 0 or 1, same shape, floating point (see utils.tasks.one_logit.for_loss).

        Raises:
            DanluError: the shapes do not match.
        """
        losses, weights = self.each(predictions, targets)
        if weights is None:
            return losses.mean()
        total = weights.sum()
        return (losses * weights).sum() / torch.where(total > 0, total, 1)

    def each(self, predictions, targets):
        """Return the loss of each sample, (N,), and its weight, (N,), or None for equal weights."""
        if predictions.shape != targets.shape or predictions.numel() != len(predictions):
            raise DanluError(
                f'--loss bce got predictions of shape {tuple(predictions.shape)} for targets of shape '
                f'{tuple(targets.shape)}; for task classification it takes one logit per sample: (N, 1) or (N,)'
            )
        predictions, targets = predictions.reshape(-1), targets.reshape(-1)
        losses = F.binary_cross_entropy_with_logits(at_least_float32(predictions), targets.float(), reduction='none')
        return losses, None if self.class_weights is None else self._weights(targets)

    def count(self, predictions, targets):
        """Return the divisor of the mean: N (int), or the sum of the weights (0-d tensor)."""
        return len(targets) if self.class_weights is None else self._weights(targets.reshape(-1)).sum()

    def _weights(self, targets):
        """Return the weights (N,) of targets (N,), 0 or 1."""
        return self.class_weights[targets.long().clamp(0, 1)]
