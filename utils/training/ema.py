"""--ema: weights averaged over steps, which often test better than the last ones (Polyak and Juditsky 1992)."""

from contextlib import contextmanager
from itertools import chain

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from utils.runs.checkpoint import unwrap_model


class Ema:
    """An exponential moving average of a network's parameters and buffers (torch.optim.swa_utils.AveragedModel).

    Args:
        net: nn.Module on its device; a copy of the network holds the average.
        decay: share of the old average that each step keeps, from 0 to below 1. After n steps it is at most
            (1 + n) / (10 + n), so that short runs do not average over random weights (as in TensorFlow's
            ExponentialMovingAverage and timm).
    """

    def __init__(self, net, decay):
        self.net, self.decay = unwrap_model(net), decay
        self.average = AveragedModel(self.net, use_buffers=True)

    def update(self):
        """Update the average after an optimizer step; never waits for the device."""
        done = int(self.average.n_averaged)  # on the CPU, whatever the network's device
        average_into = get_ema_multi_avg_fn(min(self.decay, (1 + done) / (10 + done)))
        groups = {}  # by device and dtype, as torch's multi-tensor functions need
        for averaged, trained in self._pairs():
            averages, weights = groups.setdefault((averaged.device, averaged.dtype), ([], []))
            averages.append(averaged.detach())
            weights.append(trained.detach())
        for averages, weights in groups.values():
            if done:  # AveragedModel.update_parameters would copy n_averaged to the GPU and wait
                average_into(averages, weights, done)
            else:
                torch._foreach_copy_(averages, weights)
        self.average.n_averaged += 1

    @contextmanager
    def in_network(self):
        """Return a context in which the network has the averaged weights, exchanged without a copy."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _pairs(self):
        averages, weights = (chain(net.parameters(), net.buffers()) for net in (self.average.module, self.net))
        return zip(averages, weights, strict=True)

    def _exchange(self):
        for averaged, trained in self._pairs():
            averaged.data, trained.data = trained.data, averaged.data

    def state_dict(self):
        """Return the averaged weights and the number of steps (dict of plain values and tensors)."""
        return {'model': self.average.module.state_dict(), 'steps': int(self.average.n_averaged)}

    def load_state_dict(self, state):
        """Restore what `state_dict` returned."""
        self.average.module.load_state_dict(state['model'])
        self.average.n_averaged.fill_(state['steps'])
