"""Losses: what training minimises, and over how many things each batch's mean was taken.

To add one: write a class with `tasks`, `from_args`, `forward` and `count`, and add a line to LOSSES.

    loss = select_loss(args)
    value = loss(predictions, targets)           # the mean over the batch, for backward
    count = loss.count(predictions, targets)     # over how many things; never waits for the device

Sum value * count and count over the batches, divide once, and the result is the exact mean over the whole set,
however uneven the batches are.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from utils.errors import DanluError
from utils.registry import load_entry

LOSSES = {
    'ce': 'loss.CrossEntropy',
    'dice': 'loss.Dice',
}

# torch ignores the target -100 unless told otherwise; with this no target is ignored unasked, and -100 is an error.
IGNORE_NOTHING = -(2**63)


def select_loss(args):
    """Build the loss that the options choose.

    Args:
        args: argparse.Namespace with loss, task, num_classes, ignore_index (int or None), label_smoothing (float) and
            class_weights (list of float or None).

    Returns:
        an nn.Module as described at the top of this file.

    Raises:
        DanluError: no such loss, it does not serve args.task, or an option is wrong or would do nothing.
    """
    chosen = load_entry(LOSSES, args.loss, 'loss')
    if args.task not in chosen.tasks:
        fitting = [name for name in LOSSES if args.task in load_entry(LOSSES, name, 'loss').tasks]
        raise DanluError(
            f'--loss {args.loss} serves {" and ".join(chosen.tasks)}, not --task {args.task} '
            f'(losses for it: {", ".join(fitting) or "none"})'
        )
    return chosen.from_args(args)


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

    tasks = ('classification', 'segmentation')

    def __init__(self, num_classes, ignore_index=None, label_smoothing=0.0, class_weights=None):
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise DanluError(f'--label_smoothing must lie between 0 and 1, not {label_smoothing}')
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        # Not persistent: the weights are an option of the run and no part of a checkpoint.
        self.register_buffer('class_weights', _checked_weights(class_weights, num_classes), persistent=False)

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
            DanluError: the shapes do not match, the targets are neither int64 nor probabilities, or there is an ignore
                index for probabilities.
        """
        soft = _are_probabilities(predictions, targets)
        if not soft:
            _check(predictions, targets)
        elif self.ignore_index is not None:
            raise DanluError('class probabilities have no label to ignore: leave out --ignore_index, or mix nothing')
        predictions = _at_least_float32(predictions)
        if soft or (self.ignore_index is None and self.class_weights is None and predictions.dim() == 2):
            # Divided by the number of samples, so one operation: half the time for a small network.
            return F.cross_entropy(
                predictions,
                targets,
                weight=self.class_weights,
                label_smoothing=self.label_smoothing,
                ignore_index=IGNORE_NOTHING,
            )
        # Summed here: with reduction='mean', segmentation on a GPU has no deterministic implementation.
        total = F.cross_entropy(
            predictions,
            targets,
            weight=self.class_weights,
            ignore_index=IGNORE_NOTHING if self.ignore_index is None else self.ignore_index,
            reduction='none',
            label_smoothing=self.label_smoothing,
        ).sum()
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
        if self.class_weights is None:
            return targets.numel() if self.ignore_index is None else (targets != self.ignore_index).sum()
        if self.ignore_index is None:
            return self.class_weights[targets].sum()
        counted = targets != self.ignore_index
        return (self.class_weights[torch.where(counted, targets, 0)] * counted).sum()


