"""Losses: what training minimises, and over how many things each batch's mean was taken.

To add one: write a class, add a line to LOSSES ('poly1': 'my_loss.Poly1'), and --loss poly1 takes it.

    class Poly1(nn.Module):
        tasks = ('classification',)  # or put its name into LOSSES_OF

        @classmethod
        def from_args(cls, args):
            return cls()

        def forward(self, predictions, targets):  # the mean over the batch
            entropy = nn.functional.cross_entropy(predictions, targets, reduction='none')
            return (entropy + 1 - (-entropy).exp()).mean()

        def count(self, predictions, targets):  # over how many things; without it, over the samples
            return len(targets)

Options such as --class_weights are in `args`. Name what it uses in LOSS_OPTIONS, LOSS_ARGS and LOSSES_OF, and whatever
else is given is refused; a loss that is not listed has to see to that itself.

    loss = select_loss(args)
    value = loss(predictions, targets)           # the mean over the batch, for backward
    count = loss.count(predictions, targets)     # over how many things; never waits for the device

    values, counts = loss.each(predictions, targets)  # of each sample by itself; a loss may leave this out

Sum value * count and count over the batches, divide once, and the result is the exact mean over the whole set,
however uneven the batches are. A sum of losses (`--loss ce+0.5*dice`) has the values and counts of its parts instead:
see WeightedSum.

Here are those that look at each target by itself; loss_regions.py, loss_multilabel.py and loss_values.py have the
others. Classification of two classes by one logit: loss_binary.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from utils.arguments import brief, keyword_values, unfit_for_tensors
from utils.errors import DanluError
from utils.loss_options import fault_of_loss, parse_terms
from utils.registry import load_entry
from utils.targets import check_classes, wrong_class

LOSSES = {
    'ce': 'loss.CrossEntropy',
    'focal': 'loss.Focal',
    'dice': 'loss_regions.Dice',
    'tversky': 'loss_regions.Tversky',
    'bce': 'loss_multilabel.BinaryCrossEntropy',
    'l1': 'loss_values.L1',
    'mse': 'loss_values.MSE',
    'huber': 'loss_values.Huber',
    'charbonnier': 'loss_values.Charbonnier',
    'ssim': 'loss_values.SSIM',
}

# Which losses fit a task; the first is the one where none is named.
LOSSES_OF = {
    'classification': ('ce', 'focal'),
    'segmentation': ('ce', 'focal', 'dice', 'tversky'),
    'multilabel': ('bce', 'focal'),
    'regression': ('mse', 'l1', 'huber'),
    'restoration': ('l1', 'mse', 'huber', 'charbonnier', 'ssim'),
}

# Which losses besides fit a task with two classes, told apart by one output.
LOSSES_OF_TWO_CLASSES = {'classification': ('bce',)}

# The options that a loss has a use for; probabilities: its targets may be class probabilities, as mixing makes them.
LOSS_OPTIONS = {
    'ce': ('label_smoothing', 'class_weights', 'ignore_index', 'probabilities'),
    'focal': ('class_weights', 'ignore_index'),
    'dice': ('ignore_index',),
    'tversky': ('ignore_index',),
    'bce': ('class_weights',),
}

# What --loss_args may give a loss.
LOSS_ARGS = {
    'focal': ('gamma', 'alpha'),
    'tversky': ('alpha', 'beta'),
    'huber': ('delta',),
    'charbonnier': ('eps',),
}

# torch ignores the target -100 unless told otherwise; with this no target is ignored unasked, and -100 is an error.
IGNORE_NOTHING = -(2**63)


def select_loss(args):
    """Build the loss that the options choose.

    Args:
        args: argparse.Namespace with loss ('ce', 'ce+0.5*dice'), task, num_classes, ignore_index (int or None),
            label_smoothing (float), class_weights (list of float or None) and, where given, loss_args (list of
            'name=value').

    Returns:
        an nn.Module as described at the top of this file; of a sum, or of one with a weight, a WeightedSum.

    Raises:
        DanluError: no such loss, it does not serve args.task, or an option is wrong or would do nothing.
    """
    weights = parse_terms(args.loss)
    if fault := fault_of_loss(args):
        raise DanluError(f'--{fault[0]}: {fault[1]}')
    losses = {name: _build(name, args) for name in weights}
    return losses[args.loss] if args.loss in losses else WeightedSum(losses, weights)


def _build(name, args):
    """Build one loss by its name (see select_loss)."""
    chosen = load_entry(LOSSES, name, 'loss')
    listed = any(name in losses for losses in LOSSES_OF.values())
    if not listed and args.task not in getattr(chosen, 'tasks', ()):
        raise DanluError(
            f'--loss {name} is not for task {args.task}: {LOSSES[name]} does not name it in `tasks`, nor LOSSES_OF in '
            f'loss.py (losses for it: {", ".join(LOSSES_OF.get(args.task, ())) or "none"})'
        )
    return chosen.from_args(args)


def given_args(args, name):
    """Return those of --loss_args that the loss `name` takes (dict from a constructor's argument to its value).

    Raises:
        DanluError: a value is not a number.
    """
    given = keyword_values(getattr(args, 'loss_args', None) or [])
    given = {argument: given[argument] for argument in LOSS_ARGS[name] if argument in given}
    for argument, value in given.items():
        finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        if isinstance(value, bool) or not finite:
            raise DanluError(f'--loss_args: {argument}={brief(str(value))} is not a number')
        if fault := unfit_for_tensors(value):
            raise DanluError(f'--loss_args {argument}={brief(str(value))}: {fault}')
    return given


class WeightedSum(nn.Module):
    """A sum of losses, each with a weight.

    Each part is a mean over things of its own (pixels, pictures, weighted targets), so the mean over a set is the sum
    of the parts' means, and no single count belongs to it: `last_parts` has what is needed for each batch.

    Args:
        losses: dict from a name to a loss.
        weights: dict from the same names to numbers.

    Attributes:
        last_parts: of the last batch, dict from a loss's name to (weight, value, count): float, 0-d tensor, number or
            0-d tensor.
    """

    def __init__(self, losses, weights):
        super().__init__()
        self.losses, self.weights, self.last_parts = nn.ModuleDict(losses), dict(weights), {}

    def forward(self, predictions, targets):
        """Return the weighted sum of the losses' values, a 0-d tensor; arguments as each of them takes them."""
        total, self.last_parts = 0.0, {}
        for name, loss in self.losses.items():
            value = loss(predictions, targets)
            total = total + self.weights[name] * value
            count = loss.count(predictions, targets) if hasattr(loss, 'count') else len(targets)
            self.last_parts[name] = (self.weights[name], value, count)
        return total

    def parts(self):
        """Return the losses with their weights: dict from a name to (weight, loss)."""
        return {name: (self.weights[name], loss) for name, loss in self.losses.items()}

    def counted_alike(self):
        """Return which losses are means over the same things: dict from a name to the first name that is like it."""
        first, found = {}, {}
        for name, loss in self.losses.items():
            weights = getattr(loss, 'class_weights', None)
            weights = None if weights is None else tuple(weights.tolist())
            key = getattr(type(loss), 'count', None), getattr(loss, 'ignore_index', None), weights
            found[name] = first.setdefault(key, name)
        return found


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
            from loss_multilabel import SigmoidFocal

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


def at_least_float32(predictions):
    """Return predictions in float32 where they are of half precision: sums over many pixels need it."""
    return predictions.float() if predictions.dtype in (torch.float16, torch.bfloat16) else predictions


def checked_weights(class_weights, num_classes):
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
