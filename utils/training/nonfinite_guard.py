"""Whether losses and gradients are finite, found before the optimizer's step and, where possible, without waiting."""

import math
from collections import deque

import torch
import torch.distributed as dist

from utils.distributed import processes
from utils.distributed.fsdp import is_sharded, local_shard

AHEAD = 2  # steps whose outcome need not be known: the device always has work, and what a step holds is freed soon


class NonFiniteError(Exception):
    """A loss or a gradient is not finite; the weights are those from before its step.

    Attributes:
        what: 'loss' or 'gradient'.
        batches: numbers (list of int) within the epoch of those that are at fault: one, or all of a step.
        steps: optimizer steps before (int).
        value: of the loss (float), where it is that.
        late: whether this was learned while later batches were computed (bool).
    """

    def __init__(self, what, batches, steps, value=None, late=False):
        super().__init__(f'the {what} of batches {batches} is not finite')
        self.what, self.batches, self.steps, self.value, self.late = what, batches, steps, value, late


class NonFiniteGuard:
    """Looks at losses and gradients, and keeps the optimizer from steps for which they are not finite.

    Where it waits for the device, as is free of cost on a CPU, the answer is there at once. Else the device keeps a
    flag, once set for ever, by which the optimizer leaves its steps out by itself (as with torch.amp.GradScaler), and
    the answer comes later, by `raise_pending`.

    Args:
        net: nn.Module that learns; its buffers (running means) can be taken back.
        optimizer: torch.optim.Optimizer of its parameters.
        waits: whether to wait (bool), which an optimizer that is not fused needs in any case.

    Attributes:
        broken: whether no step may be taken any more, whatever it is like (bool).
    """

    def __init__(self, net, optimizer, waits):
        self.optimizer = optimizer
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
        device = self.parameters[0].device
        fused = getattr(optimizer, '_step_supports_amp_scaling', False)
        self.waits = waits or device.type == 'cpu' or not fused
        self.flag, self.one = torch.zeros((), device=device), torch.ones((), device=device)
        self.waiting, self.broken = deque(), False
        self.places = [(module._buffers, name) for module in net.modules() for name in module._buffers]
        self.before = self.pointers = self.groups = None
        self.sharded = is_sharded(net)

    def is_finite(self, loss):
        """Return whether a loss (0-d tensor) is finite, or True: not known yet."""
        if self.waits:
            return math.isfinite(loss.item())
        self._look([loss.detach().clone()])  # looking writes into it, which backward may not like
        return True

    def mask_loss(self, loss):
        """Return a loss for a GradScaler, which leaves out the steps of those that are not finite: nan by then."""
        return loss if self.waits else loss * torch.where(self.flag > 0, math.nan, 1.0)

    def gradients_pass(self):
        """Return whether all gradients are finite, or True: not known yet."""
        self._look([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        if self.sharded:  # of each process's shard
            dist.all_reduce(self.flag, dist.ReduceOp.MAX)
        if not self.waits or not self.flag.item():
            return True
        self.flag.zero_()
        return False

    def _look(self, tensors):
        """Set the flag if one of the tensors, of its device, is not finite."""
        by_type = {}
        for tensor in map(local_shard, tensors):
            tensor = tensor._values() if tensor.is_sparse else tensor
            tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for same in by_type.values():
            # That of torch.amp.GradScaler: one call, a quarter of what the norm of all gradients takes.
            torch._amp_foreach_non_finite_check_and_unscale_(same, self.flag, self.one)

    def step(self, scaler):
        """Take the optimizer's step, which leaves itself out where the flag is set."""
        if self.waits or scaler.is_enabled():
            if scaler.is_enabled():
                self._begin_momentum()
            scaler.step(self.optimizer)
            return
        self.optimizer.grad_scale, self.optimizer.found_inf = None, self.flag
        self.optimizer.step()
        del self.optimizer.grad_scale, self.optimizer.found_inf

    def _begin_momentum(self):
        """Let the momentum of SGD begin at 0, which gives the same first step.

        The fused one takes memory as it finds it for a first step, and keeps it where the scaler leaves that step out.
        """
        for group in self.optimizer.param_groups if isinstance(self.optimizer, torch.optim.SGD) else ():
            wanted = group['momentum'] and group['fused'] and not group['dampening']
            for parameter in group['params'] if wanted else ():
                state = self.optimizer.state[parameter]
                if parameter.grad is not None and state.get('momentum_buffer') is None:
                    state['momentum_buffer'] = torch.zeros_like(parameter)

    # --- what comes later

    def note(self, batches, steps):
        """Have the flag sent after the step of `batches` (list of int); `steps` (int) were done before it."""
        if self.waits:
            return
        sent, event = torch.empty((), pin_memory=self.flag.is_cuda), None
        sent.copy_(self.flag, non_blocking=True)
        if self.flag.is_cuda:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(self.flag.device))
        self.waiting.append((sent, event, NonFiniteError('gradient', batches, steps, late=True), self.before))

    def raise_pending(self, most=AHEAD):
        """Raise NonFiniteError of the first step that is known to have it; wait only for what more than `most` are
        open.

        Of several processes all of them raise it at the same step, so none looks whether it could be known sooner.
        """
        while self.waiting and not self.broken:
            sent, event, diverged, before = self.waiting[0]
            if event is not None:
                if len(self.waiting) <= most and (processes.count() > 1 or not event.query()):
                    return
                event.synchronize()
            self.waiting.popleft()
            if sent.item():
                self.broken = self.waits = True
                self.flag.zero_()
                self.waiting.clear()
                self.before = before
                self.restore()
                raise diverged

    # --- buffers

    def keep_buffers(self):
        """Keep the buffers as they are now, before a batch goes through the network: in a copy for each type."""
        found = [(buffers, name) for buffers, name in self.places if buffers.get(name) is not None]
        pointers = [buffers[name].data_ptr() for buffers, name in found]
        if pointers != self.pointers:  # sorting them takes longer than copying them
            self._sort_buffers(found)
            contiguous = all(buffers[name].is_contiguous() for buffers, name in found)
            self.pointers = pointers if contiguous else None  # of others there are no views
        self.before = [(places, torch.cat(views)) for places, views in self.groups]

    def _sort_buffers(self, found):
        """Group buffers, (dictionary, name) pairs, by their type: with their shapes, and as one dimension."""
        groups = {}
        for buffers, name in found:
            buffer = buffers[name]
            places, views = groups.setdefault((buffer.device, buffer.dtype), ([], []))
            places.append((buffers, name, buffer.shape))
            views.append(buffer.detach().reshape(-1))
        self.groups = list(groups.values())

    def restore(self):
        """Take the buffers back to what they were when they were kept."""
        for places, values in self.before:
            parts = values.split([shape.numel() for _, _, shape in places])
            for (buffers, name, shape), part in zip(places, parts, strict=True):
                if buffers[name].shape == shape:
                    with torch.no_grad():
                        buffers[name].copy_(part.view(shape))
                else:
                    buffers[name] = part.view(shape).clone()
