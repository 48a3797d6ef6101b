"""Metrics: how good the predictions are, exactly, over a whole set.

All of them are read from one table of counts that is summed on the device, batch by batch, and divided once at the
end; `update` never waits for the device. To add metrics for a task: write a class with the methods of
`ConfusionMetrics` that are not private and the attributes `monitor` and `mode`, and add a line to METRICS.

    metrics = select_metrics(args)
    metrics.update(predictions, targets)    # for each batch
    metrics.compute()                       # {'acc': 0.9912, ...}
    metrics.reset()                         # before the next pass
"""

import torch

from utils.errors import DanluError
from utils.registry import load_entry

METRICS = {
    'classification': 'metrics.ClassificationMetrics',
    'segmentation': 'metrics.SegmentationMetrics',
}

BLOCK = 2**20  # numbers (4 MB of logits) that wait to be counted together


def select_metrics(args):
    """Build the metrics of the task.

    Args:
        args: argparse.Namespace with task, num_classes, ignore_index (int or None) and class_names (list of str or
            None).

    Returns:
        an object as described at the top of this file.

    Raises:
        DanluError: no such task, or there are not num_classes names.
    """
    return load_entry(METRICS, args.task, 'task')(args.num_classes, args.ignore_index, args.class_names)


class ConfusionMetrics:
    """Counts which class was taken for which; what metrics of K exclusive classes share.

    Args:
        num_classes: K.
        ignore_index: targets of this value do not count; None: all count. A class of 0..K-1 may be ignored; it is then
            left out of the means over classes, though predicting it elsewhere is a mistake as any other.
        class_names: K names for the entries by class, or None for indices. If one occurs twice, all of them get their
            index in front, so that no entry hides another.

    Attributes:
        monitor: name of the metric by which the best checkpoint is chosen; mode: 'max', higher is better.
        counts: None before the first update, then an int64 tensor on the predictions' device, only ever added to: sum
            it over several processes before `compute`.

    Raises:
        DanluError: there are not K names.
    """

    monitor = None
    mode = 'max'
    extra_counts = 0  # how many numbers a subclass keeps behind the table

    def __init__(self, num_classes, ignore_index=None, class_names=None):
        names = [str(index) for index in range(num_classes)] if class_names is None else list(class_names)
        if len(names) != num_classes:
            raise DanluError(f'{len(names)} class names for {num_classes} classes: give one name for each class')
        if len(set(names)) < len(names):
            names = [f'{index}:{name}' for index, name in enumerate(names)]
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.class_names = names
        self.reset()

    def reset(self):
        """Forget everything that was counted."""
        self._counts = None
        self._waiting, self._waiting_numbers = [], 0

    @property
    def counts(self):
        """The counts of all batches so far; may be replaced, by their sum over several processes."""
        self._count_waiting()
        return self._counts

    @counts.setter
    def counts(self, counts):
        self._counts = counts

    def update(self, predictions, targets):
        """Count one batch. Small batches wait, and are counted together when there are a million numbers of them.

        Args:
            predictions: logits, (N, K) or (N, K, H, W), floating point, on any device.
            targets: class indices 0..K-1 or the ignore index, (N,) or (N, H, W), int64, on the same device.

        Raises:
            DanluError: shapes or dtype are wrong. Values are looked at in `compute`: here it would mean waiting.
        """
        self._check(predictions, targets)
        if self._waiting and self._waiting[0][0].shape[1:] != predictions.shape[1:]:
            self._count_waiting()
        self._waiting.append((predictions.detach(), targets))
        self._waiting_numbers += predictions.numel()
        if self._waiting_numbers >= BLOCK:
            self._count_waiting()

    def _count_waiting(self):
        """Count the batches that wait; a dozen small operations cost the same for one batch of 32 as for a hundred."""
        if self._waiting:
            predictions, targets = zip(*self._waiting, strict=True)
            single = len(predictions) == 1
            self._count(*((predictions[0], targets[0]) if single else (torch.cat(predictions), torch.cat(targets))))
        self._waiting, self._waiting_numbers = [], 0

    def _count(self, predictions, targets):
        """Add predictions and targets, shaped as for `update`, to the counts."""
        classes = self.num_classes
        # The table's rows: 0 and K+1 for targets below and above the classes, K+2 for ignored ones, the rest in order.
        rows = targets.clamp(-1, classes).add_(1)
        if self.ignore_index is not None:
            rows.masked_fill_(targets == self.ignore_index, classes + 2)
        # max(1) and not argmax(1): the same, but ten times faster over channels on a CPU.
        cells = rows.mul_(classes).add_(predictions.max(1).indices).flatten()
        if self._counts is None:
            size = (classes + 3) * classes + self.extra_counts
            with torch.inference_mode(False):  # or the counts could not be summed over processes outside of it
                self._counts = torch.zeros(size, dtype=torch.int64, device=cells.device)
        # What bincount does; but that waits for a GPU to learn how many bins it needs.
        self._counts.index_add_(0, cells, cells.new_ones(()).expand(cells.shape))

    def compute(self):
        """Return every metric, a dict from name to float; waits for the device once.

        An entry by class is nan where it is 0 divided by 0; a mean over classes leaves those out.

        Raises:
            DanluError: nothing was counted, or targets were outside 0..K-1.
        """
        matrix, extra = self._read()
        if not matrix.any():
            raise DanluError('no sample was evaluated: the set is empty, or all its targets are ignored')
        return self._ratios(matrix.double(), extra)

    def confusion_matrix(self):
        """Return how often class i (row, the truth) was taken for class j (column), (K, K) int64, on the CPU.

        Raises:
            DanluError: targets were outside 0..K-1.
        """
        return self._read()[0]

    def _read(self):
        """Return the confusion matrix, (K, K) int64, and the extra counts, int64, both on the CPU."""
        classes, counts = self.num_classes, self.counts
        if counts is None:
            return torch.zeros(classes, classes, dtype=torch.int64), torch.zeros(self.extra_counts, dtype=torch.int64)
        table, extra = counts.cpu().split(((classes + 3) * classes, self.extra_counts))
        table = table.view(classes + 3, classes)
        below, above = int(table[0].sum()), int(table[classes + 1].sum())
        if below or above:
            raise DanluError(
                f'{below} targets are below 0 and {above} above {classes - 1}: with {classes} classes they must lie in '
                f'0..{classes - 1} or be the ignore index ({self.ignore_index})'
            )
        return table[1 : classes + 1].clone(), extra

    def _check(self, predictions, targets):
        """Raise DanluError unless shapes and dtype are those that `update` describes; looks at no value."""
        shape = tuple(predictions.shape)
        if len(shape) < 2 or shape[1] != self.num_classes:
            raise DanluError(f'the metrics got predictions of shape {shape}; expected (N, {self.num_classes}, ...)')
        expected = (shape[0], *shape[2:])
        if tuple(targets.shape) != expected or targets.dtype != torch.int64:
            raise DanluError(
                f'the metrics got targets of shape {tuple(targets.shape)} and {targets.dtype}; predictions of shape '
                f'{shape} need shape {expected} and torch.int64'
            )

    def _by_class(self, name, values):
        """Return {'<name>/<class>': float} for values (K,)."""
        return {f'{name}/{label}': value for label, value in zip(self.class_names, values.tolist(), strict=True)}

    def _without_ignored(self, values):
        """Return values (K,) with nan for the class that is ignored, if one of 0..K-1 is."""
        if self.ignore_index is not None and 0 <= self.ignore_index < self.num_classes:
            values[self.ignore_index] = torch.nan
        return values

    def _ratios(self, matrix, extra):
        """Return the dict of `compute` from the confusion matrix (K, K), float64, and the extra counts."""
        raise NotImplementedError(f'{type(self).__name__} must define _ratios(matrix, extra)')


