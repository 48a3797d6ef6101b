"""Weights averaged over the last steps: they test better than those of one step (Polyak and Juditsky 1992)."""

from contextlib import contextmanager
from itertools import chain

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from utils.runs.checkpoint import unwrap_model


class Ema:
    """An exponential moving average of a network's parameters and buffers (torch.optim.swa_utils.AveragedModel).

    Args:
        net: nn.Module on its device; a copy of it holds the average.
        decay: from 0 to below 1, share of the old average that each step keeps. The first steps keep less, at most
            (1 + n) / (10 + n) after n of them, or short runs would average over random weights (as in TensorFlow's
            ExponentialMovingAverage and timm).
    """

    def __init__(self, net, decay):
        self.net, self.decay = unwrap_model(net), decay
        self.average = AveragedModel(self.net, use_buffers=True)

    def update(self):
        """Go on after an optimizer step; never waits for the device."""
        done = int(self.average.n_averaged)  # it is on the CPU, wherever the network is
        into = get_ema_multi_avg_fn(min(self.decay, (1 + done) / (10 + done)))
        groups = {}  # of one device and type, which torch's functions for many tensors take
        for averaged, trained in self._pairs():
            mine, its = groups.setdefault((averaged.device, averaged.dtype), ([], []))
            mine.append(averaged.detach())
            its.append(trained.detach())
        for mine, its in groups.values():
            if done:  # AveragedModel.update_parameters would copy this number to the GPU, and wait
                into(mine, its, done)
            else:
                torch._foreach_copy_(mine, its)
        self.average.n_averaged += 1

    @contextmanager
    def in_network(self):
        """Let the network have the averaged weights in the body of the `with`; no copy is made."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _pairs(self):
        mine, its = (chain(net.parameters(), net.buffers()) for net in (self.average.module, self.net))
        return zip(mine, its, strict=True)

    def _exchange(self):
        for averaged, trained in self._pairs():
            averaged.data, trained.data = trained.data, averaged.data

    def state_dict(self):
        """Return the averaged weights and after how many steps they are so (dict of plain values and tensors)."""
        return {'model': self.average.module.state_dict(), 'steps': int(self.average.n_averaged)}

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken."""
        self.average.module.load_state_dict(state['model'])
        self.average.n_averaged.fill_(state['steps'])
