"""Metrics: how good the predictions are, exactly, over a whole set.

Sums are kept on the device, batch by batch, and divided once at the end; `update` never waits for the device. To add a
value to a task: derive from its class, let METRICS name yours, and add a line to VALUES_OF ('error': 'min').

    class WithError(ClassificationMetrics):
        def compute(self):
            values = super().compute()
            return {**values, 'error': 1 - values['acc']}

Other metrics altogether, for a new task: a class with the public methods and attributes of `Metrics`, and such a line.

    metrics = select_metrics(args)
    metrics.update(predictions, targets)    # for each batch
    metrics.compute()                       # {'acc': 0.9912, ...}
    metrics.reset()                         # before the next pass

Here are those of exclusive classes, read from counts by class; metrics_multilabel.py and metrics_values.py have the
others.
"""

from typing import NamedTuple

import torch

from utils.errors import DanluError
from utils.metric_options import fault_of_metrics, top5_fault
from utils.ranking import auroc_by_class
from utils.ready_metrics import MetricFunction  # noqa: F401 (for those who hand metrics over)
from utils.registry import load_entry
from utils.targets import check_classes
from utils.tasks import entry_names

METRICS = {
    'classification': 'metrics.ClassificationMetrics',
    'segmentation': 'metrics.SegmentationMetrics',
    'multilabel': 'metrics_multilabel.MultilabelMetrics',
    'regression': 'metrics_values.RegressionMetrics',
    'restoration': 'metrics_values.RestorationMetrics',
}

# The values of a task over all classes, and which way is better; the first is what the best checkpoint is chosen by.
VALUES_OF = {
    'classification': {
        'acc': 'max',
        'acc_top5': 'max',
        'f1_macro': 'max',
        'precision_macro': 'max',
        'recall_macro': 'max',
        'auroc': 'max',
    },
    'segmentation': {
        'miou': 'max',
        'pixel_acc': 'max',
        'f1_macro': 'max',
        'precision_macro': 'max',
        'recall_macro': 'max',
    },
    'multilabel': {'map': 'max', 'f1_macro': 'max', 'f1_micro': 'max', 'exact_match': 'max', 'auroc': 'max'},
    'regression': {'rmse': 'min', 'mae': 'min', 'r2': 'max'},
    'restoration': {'psnr': 'max', 'ssim': 'max', 'mae': 'min'},
}

# Those that --metrics adds; the others are always there. acc_top5 is there unasked above five classes.
EXTRA_METRICS = {
    'classification': ('auroc', 'acc_top5'),
    'segmentation': ('f1_macro', 'precision_macro', 'recall_macro'),
    'multilabel': ('auroc',),
}

NONE = 2**62  # where the number of a sample is expected: there is none
BLOCK = 2**20  # numbers (4 MB of logits) that wait to be counted together
MAX_TABLE_CLASSES = 256  # up to which training and validation count in a K x K table, half a megabyte
MAX_SHOWN_CLASSES = 2000  # up to which a test keeps the confusion matrix, 32 MB, and writes it
BATCHES = 2**10  # batches that wait; of one number per sample, a million would be very many


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


class Metrics:
    """Base of all metrics: takes batches, lets small ones wait, and counts many of them at once.

    A subclass defines `_check(predictions, targets)`, `_count(predictions, targets)` and `compute()`, and forgets its
    sums in `reset`.

    Attributes:
        monitor: name of the value by which the best checkpoint is chosen; mode: 'max', higher is better, or 'min'.
        directions: dict from the name of a value to 'max' or 'min', which way is better; of others 'max'.
        seen: samples of this pass that were counted, those that wait not among them (int).
        added, joined: names of what `merge` adds up (numbers and tensors, or None), and of lists that it joins.
    """

    monitor = None
    mode = 'max'
    directions = {}
    added, joined = ('seen', '_counts', '_sums'), ('_kept',)

    @classmethod
    def from_args(cls, args):
        """Build the metrics from the options (see select_metrics)."""
        raise NotImplementedError(f'{cls.__name__} must define from_args(args)')

    def reset(self):
        """Forget everything that was counted."""
        self._waiting, self._waiting_numbers = [], 0
        self.seen = 0
        self._wrong = None  # 0-d tensor: the first sample of this pass with a wrong target; none has NONE

    def update(self, predictions, targets):
        """Count one batch. Small batches wait, and are counted together when there are a million numbers or a thousand
        batches of them.

        Args:
            predictions: the network's outputs, floating point, (N, ...), on any device.
            targets: what the task has, on the same device.

        Raises:
            DanluError: shapes or dtype are wrong. Values are looked at in `compute`: here it would mean waiting.
        """
        self._check(predictions, targets)
        if self._waiting and self._waiting[0][0].shape[1:] != predictions.shape[1:]:
            self._count_waiting()
        self._waiting.append((predictions.detach(), targets))
        self._waiting_numbers += predictions.numel()
        if self._waiting_numbers >= BLOCK or len(self._waiting) >= BATCHES:
            self._count_waiting()

    def compute(self):
        """Return every metric, a dict from name to float; waits for the device.

        Raises:
            DanluError: nothing was counted, or targets are wrong.
        """
        raise NotImplementedError(f'{type(self).__name__} must define compute()')

    def running(self):
        """Return the values so far for progress lines, a dict from name to float; waits for the device.

        Called every --print_freq batches, so only what is cheap belongs here; {}: nothing is. It changes no result.
        """
        return {}

    def state_dict(self):
        """Return what this pass has come to so far, beside all else that the object holds: dict of tensors and values.

        None: it holds something that a checkpoint cannot; a subclass may then have its own `state_dict`.
        """
        return dict(vars(self)) if _can_be_saved(vars(self)) else None

    def load_state_dict(self, state, device):
        """Go on with a pass where `state_dict` was taken, on a device (torch.device): as if it had never stopped."""
        for name, value in state.items():
            setattr(self, name, _moved(value, device))

    def own_share(self):
        """Return what was counted so far (dict), for `merge`; waits for the device.

        Raises:
            DanluError: a target is wrong.
        """
        self._count_waiting()
        if self._first_wrong() is not None:
            self.compute()  # says which
        return {name: getattr(self, name) for name in (*self.added, *self.joined) if hasattr(self, name)}

    def merge(self, states, device):
        """Add what others have counted.

        Args:
            states: list of what their `own_share` returned.
            device: torch.device on which the sums are to be.
        """
        for state in _moved(states, device):
            for name in self.added:
                own, other = getattr(self, name, None), state.get(name)
                setattr(self, name, other if own is None else own if other is None else own + other)
            for name in self.joined:
                if name in state:
                    setattr(self, name, [*getattr(self, name), *state[name]])

    def check_targets(self):
        """Raise DanluError where a target so far explains why the loss is no number; waits for the device."""

    def _count_waiting(self):
        """Count the batches that wait; a dozen small operations cost the same for one batch of 32 as for a hundred."""
        if self._waiting:
            predictions, targets = zip(*self._waiting, strict=True)
            single = len(predictions) == 1
            both = (predictions[0], targets[0]) if single else (torch.cat(predictions), torch.cat(targets))
            self._count(*both)
            self.seen += len(both[0])
        self._waiting, self._waiting_numbers = [], 0

    def _note_wrong(self, wrong):
        """Keep the number of the first sample whose target is wrong, without waiting for the device.

        Args:
            wrong: bool (N,), for the samples that are being counted.
        """
        numbers = torch.arange(self.seen, self.seen + len(wrong), device=wrong.device)
        first = torch.where(wrong, numbers, NONE).amin()
        self._wrong = first if self._wrong is None else torch.minimum(self._wrong, first)

    def _first_wrong(self):
        """Return the number of the first sample of this pass with a wrong target (int), or None; waits."""
        first = NONE if self._wrong is None else int(self._wrong)
        return None if first == NONE else first


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


