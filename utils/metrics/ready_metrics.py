"""Metrics handed over as objects: torchmetrics, functions of (predictions, targets), or a dictionary of them.

    Trainer(args, ..., metrics={'acc': torchmetrics.Accuracy('multiclass', num_classes=10), 'error': error_of})
    Trainer(args, ..., metrics=MetricFunction(error_of, mode='min'))

A function is called once, at the end of a pass, with the predictions and targets of all samples: the value is exact
however uneven the batches are, also of a metric that is no mean (F1, a rank correlation). Until then the predictions
of the pass stay on the device. `MetricFunction(function, per_batch=True)` is the mean of the values of the batches
instead, as many templates have it: it keeps nothing, and the last, smaller batch counts as much as the others.
"""

import copy
import re
import sys
from collections.abc import Mapping

import torch

from utils.base.errors import DanluError
from utils.distributed import processes
from utils.metrics.base import move_tensors
from utils.options.metric_options import directions_of
from utils.tasks.one_logit import flattened, targets_like
from utils.tasks.tasks import TASKS

PLAIN_NUMBERS = (int, float)


class MetricFunction:
    """A function as a metric, with what Danlu cannot know of it.

    Args:
        function: (predictions, targets) -> number, 0-d tensor, or dict from a name to one of these.
        per_batch: call it for each batch, and take the mean of the batches' values (bool).
        mode: 'max' or 'min', which values are better; needed where it is monitored.
    """

    def __init__(self, function, per_batch=False, mode=None):
        if not callable(function):
            raise DanluError(f'MetricFunction takes a function (predictions, targets), not {type(function).__name__}')
        if mode not in (None, 'max', 'min'):
            raise DanluError(f"mode of a MetricFunction is 'max' or 'min', not {mode!r}")
        self.function, self.per_batch, self.mode = function, per_batch, mode

    def __call__(self, predictions, targets):
        """Return what the function returns."""
        return self.function(predictions, targets)


def ready_metrics(metrics, args, device):
    """Return new metrics as the evaluation uses them (see metrics.py), with nothing counted yet.

    Args:
        metrics: a torchmetrics.Metric or MetricCollection, a function, a MetricFunction, a dict from a name to one of
            these, or a list of them; or an object with the methods and attributes of metrics.Metrics.
        args: options; task, num_classes and class_names count.
        device: torch.device of the predictions.

    Raises:
        DanluError: one of them is something else, or a name cannot be a column of history.csv.
    """
    if is_object(metrics) and hasattr(metrics, 'monitor'):
        own = copy.deepcopy(metrics)
        own.reset()
        return own
    return ReadyMetrics(metrics, args, device)


def is_object(metric):
    """Return whether a metric counts by itself (bool): it has update, compute and reset, as those of torchmetrics."""
    return all(callable(getattr(metric, name, None)) for name in ('update', 'compute', 'reset'))


