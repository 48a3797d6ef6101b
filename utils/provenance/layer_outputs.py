"""Statistics of what each layer of a network gets and gives, and the first layer that no longer gives the same.

A layer is a module without submodules; it is recorded for each call, in the order of the calls. Code between layers,
such as an addition in `forward`, shows as another input of the next layer.
"""

import math
from contextlib import contextmanager

import torch

SAMPLED_VALUES = 5  # of a tensor, evenly spaced
MAX_SAMPLE = 2**12  # values whose mean is recorded
MAX_CALLS = 1000  # a network may call a layer for each step of a sequence


class LayerLog:
    """The calls of the layers in a forward pass.

    Attributes:
        names, classes: of the layer of each call (lists of str).
        inputs, outputs: statistics of each call (lists of tensors (3 + SAMPLED_VALUES,) on the device of the network).
    """

    def __init__(self):
        self.names, self.classes, self.inputs, self.outputs = [], [], [], []

    @contextmanager
    def recording(self, net):
        """Record the calls of the layers of a network (nn.Module) in the body of the `with`."""
        hooks = []
        try:
            for name, module in net.named_modules():
                if not any(True for _ in module.children()):
                    hooks.append(module.register_forward_pre_hook(self._before(name)))
                    hooks.append(module.register_forward_hook(self._after))
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def _before(self, name):
        def note(module, inputs):
            if len(self.names) < MAX_CALLS:
                self.names.append(name)
                self.classes.append(type(module).__name__)
                self.inputs.append(statistics(inputs))  # now, as the layer may work in place

        return note

    def _after(self, module, inputs, output):
        if len(self.outputs) < len(self.names):
            self.outputs.append(statistics(output))

    def record(self):
        """Return what a checkpoint holds (dict): names, classes, and values, float32 (calls, 2, 3 + SAMPLED_VALUES)."""
        count = min(len(self.inputs), len(self.outputs))
        parts = [part for pair in zip(self.inputs[:count], self.outputs[:count], strict=True) for part in pair]
        device = next((part.device for part in parts if part.device.type != 'cpu'), 'cpu')  # waits for it once
        values = torch.stack([part.to(device) for part in parts]).cpu() if parts else torch.zeros(0)
        values = values.view(count, 2, 3 + SAMPLED_VALUES)
        return {'names': self.names[:count], 'classes': self.classes[:count], 'values': values}


def statistics(value):
    """Return the statistics of the first tensor in nested tuples, lists and dicts, float32 (3 + SAMPLED_VALUES,).

    These are the maximum of the absolute values, the root mean square, and the mean and single values of a sample.
    """
    while isinstance(value, dict | list | tuple):
        value = next(iter(value.values() if isinstance(value, dict) else value), None)
    if not torch.is_tensor(value) or not value.numel() or value.is_complex():
        return torch.zeros(3 + SAMPLED_VALUES, device=value.device if torch.is_tensor(value) else None)
    value = value.detach() if value.is_floating_point() else value.detach().float()
    most = int(MAX_SAMPLE ** (1 / max(value.dim(), 1)))  # of each dimension; without a copy of the whole tensor
    sample = value[tuple(slice(None, None, -(-size // most)) for size in value.shape)].reshape(-1).float()
    step = max((len(sample) - 1) // (SAMPLED_VALUES - 1), 1)
    chosen = sample[::step][:SAMPLED_VALUES]
    chosen = torch.nn.functional.pad(chosen, (0, SAMPLED_VALUES - len(chosen)))
    low, high = value.aminmax()
    size = torch.linalg.vector_norm(value, dtype=torch.float32) / math.sqrt(value.numel())
    return torch.cat([torch.stack([torch.maximum(-low, high).float(), size, sample.mean()]), chosen])


def first_difference(then, now, tolerance):
    """Return the first layer that does not give what it gave (str): 'features.1 (ReLU -> ReLU6)'; None if all do.

    Args:
        then, now: as `LayerLog.record` returns them.
        tolerance: relative to the largest value of the same tensor.
    """
    layers = [list(zip(each['names'], each['classes'], strict=True)) for each in (then, now)]
    same = _same_calls(then, now, tolerance)
    for call, (old, new) in enumerate(zip(*layers, strict=False)):
        if old[0] != new[0]:
            return f'{new[0]} ({new[1]}) is called where {old[0]} ({old[1]}) was'
        input_is_same, output_is_same = same[call].tolist()
        if not input_is_same:
            return f'the input of {new[0]} ({new[1]})'
        if not output_is_same:
            return f'{new[0]} ({new[1]})' if old[1] == new[1] else f'{new[0]} ({old[1]} -> {new[1]})'
    if len(layers[0]) != len(layers[1]):
        return f'{len(layers[1])} calls of layers, {len(layers[0])} when saved'
    return None


def _same_calls(then, now, tolerance):
    """Return whether input and output of each call are the same (bool tensor (calls, 2))."""
    count = min(len(then['values']), len(now['values']))
    old, new = (each['values'][:count].double() for each in (then, now))
    allowed = tolerance * old[..., :1].abs().nan_to_num(posinf=0.0).clamp(min=tolerance)
    close = (old == new) | (old.isnan() & new.isnan()) | ((new - old).abs() <= allowed)
    return close.all(dim=-1)
