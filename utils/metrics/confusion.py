"""Metrics of exclusive classes, from counts per class or a confusion matrix."""

from typing import NamedTuple

import torch

from utils.base.errors import DanluError
from utils.metrics.base import Metrics
from utils.tasks.targets import check_classes
from utils.tasks.tasks import entry_names

MAX_TABLE_CLASSES = 256  # training and validation count in a K x K table up to here (half a megabyte)
MAX_SHOWN_CLASSES = 2000  # a test keeps and writes the confusion matrix up to here (32 MB)


class ClassCounts(NamedTuple):
    """Counts of each of K classes, tensors (K,): correct predictions (`hits`), targets (`truth`) and predictions."""

    hits: torch.Tensor
    truth: torch.Tensor
    predicted: torch.Tensor


class ConfusionMetrics(Metrics):
    """Base of the metrics of K exclusive classes, which counts per class.

    Up to MAX_TABLE_CLASSES classes it counts the confusion matrix, which takes one operation per batch; above, three
    counts per class, which all values are computed from (see ClassCounts). `keep_table` raises the limit for a test.

    Args:
        num_classes: K.
        ignore_index: targets of this value are ignored; None: no target is. If it is in 0..K-1, that class is left out
            of the means over classes, but predicting it for other targets is still an error.
        class_names: K names for the values per class, or None for indices. If a name is repeated, all names are
            prefixed with their index, so that every value is shown.
        extras: names of extra metrics of the task to compute too.

    Attributes:
        has_table: whether the confusion matrix is counted (bool).
        counts: None before the first update, then an int64 tensor on the predictions' device; counts only grow.

    Raises:
        DanluError: there are not K names.
    """

    extra_counts = 0  # number of further counts of a subclass, stored after the others

    def __init__(self, num_classes, ignore_index=None, class_names=None, extras=()):
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.class_names = entry_names(num_classes, class_names)
        self.extras = tuple(extras)
        self.has_table = num_classes <= MAX_TABLE_CLASSES
        self.reset()

    @classmethod
    def from_args(cls, args):
        """Build the metrics from the options (see select_metrics)."""
        return cls(args.num_classes, args.ignore_index, args.class_names, getattr(args, 'metrics', None) or ())

    def keep_table(self):
        """Count the confusion matrix if there are at most MAX_SHOWN_CLASSES; call this before the first update.

        Returns:
            whether it is counted (bool).
        """
        self.has_table = self.has_table or self.num_classes <= MAX_SHOWN_CLASSES
        return self.has_table

    def reset(self):
        """Start a new pass."""
        super().reset()
        self._counts = None

    def load_state_dict(self, state, device):
        """Restore the state of an unfinished pass (see Metrics); earlier versions kept a table of any size."""
        own = self.has_table
        super().load_state_dict(state, device)
        table = self._counts is not None and len(self._counts) == self._table_size() + self.extra_counts
        if table and not own:
            self._counts = self._without_table(self._counts)
        self.has_table = own if self._counts is None else table and own

    @property
    def counts(self):
        """The counts of all batches so far, including those that waited."""
        self._count_waiting()
        return self._counts

    def _count(self, predictions, targets):
        """Add predictions and targets, shaped as for `update`, to the counts."""
        classes = self.num_classes
        # Rows of the table: 0 and K+1 for targets below and above the classes, K+2 for ignored ones, else class + 1.
        rows = targets.clamp(-1, classes).add_(1)
        if self.ignore_index is not None:
            rows.masked_fill_(targets == self.ignore_index, classes + 2)
        self._note_wrong(((rows == 0) | (rows == classes + 1)).view(len(rows), -1).any(1))
        # max(1) instead of argmax(1): same result, ten times faster over channels on a CPU.
        predicted = predictions.max(1).indices
        if self.has_table:
            cells, size = rows.mul_(classes).add_(predicted).flatten(), self._table_size()
        else:
            cells, size = self._cells(rows.flatten(), predicted.flatten()), 3 * (classes + 3)
        if self._counts is None:
            with torch.inference_mode(False):  # counts of inference mode could not be summed over processes outside it
                self._counts = torch.zeros(size + self.extra_counts, dtype=torch.int64, device=cells.device)
        # Like bincount, which would synchronise a GPU to learn the number of bins.
        self._counts.index_add_(0, cells, cells.new_ones(()).expand(cells.shape))

    def _table_size(self):
        return (self.num_classes + 3) * self.num_classes

    def _cells(self, rows, predicted):
        """Return the positions (int64) to count at without a table, for table rows and predictions, (M,) each.

        Each of the three counts (targets, predictions of counted targets, hits) has one position per table row; the
        last row collects what belongs to no class.
        """
        classes, last = self.num_classes, self.num_classes + 2
        own = predicted + 1
        counted = (rows >= 1) & (rows <= classes)
        of_predicted = torch.where(counted, own, last)
        of_hits = torch.where(rows == own, own, last)
        return torch.cat([rows, of_predicted + (classes + 3), of_hits + 2 * (classes + 3)])

    def _without_table(self, counts):
        """Return the counts of a table as three counts per class; extra counts stay behind them."""
        table, extra = counts.split((self._table_size(), self.extra_counts))
        table = table.view(self.num_classes + 3, self.num_classes)
        inner, edge = table[1:-2], table.new_zeros(1)
        by_class = [table.sum(1), *(edge, inner.sum(0), edge, edge), *(edge, inner.diagonal(), edge, edge)]
        return torch.cat([*by_class, extra])

    def compute(self):
        """Return every metric, a dict from name to float; synchronises the device once.

        A value per class is nan for 0 / 0; means over classes leave it out.

        Raises:
            DanluError: nothing was counted, or targets are outside 0..K-1.
        """
        found, extra = self._read()
        if not found.truth.any():
            raise DanluError('no sample was evaluated: the set is empty, or all its targets are ignored')
        return self._ratios(ClassCounts(*(part.double() for part in found)), extra)

    def running(self):
        """Return the monitored value so far (see Metrics)."""
        found = self._read()[0]
        if not found.truth.any():
            return {}
        return self._main_ratio(ClassCounts(*(part.double() for part in found)))

    def class_counts(self):
        """Return the ClassCounts of all batches so far, int64, on the CPU.

        Raises:
            DanluError: targets are outside 0..K-1.
        """
        return self._read()[0]

    def confusion_matrix(self):
        """Return how often class i (row, target) was predicted as class j (column), (K, K) int64, on the CPU.

        Raises:
            DanluError: targets are outside 0..K-1, or the table is not counted.
        """
        if not self.has_table:
            raise DanluError(
                f'there is no confusion matrix of {self.num_classes:,} classes: call keep_table() before the first '
                f'update, which keeps it up to {MAX_SHOWN_CLASSES:,} classes'
            )
        self._read()
        classes, counts = self.num_classes, self.counts
        if counts is None:
            return torch.zeros(classes, classes, dtype=torch.int64)
        return counts[classes : classes * (classes + 1)].cpu().clone().view(classes, classes)

    def _read(self):
        """Return the ClassCounts and the extra counts, int64, all on the CPU."""
        classes, counts = self.num_classes, self.counts
        if counts is None:
            nothing = torch.zeros(classes, dtype=torch.int64)
            return ClassCounts(nothing, nothing, nothing), torch.zeros(self.extra_counts, dtype=torch.int64)
        counts = counts.cpu()
        counts = self._without_table(counts) if self.has_table else counts
        by_row, extra = counts.split((3 * (classes + 3), self.extra_counts))
        truth, predicted, hits = by_row.view(3, classes + 3)
        below, above = int(truth[0]), int(truth[classes + 1])
        if below or above:
            first = self._first_wrong()
            where = '' if first is None else f', the first of them in sample {first} of the pass'
            raise DanluError(
                f'{below} targets are below 0 and {above} above {classes - 1}{where}: with {classes} classes they must '
                f'lie in 0..{classes - 1} or be the ignore index ({self.ignore_index})'
            )
        return ClassCounts(*(part[1 : classes + 1] for part in (hits, truth, predicted))), extra

    def _check(self, predictions, targets):
        """Raise DanluError for shapes or dtypes that `update` does not take; reads no values."""
        shape = tuple(predictions.shape)
        if len(shape) < 2 or shape[1] != self.num_classes:
            raise DanluError(f'the metrics got predictions of shape {shape}; expected (N, {self.num_classes}, ...)')
        check_classes('the metrics', predictions, targets)

    def _without_ignored(self, values):
        """Return values (K,) with nan for the ignored class, if it is in 0..K-1."""
        if self.ignore_index is not None and 0 <= self.ignore_index < self.num_classes:
            values[self.ignore_index] = torch.nan
        return values

    def _macro(self, found):
        """Return f1_macro, precision_macro and recall_macro (dict of float) from ClassCounts, float64.

        Each is a mean over the classes that occur in targets or predictions. As in torchmetrics, precision is 0 for a
        class that is never predicted, and recall 0 for a class without targets.
        """
        hits, truth, predicted = found
        occurs = truth + predicted > 0
        ratios = {'f1': 2 * hits / (truth + predicted), 'precision': hits / predicted, 'recall': hits / truth}
        means = {}
        for name, ratio in ratios.items():
            ratio = torch.where(occurs, ratio.nan_to_num(0.0), torch.nan)
            means[f'{name}_macro'] = self._without_ignored(ratio).nanmean().item()
        return means

    def _ratios(self, found, extra):
        """Return the values of `compute` (dict) from ClassCounts, float64, and the extra counts."""
        raise NotImplementedError(f'{type(self).__name__} must define _ratios(found, extra)')

    def _main_ratio(self, found):
        """Return the monitored value only (dict) from ClassCounts, float64."""
        return {}
