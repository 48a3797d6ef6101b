"""The base of all metrics: batches that wait to be counted together, and the state of an unfinished pass."""

import torch

NO_SAMPLE = 2**62  # where the number of a sample is expected: there is none
MAX_WAITING_NUMBERS = 2**20  # numbers (4 MB of logits) that wait to be counted together
MAX_WAITING_BATCHES = 2**10  # batches that wait; of one number per sample, a million would be very many


class Metrics:
    """Base of all metrics: takes batches, lets small ones wait, and counts many of them at once.

    A subclass defines `_check(predictions, targets)`, `_count(predictions, targets)` and `compute()`, and forgets its
    sums in `reset`.

    Attributes:
        monitor: name of the value by which the best checkpoint is chosen; mode: 'max', higher is better, or 'min'.
        directions: dict from the name of a value to 'max' or 'min', which way is better; of others 'max'.
        seen: samples of this pass that were counted, those that wait not among them (int).
        sum_fields, concat_fields: names of what `merge` sums (numbers, tensors or None), and of lists that it joins.
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
        """Forget everything that was counted."""
        self._waiting, self._waiting_numbers = [], 0
        self.seen = 0
        self._wrong = None  # 0-d tensor: the first sample of this pass with a wrong target; none has NO_SAMPLE

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
        if self._waiting_numbers >= MAX_WAITING_NUMBERS or len(self._waiting) >= MAX_WAITING_BATCHES:
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
            setattr(self, name, move_tensors(value, device))

    def reduce_state(self):
        """Return what was counted so far (dict), for `merge`; waits for the device.

        Raises:
            DanluError: a target is wrong.
        """
        self._count_waiting()
        if self._first_wrong() is not None:
            self.compute()  # says which
        return {name: getattr(self, name) for name in (*self.sum_fields, *self.concat_fields) if hasattr(self, name)}

    def merge(self, states, device):
        """Add what others have counted.

        Args:
            states: list of what their `reduce_state` returned.
            device: torch.device on which the sums are to be.
        """
        for state in move_tensors(states, device):
            for name in self.sum_fields:
                own, other = getattr(self, name, None), state.get(name)
                setattr(self, name, other if own is None else own if other is None else own + other)
            for name in self.concat_fields:
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
        first = torch.where(wrong, numbers, NO_SAMPLE).amin()
        self._wrong = first if self._wrong is None else torch.minimum(self._wrong, first)

    def _first_wrong(self):
        """Return the number of the first sample of this pass with a wrong target (int), or None; waits."""
        first = NO_SAMPLE if self._wrong is None else int(self._wrong)
        return None if first == NO_SAMPLE else first


def by_class(name, values, names):
    """Return {'<name>/<class>': float} for values (K,) and the names of the K classes."""
    return {f'{name}/{label}': value for label, value in zip(names, values.tolist(), strict=True)}


def _can_be_saved(value):
    if isinstance(value, list | tuple | dict):
        return all(map(_can_be_saved, value.values() if isinstance(value, dict) else value))
    return value is None or type(value) in (bool, int, float, str) or torch.is_tensor(value)


def move_tensors(value, device):
    if isinstance(value, list | tuple):
        return [move_tensors(item, device) for item in value]
    if isinstance(value, dict):
        return {key: move_tensors(item, device) for key, item in value.items()}
    return value.to(device) if torch.is_tensor(value) else value
