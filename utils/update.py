"""From a loss to new weights: backward and, once enough batches came together, the step of the optimizer."""

import torch
from torch import nn

from utils.ema import Ema


class Update:
    """Learns from losses, batch by batch.

        update.start_epoch()
        for ...: update(loss)
        update.finish()             # what an epoch of unknown length has left over

    The gradients of `accumulate` batches are averaged into one step, those of the last batches of an epoch however many
    there are; then they are clipped, the optimizer and the schedule step, and the averaged weights follow.

    Args:
        net: nn.Module that learns.
        optimizer: torch.optim.Optimizer of its parameters.
        schedule: utils.optim.Schedule.
        args: options; accumulate, clip_norm, clip_value and ema count.
        batches: of an epoch (int), or None: not known.

    Attributes:
        steps: optimizer steps so far; may be set when a run goes on.
        scaler: torch.amp.GradScaler, which passes everything through until it is replaced by one that is enabled.
        ema: utils.ema.Ema, or None.
    """

    def __init__(self, net, optimizer, schedule, args, batches):
        self.net, self.optimizer, self.schedule, self.batches = net, optimizer, schedule, batches
        self.accumulate, self.clip_norm, self.clip_value = args.accumulate, args.clip_norm, args.clip_value
        self.scaler = torch.amp.GradScaler(enabled=False)
        self.ema = None if args.ema is None else Ema(net, args.ema)
        self.steps, self.left, self.waiting, self.together = 0, batches, 0, 1

    def start_epoch(self, done=0):
        """Begin to count an epoch's batches, of which `done` (int) were learned from before the run was resumed."""
        self.left = None if self.batches is None else self.batches - done
        if not done:
            self.waiting = 0

    def waiting_state(self):
        """Return the gradients that wait for their step, and for how many batches (dict), or None: none wait."""
        if not self.waiting:
            return None
        gradients = [parameter.grad for parameter in self.net.parameters()]
        return {'batches': self.waiting, 'together': self.together, 'gradients': gradients}

    def load_waiting_state(self, state):
        """Go on where `waiting_state` was taken."""
        if state is None:
            return
        self.waiting, self.together = state['batches'], state['together']
        for parameter, gradient in zip(self.net.parameters(), state['gradients'], strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)

    def __call__(self, loss):
        """Learn from a batch: `loss` is a 0-d tensor, the mean over it. Never waits for the device."""
        if not self.waiting:
            self.optimizer.zero_grad(set_to_none=True)
            self.together = self.accumulate if self.left is None else max(1, min(self.accumulate, self.left))
        self.waiting += 1
        if self.left is not None:
            self.left -= 1
        self.scaler.scale(loss / self.together if self.together > 1 else loss).backward()
        if self.waiting == self.together:
            self.finish()

    def finish(self):
        """Take the optimizer's step now, if gradients wait for it."""
        if not self.waiting:
            return
        self.waiting = 0
        if self.clip_norm is not None or self.clip_value is not None:
            self.scaler.unscale_(self.optimizer)
            self.clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.steps += 1
        if self.ema is not None:
            self.ema.update()

    def clip(self):
        """Bring the gradients into bounds, by the norm of all together (Pascanu et al. 2013) or one by one."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip_norm)
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(self.net.parameters(), self.clip_value)
