"""Losses of multilabel classification. loss.py has the registry."""

import torch.nn.functional as F
from torch import nn

from utils.base.errors import DanluError
from utils.losses.common import at_least_float32, checked_weights
from utils.tasks.targets import check_float_targets
from utils.tasks.tasks import task_of


class BinaryCrossEntropy(nn.Module):
    """Binary cross entropy of each class of each sample.

    Args:
        num_classes: K.
        class_weights: K weights, at least 0, or None. With weights the mean is the weighted mean.

    Raises:
        DanluError: class_weights are out of range, or there are not K weights.
    """

    def __init__(self, num_classes, class_weights=None):
        super().__init__()
        self.register_buffer('class_weights', checked_weights(class_weights, num_classes), persistent=False)
        self.per_sample = num_classes if class_weights is None else float(self.class_weights.double().sum())

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see loss.select_loss); for classification a OneLogit."""
        if task_of(args).target == 'label':
            from utils.losses.binary import OneLogit

            return OneLogit.from_args(args)
        return cls(args.num_classes, args.class_weights)

    def forward(self, predictions, targets):
        """Return the mean over all classes of all samples, a 0-d tensor of at least float32.

        Args:
            predictions: logits, (N, K), floating point.
            targets: 1 for the classes of a sample, else 0, (N, K), float32.

        Raises:
            DanluError: the shapes do not match or the targets are not float32.
        """
        check_float_targets('the loss', predictions, targets, 2)
        losses = self.losses(at_least_float32(predictions), targets)
        if self.class_weights is None:
            return losses.mean()
        return (losses * self.class_weights).sum() / self.count(predictions, targets)

    def each(self, predictions, targets):
        """Return the loss of each sample, (N,), and None: all samples have the same weight."""
        losses = self.losses(at_least_float32(predictions), targets)
        return (losses if self.class_weights is None else losses * self.class_weights).sum(1) / self.per_sample, None

    def losses(self, predictions, targets):
        """Return the loss of each class of each sample, (N, K)."""
        return F.binary_cross_entropy_with_logits(predictions, targets, reduction='none')

    def count(self, predictions, targets):
        """Return the divisor of the mean (int or float): N * K, or N * the sum of the weights."""
        return len(targets) * self.per_sample


class SigmoidFocal(BinaryCrossEntropy):
    """Focal loss of independent classes (Lin et al. 2017), by torchvision.ops.sigmoid_focal_loss.

    With p the probability of the true answer: alpha_t * (1 - p) ** gamma * binary cross entropy. alpha_t is alpha for
    positive classes and 1 - alpha for negative ones.

    Args:
        num_classes: K.
        class_weights: K weights, at least 0, or None. With weights the mean is the weighted mean.
        gamma: 0 or at least 1; between 0 and 1 the gradient of a certain, correct prediction would be nan.
        alpha: 0..1.

    Raises:
        DanluError: an argument is out of range, or there are not K weights.
    """

    def __init__(self, num_classes, class_weights=None, gamma=2.0, alpha=0.25):
        super().__init__(num_classes, class_weights)
        if gamma != 0 and gamma < 1:
            raise DanluError(f'--loss_args: gamma of focal for multilabel must be 0 or at least 1, not {gamma}')
        if not 0 <= alpha <= 1:
            raise DanluError(f'--loss_args: alpha of focal must lie between 0 and 1, not {alpha}')
        from torchvision.ops import sigmoid_focal_loss  # the import takes 2 s

        self.focal, self.gamma, self.alpha = sigmoid_focal_loss, gamma, alpha

    def losses(self, predictions, targets):
        """Return the loss of each class of each sample, (N, K)."""
        return self.focal(predictions, targets, self.alpha, self.gamma)