class ClassificationMetrics(ConfusionMetrics):
    """Metrics of classification, each from 0 to 1.

    acc: share of the samples whose highest logit is the right one.
    acc_top5: share of those with the right one among the five highest; only with more than 5 classes.
    f1_macro: 2 TP / (2 TP + FP + FN), mean over the classes that occur in truth or prediction.
    acc_class/<class>: share of that class's samples that were recognised; nan where there is none.
    """

    monitor = 'acc'
    extra_counts = 1  # samples with the right class among the five highest

    def update(self, predictions, targets):
        """Count one batch as ConfusionMetrics does; of class probabilities, float (N, K), the largest is the target."""
        soft = targets.is_floating_point() and targets.shape == predictions.shape
        super().update(predictions, targets.argmax(1) if soft else targets)

    def _count(self, predictions, targets):
        super()._count(predictions, targets)
        if self.num_classes > 5:
            hits = predictions.topk(5, dim=1, sorted=False).indices == targets.unsqueeze(1)
            if self.ignore_index is not None:
                hits &= (targets != self.ignore_index).unsqueeze(1)
            self._counts[-1] += hits.sum()

    def _ratios(self, matrix, extra):
        hits, truth, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        values = {'acc': (hits.sum() / matrix.sum()).item()}
        if self.num_classes > 5:
            values['acc_top5'] = (extra[0] / matrix.sum()).item()
        values['f1_macro'] = self._without_ignored(2 * hits / (truth + predicted)).nanmean().item()
        return values | self._by_class('acc_class', hits / truth)


class SegmentationMetrics(ConfusionMetrics):
    """Metrics of segmentation, each from 0 to 1, over all pixels of the set together.

    miou: mean of iou over the classes that occur in truth or prediction.
    pixel_acc: share of the pixels whose class is right.
    iou/<class>: TP / (TP + FP + FN); nan where the class occurs in neither.
    """

    monitor = 'miou'

    def _ratios(self, matrix, extra):
        hits = matrix.diagonal()
        iou = self._without_ignored(hits / (matrix.sum(1) + matrix.sum(0) - hits))
        values = {'miou': iou.nanmean().item(), 'pixel_acc': (hits.sum() / matrix.sum()).item()}
        return values | self._by_class('iou', iou)
