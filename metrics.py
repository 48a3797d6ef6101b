"""Metrics: the registry, and how to add one. Metrics are exact over a whole data set.

Sums stay on the device and are divided once at the end; `update` never synchronises the device. To add a value to a
task, derive from the metrics class of the task, name the new class in METRICS, and add the value to `values` in the
file of the task ('error': 'min' in utils/tasks/classification.py), but not as the first: that selects the best epoch.

    class WithError(ClassificationMetrics):
        def compute(self):
            values = super().compute()
            return {**values, 'error': 1 - values['acc']}

The metrics of a new task are a class with the public methods and attributes of `Metrics`.

    metrics = select_metrics(args)
    metrics.update(predictions, targets)    # for each batch
    metrics.compute()                       # {'acc': 0.9912, ...}
    metrics.reset()                         # before the next pass

The classes are in utils/metrics/, the values of each task in utils/tasks/.
"""

from utils.base.errors import DanluError
from utils.base.registry import load_entry
from utils.metrics.base import Metrics, by_class
from utils.metrics.classification import ClassificationMetrics
from utils.metrics.confusion import ClassCounts, ConfusionMetrics
from utils.metrics.multilabel import MultilabelMetrics
from utils.metrics.ready_metrics import MetricFunction
from utils.metrics.regression import RegressionMetrics, RestorationMetrics, SumMetrics
from utils.metrics.segmentation import SegmentationMetrics
from utils.options.metric_options import fault_of_metrics

__all__ = [
    'METRICS',
    'ClassCounts',
    'ClassificationMetrics',
    'ConfusionMetrics',
    'MetricFunction',
    'Metrics',
    'MultilabelMetrics',
    'RegressionMetrics',
    'RestorationMetrics',
    'SegmentationMetrics',
    'SumMetrics',
    'by_class',
    'select_metrics',
]

METRICS = {
    'classification': 'utils.metrics.classification.ClassificationMetrics',
    'segmentation': 'utils.metrics.segmentation.SegmentationMetrics',
    'multilabel': 'utils.metrics.multilabel.MultilabelMetrics',
    'regression': 'utils.metrics.regression.RegressionMetrics',
    'restoration': 'utils.metrics.regression.RestorationMetrics',
}


def select_metrics(args):
    """Return the metrics of the task.

    Args:
        args: argparse.Namespace with task and the options that the metrics of the task use: num_classes, class_names
            (list of str or None), ignore_index (int or None) and optionally metrics (list of str or None).

    Returns:
        an object as described at the top of this file.

    Raises:
        DanluError: the task does not exist, there are not num_classes names, or args.metrics is invalid.
    """
    chosen = load_entry(METRICS, args.task, 'task')
    if fault := fault_of_metrics(args):
        raise DanluError(f'--metrics: {fault}')
    return chosen.from_args(args)
