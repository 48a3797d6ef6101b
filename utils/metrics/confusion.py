"""Metrics of exclusive classes, read from counts by class or from a confusion matrix."""

from typing import NamedTuple

import torch

from utils.base.errors import DanluError
from utils.metrics.base import Metrics
from utils.tasks.targets import check_classes
from utils.tasks.tasks import entry_names

MAX_TABLE_CLASSES = 256  # up to which training and validation count in a K x K table, half a megabyte
MAX_SHOWN_CLASSES = 2000  # up to which a test keeps the confusion matrix, 32 MB, and writes it


class ClassCounts(NamedTuple):
    """How often each of K classes was predicted rightly (`hits`), was the truth, and was predicted: tensors (K,)."""

    hits: torch.Tensor
    truth: torch.Tensor
    predicted: torch.Tensor


class ConfusionMetrics(Metrics):
    """Counts by class; what metrics of K exclusive classes share.

    Up to MAX_TABLE_CLASSES classes a table of K x K counts which class was taken for which, as that is one operation a
    batch. Of more, three counts a class are kept, from which all values are made: see ClassCounts. A test that shows
    the table asks for it by `keep_table`.

    Args:
        num_classes: K.
        ignore_index: targets of this value do not count; None: all count. A class of 0..K-1 may be ignored; it is then
            left out of the means over classes, though predicting it elsewhere is a mistake as any other.
        class_names: K names for the entries by class, or None for indices. If one occurs twice, all of them get their
            index in front, so that no entry hides another.
        extras: names of EXTRA_METRICS to compute besides.

    Attributes:
        has_table: whether the table is kept (bool).
        counts: None before the first update, then an int64 tensor on the predictions' device, only ever added to.

    Raises:
        DanluError: there are not K names.
    """

    extra_counts = 0  # how many numbers a subclass keeps behind the others

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
        """Keep the confusion matrix from now on, before anything is counted, if it is not too large to be shown.

        Returns:
            whether it is kept (bool): up to MAX_SHOWN_CLASSES classes, 32 MB.
        """
        self.has_table = self.has_table or self.num_classes <= MAX_SHOWN_CLASSES
        return self.has_table

    def reset(self):
        """Forget everything that was counted."""
        super().reset()
        self._counts = None

    def load_state_dict(self, state, device):
        """Go on where `state_dict` was taken; earlier versions kept a table of any size (see Metrics)."""
        own = self.has_table
        super().load_state_dict(state, device)
        table = self._counts is not None and len(self._counts) == self._table_size() + self.extra_counts
        if table and not own:
            self._counts = self._without_table(self._counts)
        self.has_table = own if self._counts is None else table and own

    @property
    def counts(self):
        """The counts of all batches so far."""
        self._count_waiting()
        return self._counts

    def _count(self, predictions, targets):
        """Add predictions and targets, shaped as for `update`, to the counts."""
        classes = self.num_classes
        # The table's rows: 0 and K+1 for targets below and above the classes, K+2 for ignored ones, the rest in order.
        rows = targets.clamp(-1, classes).add_(1)
        if self.ignore_index is not None:
            rows.masked_fill_(targets == self.ignore_index, classes + 2)
        self._note_wrong(((rows == 0) | (rows == classes + 1)).view(len(rows), -1).any(1))
        # max(1) and not argmax(1): the same, but ten times faster over channels on a CPU.
        predicted = predictions.max(1).indices
        if self.has_table:
            cells, size = rows.mul_(classes).add_(predicted).flatten(), self._table_size()
        else:
            cells, size = self._cells(rows.flatten(), predicted.flatten()), 3 * (classes + 3)
        if self._counts is None:
            with torch.inference_mode(False):  # or the counts could not be summed over processes outside of it
                self._counts = torch.zeros(size + self.extra_counts, dtype=torch.int64, device=cells.device)
        # What bincount does; but that waits for a GPU to learn how many bins it needs.
        self._counts.index_add_(0, cells, cells.new_ones(()).expand(cells.shape))

    def _table_size(self):
        return (self.num_classes + 3) * self.num_classes

    def _cells(self, rows, predicted):
        """Return the places (int64) of rows of the table and predictions, (M,) each, among three counts for each row.

        They are: targets, predictions of counted targets, and hits; what has no class of its own goes to the last row.
        """
        classes, last = self.num_classes, self.num_classes + 2
        own = predicted + 1
        counted = (rows >= 1) & (rows <= classes)
        of_predicted = torch.where(counted, own, last)
        of_hits = torch.where(rows == own, own, last)
        return torch.cat([rows, of_predicted + (classes + 3), of_hits + 2 * (classes + 3)])

    def _without_table(self, counts):
        """Return the counts of a table with the extra counts behind it as the three counts by class, and these."""
        table, extra = counts.split((self._table_size(), self.extra_counts))
        table = table.view(self.num_classes + 3, self.num_classes)
        inner, edge = table[1:-2], table.new_zeros(1)
        by_class = [table.sum(1), *(edge, inner.sum(0), edge, edge), *(edge, inner.diagonal(), edge, edge)]
        return torch.cat([*by_class, extra])

    def compute(self):
        """Return every metric, a dict from name to float; waits for the device once.

        An entry by class is nan where it is 0 divided by 0; a mean over classes leaves those out.

        Raises:
            DanluError: nothing was counted, or targets were outside 0..K-1.
        """
        found, extra = self._read()
        if not found.truth.any():
            raise DanluError('no sample was evaluated: the set is empty, or all its targets are ignored')
        return self._ratios(ClassCounts(*(part.double() for part in found)), extra)

    def running(self):
        """Return the monitored value so far: see Metrics. Counts are exact, whenever they are added up."""
        found = self._read()[0]
        if not found.truth.any():
            return {}
        return self._main_ratio(ClassCounts(*(part.double() for part in found)))

    def class_counts(self):
        """Return the ClassCounts of all batches so far, int64, on the CPU.

        Raises:
            DanluError: targets were outside 0..K-1.
        """
        return self._read()[0]

    def confusion_matrix(self):
        """Return how often class i (row, the truth) was taken for class j (column), (K, K) int64, on the CPU.

        Raises:
            DanluError: targets were outside 0..K-1, or the table is not kept.
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
        """Raise DanluError unless shapes and dtype are those that `update` describes; looks at no value."""
        shape = tuple(predictions.shape)
        if len(shape) < 2 or shape[1] != self.num_classes:
            raise DanluError(f'the metrics got predictions of shape {shape}; expected (N, {self.num_classes}, ...)')
        check_classes('the metrics', predictions, targets)

    def _without_ignored(self, values):
        """Return values (K,) with nan for the class that is ignored, if one of 0..K-1 is."""
        if self.ignore_index is not None and 0 <= self.ignore_index < self.num_classes:
            values[self.ignore_index] = torch.nan
        return values

    def _macro(self, found):
        """Return f1_macro, precision_macro and recall_macro (dict of float) from ClassCounts, float64.

        Each is the mean over the classes that occur in truth or prediction; a class that is never predicted has the
        precision 0, one that is not there the recall 0, as torchmetrics has it.
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
        """Return the dict of `compute` from ClassCounts, float64, and the extra counts."""
        raise NotImplementedError(f'{type(self).__name__} must define _ratios(found, extra)')

    def _main_ratio(self, found):
        """Return the monitored value alone (dict) from ClassCounts, float64."""
        return {}
