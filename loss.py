"""Losses: the registry, and how to add one.

Write a class, add a line to LOSSES ('poly1': 'my_loss.Poly1'), and --loss poly1 selects it.

    class Poly1(nn.Module):
        tasks = ('classification',)  # or add its name to `losses` in utils/tasks/classification.py

        @classmethod
        def from_args(cls, args):
            return cls()

        def forward(self, predictions, targets):  # the mean over the batch
            entropy = nn.functional.cross_entropy(predictions, targets, reduction='none')
            return (entropy + 1 - (-entropy).exp()).mean()

        def count(self, predictions, targets):  # the number of terms in that mean; default: the number of samples
            return len(targets)

`args` holds all options, such as --class_weights. List the options that the loss uses in LOSS_OPTIONS, its arguments in
LOSS_ARGS (utils/tasks/loss_terms.py), and the loss in the `losses` of its tasks (utils/tasks/): all other options are
then refused. A loss that is not listed must check its options itself.

    loss = select_loss(args)
    value = loss(predictions, targets)           # the mean over the batch, for backward
    count = loss.count(predictions, targets)     # the number of terms in the mean; does not synchronise the device

    values, counts = loss.each(predictions, targets)  # the loss of each sample; optional

The sum of value * count over all batches, divided by the sum of the counts, is the exact mean over the data set for
batches of any sizes. A sum of losses (`--loss ce+0.5*dice`) has one value and one count per term: see WeightedSum.

The classes are in utils/losses/.
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
from utils.tasks.loss_terms import LOSS_ARGS, parse_terms
from utils.tasks.tasks import TASKS, losses_of

__all__ = [
    'L1',
    'LOSSES',
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

# The options that a loss uses; probabilities: its targets may be class probabilities, as mixup and CutMix produce them.
LOSS_OPTIONS = {
    'ce': ('label_smoothing', 'class_weights', 'ignore_index', 'probabilities'),
    'focal': ('class_weights', 'ignore_index'),
    'dice': ('ignore_index',),
    'tversky': ('ignore_index',),
    'bce': ('class_weights',),
}


def select_loss(args):
    """Return the loss that the options select.

    Args:
        args: argparse.Namespace with loss ('ce', 'ce+0.5*dice'), task, num_classes, ignore_index (int or None),
            label_smoothing (float), class_weights (list of float or None) and, where given, loss_args (list of
            'name=value').

    Returns:
        an nn.Module as described at the top of this file; for a sum of losses or a weighted loss a WeightedSum.

    Raises:
        DanluError: the loss does not exist or does not fit args.task, or an option is invalid or has no effect.
    """
    weights = parse_terms(args.loss)
    if fault := fault_of_loss(args):
        raise DanluError(f'--{fault[0]}: {fault[1]}')
    losses = {name: _build(name, args) for name in weights}
    return losses[args.loss] if args.loss in losses else WeightedSum(losses, weights)


def _build(name, args):
    """Return the loss of one name (see select_loss)."""
    chosen = load_entry(LOSSES, name, 'loss')
    listed = any(name in (*task.losses, *task.two_class_losses) for task in TASKS.values())
    if not listed and args.task not in getattr(chosen, 'tasks', ()):
        raise DanluError(
            f'--loss {name} is not for task {args.task}: {LOSSES[name]} does not name it in `tasks`, nor does a file '
            f'of utils/tasks list the loss (losses for it: {", ".join(losses_of(args.task)) or "none"})'
        )
    return chosen.from_args(args)