class Dice(nn.Module):
    """Soft Dice loss for segmentation with several classes (Milletari et al. 2016, V-Net).

    With p the softmax probabilities, g the one-hot truth, and sums over the counted pixels of one picture,

        dice_c = 2 * sum(p_c * g_c) / (sum(p_c ** 2) + sum(g_c ** 2))
        loss of the picture = 1 - mean of dice_c over the classes that its truth contains

    and the loss of a batch is the mean over its pictures. A class that a picture's truth lacks has no Dice of its own:
    it would be 0 however little of it is predicted. What is wrongly given to it is missing from the classes that are
    there, and so is paid for. The background is a class like any other, so a picture of background only is finite.
    A picture whose pixels are all ignored adds 0 and is not counted. A nan among the logits gives nan.

    Args:
        num_classes: K.
        ignore_index: pixels of this value do not count; None: all count.
    """

    tasks = ('segmentation',)

    def __init__(self, num_classes, ignore_index=None):
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    @classmethod
    def from_args(cls, args):
        """Build the loss from the options (see select_loss); refuses those that it would ignore."""
        for option in ('label_smoothing', 'class_weights'):
            if getattr(args, option):
                raise DanluError(f'--{option} has no effect on --loss dice: leave it out or choose --loss ce')
        return cls(args.num_classes, args.ignore_index)

    def forward(self, predictions, targets):
        """Return the mean Dice loss of the pictures, from 0 to 1, a 0-d tensor of at least float32.

        Args:
            predictions: logits, (N, K, H, W), floating point.
            targets: class indices 0..K-1 or the ignore index, (N, H, W), int64.

        Raises:
            DanluError: the shapes do not match or the targets are not int64.
        """
        _check(predictions, targets)
        probabilities = _at_least_float32(predictions).softmax(1)
        counted = self._counted(targets)
        # scatter_ complains about a target outside 0..K-1 on every device, without waiting for it.
        indices = targets if counted is None else torch.where(counted, targets, 0)
        truth = torch.zeros_like(probabilities).scatter_(1, indices[:, None], 1)
        if counted is not None:  # multiplied and not filled, so that a nan stays one
            probabilities = probabilities * counted[:, None]
            truth = truth * counted[:, None]
        sizes = truth.sum((2, 3))
        overlap = (probabilities * truth).sum((2, 3))
        # The clamp only acts on classes that are neither there nor predicted, which the next line leaves out.
        dice = 2 * overlap / (probabilities.square().sum((2, 3)) + sizes).clamp(min=1e-8)
        there = sizes > 0
        losses = ((1 - dice) * there).sum(1) / there.sum(1).clamp(min=1)
        count = self.count(predictions, targets)
        return losses.sum() / (count if isinstance(count, int) else count.clamp(min=1))

    def count(self, predictions, targets):
        """Return the number of pictures with a counted pixel; same arguments as `forward`.

        Returns:
            int, N; with an ignore index a 0-d int64 tensor on the targets' device.
        """
        counted = self._counted(targets)
        return targets.shape[0] if counted is None else counted.flatten(1).any(1).sum()

    def _counted(self, targets):
        """Return where targets are not ignored, bool, shaped like them; None where nothing can be."""
        return None if self.ignore_index is None else targets != self.ignore_index


def _are_probabilities(predictions, targets):
    """Return whether targets are class probabilities for predictions: floating point, both (N, K)."""
    return targets.is_floating_point() and predictions.dim() == 2 and targets.shape == predictions.shape


def _check(predictions, targets):
    """Raise DanluError unless targets are int64 class indices shaped like predictions without the class axis."""
    expected = (*predictions.shape[:1], *predictions.shape[2:])
    if tuple(targets.shape) != expected or targets.dtype != torch.int64:
        raise DanluError(
            f'the loss got targets of shape {tuple(targets.shape)} and {targets.dtype}; predictions of shape '
            f'{tuple(predictions.shape)} need shape {expected} and torch.int64'
        )


def _at_least_float32(predictions):
    """Return predictions in float32 where they are of half precision: sums over many pixels need it."""
    return predictions.float() if predictions.dtype in (torch.float16, torch.bfloat16) else predictions


def _checked_weights(class_weights, num_classes):
    """Return the class weights as a float32 tensor (K,), or None where there are none.

    Raises:
        DanluError: there are not K of them, one is negative or not finite, or all are 0.
    """
    if class_weights is None:
        return None
    if len(class_weights) != num_classes:
        raise DanluError(
            f'--class_weights has {len(class_weights)} values for {num_classes} classes: give one for each'
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in class_weights) or not any(class_weights):
        raise DanluError(f'--class_weights must be finite, at least 0 and not all 0, not {list(class_weights)}')
    return torch.tensor(class_weights, dtype=torch.float32)
