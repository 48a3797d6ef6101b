"""Losses of exclusive classes, per sample or per pixel: cross entropy and focal loss."""

import torch
import torch.nn.functional as F
from torch import nn

from utils.base.errors import DanluError
from utils.losses.common import at_least_float32, checked_weights
from utils.options.loss_options import given_args
from utils.tasks.targets import check_classes, wrong_class
from utils.tasks.tasks import task_of

# torch ignores the target -100 by default. This value occurs nowhere, so no target is ignored and -100 is an error.
IGNORE_NOTHING = -(2**63)


class CrossEntropy(nn.Module):
    """Cross entropy with label smoothing, class weights and an ignore index, like torch.nn.CrossEntropyLoss.

    Unlike torch's, a batch in which every target is ignored or has the weight 0 gives 0 (not nan), zero gradients and
    the count 0. A nan among the logits of a counted target still gives nan, as does any nan in a batch without counted
    targets.

    Targets may also be class probabilities, as mixup and CutMix produce them. The mean is then over the samples, also
    with class weights, as in torch; an ignore index is refused.

    Args:
        num_classes: K.
        ignore_index: targets of this value are ignored; None: no target is.
        label_smoothing: 0..1, the share of the target that is spread over all classes (Szegedy et al. 2016,
            Rethinking the Inception Architecture).
        class_weights: K weights, at least 0, or None. With weights the mean is the weighted mean.

    Raises:
        DanluError: label_smoothing or class_weights are out of range, or there are not K weights.
    """

    takes_classes = True  # its targets are class indices, its predictions one logit per class

    def __init__(self, num_classes, ignore_index=None, label_smoothing=0.0, class_weights=None):
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise DanluError(f'--label_smoothing must lie between 0 and 1, not {label_smoothing}')
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        # Not persistent: class weights are an option, not part of a checkpoint.
        self.register_buffer('class_weights', checked_weights(class_weights, num_classes), persistent=False)

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see select_loss)."""
        return cls(args.num_classes, args.ignore_index, args.label_smoothing, args.class_weights)

    def forward(self, predictions, targets):
        """Return the mean cross entropy, a 0-d tensor of at least float32.

        Args:
            predictions: logits, (N, K) or (N, K, H, W), floating point.
            targets: class indices 0..K-1 or the ignore index, (N,) or (N, H, W), int64; or class probabilities, (N, K),
                floating point.

        Raises:
            DanluError: the shapes do not match, the targets are neither int64 nor probabilities, an ignore index is
                given with probabilities, or (on a CPU only) a target is outside 0..K-1.
        """
        soft = _are_probabilities(predictions, targets)
        if not soft:
            check_classes('the loss', predictions, targets)
        elif self.ignore_index is not None:
            raise DanluError('class probabilities have no label to ignore: leave out --ignore_index, or mix nothing')
        predictions = at_least_float32(predictions)
        if soft or (self.ignore_index is None and self.class_weights is None and predictions.dim() == 2):
            # The mean over the samples needs one operation: half the time for a small network.
            return self._cross_entropy(predictions, targets, self.class_weights, 'mean')
        # Not reduction='mean': for segmentation on a GPU it has no deterministic implementation.
        return self._divided(self._losses(predictions, targets).sum(), predictions, targets)

    def each(self, predictions, targets):
        """Return the values of `forward` and `count` for each sample; same arguments.

        Returns:
            (N,) floating point, nan where all targets are ignored; and (N,), or None if the count is the same for all.
        """
        losses = self._losses(at_least_float32(predictions), targets).reshape(len(targets), -1)
        if _are_probabilities(predictions, targets) or (self.ignore_index is None and self.class_weights is None):
            return losses.mean(1), None
        counts = self._weights(targets).reshape(losses.shape).sum(1)
        return losses.sum(1) / counts, counts

    def _losses(self, predictions, targets):
        """Return the weighted loss of each target, (N, ...), 0 for ignored targets."""
        return self._cross_entropy(predictions, targets, self.class_weights, 'none')

    def _cross_entropy(self, predictions, targets, weight, reduction):
        """Return torch's cross entropy; with the reduction 'none' ignored targets have 0."""
        try:
            return F.cross_entropy(
                predictions,
                targets,
                weight=weight,
                ignore_index=IGNORE_NOTHING if self.ignore_index is None else self.ignore_index,
                reduction=reduction,
                label_smoothing=self.label_smoothing,
            )
        except IndexError:
            if wrong := wrong_class(targets, predictions.shape[1], self.ignore_index):
                raise DanluError(wrong) from None
            raise

    def _divided(self, total, predictions, targets):
        """Return the total divided by the count, 0 if no target counts."""
        count = self.count(predictions, targets)
        if isinstance(count, int):
            return total / count
        some = count > 0
        # 0, or nan if a logit is nan or infinite: diverged weights must not look like a perfect batch.
        nothing = predictions.detach().amax() * 0
        return torch.where(some, total / torch.where(some, count, 1), nothing)

    def count(self, predictions, targets):
        """Return the divisor of the mean; same arguments as `forward`.

        Returns:
            int, the number of targets; with an ignore index the number of targets that are not ignored, with class
            weights the sum of their weights (both 0-d tensors on the targets' device). For probabilities int, N.
        """
        if _are_probabilities(predictions, targets):
            return len(targets)
        if self.class_weights is None and self.ignore_index is None:
            return targets.numel()
        return self._weights(targets).sum()

    def _weights(self, targets):
        """Return the weight of each target, in the shape of the targets; needs class weights or an ignore index."""
        counted, indices = self._counted(targets)
        if self.class_weights is None:
            return counted
        weights = self.class_weights[indices]
        return weights if counted is None else weights * counted

    def _counted(self, targets):
        """Return a mask of the counted targets (bool, or None for all), and the targets with 0 for ignored ones."""
        if self.ignore_index is None:
            return None, targets
        counted = targets != self.ignore_index
        return counted, torch.where(counted, targets, 0)