class ClassificationMetrics(ConfusionMetrics):
    """Metrics of classification, each from 0 to 1.

    acc: share of the samples whose highest logit is the right one.
    acc_top5: share of those with the right one among the five highest; only with more than 5 classes.
    f1_macro: 2 TP / (2 TP + FP + FN), mean over the classes that occur in truth or prediction.
    precision_macro, recall_macro: TP / (TP + FP) and TP / (TP + FN), likewise; 0 where it is 0 divided by 0.
    acc_class/<class>: share of that class's samples that were recognised; nan where there is none.
    auroc, auroc/<class>: area under the ROC curve of each class against the rest, and its mean over the classes that
        have one; only with 'auroc' among the extras, as it keeps the logits of the whole set on the device.

    Raises:
        DanluError: acc_top5 is among the extras and there are fewer than 6 classes.
    """

    monitor = 'acc'
    directions = VALUES_OF['classification']
    extra_counts = 1  # samples with the right class among the five highest

    def __init__(self, num_classes, ignore_index=None, class_names=None, extras=()):
        if 'acc_top5' in extras and (fault := top5_fault(num_classes)):
            raise DanluError(f'--metrics: {fault}')
        super().__init__(num_classes, ignore_index, class_names, extras)

    def reset(self):
        """Forget everything that was counted."""
        super().reset()
        self._kept = []  # (logits, targets) for auroc

    def update(self, predictions, targets):
        """Count one batch as Metrics does; of class probabilities, float (N, K), the largest is the target."""
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
        """Return probabilities (N, K), float64, and whether a sample has a class (N, K), bool; None without 'auroc'."""
        if not self._kept:
            return None
        predictions, targets = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
        if self.ignore_index is not None:
            counted = targets != self.ignore_index
            predictions, targets = predictions[counted], targets[counted]
        # In float64, or what a network is sure of would be one tie at 1.
        scores = predictions.double().softmax(1)
        return scores, targets.unsqueeze(1) == torch.arange(self.num_classes, device=targets.device)

    def _areas(self):
        """Return auroc and auroc/<class> (dict of float)."""
        areas = auroc_by_class(*self.ranked())
        return {'auroc': areas.nanmean().item(), **by_class('auroc', areas, self.class_names)}


class SegmentationMetrics(ConfusionMetrics):
    """Metrics of segmentation, each from 0 to 1, over all pixels of the set together.

    miou: mean of iou over the classes that occur in truth or prediction.
    pixel_acc: share of the pixels whose class is right.
    iou/<class>: TP / (TP + FP + FN); nan where the class occurs in neither.
    f1_macro, precision_macro, recall_macro: as in classification, of pixels; only where they are among the extras.
    """

    monitor = 'miou'
    directions = VALUES_OF['segmentation']

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


def by_class(name, values, names):
    """Return {'<name>/<class>': float} for values (K,) and the names of the K classes."""
    return {f'{name}/{label}': value for label, value in zip(names, values.tolist(), strict=True)}


def _can_be_saved(value):
    if isinstance(value, list | tuple | dict):
        return all(map(_can_be_saved, value.values() if isinstance(value, dict) else value))
    return value is None or type(value) in (bool, int, float, str) or torch.is_tensor(value)


def _moved(value, device):
    if isinstance(value, list | tuple):
        return [_moved(item, device) for item in value]
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value.to(device) if torch.is_tensor(value) else value
