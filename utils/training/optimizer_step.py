"""The optimizer step: backward pass, accumulation, clipping, optimizer, schedule and weight average."""

import warnings
from contextlib import nullcontext

import torch
from torch import nn

from utils.distributed import processes
from utils.training.accumulation import Accumulation
from utils.training.ema import Ema
from utils.training.nonfinite_guard import NonFiniteError, NonFiniteGuard


class OptimizerStep:
    """Turns losses into new weights, batch by batch.

        update.start_epoch()
        for ...: update(loss, parts)
        update.finish()             # the step of the batches that are left where the epoch's length is not known

    The gradients of `accumulate` batches make one step, as if these batches were one (utils.training.accumulation). The
    last step of an epoch may have fewer batches. The gradients are then clipped, the optimizer and the schedule step,
    and the weight average is updated.

    A loss or gradient that is not finite raises utils.training.nonfinite_guard.NonFiniteError before the optimizer's
    step, and the network's buffers are restored to their values before the batch. A batch with such a loss adds no
    gradient: its step is the mean over the other batches. A step with such a gradient is skipped. Both count as steps
    of the schedule, which depends on the position only. An enabled scaler handles overflowing gradients itself.

    Args:
        net: nn.Module to train.
        optimizer: torch.optim.Optimizer of its parameters.
        schedule: utils.training.optim.Schedule.
        args: options; accumulate, clip_norm, clip_value, ema and on_nan are used.
        batches: batches per epoch (int), or None: not known.

    Attributes:
        steps: optimizer steps so far, skipped ones included (int); set when a run is resumed.
        steps_taken: optimizer steps of this process without the skipped ones (int).
        batch_number: number of the current batch within its epoch (int), which NonFiniteError names; set by the caller.
        waiting_batches: batches whose gradients wait for their step (int).
        step_batches: batches of the current step (int); batch_numbers: their numbers; lost_batches: how many of them
            had a loss that is not finite.
        batches_left: batches that the epoch has left (int), or None: not known.
        guard: utils.training.nonfinite_guard.NonFiniteGuard.
        scaler: torch.amp.GradScaler, disabled until it is replaced by an enabled one.
        ema: utils.training.ema.Ema, or None.
        accumulation: utils.training.accumulation.Accumulation.
        trained_parameters: the network's parameters that the optimizer changes (list).
    """

    def __init__(self, net, optimizer, schedule, args, batches):
        self.net, self.optimizer, self.schedule, self.batches = net, optimizer, schedule, batches
        self.accumulate, self.clip_norm, self.clip_value = args.accumulate, args.clip_norm, args.clip_value
        self.scaler = torch.amp.GradScaler(enabled=False)
        self.ema = None if args.ema is None else Ema(net, args.ema)
        self.accumulation, self.weighs_equally = Accumulation(net), False
        self.steps, self.batches_left, self.waiting_batches, self.step_batches = 0, batches, 0, 1
        # A resumed run sets the context of loading its state and of the first step:
        # utils.training.resume.explain_state_errors.
        self.explain_state_errors = nullcontext
        self.steps_taken, self.batch_number, self.batch_numbers, self.lost_batches = 0, 0, [], 0
        optimized = {id(parameter) for group in optimizer.param_groups for parameter in group['params']}
        self.trained_parameters = [parameter for parameter in net.parameters() if id(parameter) in optimized]
        self.skips_nonfinite = args.on_nan != 'stop'
        self.guard = NonFiniteGuard(net, optimizer, is_synchronous=self.skips_nonfinite)

    def start_epoch(self, done=0):
        """Start an epoch, of which a resumed run trained on `done` (int) batches before."""
        self.batches_left = None if self.batches is None else self.batches - done
        if not done:
            self.waiting_batches = 0
        self.guard.save_buffers()

    def ends_step(self):
        """Return whether the optimizer steps, or may step, after the next batch (bool)."""
        step_batches = self.step_batches if self.waiting_batches else self._next_step_batches()
        if self.accumulates_by_part() and step_batches > 1:
            return False  # `finish` averages the gradients over the processes
        return self.batches_left is None or self.skips_nonfinite or self.waiting_batches + 1 >= step_batches

    def accumulates_by_part(self):
        """Return whether the gradients of the parts of a loss are accumulated separately (bool)."""
        return self.accumulate > 1 and len({*self.accumulation.group_of_part.values()}) > 1

    def _next_step_batches(self):
        """Return the number of batches of the next step (int)."""
        return self.accumulate if self.batches_left is None else max(1, min(self.accumulate, self.batches_left))

    def unconfirmed_batches(self):
        """Return the numbers (list of int) of batches whose step is not taken, or not known to be finite."""
        late = [number for _, _, diverged, _ in self.guard.pending_checks for number in diverged.batches]
        return [*late, *(self.batch_numbers if self.waiting_batches else [])]

    def accumulation_state(self):
        """Return the state (dict) of a step whose batches are not complete, or None where no gradients wait."""
        if not self.waiting_batches:
            return None
        counts = {'batches': self.waiting_batches, 'together': self.step_batches, 'lost': self.lost_batches}
        gradients = [parameter.grad for parameter in self.net.parameters()]
        accumulated = {'gradients': gradients, 'accumulation': self.accumulation.state_dict()}
        return {**counts, 'numbers': self.batch_numbers, **accumulated}

    def load_accumulation_state(self, state):
        """Restore what `accumulation_state` returned."""
        if state is None:
            return
        self.waiting_batches, self.step_batches = state['batches'], state['together']
        self.lost_batches, self.batch_numbers = state.get('lost', 0), list(state.get('numbers', []))
        for parameter, gradient in zip(self.net.parameters(), state['gradients'], strict=True):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)
        finite_batches = self.waiting_batches - self.lost_batches
        self.weighs_equally = 'accumulation' not in state  # earlier versions gave all batches the same weight
        older = {'together': self.step_batches, 'references': {'': 1}, 'totals': {'': finite_batches}, 'kept': {}}
        self.accumulation.load_state_dict(state.get('accumulation', older))

    def __call__(self, loss, parts=None):
        """Add a batch's gradients, and step when the step's batches are complete.

        Waits for a GPU only where utils.training.nonfinite_guard does.

        Args:
            loss: 0-d tensor, the mean over the batch.
            parts: parts of the loss, as utils.training.engine.Engine.loss_parts returns them: their counts are the
                weights of the batches of a step. None: all batches have the same weight.

        Raises:
            NonFiniteError: this loss or the gradient of its step is not finite; on a GPU also one of an earlier step.
        """
        self.guard.raise_pending()
        if not self.waiting_batches:
            self.optimizer.zero_grad(set_to_none=True)
            self.step_batches, self.lost_batches = self._next_step_batches(), 0
            self.batch_numbers, self.weighs_equally = [], False
            self.accumulation.start()
        self.waiting_batches += 1
        self.batch_numbers.append(self.batch_number)
        if self.batches_left is not None:
            self.batches_left -= 1
        finite, steps = self.guard.is_finite(loss), self.steps
        if finite and self.step_batches == 1:
            self._scaled(loss).backward()
        elif finite:
            parts = None if self.weighs_equally else parts
            self.accumulation.add(loss, parts, self.step_batches, self._scaled)
        else:
            self.lost_batches += 1
            self.guard.restore_buffers()
            if self.guard.is_stopped:
                raise NonFiniteError('loss', [self.batch_number], steps, loss.item())
        if self.waiting_batches == self.step_batches:
            self.finish()
        if not finite:
            raise NonFiniteError('loss', [self.batch_number], steps, loss.item())
        self.guard.save_buffers()

    def _scaled(self, loss):
        """Return a loss multiplied by the gradient scale, which keeps 16-bit gradients from underflowing."""
        return self.scaler.scale(self.guard.mask_loss(loss) if self.scaler.is_enabled() else loss)

    def finish(self):
        """Take the optimizer step now if gradients wait for it.

        Raises:
            NonFiniteError: the gradient is not finite.
        """
        if not self.waiting_batches:
            return
        waited, self.waiting_batches, steps = self.waiting_batches, 0, self.steps
        if self.step_batches > 1:
            self.accumulation.finish()
            if self.accumulates_by_part():
                processes.average_tensors([p.grad for p in self.net.parameters() if p.grad is not None])
        # An enabled scaler skips steps whose gradients overflow itself.
        finite = self.scaler.is_enabled() or self.guard.gradients_are_finite()
        self.steps += 1
        if finite and not self.guard.is_stopped and self.lost_batches < waited:
            self.take_step()
            self.guard.queue_check(self.batch_numbers, steps)
            self.schedule.step()
            return
        with warnings.catch_warnings():  # torch warns that the optimizer has not stepped
            warnings.simplefilter('ignore')
            self.schedule.step()
        if not finite or self.guard.is_stopped:
            self.guard.restore_buffers()
            raise NonFiniteError('gradient', self.batch_numbers, steps)

    def take_step(self):
        """Clip the gradients, step the optimizer and update the weight average."""
        if self.clip_norm is not None or self.clip_value is not None:
            self.scaler.unscale_(self.optimizer)
            self.clip_gradients()
        with self.explain_state_errors():
            self.guard.step(self.scaler)
        self.explain_state_errors = nullcontext
        self.scaler.update()
        self.steps_taken += 1
        if self.ema is not None:
            self.ema.update()

    def clip_gradients(self):
        """Clip the gradients by their total norm (Pascanu et al. 2013) or by value."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.trained_parameters, self.clip_norm)
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(self.trained_parameters, self.clip_value)
