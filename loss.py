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

The classes stand in utils/losses/.
"""

from utils.base.errors import DanluError
from utils.base.registry import load_entry
from utils.losses.binary import OneLogit
from utils.losses.classification import CrossEntropy, Focal
from utils.losses.multilabel import BinaryCrossEntropy, SigmoidFocal
from utils.losses.region import Dice, RegionLoss, Tversky
from utils.losses.regression import L1, MSE, SSIM, Charbonnier, Huber
from utils.losses.weighted_sum import WeightedSum
from utils.options.loss_options import fault_of_loss
from utils.tasks.loss_terms import parse_terms

__all__ = [
    'L1',
    'LOSSES',
    'LOSSES_OF',
    'LOSSES_OF_TWO_CLASSES',
    'LOSS_ARGS',
    'LOSS_OPTIONS',
    'MSE',
    'SSIM',
    'BinaryCrossEntropy',
    'Charbonnier',
    'CrossEntropy',
    'Dice',
    'Focal',
    'Huber',
    'OneLogit',
    'RegionLoss',
    'SigmoidFocal',
    'Tversky',
    'WeightedSum',
    'select_loss',
]

LOSSES = {
    'ce': 'utils.losses.classification.CrossEntropy',
    'focal': 'utils.losses.classification.Focal',
    'dice': 'utils.losses.region.Dice',
    'tversky': 'utils.losses.region.Tversky',
    'bce': 'utils.losses.multilabel.BinaryCrossEntropy',
    'l1': 'utils.losses.regression.L1',
    'mse': 'utils.losses.regression.MSE',
    'huber': 'utils.losses.regression.Huber',
    'charbonnier': 'utils.losses.regression.Charbonnier',
    'ssim': 'utils.losses.regression.SSIM',
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
