"""Losses of exclusive classes: cross entropy and focal loss, by sample or by pixel."""

import torch
import torch.nn.functional as F
from torch import nn

from utils.base.errors import DanluError
from utils.losses.common import at_least_float32, checked_weights
from utils.options.loss_options import given_args
from utils.tasks.targets import check_classes, wrong_class

# torch ignores the target -100 unless told otherwise; with this no target is ignored unasked, and -100 is an error.
IGNORE_NOTHING = -(2**63)


class CrossEntropy(nn.Module):
    """Cross entropy with label smoothing, class weights and an ignore index, as torch.nn.CrossEntropyLoss has them.

    It differs where that one gives nan because nothing is counted: a batch in which every target is ignored, or has
    the weight 0, gives 0, zero gradients and the count 0. A nan among the logits of a counted target still gives nan,
    and so does one anywhere in such an empty batch.

    Targets may also be class probabilities, as mixing samples makes them. Their mean is taken over the samples, with
    class weights too, as torch has it; an ignore index has no meaning there and is refused.

    Args:
        num_classes: K.
        ignore_index: targets of this value do not count; None: all count.
        label_smoothing: from 0 to 1, how much of the target is spread over all classes (Szegedy et al. 2016,
            Rethinking the Inception Architecture).
        class_weights: K weights, at least 0, or None. The mean is then the weighted one.

    Raises:
        DanluError: label_smoothing or class_weights are out of range, or there are not K weights.
    """

    takes_classes = True  # class indices, and a logit for each class

    def __init__(self, num_classes, ignore_index=None, label_smoothing=0.0, class_weights=None):
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise DanluError(f'--label_smoothing must lie between 0 and 1, not {label_smoothing}')
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        # Not persistent: the weights are an option of the run and no part of a checkpoint.
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
            DanluError: the shapes do not match, the targets are neither int64 nor probabilities, there is an ignore
                index for probabilities, or (on a CPU; a GPU stops in its own way) a target lies outside 0..K-1.
        """
        soft = _are_probabilities(predictions, targets)
        if not soft:
            check_classes('the loss', predictions, targets)
        elif self.ignore_index is not None:
            raise DanluError('class probabilities have no label to ignore: leave out --ignore_index, or mix nothing')
        predictions = at_least_float32(predictions)
        if soft or (self.ignore_index is None and self.class_weights is None and predictions.dim() == 2):
            # Divided by the number of samples, so one operation: half the time for a small network.
            return self._cross_entropy(predictions, targets, self.class_weights, 'mean')
        # Summed here: with reduction='mean', segmentation on a GPU has no deterministic implementation.
        return self._divided(self._losses(predictions, targets).sum(), predictions, targets)

    def each(self, predictions, targets):
        """Return what `forward` and `count` give for each sample by itself; same arguments.

        Returns:
            (N,) floating point, nan where nothing is counted; and (N,), or None where it is the same for all samples.
        """
        losses = self._losses(at_least_float32(predictions), targets).reshape(len(targets), -1)
        if _are_probabilities(predictions, targets) or (self.ignore_index is None and self.class_weights is None):
            return losses.mean(1), None
        counts = self._weights(targets).reshape(losses.shape).sum(1)
        return losses.sum(1) / counts, counts

    def _losses(self, predictions, targets):
        """Return the loss of each target (N, ...), weighted, 0 for ignored ones."""
        return self._cross_entropy(predictions, targets, self.class_weights, 'none')

    def _cross_entropy(self, predictions, targets, weight, reduction):
        """Return torch's cross entropy; 'none' has 0 for ignored targets."""
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
        """Return the total of the counted targets divided by their count; 0 where there is none."""
        count = self.count(predictions, targets)
        if isinstance(count, int):
            return total / count
        some = count > 0
        # 0, but nan where a logit is nan or infinite: diverged weights must not look like a perfect batch.
        nothing = predictions.detach().amax() * 0
        return torch.where(some, total / torch.where(some, count, 1), nothing)

    def count(self, predictions, targets):
        """Return what the mean was divided by; same arguments as `forward`.

        Returns:
            int, the number of targets; with an ignore index the number of those not ignored, with class weights the
            sum of their weights, each a 0-d tensor on the targets' device. Of class probabilities int, N.
        """
        if _are_probabilities(predictions, targets):
            return len(targets)
        if self.class_weights is None and self.ignore_index is None:
            return targets.numel()
        return self._weights(targets).sum()

    def _weights(self, targets):
        """Return how much each target counts, shaped like them; there are class weights or an ignore index."""
        counted, indices = self._counted(targets)
        if self.class_weights is None:
            return counted
        weights = self.class_weights[indices]
        return weights if counted is None else weights * counted

    def _counted(self, targets):
        """Return where targets are not ignored (bool, or None for everywhere), and them with 0 for the ignored."""
        if self.ignore_index is None:
            return None, targets
        counted = targets != self.ignore_index
        return counted, torch.where(counted, targets, 0)


class Focal(CrossEntropy):
    """Focal loss: cross entropy in which targets that are recognised already count less (Lin et al. 2017).

    With p the softmax probability of the right class, (1 - p) ** gamma * cross entropy. Means, counts, class weights
    (the alpha of the paper), ignored targets and errors are those of CrossEntropy, which it is for gamma=0.

    Args:
        num_classes: K.
        ignore_index: targets of this value do not count; None: all count.
        class_weights: K weights, at least 0, or None. The mean is then the weighted one.
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
        """Build the loss from the options (see select_loss): for multilabel the one of independent classes."""
        given = given_args(args, 'focal')
        if args.task == 'multilabel':
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
            DanluError: as CrossEntropy; and for class probabilities.
        """
        check_classes('the loss', predictions, targets)
        losses = self._losses(at_least_float32(predictions), targets)
        return self._divided(losses.sum(), predictions, targets)

    def _losses(self, predictions, targets):
        entropy = self._cross_entropy(predictions, targets, None, 'none')
        # 1 - p without the error of a difference. For gamma below 1 its slope at 0 is infinite, and the clamp's is 0.
        wrong = -torch.expm1(-entropy)
        losses = wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** self.gamma * entropy
        if self.class_weights is not None:
            losses = losses * self.class_weights[self._counted(targets)[1]]
        return losses


def _are_probabilities(predictions, targets):
    """Return whether targets are class probabilities for predictions: floating point, both (N, K)."""
    return targets.is_floating_point() and predictions.dim() == 2 and targets.shape == predictions.shape
