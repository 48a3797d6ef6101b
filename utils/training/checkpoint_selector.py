"""Selects the best epoch, the checkpoints to keep, and when to stop early, by one monitored value."""

import math

from utils.base.errors import DanluError
from utils.base.registry import load_entry, read_registry, unknown_name
from utils.base.synonyms import same_names
from utils.base.text_table import count_text
from utils.metrics.ready_metrics import ReadyMetrics
from utils.options.metric_options import directions_of, top5_fault
from utils.tasks.tasks import TASKS, mode_of


class CheckpointSelector:
    """Monitors one value of the epochs' rows.

    Args:
        monitor: name in the rows, such as 'val/acc'.
        mode: 'max' or 'min': whether higher or lower values are better.
        patience: stop after this many epochs without a better value; None: never.
        min_epochs: never stop early before this epoch.
        keep_top: number of best epochs whose checkpoints are kept.
        validates: whether the epochs have values of validation (bool).

    Attributes:
        best: {'value': float, 'epoch': int} of the best epoch, the first of equal ones, or None.
    """

    def __init__(self, monitor, mode, patience=None, min_epochs=0, keep_top=0, validates=True):
        self.monitor, self.mode = monitor, mode
        self.patience, self.min_epochs, self.keep_top = patience, min_epochs, keep_top
        self.best, self.validates = None, validates

    @property
    def notes(self):
        """Lines (list of str) for the start of the log: how the best epoch is chosen without validation."""
        lowest = {'min': 'lowest', 'max': 'highest'}[self.mode]
        return [] if self.validates else [f'no validation: the best epoch is that of the {lowest} {self.monitor}']

    def value_of(self, row):
        """Return the monitored value (float) of an epoch's row (dict).

        Raises:
            DanluError: the row has no such value.
        """
        if self.monitor not in row:
            known = [name for name in row if name.startswith(('train/', 'val/'))]
            raise DanluError(f'--monitor: {unknown_name("value", self.monitor, known)}')
        return row[self.monitor]

    def is_better(self, value, than):
        """Return whether a value is better than another: nan is never better, a number is better than nan."""
        if math.isnan(value) or math.isnan(than):
            return math.isnan(than) and not math.isnan(value)
        return value > than if self.mode == 'max' else value < than

    def update_best(self, row):
        """Update `best` with an epoch's row and return whether it is the best epoch so far; the first always is."""
        value = self.value_of(row)
        better = self.best is None or self.is_better(value, self.best['value'])
        if better:
            self.best = {'value': value, 'epoch': row['epoch']}
        return better

    def nan_notes(self, history):
        """Return a line (list of one str) if the last row of a history (list) is the first whose value is nan."""
        without = [row for row in history if math.isnan(self.value_of(row))]
        if not without or without[0] is not history[-1]:
            return []
        counts = '' if self.patience is None else ' and counts against --patience'
        return [f'{self.monitor}, by which the best epoch is chosen, is nan: such an epoch is never better{counts}']

    def best_epoch_of(self, history):
        """Return (name of the value (str), best epoch (int)) of a history (list of rows); None if all values are nan.

        Of equal epochs it is the first.
        """
        rows = [row for row in history if not math.isnan(row.get(self.monitor, math.nan))]
        values = [row[self.monitor] for row in rows]
        best = values.index((max if self.mode == 'max' else min)(values)) if rows else None
        return None if best is None else (self.monitor, rows[best]['epoch'])

    def top_epochs(self, history):
        """Return the epochs (set of int) whose checkpoints are kept; of equal ones the earlier."""
        rows = [row for row in history if not math.isnan(self.value_of(row))]
        sign = -1 if self.mode == 'max' else 1
        rows.sort(key=lambda row: (sign * self.value_of(row), row['epoch']))
        return {row['epoch'] for row in rows[: self.keep_top]}

    def stop_reason(self, epoch):
        """Return why the run stops early after `epoch` (str), or None to continue."""
        if self.patience is None or self.best is None:  # no epoch is done yet
            return None
        never = math.isnan(self.best['value'])
        waited = epoch if never else epoch - self.best['epoch']
        if epoch < self.min_epochs or waited < self.patience:
            return None
        what = 'has been nan' if never else 'has not improved'
        return f'{self.monitor} {what} for {count_text(waited, "epoch")} (--patience {self.patience})'


