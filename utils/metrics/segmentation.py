"""Metrics of segmentation."""

from utils.metrics.base import by_class
from utils.metrics.confusion import ConfusionMetrics
from utils.tasks.tasks import TASKS


class SegmentationMetrics(ConfusionMetrics):
    """Metrics of segmentation, each in 0..1, over all pixels of the data set.

    miou: mean of iou over the classes that occur in targets or predictions.
    pixel_acc: share of the pixels whose predicted class is right.
    iou/<class>: TP / (TP + FP + FN); nan if the class occurs in neither targets nor predictions.
    f1_macro, precision_macro, recall_macro: as in classification, over pixels; only if they are among the extras.
    """

    monitor = 'miou'
    directions = TASKS['segmentation'].values

    def _ratios(self, found, extra):
        values = self._main_ratio(found) | {'pixel_acc': (found.hits.sum() / found.truth.sum()).item()}
        values |= {name: value for name, value in self._macro(found).items() if name in self.extras}
        return values | by_class('iou', self._iou(found), self.class_names)

    def _main_ratio(self, found):
        return {'miou': self._iou(found).nanmean().item()}

    def _iou(self, found):
        """Return the IoU of each class (K,) from ClassCounts, float64."""
        hits, truth, predicted = found
        return self._without_ignored(hits / (truth + predicted - hits))
