"""Checks that losses and gradients are finite before the optimizer's step, if possible without waiting for the GPU."""

import math
from collections import deque

import torch
import torch.distributed as dist

from utils.distributed import processes
from utils.distributed.fsdp import is_sharded, local_shard

MAX_PENDING_STEPS = 2  # unchecked steps: enough to keep the device busy, few enough to free their memory soon


class NonFiniteError(Exception):
    """A loss or a gradient is not finite; the weights are those before its step.

    Attributes:
        what: 'loss' or 'gradient'.
        batches: numbers within the epoch (list of int): of the batch with this loss, or of all batches of the step.
        steps: optimizer steps before this step (int).
        value: value of the loss (float), or None for a gradient.
        late: whether the check finished while later batches were computed (bool).
    """

    def __init__(self, what, batches, steps, value=None, late=False):
        super().__init__(f'the {what} of batches {batches} is not finite')
        self.what, self.batches, self.steps, self.value, self.late = what, batches, steps, value, late


class NonFiniteGuard:
    """Checks losses and gradients, and prevents optimizer steps with values that are not finite.

    A synchronous guard waits for the device (on a CPU this costs nothing) and knows the result at once. Otherwise the
    device sets a flag, which stays set and makes the optimizer skip its steps (as with torch.amp.GradScaler);
    `raise_pending` raises the error later.

    Args:
        net: nn.Module to train; its buffers (running means) can be restored.
        optimizer: torch.optim.Optimizer of its parameters.
        is_synchronous: whether to wait for the device (bool); an optimizer that is not fused always needs it.

    Attributes:
        is_stopped: whether a pending check failed, so that no further step may be taken (bool).
    """

    def __init__(self, net, optimizer, is_synchronous):
        self.optimizer = optimizer
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
        device = self.parameters[0].device
        fused = getattr(optimizer, '_step_supports_amp_scaling', False)
        self.is_synchronous = is_synchronous or device.type != 'cuda' or not fused
        self.flag, self.one = torch.zeros((), device=device), torch.ones((), device=device)
        self.pending_checks, self.is_stopped = deque(), False
        self.buffer_refs = [(module._buffers, name) for module in net.modules() for name in module._buffers]
        self.saved_buffers = self.buffer_pointers = self.buffer_groups = None
        self.sharded = is_sharded(net)

    def is_finite(self, loss):
        """Return whether a loss (0-d tensor) is finite; True also if not known yet."""
        if self.is_synchronous:
            return math.isfinite(loss.item())
        self._flag_nonfinite([loss.detach().clone()])  # the check writes into its input
        return True

    def mask_loss(self, loss):
        """Return a loss for a GradScaler: nan once the flag is set, so that the scaler skips the step."""
        return loss if self.is_synchronous else loss * torch.where(self.flag > 0, math.nan, 1.0)

    def gradients_are_finite(self):
        """Return whether all gradients are finite; True also if not known yet."""
        self._flag_nonfinite([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        if self.sharded:  # each process checks its own shard
            dist.all_reduce(self.flag, dist.ReduceOp.MAX)
        if not self.is_synchronous or not self.flag.item():
            return True
        self.flag.zero_()
        return False

    def _flag_nonfinite(self, tensors):
        """Set the flag if one of the tensors, which are on its device, is not finite."""
        by_type = {}
        for tensor in map(local_shard, tensors):
            tensor = tensor._values() if tensor.is_sparse else tensor
            tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for same in by_type.values():
            # As torch.amp.GradScaler does: one call, four times as fast as the norm of all gradients.
            torch._amp_foreach_non_finite_check_and_unscale_(same, self.flag, self.one)

    def step(self, scaler):
        """Step the optimizer, which skips the step if the flag is set."""
        if self.is_synchronous or scaler.is_enabled():
            if scaler.is_enabled():
                self._init_momentum()
            scaler.step(self.optimizer)
            return
        self.optimizer.grad_scale, self.optimizer.found_inf = None, self.flag
        self.optimizer.step()
        del self.optimizer.grad_scale, self.optimizer.found_inf

    def _init_momentum(self):
        """Initialise the momentum of fused SGD with 0, which gives the same first step.

        Fused SGD allocates the momentum without initialising it, and keeps it that way if the scaler skips the first
        step.
        """
        for group in self.optimizer.param_groups if isinstance(self.optimizer, torch.optim.SGD) else ():
            wanted = group['momentum'] and group['fused'] and not group['dampening']
            for parameter in group['params'] if wanted else ():
                state = self.optimizer.state[parameter]
                if parameter.grad is not None and state.get('momentum_buffer') is None:
                    state['momentum_buffer'] = torch.zeros_like(parameter)

    # Pending checks

    def queue_check(self, batches, steps):
        """Copy the flag to the CPU asynchronously after the step of `batches` (list of int).

        Args:
            steps: optimizer steps before this step (int).
        """
        if self.is_synchronous:
            return
        sent, event = torch.empty((), pin_memory=self.flag.is_cuda), None
        sent.copy_(self.flag, non_blocking=True)
        if self.flag.is_cuda:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(self.flag.device))
        self.pending_checks.append(
            (sent, event, NonFiniteError('gradient', batches, steps, late=True), self.saved_buffers)
        )

    def raise_pending(self, most=MAX_PENDING_STEPS):
        """Raise the NonFiniteError of the first step known to be not finite; wait only if more than `most` are pending.

        With several processes all must raise at the same step, so none of them checks whether a result is early.
        """
        while self.pending_checks and not self.is_stopped:
            sent, event, diverged, before = self.pending_checks[0]
            if event is not None:
                if len(self.pending_checks) <= most and (processes.count() > 1 or not event.query()):
                    return
                event.synchronize()
            self.pending_checks.popleft()
            if sent.item():
                self.is_stopped = self.is_synchronous = True
                self.flag.zero_()
                self.pending_checks.clear()
                self.saved_buffers = before
                self.restore_buffers()
                raise diverged

    # Buffers

    def save_buffers(self):
        """Copy the buffers before a batch goes through the network, into one tensor for each device and dtype."""
        found = [(buffers, name) for buffers, name in self.buffer_refs if buffers.get(name) is not None]
        pointers = [buffers[name].data_ptr() for buffers, name in found]
        if pointers != self.buffer_pointers:  # grouping takes longer than copying
            self._group_buffers(found)
            contiguous = all(buffers[name].is_contiguous() for buffers, name in found)
            self.buffer_pointers = pointers if contiguous else None  # others have no flat views, which stay valid
        self.saved_buffers = [(places, torch.cat(views)) for places, views in self.buffer_groups]

    def _group_buffers(self, found):
        """Group buffers, (dictionary, name) pairs, by device and dtype: with their shapes and flat views."""
        groups = {}
        for buffers, name in found:
            buffer = buffers[name]
            places, views = groups.setdefault((buffer.device, buffer.dtype), ([], []))
            places.append((buffers, name, buffer.shape))
            views.append(buffer.detach().reshape(-1))
        self.buffer_groups = list(groups.values())

    def restore_buffers(self):
        """Restore the buffers that `save_buffers` copied."""
        for places, values in self.saved_buffers:
            parts = values.split([shape.numel() for _, _, shape in places])
            for (buffers, name, shape), part in zip(places, parts, strict=True):
                if buffers[name].shape == shape:
                    with torch.no_grad():
                        buffers[name].copy_(part.view(shape))
                else:
                    buffers[name] = part.view(shape).clone()
