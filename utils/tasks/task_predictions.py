"""What predictions of a task are: decoding, and the values of single samples in predictions.csv. Imports no torch."""

from collections.abc import Callable
from typing import NamedTuple


class TaskPredictions(NamedTuple):
    """The predictions of one task.

    Args:
        decode: function(outputs, (N, ...) tensor) -> what `predict` returns.
        metrics: names of the metrics that are functions of sums over samples; the first is the default.
        quality: the value that ranks samples: a column of predictions.csv, else one of `metrics`, of a single sample.
        tie_break: column that ranks samples of equal quality, or None.
        has_labels: whether the columns target and prediction hold names of classes.
    """

    decode: Callable
    metrics: tuple
    quality: str
    tie_break: str | None = None
    has_labels: bool = False


TASK_PREDICTIONS = {
    'classification': TaskPredictions(
        lambda logits: logits.softmax(1), ('acc',), 'correct', 'target_probability', has_labels=True
    ),
    'segmentation': TaskPredictions(lambda logits: logits.max(1).indices, ('miou', 'pixel_acc'), 'miou', 'pixel_acc'),
    'multilabel': TaskPredictions(
        lambda logits: logits.sigmoid(), ('f1_macro', 'f1_micro', 'exact_match'), 'correct', 'loss', has_labels=True
    ),
    'regression': TaskPredictions(lambda numbers: numbers.clone(), ('rmse', 'mae', 'r2'), 'mae'),
    'restoration': TaskPredictions(lambda pixels: pixels.clamp(0, 1), ('psnr', 'ssim', 'mae'), 'psnr', 'ssim'),
}


def predictions_of(task):
    """Return the TaskPredictions of a task (str); those of a project's own task are as in classification."""
    return TASK_PREDICTIONS.get(task, TASK_PREDICTIONS['classification'])