class Focal(CrossEntropy):
    """Focal loss: cross entropy that gives well-classified targets less weight (Lin et al. 2017).

    With p the softmax probability of the true class: (1 - p) ** gamma * cross entropy. Means, counts, class weights
    (alpha in the paper), ignored targets and errors are as in CrossEntropy; with gamma=0 both losses are equal.

    Args:
        num_classes: K.
        ignore_index: targets of this value are ignored; None: no target is.
        class_weights: K weights, at least 0, or None. With weights the mean is the weighted mean.
        gamma: at least 0.

    Raises:
        DanluError: gamma or class_weights are out of range, or there are not K weights.
    """

    def __init__(self, num_classes, ignore_index=None, class_weights=None, gamma=2.0):
        super().__init__(num_classes, ignore_index, class_weights=class_weights)
        if gamma < 0:
            raise DanluError(f'--loss_args: gamma of focal must be at least 0, not {gamma}')
        self.gamma = gamma

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see select_loss); for multilabel a SigmoidFocal."""
        given = given_args(args, 'focal')
        if task_of(args).target == 'labels':
            from utils.losses.multilabel import SigmoidFocal

            return SigmoidFocal(args.num_classes, args.class_weights, **given)
        if 'alpha' in given:
            raise DanluError('--loss_args: focal takes alpha for task multilabel only; give --class_weights instead')
        return cls(args.num_classes, args.ignore_index, args.class_weights, **given)

    def forward(self, predictions, targets):
        """Return the mean focal loss, a 0-d tensor of at least float32.

        Args:
            predictions: logits, (N, K) or (N, K, H, W), floating point.
            targets: class indices 0..K-1 or the ignore index, (N,) or (N, H, W), int64.

        Raises:
            DanluError: as in CrossEntropy; class probabilities are refused too.
        """
        check_classes('the loss', predictions, targets)
        losses = self._losses(at_least_float32(predictions), targets)
        return self._divided(losses.sum(), predictions, targets)

    def _losses(self, predictions, targets):
        entropy = self._cross_entropy(predictions, targets, None, 'none')
        # expm1 avoids the cancellation of 1 - p. The clamp makes the slope at 0 zero; for gamma < 1 it is infinite.
        wrong = -torch.expm1(-entropy)
        losses = wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** self.gamma * entropy
        if self.class_weights is not None:
            losses = losses * self.class_weights[self._counted(targets)[1]]
        return losses


def _are_probabilities(predictions, targets):
    """Return whether targets are class probabilities for predictions: floating point, both (N, K)."""
    return targets.is_floating_point() and predictions.dim() == 2 and targets.shape == predictions.shape
