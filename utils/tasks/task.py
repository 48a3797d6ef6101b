"""What a task is. Each file of this package named after a task has one object of this class. Imports no torch."""

from collections.abc import Callable
from typing import NamedTuple

# The fields that training and metric values do not depend on: they are no part of the code that a run records.
REPORT_FIELDS = frozenset('target_noun decode sum_metrics quality tie_break columns unlabelled tta report'.split())


class Task(NamedTuple):
    """Everything that the project knows of one task.

    Args:
        target: the kind of a sample's target. In a batch that the network gets:

            label     int64 (N,), a class
            labels    float32 (N, K), 1 for each class of the sample, else 0
            mask      int64 (N, H, W), a class per pixel, from uint8 masks
            numbers   float32 (N, T)
            picture   float32 (N, C, H, W) in 0..1, from uint8 images

        outputs: the option with the number of outputs of a model, per sample or per pixel.
        target_noun: the word for targets in messages.
        losses: names of the losses that fit (see loss.py); the first is the default.
        two_class_losses: further losses, for two classes and a network with one output.
        values: the metric values over a data set, and which are better: dict from a name to 'max' or 'min'. The first
            one selects the best checkpoint.
        extra_metrics: the values that only --metrics adds. acc_top5 is also computed above five classes.
        decode: function(outputs, (N, ...) tensor) -> what `predict` returns.
        sum_metrics: names of the metrics that are functions of sums over samples, for confidence intervals
            (utils/statistics/bootstrap_metrics.py); the first is the default.
        quality: the value that ranks samples: a column of predictions.csv, else one of `sum_metrics`, of one sample.
        tie_break: column that ranks samples of equal quality, or None.
        columns: dotted path of the function that returns the columns of predictions.csv: see
            utils/evaluation/columns.py.
        unlabelled: dotted path of the class of predictions without targets: see utils/evaluation/unlabelled_results.py.
        tta: the ways of test-time augmentation that suit (names in utils/evaluation/tta.py).
        report: dotted path of the TaskReport with the sections of report.html (utils/html_report/task_reports.py), or
            None: metrics and settings only.
    """

    target: str
    outputs: str
    target_noun: str
    losses: tuple
    values: dict
    decode: Callable
    sum_metrics: tuple
    quality: str
    columns: str
    unlabelled: str
    tta: tuple = ()
    tie_break: str | None = None
    two_class_losses: tuple = ()
    extra_metrics: tuple = ()
    report: str | None = None

    @property
    def by_pixel(self):
        """Whether targets have the size of the images, so that geometric augmentation transforms them too."""
        return self.target in ('mask', 'picture')

    @property
    def has_classes(self):
        """Whether outputs stand for classes."""
        return self.outputs == 'num_classes'

    @property
    def has_class_names(self):
        """Whether the columns target and prediction of predictions.csv hold names of classes."""
        return self.target in ('label', 'labels')

    @property
    def output_dimensions(self):
        """The number of dimensions of a batch of outputs: 4 for (N, C, H, W), 2 for (N, K)."""
        return 4 if self.by_pixel else 2
