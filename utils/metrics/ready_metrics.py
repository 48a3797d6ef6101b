"""Metrics passed in as objects: torchmetrics, functions of (predictions, targets), or a dictionary of them.

    Trainer(args, ..., metrics={'acc': torchmetrics.Accuracy('multiclass', num_classes=10), 'error': error_of})
    Trainer(args, ..., metrics=MetricFunction(error_of, mode='min'))

A function is called once, at the end of a pass, with the predictions and targets of all samples, which stay on the
device until then. The value is exact for batches of any sizes, also for metrics that are not means (F1, a rank
correlation). `MetricFunction(function, per_batch=True)` takes the mean of the values of the batches instead: it keeps
nothing, and a smaller last batch counts as much as the others.
"""

import copy
import re
import sys
from collections.abc import Mapping

import torch

from utils.base.errors import DanluError
from utils.distributed import processes
from utils.metrics.base import can_be_saved, move_tensors
from utils.options.metric_options import directions_of
from utils.tasks.one_logit import flatten_one_logit, targets_like
from utils.tasks.tasks import TASKS


class MetricFunction:
    """A function as a metric, with its properties.

    Args:
        function: (predictions, targets) -> number, 0-d tensor, or dict from name to one of these.
        per_batch: call it for each batch and take the mean of the values (bool).
        mode: 'max' or 'min', which values are better; required if it is monitored.
    """

    def __init__(self, function, per_batch=False, mode=None):
        if not callable(function):
            raise DanluError(f'MetricFunction takes a function (predictions, targets), not {type(function).__name__}')
        if mode not in (None, 'max', 'min'):
            raise DanluError(f"mode of a MetricFunction is 'max' or 'min', not {mode!r}")
        self.function, self.per_batch, self.mode = function, per_batch, mode

    def __call__(self, predictions, targets):
        """Return the value of the function."""
        return self.function(predictions, targets)


def ready_metrics(metrics, args, device):
    """Return new metrics with the interface of metrics.py.

    Args:
        metrics: a torchmetrics.Metric or MetricCollection, a function, a MetricFunction, a dict from name to one of
            these, or a list of them; or an object with the methods and attributes of metrics.Metrics.
        args: options; uses task, num_classes and class_names.
        device: torch.device of the predictions.

    Raises:
        DanluError: a metric is of another type, or a name cannot be a column of history.csv.
    """
    if is_stateful_metric(metrics) and hasattr(metrics, 'monitor'):
        own = copy.deepcopy(metrics)
        own.reset()
        return own
    return ReadyMetrics(metrics, args, device)


def is_stateful_metric(metric):
    """Return whether a metric keeps its own state (bool): it has update, compute and reset, like torchmetrics."""
    return all(callable(getattr(metric, name, None)) for name in ('update', 'compute', 'reset'))