class ReadyMetrics:
    """Ready-made metrics with the methods and attributes of metrics.Metrics.

    A value of several numbers, one per class, becomes the entries name/0, name/1 ..., by the names of the classes where
    there are as many, and their mean the entry name. A function in a dictionary that returns a dictionary gives
    name_key for each key; one that is alone gives its keys. Of one logit per sample, functions get targets in the shape
    of the predictions, torchmetrics get both as (N,), with int64 targets.

    Attributes:
        monitor: the first value for which it is known which way is better, else 'loss'.
        mode, directions: as metrics.Metrics has them.
        names: names of the metrics (list of str).
    """

    def __init__(self, metrics, args, device):
        self.args, self.device = args, device
        self.parts = {name: _part(name, metric, device) for name, metric in named(metrics).items()}
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
        """Return a copy that counts for itself."""
        return copy.deepcopy(self)

    def given(self):
        """Return the classes and functions (list) that were handed over, for the record of the code."""
        return [part.origin() for part in self.parts.values()]

    def may_return(self, name):
        """Return whether there may be a value of this name (bool); of a dictionary nobody knows before it is there."""
        beginnings = tuple(f'{known}_' for known in self.names)
        return self.alone or name in (*self.names, *self.directions) or name.startswith(beginnings)

    def knows_direction(self, name):
        """Return whether it is known which values of a metric or a loss are better (bool)."""
        return name in self.directions or name.partition('_')[0] == 'loss' or not self.may_return(name)

    def reset(self):
        """Forget everything that was counted."""
        self.kept = []
        for part in self.parts.values():
            part.reset()

    def update(self, predictions, targets):
        """Count one batch: predictions as the network gave them, and targets, on one device."""
        for part in self.parts.values():
            part.update(*part.inputs(self.args, predictions, targets))
        if any(isinstance(part, _WholeSetFunction) for part in self.parts.values()):
            self.kept.append((predictions.detach(), targets_like(self.args, predictions, targets)))

    def compute(self):
        """Return every value (dict from name to float); waits for the device.

        Raises:
            DanluError: a value is no number, or a name is there twice or holds a /.
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
        """Return the values so far (dict) of what is cheap: torchmetrics that keep sums, and means of batches.

        A function of all samples is left out: it may take long, or fail where a class is still missing.
        """
        with torch.inference_mode():
            cheap = {name: part.compute(None) for name, part in self.parts.items() if part.is_cheap()}
            found = [self._entries(name, value) for name, value in cheap.items()]
        return {key: value for entries in found for key, value in entries.items() if '/' not in key}

    def _entries(self, name, value):
        """Return what a metric's value (number, tensor or dict of these) becomes: dict from name to float."""
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
        return (
            isinstance(self.parts[name], _MetricObject) and self.parts[name].is_collection
            if name in self.parts
            else False
        )

    def state_dict(self):
        """Return what this pass has come to so far (dict of tensors and plain values); None: it cannot be saved."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        if None in states.values():
            return None
        return {'kept': [list(pair) for pair in self.kept], 'parts': states}

    def load_state_dict(self, state, device):
        """Go on with a pass where `state_dict` was taken, on a device (torch.device)."""
        self.kept = [tuple(move_tensors(pair, device)) for pair in state['kept']]
        for name, part in self.parts.items():
            part.load_state_dict(move_tensors(state['parts'][name], device))

    def reduce_state(self):
        """Return what was counted so far (dict), for `merge`."""
        return self.state_dict()

    def merge(self, states, device):
        """Add what others have counted: list of what their `reduce_state` returned."""
        for state in states:
            self.kept += [tuple(move_tensors(pair, device)) for pair in state['kept']]
            for name, part in self.parts.items():
                part.merge(move_tensors(state['parts'][name], device))

    def check_targets(self):
        """Do nothing: what targets these metrics take is not known."""


def named(metrics):
    """Return ready-made metrics by their names (dict): those given, else those of functions and classes.

    Raises:
        DanluError: a name is there twice, is no text, or holds a /.
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
    """Return what a metric without a name is called (str): 'binary_accuracy' of BinaryAccuracy."""
    metric = metric.function if isinstance(metric, MetricFunction) else metric
    name = getattr(metric, '__name__', None) or type(metric).__name__
    return 'metric' if name == '<lambda>' else re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()


def checked_metric_name(name):
    if not isinstance(name, str) or not name or '/' in name or name in ('loss', 'epoch'):
        raise DanluError(f'{name!r} cannot be the name of a metric: give a text without / other than loss and epoch')
    return name


def _part(name, metric, device):
    """Return what counts for one ready-made metric."""
    if is_object(metric):
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
    """A function of all samples of a pass, which ReadyMetrics keeps."""

    def __init__(self, metric):
        self.metric = metric

    def origin(self):
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
        """Do nothing: there is nothing but what ReadyMetrics keeps."""

    def update(self, predictions, targets):
        """Do nothing: likewise."""

    def is_cheap(self):
        return False

    def compute(self, whole):
        if whole is None:
            raise DanluError('no sample was evaluated: the loader is empty')
        return self.metric.function(*whole)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        """Do nothing: likewise."""

    def can_merge(self):
        return True

    def merge(self, state):
        """Do nothing: likewise."""


class _BatchMean(_WholeSetFunction):
    """The mean of a function's values of the batches. Does not wait for the device."""

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
    """An object that counts by itself: a torchmetrics.Metric, a MetricCollection, or one with the same methods."""

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
            part.sync_on_compute = False  # Danlu adds up what the processes have counted

    def origin(self):
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
        return flattened(args, predictions, targets)

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
        return state if _is_plain(state) else None

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
    """Return which way is better for the values that Danlu's own metrics have (dict from name to 'max' or 'min')."""
    return {name: way for task in reversed(TASKS) for name, way in directions_of(task, ('auroc',)).items()}


def concat_pass(kept):
    """Return predictions and targets of all samples (two tensors), or None: there is none.

    Raises:
        DanluError: the batches are no tensors of one shape.
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
        DanluError: it is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise DanluError(
            f'metric {name} gives a {type(value).__name__}: give a number, a tensor, or a dict from names to numbers'
        ) from None


def _is_plain(value):
    if isinstance(value, list | tuple | dict):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or type(value) in (bool, str, *PLAIN_NUMBERS) or torch.is_tensor(value)
