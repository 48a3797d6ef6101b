"""From a loss to new weights: backward and, once enough batches came together, the step of the optimizer."""

import warnings

import torch
from torch import nn

from utils.ema import Ema
from utils.finite import Diverged, Guard


class Update:
    """Learns from losses, batch by batch.

        update.start_epoch()
        for ...: update(loss)
        update.finish()             # what an epoch of unknown length has left over

    The gradients of `accumulate` batches are averaged into one step, those of the last batches of an epoch however many
    there are; then they are clipped, the optimizer and the schedule step, and the averaged weights follow.

    What is not finite raises utils.finite.Diverged before the optimizer's step, and the network's buffers are as before
    the batch. Of a batch whose loss is not finite there is no gradient, the step is the mean over the others that it
    has; a step whose gradient is not finite is not taken at all. Either way it counts as a step of the schedule, which
    stays a function of the position. With a scaler that is enabled gradients may overflow, which it sees to by itself.

    Args:
        net: nn.Module that learns.
        optimizer: torch.optim.Optimizer of its parameters.
        schedule: utils.optim.Schedule.
        args: options; accumulate, clip_norm, clip_value, ema and on_nan count.
        batches: of an epoch (int), or None: not known.

    Attributes:
        steps: optimizer steps so far, those left out too; may be set when a run goes on.
        taken: optimizer steps of this process without those left out.
        number: of the batch at hand within its epoch, by which Diverged names it; set from outside.
        guard: utils.finite.Guard.
        scaler: torch.amp.GradScaler, which passes everything through until it is replaced by one that is enabled.
        ema: utils.ema.Ema, or None.
    """

    def __init__(self, net, optimizer, schedule, args, batches):
        self.net, self.optimizer, self.schedule, self.batches = net, optimizer, schedule, batches
        self.accumulate, self.clip_norm, self.clip_value = args.accumulate, args.clip_norm, args.clip_value
        self.scaler = torch.amp.GradScaler(enabled=False)
        self.ema = None if args.ema is None else Ema(net, args.ema)
        self.steps, self.left, self.waiting, self.together = 0, batches, 0, 1
        self.taken, self.number, self.numbers, self.lost = 0, 0, [], 0  # lost: batches of this step left out
        self.guard, self.leaves_out = Guard(net, optimizer, waits=args.on_nan != 'stop'), args.on_nan != 'stop'

    def start_epoch(self, done=0):
        """Begin to count an epoch's batches, of which `done` (int) were learned from before the run was resumed."""
        self.left = None if self.batches is None else self.batches - done
        if not done:
            self.waiting = 0
        self.guard.keep_buffers()

    def ends_step(self):
        """Return whether the optimizer steps after the next batch, or may do so (bool)."""
        if self.accumulate == 1 or self.left is None or self.leaves_out:
            return True
        together = self.together if self.waiting else max(1, min(self.accumulate, self.left))
        return self.waiting + 1 >= together

    def open_batches(self):
        """Return the numbers (list of int) of the batches whose step is not done or not known to be finite."""
        late = [number for _, _, diverged, _ in self.guard.waiting for number in diverged.batches]
        return [*late, *(self.numbers if self.waiting else [])]

    def waiting_state(self):
        """Return the gradients that wait for their step, and for how many batches (dict), or None: none wait."""
        if not self.waiting:
            return None
        gradients = [parameter.grad for parameter in self.net.parameters()]
        return {'batches': self.waiting, 'together': self.together, 'lost': self.lost, 'numbers': self.numbers,
                'gradients': gradients}  # fmt: skip

    def load_waiting_state(self, state):
        """Go on where `waiting_state` was taken."""
        if state is None:
            return
        self.waiting, self.together = state['batches'], state['together']
        self.lost, self.numbers = state.get('lost', 0), list(state.get('numbers', []))
        for parameter, gradient in zip(self.net.parameters(), state['gradients'], strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)

    def __call__(self, loss):
        """Learn from a batch: `loss` is a 0-d tensor, the mean over it. Waits for a GPU only where utils.finite does.

        Raises:
            Diverged: this loss, the gradient of its step or, on a GPU, something of a step before is not finite.
        """
        self.guard.raise_late()
        if not self.waiting:
            self.optimizer.zero_grad(set_to_none=True)
            self.together = self.accumulate if self.left is None else max(1, min(self.accumulate, self.left))
            self.lost, self.numbers = 0, []
        self.waiting += 1
        self.numbers.append(self.number)
        if self.left is not None:
            self.left -= 1
        finite, steps = self.guard.passes(loss), self.steps
        if finite:
            loss = self.guard.passing(loss) if self.scaler.is_enabled() else loss
            self.scaler.scale(loss / self.together if self.together > 1 else loss).backward()
        else:
            self.lost += 1
            self.guard.restore()
            if self.guard.broken:
                raise Diverged('loss', [self.number], steps, loss.item())
        if self.waiting == self.together:
            self.finish()
        if not finite:
            raise Diverged('loss', [self.number], steps, loss.item())
        self.guard.keep_buffers()

    def finish(self):
        """Take the optimizer's step now, if gradients wait for it.

        Raises:
            Diverged: the gradient is not finite.
        """
        if not self.waiting:
            return
        waited, self.waiting, steps = self.waiting, 0, self.steps
        # A scaler lets gradients overflow, and leaves those steps out itself.
        finite = self.scaler.is_enabled() or self.guard.gradients_pass()
        self.steps += 1
        if finite and not self.guard.broken and self.lost < waited:
            self.take_step()
            self.guard.note(self.numbers, steps)
            self.schedule.step()
            return
        with warnings.catch_warnings():  # that the optimizer has not stepped yet
            warnings.simplefilter('ignore')
            self.schedule.step()
        if not finite or self.guard.broken:
            self.guard.restore()
            raise Diverged('gradient', self.numbers, steps)

    def take_step(self):
        """Step with the gradients that are there."""
        if self.lost:
            for parameter in self.net.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(self.together / (self.together - self.lost))
        if self.clip_norm is not None or self.clip_value is not None:
            self.scaler.unscale_(self.optimizer)
            self.clip()
        self.guard.step(self.scaler)
        self.scaler.update()
        self.taken += 1
        if self.ema is not None:
            self.ema.update()

    def clip(self):
        """Bring the gradients into bounds, by the norm of all together (Pascanu et al. 2013) or one by one."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip_norm)
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(self.net.parameters(), self.clip_value)