class ReadyMetrics:
    """Ready-made metrics with the methods and attributes of metrics.Metrics.

    A value with several numbers, one per class, gives the values name/0, name/1 ... (class names instead of numbers if
    there are as many), and their mean as name. A function in a dictionary that returns a dictionary gives name_key for
    each key; a single function gives its keys. With one logit per sample, functions get targets in the shape of the
    predictions, torchmetrics get both as (N,), with int64 targets.

    Attributes:
        monitor: the first value with a known direction, else 'loss'.
        mode, directions: as in metrics.Metrics.
        names: names of the metrics (list of str).
    """

    def __init__(self, metrics, args, device):
        self.args, self.device = args, device
        self.parts = {name: wrap_metric(name, metric, device) for name, metric in metrics_by_name(metrics).items()}
        self.alone = not isinstance(metrics, Mapping | list | tuple)
        self.directions = {}
        for name, part in self.parts.items():
            self.directions |= part.directions(name)
        self.monitor = next(iter(self.directions), 'loss')
        self.mode = self.directions.get(self.monitor, 'min')
        self.names = [key for name, part in self.parts.items() for key in part.names(name)]
        alone = [name for name, part in self.parts.items() if not part.can_merge()]
        if alone and processes.count() > 1:
            raise DanluError(f'metric {alone[0]} cannot be added up over processes: merge_state cannot do it')
        self.reset()

    def __copy__(self):
        """Return a copy with its own state."""
        return copy.deepcopy(self)

    def metric_sources(self):
        """Return the classes and functions (list) that were passed in, for the record of the code."""
        return [part.source_object() for part in self.parts.values()]

    def may_return(self, name):
        """Return whether a value may have this name (bool); the keys of a returned dictionary are not known before."""
        beginnings = tuple(f'{known}_' for known in self.names)
        return self.alone or name in (*self.names, *self.directions) or name.startswith(beginnings)

    def knows_direction(self, name):
        """Return whether it is known which values of a metric or loss are better (bool)."""
        return name in self.directions or name.partition('_')[0] == 'loss' or not self.may_return(name)

    def reset(self):
        """Start a new pass."""
        self.kept = []
        for part in self.parts.values():
            part.reset()

    def update(self, predictions, targets):
        """Count one batch: predictions as the network returned them, and targets, on one device."""
        for part in self.parts.values():
            part.update(*part.inputs(self.args, predictions, targets))
        if any(isinstance(part, _WholeSetFunction) for part in self.parts.values()):
            self.kept.append((predictions.detach(), targets_like(self.args, predictions, targets)))

    def compute(self):
        """Return every value (dict from name to float); synchronises the device.

        Raises:
            DanluError: a value is not a number, or a name is repeated or contains a /.
        """
        found = {}
        with torch.inference_mode():
            whole = concat_pass(self.kept)
            for name, part in self.parts.items():
                for key, value in self._entries(name, part.compute(whole)).items():
                    if key in found:
                        raise DanluError(f'two metrics give a value called {key}: give them other names')
                    found[key] = value
        return found

    def running(self):
        """Return the values so far (dict) that are cheap: torchmetrics that keep sums, and means of batches.

        Functions of all samples are left out: they may be slow, or fail while a class is still missing.
        """
        with torch.inference_mode():
            cheap = {name: part.compute(None) for name, part in self.parts.items() if part.is_cheap()}
            found = [self._entries(name, value) for name, value in cheap.items()]
        return {key: value for entries in found for key, value in entries.items() if '/' not in key}

    def _entries(self, name, value):
        """Return the values that a metric's value (number, tensor or dict of these) stands for: dict name -> float."""
        if isinstance(value, Mapping):
            keys = {key: str(key) if self.alone or self._is_collection(name) else f'{name}_{key}' for key in value}
            entries = [self._entries(checked_metric_name(keys[key]), value[key]) for key in value]
            return {key: number for entry in entries for key, number in entry.items()}
        if torch.is_tensor(value) and value.dim() == 1 and len(value) > 1:
            labels = self.args.class_names if len(self.args.class_names or []) == len(value) else range(len(value))
            by_class = {f'{name}/{label}': number for label, number in zip(labels, value.tolist(), strict=True)}
            return {name: float(value.double().nanmean())} | by_class
        return {name: _number(name, value)}

    def _is_collection(self, name):
        return getattr(self.parts.get(name), 'is_collection', False)

    def state_dict(self):
        """Return the state of an unfinished pass (dict of tensors and plain values), or None: it cannot be saved."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        if None in states.values():
            return None
        return {'kept': [list(pair) for pair in self.kept], 'parts': states}

    def load_state_dict(self, state, device):
        """Restore the state of an unfinished pass on a device (torch.device)."""
        self.kept = [tuple(move_tensors(pair, device)) for pair in state['kept']]
        for name, part in self.parts.items():
            part.load_state_dict(move_tensors(state['parts'][name], device))

    def reduce_state(self):
        """Return what was counted so far (dict), for `merge`."""
        return self.state_dict()

    def merge(self, states, device):
        """Add the counts of other processes: list of the values of their `reduce_state`."""
        for state in states:
            self.kept += [tuple(move_tensors(pair, device)) for pair in state['kept']]
            for name, part in self.parts.items():
                part.merge(move_tensors(state['parts'][name], device))

    def check_targets(self):
        """Do nothing: the valid targets of these metrics are not known."""


def metrics_by_name(metrics):
    """Return ready-made metrics by name (dict): the given names, else the names of functions and classes.

    Raises:
        DanluError: a name is repeated, is not a str, or contains a /.
    """
    if isinstance(metrics, Mapping):
        return {checked_metric_name(name): metric for name, metric in metrics.items()}
    found = {}
    for metric in metrics if isinstance(metrics, list | tuple) else [metrics]:
        name = checked_metric_name(default_metric_name(metric))
        if name in found:
            raise DanluError(f"two metrics are called {name}: give a dict, metrics={{'name': metric, ...}}")
        found[name] = metric
    if not found:
        raise DanluError('metrics is empty: give at least one, or leave it out for those of the task')
    return found


def default_metric_name(metric):
    """Return the name of a metric that is given without one (str): 'binary_accuracy' for BinaryAccuracy."""
    metric = metric.function if isinstance(metric, MetricFunction) else metric
    name = getattr(metric, '__name__', None) or type(metric).__name__
    return 'metric' if name == '<lambda>' else re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()


def checked_metric_name(name):
    if not isinstance(name, str) or not name or '/' in name or name in ('loss', 'epoch'):
        raise DanluError(f'{name!r} cannot be the name of a metric: give a text without / other than loss and epoch')
    return name


def wrap_metric(name, metric, device):
    """Return the counter of one ready-made metric."""
    if is_stateful_metric(metric):
        return _MetricObject(metric, device)
    if not callable(metric):
        raise DanluError(
            f'metric {name} is of type {type(metric).__name__}: give a function (predictions, targets) -> number, or '
            'an object with update, compute and reset, as torchmetrics has'
        )
    if not isinstance(metric, MetricFunction):
        metric = MetricFunction(metric, getattr(metric, 'per_batch', False), getattr(metric, 'mode', None))
    return _BatchMean(metric) if metric.per_batch else _WholeSetFunction(metric)


class _WholeSetFunction:
    """A function of all samples of a pass; ReadyMetrics keeps the samples."""

    def __init__(self, metric):
        self.metric = metric

    def source_object(self):
        return self.metric.function

    def names(self, name):
        return [name]

    def directions(self, name):
        known = {} if self.metric.mode is not None else _directions_by_name()
        mode = self.metric.mode or known.get(name)
        return {name: mode} if mode else {}

    def inputs(self, args, predictions, targets):
        return predictions, targets_like(args, predictions, targets)

    def reset(self):
        """Do nothing: there is no state beyond the samples that ReadyMetrics keeps."""

    def update(self, predictions, targets):
        """Do nothing: ReadyMetrics keeps the samples."""

    def is_cheap(self):
        return False

    def compute(self, whole):
        if whole is None:
            raise DanluError('no sample was evaluated: the loader is empty')
        return self.metric.function(*whole)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        """Do nothing: there is no state."""

    def can_merge(self):
        return True

    def merge(self, state):
        """Do nothing: ReadyMetrics merges the samples."""


class _BatchMean(_WholeSetFunction):
    """The mean of a function's values over the batches. Does not synchronise the device."""

    def reset(self):
        self.sums, self.count, self.is_dict = {}, 0, False

    def update(self, predictions, targets):
        with torch.no_grad():
            value = self.metric.function(predictions.detach(), targets)
        self.is_dict = isinstance(value, Mapping)
        for key, number in value.items() if self.is_dict else [('', value)]:
            number = number.detach().double() if torch.is_tensor(number) else float(number)
            self.sums[key] = self.sums[key] + number if key in self.sums else number
        self.count += 1

    def is_cheap(self):
        return self.count > 0

    def compute(self, whole):
        if not self.count:
            raise DanluError('no sample was evaluated: the loader is empty')
        means = {key: total / self.count for key, total in self.sums.items()}
        return means if self.is_dict else means['']

    def state_dict(self):
        return {'sums': dict(self.sums), 'count': self.count, 'is_dict': self.is_dict}

    def load_state_dict(self, state):
        self.sums, self.count, self.is_dict = dict(state['sums']), state['count'], state['is_dict']

    def merge(self, state):
        for key, total in state['sums'].items():
            self.sums[key] = self.sums[key] + total if key in self.sums else total
        self.count, self.is_dict = self.count + state['count'], self.is_dict or state['is_dict']


