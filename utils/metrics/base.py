"""Base class of all metrics: batches are counted in groups, and an unfinished pass can be saved."""

import torch

NO_SAMPLE = 2**62  # in place of a sample's index
MAX_WAITING_NUMBERS = 2**20  # 4 MB of logits
MAX_WAITING_BATCHES = 2**10


class Metrics:
    """Base class of all metrics. Small batches are kept and counted together, which costs less per batch.

    A subclass defines `_check(predictions, targets)`, `_count(predictions, targets)` and `compute()`, and resets its
    sums in `reset`.

    Attributes:
        monitor: name of the value that selects the best checkpoint; mode: 'max' (higher is better) or 'min'.
        directions: dict from the name of a value to 'max' or 'min'; for other values 'max'.
        seen: number of samples counted in this pass, without those that wait (int).
        sum_fields, concat_fields: names of the attributes that `merge` sums (numbers, tensors or None) or concatenates.
    """

    monitor = None
    mode = 'max'
    directions = {}
    sum_fields, concat_fields = ('seen', '_counts', '_sums'), ('_kept',)

    @classmethod
    def from_args(cls, args):
        """Build the metrics from the options (see select_metrics)."""
        raise NotImplementedError(f'{cls.__name__} must define from_args(args)')

    def reset(self):
        """Start a new pass."""
        self._waiting, self._waiting_numbers = [], 0
        self.seen = 0
        self._wrong = None  # 0-d tensor: index of the first sample of this pass with an invalid target, or NO_SAMPLE

    def update(self, predictions, targets):
        """Count one batch, perhaps later: batches wait until they hold a million numbers or there are a thousand.

        Args:
            predictions: the network's outputs, floating point, (N, ...), on any device.
            targets: as the task defines them, on the same device.

        Raises:
            DanluError: a shape or dtype is wrong. Values are checked in `compute`, as reading them synchronises.
        """
        self._check(predictions, targets)
        if self._waiting and self._waiting[0][0].shape[1:] != predictions.shape[1:]:
            self._count_waiting()
        self._waiting.append((predictions.detach(), targets))
        self._waiting_numbers += predictions.numel()
        if self._waiting_numbers >= MAX_WAITING_NUMBERS or len(self._waiting) >= MAX_WAITING_BATCHES:
            self._count_waiting()

    def compute(self):
        """Return every metric, a dict from name to float; synchronises the device.

        Raises:
            DanluError: nothing was counted, or targets are invalid.
        """
        raise NotImplementedError(f'{type(self).__name__} must define compute()')

    def running(self):
        """Return the values so far for progress lines, a dict from name to float; synchronises the device.

        It is called every --print_freq batches, so it holds only values that are cheap to compute.
        """
        return {}

    def state_dict(self):
        """Return the state of an unfinished pass: dict of tensors and plain values.

        None if an attribute cannot be saved in a checkpoint; a subclass may then override `state_dict`.
        """
        return dict(vars(self)) if can_be_saved(vars(self)) else None

    def load_state_dict(self, state, device):
        """Restore the state of an unfinished pass on a device (torch.device)."""
        for name, value in state.items():
            setattr(self, name, move_tensors(value, device))

    def reduce_state(self):
        """Return what was counted so far (dict), for `merge`; synchronises the device.

        Raises:
            DanluError: a target is invalid.
        """
        self._count_waiting()
        if self._first_wrong() is not None:
            self.compute()  # raises the error
        return {name: getattr(self, name) for name in (*self.sum_fields, *self.concat_fields) if hasattr(self, name)}

    def merge(self, states, device):
        """Add the counts of other processes.

        Args:
            states: list of the values of their `reduce_state`.
            device: torch.device for the sums.
        """
        for state in move_tensors(states, device):
            for name in self.sum_fields:
                own, other = getattr(self, name, None), state.get(name)
                setattr(self, name, other if own is None else own if other is None else own + other)
            for name in self.concat_fields:
                if name in state:
                    setattr(self, name, [*getattr(self, name), *state[name]])

    def check_targets(self):
        """Raise DanluError if an invalid target explains a loss that is not finite; synchronises the device."""

    def _count_waiting(self):
        """Count the batches that wait; a dozen small operations cost the same for one batch as for a hundred."""
        if self._waiting:
            predictions, targets = zip(*self._waiting, strict=True)
            single = len(predictions) == 1
            both = (predictions[0], targets[0]) if single else (torch.cat(predictions), torch.cat(targets))
            self._count(*both)
            self.seen += len(both[0])
        self._waiting, self._waiting_numbers = [], 0

    def _note_wrong(self, wrong):
        """Keep the index of the first sample with an invalid target, without synchronising the device.

        Args:
            wrong: bool (N,), for the samples that are counted.
        """
        numbers = torch.arange(self.seen, self.seen + len(wrong), device=wrong.device)
        first = torch.where(wrong, numbers, NO_SAMPLE).amin()
        self._wrong = first if self._wrong is None else torch.minimum(self._wrong, first)

    def _first_wrong(self):
        """Return the index of the first sample of this pass with an invalid target (int), or None; synchronises."""
        first = NO_SAMPLE if self._wrong is None else int(self._wrong)
        return None if first == NO_SAMPLE else first


def by_class(name, values, names):
    """Return {'<name>/<class>': float} for values (K,) and the names of the K classes."""
    return {f'{name}/{label}': value for label, value in zip(names, values.tolist(), strict=True)}


def can_be_saved(value):
    if isinstance(value, list | tuple | dict):
        return all(map(can_be_saved, value.values() if isinstance(value, dict) else value))
    return value is None or type(value) in (bool, int, float, str) or torch.is_tensor(value)


def move_tensors(value, device):
    if isinstance(value, list | tuple):
        return [move_tensors(item, device) for item in value]
    if isinstance(value, dict):
        return {key: move_tensors(item, device) for key, item in value.items()}
    return value.to(device) if torch.is_tensor(value) else value
