"""From a loss to new weights: backward and, once enough batches came together, the step of the optimizer."""

import warnings
from contextlib import nullcontext

import torch
from torch import nn

from utils.distributed import processes
from utils.training.accumulation import Accumulation
from utils.training.ema import Ema
from utils.training.nonfinite_guard import NonFiniteError, NonFiniteGuard


class OptimizerStep:
    """Learns from losses, batch by batch.

        update.start_epoch()
        for ...: update(loss, parts)
        update.finish()             # what an epoch of unknown length has left over

    The gradients of `accumulate` batches make one step, those of the last batches of an epoch however many there are,
    as if these batches were one: see utils.training.accumulation. Then they are clipped, the optimizer and the schedule
    step, and the averaged weights follow.

    What is not finite raises utils.training.nonfinite_guard.NonFiniteError before the optimizer's step, and the
    network's buffers are as before the batch. Of a batch whose loss is not finite there is no gradient, the step is the
    mean over the others that it has; a step whose gradient is not finite is not taken at all. Either way it counts as a
    step of the schedule, which stays a function of the position. With a scaler that is enabled gradients may overflow,
    which it sees to by itself.

    Args:
        net: nn.Module that learns.
        optimizer: torch.optim.Optimizer of its parameters.
        schedule: utils.training.optim.Schedule.
        args: options; accumulate, clip_norm, clip_value, ema and on_nan count.
        batches: of an epoch (int), or None: not known.

    Attributes:
        steps: optimizer steps so far, those left out too; may be set when a run goes on.
        taken: optimizer steps of this process without those left out.
        number: of the batch at hand within its epoch, by which NonFiniteError names it; set from outside.
        guard: utils.training.nonfinite_guard.NonFiniteGuard.
        scaler: torch.amp.GradScaler, which passes everything through until it is replaced by one that is enabled.
        ema: utils.training.ema.Ema, or None.
        accumulation: utils.training.accumulation.Accumulation.
        learned: the network's parameters that the optimizer changes (list).
    """

    def __init__(self, net, optimizer, schedule, args, batches):
        self.net, self.optimizer, self.schedule, self.batches = net, optimizer, schedule, batches
        self.accumulate, self.clip_norm, self.clip_value = args.accumulate, args.clip_norm, args.clip_value
        self.scaler = torch.amp.GradScaler(enabled=False)
        self.ema = None if args.ema is None else Ema(net, args.ema)
        self.accumulation, self.counts_alike = Accumulation(net), False
        self.steps, self.left, self.waiting, self.together = 0, batches, 0, 1
        # What a resumed run takes its state up in, and its first step with that:
        # utils.training.resume.refusing_changed.
        self.refusing_changed = nullcontext
        self.taken, self.number, self.numbers, self.lost = 0, 0, [], 0  # lost: batches of this step left out
        held = {id(parameter) for group in optimizer.param_groups for parameter in group['params']}
        self.learned = [parameter for parameter in net.parameters() if id(parameter) in held]
        self.guard, self.leaves_out = NonFiniteGuard(net, optimizer, waits=args.on_nan != 'stop'), args.on_nan != 'stop'

    def start_epoch(self, done=0):
        """Begin to count an epoch's batches, of which `done` (int) were learned from before the run was resumed."""
        self.left = None if self.batches is None else self.batches - done
        if not done:
            self.waiting = 0
        self.guard.keep_buffers()

    def ends_step(self):
        """Return whether the optimizer steps after the next batch, or may do so (bool)."""
        together = self.together if self.waiting else self._coming_together()
        if self.sums_apart() and together > 1:
            return False  # `finish` averages the gradients over the processes
        return self.left is None or self.leaves_out or self.waiting + 1 >= together

    def sums_apart(self):
        """Return whether the gradients of a loss's parts are added up separately (bool)."""
        return self.accumulate > 1 and len({*self.accumulation.alike.values()}) > 1

    def _coming_together(self):
        """Return how many batches the next step takes (int)."""
        return self.accumulate if self.left is None else max(1, min(self.accumulate, self.left))

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
                'gradients': gradients, 'accumulation': self.accumulation.state_dict()}  # fmt: skip

    def load_waiting_state(self, state):
        """Go on where `waiting_state` was taken."""
        if state is None:
            return
        self.waiting, self.together = state['batches'], state['together']
        self.lost, self.numbers = state.get('lost', 0), list(state.get('numbers', []))
        for parameter, gradient in zip(self.net.parameters(), state['gradients'], strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)
        learned = self.waiting - self.lost
        self.counts_alike = 'accumulation' not in state  # of an earlier version, whose batches all counted alike
        as_then = {'together': self.together, 'references': {'': 1}, 'totals': {'': learned}, 'kept': {}}
        self.accumulation.load_state_dict(state.get('accumulation', as_then))

    def __call__(self, loss, parts=None):
        """Learn from a batch. Waits for a GPU only where utils.training.nonfinite_guard does.

        Args:
            loss: 0-d tensor, the mean over the batch.
            parts: what it consists of, as utils.training.engine.Engine.loss_parts has them: by them batches count that
                make one step. None: all batches count alike.

        Raises:
            NonFiniteError: this loss, the gradient of its step or, on a GPU, something of a step before is not finite.
        """
        self.guard.raise_pending()
        if not self.waiting:
            self.optimizer.zero_grad(set_to_none=True)
            self.together, self.lost, self.numbers, self.counts_alike = self._coming_together(), 0, [], False
            self.accumulation.start()
        self.waiting += 1
        self.numbers.append(self.number)
        if self.left is not None:
            self.left -= 1
        finite, steps = self.guard.is_finite(loss), self.steps
        if finite and self.together == 1:
            self._scaled(loss).backward()
        elif finite:
            self.accumulation.add(loss, None if self.counts_alike else parts, self.together, self._scaled)
        else:
            self.lost += 1
            self.guard.restore()
            if self.guard.broken:
                raise NonFiniteError('loss', [self.number], steps, loss.item())
        if self.waiting == self.together:
            self.finish()
        if not finite:
            raise NonFiniteError('loss', [self.number], steps, loss.item())
        self.guard.keep_buffers()

    def _scaled(self, loss):
        """Return a loss multiplied by what keeps gradients of 16 bits from vanishing."""
        return self.scaler.scale(self.guard.mask_loss(loss) if self.scaler.is_enabled() else loss)

    def finish(self):
        """Take the optimizer's step now, if gradients wait for it.

        Raises:
            NonFiniteError: the gradient is not finite.
        """
        if not self.waiting:
            return
        waited, self.waiting, steps = self.waiting, 0, self.steps
        if self.together > 1:
            self.accumulation.finish()
            if self.sums_apart():
                processes.average_tensors([p.grad for p in self.net.parameters() if p.grad is not None])
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
            raise NonFiniteError('gradient', self.numbers, steps)

    def take_step(self):
        """Step with the gradients that are there."""
        if self.clip_norm is not None or self.clip_value is not None:
            self.scaler.unscale_(self.optimizer)
            self.clip()
        with self.refusing_changed():
            self.guard.step(self.scaler)
        self.refusing_changed = nullcontext
        self.scaler.update()
        self.taken += 1
        if self.ema is not None:
            self.ema.update()

    def clip(self):
        """Bring the gradients into bounds, by the norm of all together (Pascanu et al. 2013) or one by one."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.learned, self.clip_norm)
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(self.learned, self.clip_value)