class _MetricObject:
    """A metric with its own state: a torchmetrics.Metric, a MetricCollection, or an object with the same methods."""

    def __init__(self, metric, device):
        self.metric = copy.deepcopy(metric)
        if isinstance(self.metric, torch.nn.Module):
            self.metric.to(device)
        library = sys.modules.get('torchmetrics')
        self.is_collection = library is not None and isinstance(metric, library.MetricCollection)
        self.each = []  # the torchmetrics in it
        if library is not None and isinstance(metric, library.Metric | library.MetricCollection):
            self.each = [part for part in self.metric.modules() if isinstance(part, library.Metric)]
        for part in self.each:
            part.sync_on_compute = False  # Danlu merges the states of the processes

    def source_object(self):
        return type(self.metric)

    def names(self, name):
        return list(self.metric.keys()) if self.is_collection else [name]

    def directions(self, name):
        parts = dict(self.metric.items()) if self.is_collection else {name: self.metric}
        known = _directions_by_name()
        found = {}
        for key, part in parts.items():
            higher = getattr(part, 'higher_is_better', None)
            way = known.get(key) if higher is None else 'max' if higher else 'min'
            found |= {key: way} if way else {}
        return found

    def inputs(self, args, predictions, targets):
        return flatten_one_logit(args, predictions, targets)

    def reset(self):
        self.metric.reset()

    def update(self, predictions, targets):
        self.metric.update(predictions.detach(), targets)

    def is_cheap(self):
        kept = [default for part in self.each for default in part._defaults.values()]
        return (
            all(part._update_count for part in self.each) and bool(kept) and not any(isinstance(k, list) for k in kept)
        )

    def compute(self, whole):
        return self.metric.compute()

    def state_dict(self):
        if self.each:
            values = [{name: getattr(part, name) for name in part._defaults} for part in self.each]
            return {'values': values, 'counts': [part._update_count for part in self.each]}
        state = dict(self.metric.state_dict() if hasattr(self.metric, 'state_dict') else vars(self.metric))
        return state if can_be_saved(state) else None

    def load_state_dict(self, state):
        if self.each:
            for part, values, count in zip(self.each, state['values'], state['counts'], strict=True):
                for name, value in values.items():
                    setattr(part, name, value)
                part._update_count, part._computed = count, None
        elif hasattr(self.metric, 'load_state_dict'):
            self.metric.load_state_dict(state)
        else:
            vars(self.metric).update(state)

    def can_merge(self):
        return bool(self.each) and not any(part.full_state_update is not False for part in self.each)

    def merge(self, state):
        for part, values, count in zip(self.each, state['values'], state['counts'], strict=True):
            if count and part._update_count:
                part.merge_state(values)
            elif count:
                for name, value in values.items():
                    setattr(part, name, value)
            part._update_count, part._computed = part._update_count + count, None


def _directions_by_name():
    """Return the directions of the values of Danlu's own metrics (dict from name to 'max' or 'min')."""
    return {name: way for task in reversed(TASKS) for name, way in directions_of(task, ('auroc',)).items()}


def concat_pass(kept):
    """Return predictions and targets of all samples (two tensors), or None if there are none.

    Raises:
        DanluError: the batches are not tensors of one shape.
    """
    if not kept:
        return None
    try:
        return tuple(torch.cat([pair[place].float() if _is_half(pair[place]) else pair[place] for pair in kept])
                     for place in (0, 1))  # fmt: skip
    except (RuntimeError, TypeError, AttributeError) as error:
        raise DanluError(
            f'a metric function of all samples needs predictions and targets of one shape ({error}): use '
            'MetricFunction(function, per_batch=True), or an object with update, compute and reset'
        ) from error


def _is_half(value):
    return torch.is_tensor(value) and value.dtype in (torch.float16, torch.bfloat16)


def _number(name, value):
    """Return a metric's value as a float.

    Raises:
        DanluError: the value is not a number.
    """
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise DanluError(
            f'metric {name} gives a {type(value).__name__}: give a number, a tensor, or a dict from names to numbers'
        ) from None
