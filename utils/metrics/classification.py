"""Metrics of classification."""

import torch

from utils.base.errors import DanluError
from utils.metrics.auroc_ap import auroc_by_class
from utils.metrics.base import by_class
from utils.metrics.confusion import ConfusionMetrics
from utils.options.metric_options import top5_fault
from utils.tasks.tasks import TASKS


class ClassificationMetrics(ConfusionMetrics):
    """Metrics of classification, each in 0..1.

    acc: accuracy, the share of the samples whose highest logit is that of the true class.
    acc_top5: share of the samples whose true class is among the five highest logits; only with more than 5 classes.
    f1_macro: 2 TP / (2 TP + FP + FN), mean over the classes that occur in targets or predictions.
    precision_macro, recall_macro: TP / (TP + FP) and TP / (TP + FN), same mean; 0 for 0 / 0.
    acc_class/<class>: accuracy of the samples of one class; nan if there are none.
    auroc, auroc/<class>: area under the ROC curve of each class against the rest, and the mean over the classes that
        have one; only with 'auroc' among the extras, as it keeps the logits of the whole data set on the device.

    Raises:
        DanluError: acc_top5 is among the extras and there are fewer than 6 classes.
    """

    monitor = 'acc'
    directions = TASKS['classification'].values
    extra_counts = 1  # the samples whose true class is among the five highest logits

    def __init__(self, num_classes, ignore_index=None, class_names=None, extras=()):
        if 'acc_top5' in extras and (fault := top5_fault(num_classes)):
            raise DanluError(f'--metrics: {fault}')
        super().__init__(num_classes, ignore_index, class_names, extras)

    def reset(self):
        """Start a new pass."""
        super().reset()
        self._kept = []  # (logits, targets) for auroc

    def update(self, predictions, targets):
        """Count one batch (see Metrics); class probabilities, float (N, K), count as the class of the largest one."""
        soft = torch.is_tensor(targets) and targets.is_floating_point() and targets.shape == predictions.shape
        super().update(predictions, targets.argmax(1) if soft else targets)

    def _count(self, predictions, targets):
        super()._count(predictions, targets)
        if self.num_classes > 5:
            hits = predictions.topk(5, dim=1, sorted=False).indices == targets.unsqueeze(1)
            if self.ignore_index is not None:
                hits &= (targets != self.ignore_index).unsqueeze(1)
            self._counts[-1] += hits.sum()
        if 'auroc' in self.extras:
            self._kept.append((predictions, targets))

    def _ratios(self, found, extra):
        hits, truth, _ = found
        values = self._main_ratio(found)
        if self.num_classes > 5:
            values['acc_top5'] = (extra[0] / truth.sum()).item()
        values |= self._macro(found)
        if 'auroc' in self.extras:
            values |= self._areas()
        return values | by_class('acc_class', hits / truth, self.class_names)

    def _main_ratio(self, found):
        return {'acc': (found.hits.sum() / found.truth.sum()).item()}

    def ranked(self):
        """Return probabilities (N, K), float64, and the true classes (N, K), bool; None without 'auroc'."""
        if not self._kept:
            return None
        predictions, targets = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
        if self.ignore_index is not None:
            counted = targets != self.ignore_index
            predictions, targets = predictions[counted], targets[counted]
        # In float64: in float32, certain predictions would be tied at 1.
        scores = predictions.double().softmax(1)
        return scores, targets.unsqueeze(1) == torch.arange(self.num_classes, device=targets.device)

    def _areas(self):
        """Return auroc and auroc/<class> (dict of float)."""
        areas = auroc_by_class(*self.ranked())
        return {'auroc': areas.nanmean().item(), **by_class('auroc', areas, self.class_names)}
