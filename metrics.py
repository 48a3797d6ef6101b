"""Metrics: how good the predictions are, exactly, over a whole set.

Sums are kept on the device, batch by batch, and divided once at the end; `update` never waits for the device. To add a
value to a task: derive from its class, let METRICS name yours, and add a line to VALUES_OF in
utils/tasks/metric_values.py ('error': 'min').

    class WithError(ClassificationMetrics):
        def compute(self):
            values = super().compute()
            return {**values, 'error': 1 - values['acc']}

Other metrics altogether, for a new task: a class with the public methods and attributes of `Metrics`, and such a line.

    metrics = select_metrics(args)
    metrics.update(predictions, targets)    # for each batch
    metrics.compute()                       # {'acc': 0.9912, ...}
    metrics.reset()                         # before the next pass

The classes stand in utils/metrics/, the values of each task in utils/tasks/metric_values.py.
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
from utils.tasks.metric_values import EXTRA_METRICS, VALUES_OF

__all__ = [
    'EXTRA_METRICS',
    'METRICS',
    'VALUES_OF',
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
    """Build the metrics of the task.

    Args:
        args: argparse.Namespace with task and what the task's metrics take: num_classes, class_names (list of str or
            None) and ignore_index (int or None); and, where given, metrics (list of str or None).

    Returns:
        an object as described at the top of this file.

    Raises:
        DanluError: no such task, there are not num_classes names, or args.metrics do not fit.
    """
    chosen = load_entry(METRICS, args.task, 'task')
    if fault := fault_of_metrics(args):
        raise DanluError(f'--metrics: {fault}')
    return chosen.from_args(args)