def predictable_values(args, metrics, loss):
    """Return the names of the values that the epochs will have (list of str, 'val/acc'), or None: not known.

    Args:
        args: options; task, metrics and num_classes are used.
        metrics: the validation metrics.
        loss: the loss; a weighted sum has `parts()`.
    """
    parts = loss.parts() if hasattr(loss, 'parts') else {}
    if isinstance(metrics, ReadyMetrics):
        return _ready_metric_values(args.monitor, metrics, parts)
    registry = read_registry('metrics', 'METRICS')
    usual = load_entry(registry, args.task, 'task') if args.task in registry else None
    is_usual = getattr(type(metrics), 'compute', None) is getattr(usual, 'compute', usual)
    if not is_usual or args.task not in TASKS or (hasattr(loss, 'last_parts') and not parts):
        return None
    no_top5 = top5_fault(args.num_classes)
    names = [name for name in directions_of(args.task, args.metrics) if name != 'acc_top5' or not no_top5]
    names += [f'loss_{part}' for part in parts]
    return [f'{split}/{name}' for split in ('train', 'val') for name in names]


def _ready_metric_values(monitor, metrics, parts):
    """Return the names of ready-made metrics (list of str, 'val/acc'), with the monitored one if they may return it."""
    wanted = (monitor or '').partition('/')[2]
    names = [*metrics.names, 'loss', *(f'loss_{part}' for part in parts)]
    names += [wanted] if wanted and wanted not in names and metrics.may_return(wanted) else []
    return [f'{split}/{name}' for split in ('train', 'val') for name in names]


def check_monitor(selection, known):
    """Check that the epochs will have the monitored value; `known` is what `predictable_values` returned.

    Raises:
        DanluError: they will not; the message names the values that they will have.
    """
    if known is not None and not selection.validates:
        known = [name for name in known if name.startswith('train/')]
    if known is not None and selection.monitor not in known:
        split, _, name = selection.monitor.partition('/')
        names = [value.partition('/')[2] for value in known if value.startswith(f'{split}/')]
        if meant := same_names(name, names):  # top1 for acc
            close = ' or '.join(f'{split}/{each}' for each in meant)
            others = f'(known: {", ".join(sorted(known))})'
            raise DanluError(f'--monitor: unknown value {selection.monitor!r}; did you mean {close}? {others}')
        raise DanluError(f'--monitor: {unknown_name("value", selection.monitor, known)}')


def selector_from_options(args, metrics, validates=True):
    """Return the CheckpointSelector of the options.

    Args:
        args: options; monitor, mode, patience, min_epochs and keep_top are used.
        metrics: the validation metrics, whose `monitor` and `mode` are the defaults.
        validates: whether the run validates (bool); if not, the default value is train/loss.

    Raises:
        DanluError: args name a validation value, and the run does not validate.
    """
    if not validates and (args.monitor or '').startswith('val/'):
        raise DanluError(
            f'--monitor {args.monitor}: there is no validation; give train/loss or another value of the training, or '
            'validation data (val_loader in Python; --val_list or --val_split)'
        )
    monitor = args.monitor or (f'val/{metrics.monitor}' if validates else 'train/loss')
    name = monitor.partition('/')[2]
    if isinstance(metrics, ReadyMetrics) and args.mode is None and not metrics.knows_direction(name):
        raise DanluError(
            f"which values of {monitor} are better is not known: give mode='max' or mode='min' beside monitor, or "
            f"MetricFunction(function, mode='max')"
        )
    mode = args.mode or mode_of(name, {**getattr(metrics, 'directions', {}), metrics.monitor: metrics.mode}) or 'max'
    return CheckpointSelector(monitor, mode, args.patience, args.min_epochs, args.keep_top, validates)
