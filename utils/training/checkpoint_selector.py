"""Which epoch is the best one, which checkpoints are worth keeping, and when to stop: by one monitored value."""

import math

from utils.base.errors import DanluError
from utils.base.registry import load_entry, read_registry, unknown_name
from utils.base.synonyms import same_names
from utils.metrics.ready_metrics import ReadyMetrics
from utils.options.metric_options import directions_of, top5_fault
from utils.tasks.metric_values import VALUES_OF


class Selection:
    """Watches one value of the epochs' rows.

    Args:
        monitor: name in the rows, such as 'val/acc'.
        mode: 'max' or 'min', which values are better.
        patience: stop when there was no better epoch for so many; None: never.
        min_epochs: but not before so many.
        keep_top: how many epochs' checkpoints are kept as the best ones.

    Attributes:
        best: {'value': float, 'epoch': int} of the first of the best epochs, or None.
        validates: whether the epochs have values of validation (bool).
    """

    def __init__(self, monitor, mode, patience=None, min_epochs=0, keep_top=0, validates=True):
        self.monitor, self.mode = monitor, mode
        self.patience, self.min_epochs, self.keep_top = patience, min_epochs, keep_top
        self.best, self.validates = None, validates

    @property
    def notes(self):
        """Return what is to be said at the start (list of str): by what the best epoch is chosen without validation."""
        lowest = {'min': 'lowest', 'max': 'highest'}[self.mode]
        return [] if self.validates else [f'no validation: the best epoch is that of the {lowest} {self.monitor}']

    def value_of(self, row):
        """Return the monitored value (float) of an epoch's row (dict).

        Raises:
            DanluError: there is no such value.
        """
        if self.monitor not in row:
            known = [name for name in row if name.startswith(('train/', 'val/'))]
            raise DanluError(f'--monitor: {unknown_name("value", self.monitor, known)}')
        return row[self.monitor]

    def is_better(self, value, than):
        """Return whether a value is better than another: nan never is, and a number is better than nan."""
        if math.isnan(value) or math.isnan(than):
            return math.isnan(than) and not math.isnan(value)
        return value > than if self.mode == 'max' else value < than

    def take(self, row):
        """Look at an epoch's row and return whether it is the best one so far; the first epoch always is."""
        value = self.value_of(row)
        better = self.best is None or self.is_better(value, self.best['value'])
        if better:
            self.best = {'value': value, 'epoch': row['epoch']}
        return better

    def note_of_nan(self, history):
        """Return a line (list of one str) where the last row of a history (list) is the first without a number."""
        without = [row for row in history if math.isnan(self.value_of(row))]
        if not without or without[0] is not history[-1]:
            return []
        counts = '' if self.patience is None else ' and counts against --patience'
        return [f'{self.monitor}, by which the best epoch is chosen, is nan: such an epoch is never better{counts}']

    def best_of(self, history):
        """Return (name of the value, epoch) of the first of the best epochs of a history (list of rows).

        Returns:
            (str, int), or None: no epoch has a number.
        """
        rows = [row for row in history if not math.isnan(row.get(self.monitor, math.nan))]
        values = [row[self.monitor] for row in rows]
        best = values.index((max if self.mode == 'max' else min)(values)) if rows else None
        return None if best is None else (self.monitor, rows[best]['epoch'])

    def top(self, history):
        """Return the epochs (set of int) whose checkpoints are to be kept; of equal ones the earlier."""
        rows = [row for row in history if not math.isnan(self.value_of(row))]
        sign = -1 if self.mode == 'max' else 1
        rows.sort(key=lambda row: (sign * self.value_of(row), row['epoch']))
        return {row['epoch'] for row in rows[: self.keep_top]}

    def why_stop(self, epoch):
        """Return why there is no hope of a better epoch after `epoch` (str), or None: go on."""
        if self.patience is None or self.best is None:  # a resumed run has no epoch yet
            return None
        never = math.isnan(self.best['value'])
        waited = epoch if never else epoch - self.best['epoch']
        if epoch < self.min_epochs or waited < self.patience:
            return None
        what = 'has been nan' if never else 'has not improved'
        return f'{self.monitor} {what} for {waited} epochs (--patience {self.patience})'


def known_values(args, metrics, loss):
    """Return the values that the epochs of a run will have (list of str, 'val/acc'), or None: nobody can know.

    Args:
        args: options; task, metrics and num_classes count.
        metrics: those of validation.
        loss: the loss, of which a sum has `parts()`.
    """
    parts = loss.parts() if hasattr(loss, 'parts') else {}
    if isinstance(metrics, ReadyMetrics):
        return _ready_values(args.monitor, metrics, parts)
    registry = read_registry('metrics', 'METRICS')
    usual = load_entry(registry, args.task, 'task') if args.task in registry else None
    told = getattr(type(metrics), 'compute', None) is getattr(usual, 'compute', usual)
    told = told and args.task in VALUES_OF  # of other metrics it knows nothing
    if not told or (hasattr(loss, 'last_parts') and not parts):
        return None
    few = top5_fault(args.num_classes)
    names = [name for name in directions_of(args.task, args.metrics) if name != 'acc_top5' or not few]
    names += [f'loss_{part}' for part in parts]
    return [f'{split}/{name}' for split in ('train', 'val') for name in names]


def _ready_values(monitor, metrics, parts):
    """Return the values of ready-made metrics (list of str, 'val/acc'); the monitored one too, if there may be it."""
    wanted = (monitor or '').partition('/')[2]
    names = [*metrics.names, 'loss', *(f'loss_{part}' for part in parts)]
    names += [wanted] if wanted and wanted not in names and metrics.may_return(wanted) else []
    return [f'{split}/{name}' for split in ('train', 'val') for name in names]


def check_monitor(selection, known):
    """Refuse a monitored value that no epoch will have; `known` is what `known_values` returned.

    Raises:
        DanluError: naming those that there will be.
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


def select_monitor(args, metrics, validates=True):
    """Return the Selection that options ask for.

    Args:
        args: options; monitor, mode, patience, min_epochs and keep_top count.
        metrics: those of validation, whose `monitor` and `mode` are taken where args name no other value.
        validates: whether there is validation (bool); without it the value is train/loss, unless args name another.

    Raises:
        DanluError: args name a value of a validation that there is not.
    """
    if not validates and (args.monitor or '').startswith('val/'):
        raise DanluError(
            f'--monitor {args.monitor}: there is no validation; give train/loss or another value of the training, or '
            'validation data (val_loader in Python; --val_list or --val_split)'
        )
    monitor = args.monitor or (f'val/{metrics.monitor}' if validates else 'train/loss')
    name = monitor.partition('/')[2]
    own = metrics.mode if name == metrics.monitor else getattr(metrics, 'directions', {}).get(name, 'max')
    if isinstance(metrics, ReadyMetrics) and args.mode is None and not metrics.knows_direction(name):
        raise DanluError(
            f"which values of {monitor} are better is not known: give mode='max' or mode='min' beside monitor, or "
            f"MetricFunction(function, mode='max')"
        )
    mode = args.mode or ('min' if name.partition('_')[0] == 'loss' else own)  # loss_ce is a part of a sum
    return Selection(monitor, mode, args.patience, args.min_epochs, args.keep_top, validates)
