"""Metrics of multilabel classification. metrics.py has the registry."""

import torch

from utils.base.errors import DanluError
from utils.metrics.auroc_ap import auroc_by_class, average_precision_by_class
from utils.metrics.base import Metrics, by_class
from utils.tasks.targets import check_float_targets
from utils.tasks.tasks import TASKS, entry_names


class MultilabelMetrics(Metrics):
    """Metrics of independent classes, each in 0..1; a class is predicted if its logit is above 0.

    map: mean average precision, over the classes that occur in the targets.
    f1_macro: mean of f1 over the classes that occur in targets or predictions.
    f1_micro: 2 TP / (2 TP + FP + FN) over all classes; nan if all three are 0.
    exact_match: share of the samples for which every class is right.
    ap/<class>: average precision, the area under the precision-recall curve; nan if no sample has the class.
    f1/<class>: 2 TP / (2 TP + FP + FN); nan if the class occurs in neither targets nor predictions.
    auroc, auroc/<class>: area under the ROC curve and its mean; only with 'auroc' among the extras.

    The ranking metrics need all logits, so the logits of the whole data set stay on the device.

    Args:
        num_classes: K.
        class_names: K names for the values per class, or None for indices.
        extras: names of extra metrics of the task to compute too.

    Raises:
        DanluError: there are not K names.
    """

    monitor = 'map'
    directions = TASKS['multilabel'].values

    def __init__(self, num_classes, class_names=None, extras=()):
        self.num_classes = num_classes
        self.class_names = entry_names(num_classes, class_names)
        self.extras = tuple(extras)
        self.reset()

    @classmethod
    def from_args(cls, args):
        """Build the metrics from the options (see metrics.select_metrics)."""
        return cls(args.num_classes, args.class_names, getattr(args, 'metrics', None) or ())

    def reset(self):
        """Start a new pass."""
        super().reset()
        self._kept = []
        self._hits = self._sizes = 0  # over all classes, for `running`

    def running(self):
        """Return f1_micro so far (see metrics.Metrics); ranking metrics would take longer with every batch."""
        self._count_waiting()
        sizes = float(self._sizes)
        return {'f1_micro': 2 * float(self._hits) / sizes} if sizes else {}

    def compute(self):
        """Return every metric, a dict from name to float; synchronises the device.

        Raises:
            DanluError: nothing was counted, or a target is neither 0 nor 1.
        """
        self.check_targets()
        if not self._kept:
            raise DanluError('no sample was evaluated: the set is empty')
        scores, truth = self.ranked()
        said = torch.cat([predictions > 0 for predictions, _ in self._kept])
        precision = average_precision_by_class(scores, truth)
        hits, sizes = (truth & said).sum(0).double().cpu(), (truth.sum(0) + said.sum(0)).double().cpu()
        f1 = 2 * hits / sizes
        values = {
            'map': precision.nanmean().item(),
            'f1_macro': f1.nanmean().item(),
            'f1_micro': (2 * hits.sum() / sizes.sum()).item(),
            'exact_match': (truth == said).all(1).double().mean().item(),
        }
        if 'auroc' in self.extras:
            areas = auroc_by_class(scores, truth)
            values |= {'auroc': areas.nanmean().item(), **by_class('auroc', areas, self.class_names)}
        return values | by_class('ap', precision, self.class_names) | by_class('f1', f1, self.class_names)

    def ranked(self):
        """Return probabilities (N, K), float64, and the true classes (N, K), bool."""
        self._count_waiting()
        predictions, targets = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
        return predictions.double().sigmoid(), targets == 1  # in float32, certain predictions would be tied at 1

    def check_targets(self):
        """Raise DanluError if a target so far is neither 0 nor 1; synchronises the device."""
        self._count_waiting()
        start = 0
        for _, targets in self._kept:
            wrong = (targets != 0) & (targets != 1)
            if wrong.any():
                sample, index = wrong.nonzero()[0].tolist()
                raise DanluError(
                    f'the target of sample {start + sample} of the pass for class {index} is '
                    f'{targets[sample, index].item()}: it must be 1 where the sample has the class and 0 where not'
                )
            start += len(targets)

    def _check(self, predictions, targets):
        """Raise DanluError unless predictions are (N, K) and targets are floats of the same shape."""
        check_float_targets('the metrics', predictions, targets, 2)
        if predictions.shape[1] != self.num_classes:
            shape = tuple(predictions.shape)
            raise DanluError(f'the metrics got predictions of shape {shape}; expected (N, {self.num_classes})')

    def _count(self, predictions, targets):
        """Keep predictions and targets for `compute`."""
        self._kept.append((predictions, targets))
        said, truth = predictions > 0, targets == 1
        self._hits = self._hits + (said & truth).sum()
        self._sizes = self._sizes + said.sum() + truth.sum()
