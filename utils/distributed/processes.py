"""The processes of one run, as torchrun starts them: process group, shared values, losses and metrics, failures.

Each process runs the whole program; rank 0 writes. In a single process all of this does nothing.

    with init_distributed(choose_device):              # in main()
        args = broadcast_from_rank0(make_args)         # called by rank 0, returned by all
        values = all_gather(value)                     # the value of each process

data/samplers.py distributes the samples of a batch.
"""

import contextlib
import copy
import hashlib
import json
import os
import socket
import sys
import traceback
import warnings
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

from utils.base import rank_env
from utils.base.errors import DanluError, message_of
from utils.base.nested import map_nested
from utils.distributed.fsdp import fault_of_options, is_sharded
from utils.distributed.nccl_watchdog import NcclWatchdog
from utils.distributed.rank_log import RankLog, warn_once
from utils.distributed.rendezvous_id import rendezvous_id

PROCESS_TIMEOUT = timedelta(minutes=30)  # another process may be reading a large list or drawing a report
CAUSE_KEY = 'cause of the end'  # key in the store: the error of the first process that failed
CAUSE_TIMEOUT = timedelta(seconds=5)  # a failed process may still be writing its error
KILLED_MESSAGE = (
    'the failure of another process, which exited without an error message (probably killed; torchrun names it)'
)


class DistContext:
    """The connections of the processes of a run.

    Args:
        store: torch.distributed.Store, which outlives each process.
        objects: process group for objects and CPU tensors.
        parallel: process group for communication during a step, whose order is independent of the other group.
        log: utils.distributed.rank_log.RankLog, or None for rank 0.

    Attributes:
        why: the error of another process that ended this one (str), once `why_ended` was called, or None.
    """

    def __init__(self, store, objects, parallel, log):
        self.store, self.objects, self.parallel, self.log, self.why = store, objects, parallel, log, None


_group = None


@contextlib.contextmanager
def init_distributed(choose_device):
    """Connect the processes that torchrun has started, in the body of the `with`; a single process is left alone.

    An error is shown on the terminal only by the process that failed first.

    Args:
        choose_device: function() -> torch.device; NCCL connects processes on GPUs, gloo others.

    Raises:
        DanluError: the processes do not find each other.
    """
    global _group  # noqa: PLW0603 (torch.distributed has one as well)
    if rank_env.rank_info().count == 1:
        yield
        return
    terminal = sys.stderr
    log = RankLog(rank_env.rank_info().rank) if rank_env.rank_info().rank else None
    with contextlib.ExitStack() as redirected:
        if log is not None:
            redirected.enter_context(contextlib.redirect_stdout(log))
            redirected.enter_context(contextlib.redirect_stderr(log))
        _group = open_process_groups(choose_device(), log)
        release = NcclWatchdog(lambda: _group.store.check([CAUSE_KEY]), distributed_c10d._abort_process_group)
        if dist.get_backend() == 'nccl':
            release.start()
        redirected.callback(setattr, warnings, 'showwarning', warnings.showwarning)
        warn_once(terminal, lambda text: _is_first_to(f'warn {text}'))
        try:
            yield
        except BaseException as error:
            if not _is_to_be_told(error):
                raise SystemExit(1) from None
            if why := why_ended(error):
                raise DanluError(f'ended by {why}') from error
            raise
        else:
            dist.destroy_process_group()
        finally:
            release.stop()
            _group = None


def open_process_groups(device, log):
    try:
        store, rank, count = next(rendezvous('env://', timeout=PROCESS_TIMEOUT))
        backend = 'nccl' if device.type == 'cuda' else 'gloo'
        store = dist.PrefixStore(rendezvous_id(store, rank, count, PROCESS_TIMEOUT.total_seconds()), store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PROCESS_TIMEOUT)
        objects, parallel = (dist.new_group(backend='gloo', timeout=PROCESS_TIMEOUT) for _ in range(2))
    except RuntimeError as error:
        raise DanluError(f'the processes that torchrun has started do not find each other: {error}') from error
    return DistContext(dist.PrefixStore('danlu', store), objects, parallel, log)


def move_log_into(directory):
    """Write the log of a process other than rank 0 to a run's directory (or that of a checkpoint)."""
    if _group is not None and _group.log is not None:
        _group.log.put_into(directory if os.path.isdir(directory) else os.path.dirname(directory))


def count():
    """Return the number of processes (int)."""
    # Not dist.get_world_size(), which fails after utils.distributed.nccl_watchdog has ended the groups.
    return 1 if _group is None else rank_env.rank_info().count


def rank():
    """Return the rank of this process (int)."""
    return 0 if _group is None else rank_env.rank_info().rank


def is_first():
    """Return whether this process is rank 0, which writes (bool)."""
    return rank() == 0


def describe():
    """Return a description of the processes (str), '' for a single process."""
    if _group is None:
        return ''
    machines = len(set(all_gather(socket.gethostname())))
    on = f' on {machines} machines' if machines > 1 else ''
    return f'{count()} processes{on} ({dist.get_backend()})'


def check(args, *ready_made):
    """Raise DanluError for options and ready-made loaders (`ready_made`, or None) that need a single process."""
    if _group is None and rank_env.rank_info().count > 1:
        raise DanluError(
            'torchrun has started several processes, which are not connected: run the program inside '
            '`with utils.distributed.processes.init_distributed(lambda: select_gpus(args)[0]):`, or start it without '
            'torchrun'
        )
    if _group is None:
        return
    for option in ('dry_run', 'find_lr'):
        if getattr(args, option):
            raise DanluError(f'--{option} is for one process: start it without torchrun')
    if args.batch_size < count():
        raise DanluError(
            f'--batch_size {args.batch_size} is the total, of which {count()} processes cannot all have a sample: '
            f'give {count()} or more, or start fewer processes'
        )
    if args.fast and args.sync_bn:
        raise DanluError('--fast: not with --sync_bn, as one process tries copies of the network; leave one out')
    if args.parallel == 'fsdp' and (fault := fault_of_options(args)):
        raise DanluError(fault)
    if any(loader is not None for loader in ready_made):
        raise DanluError('ready-made loaders are not shared out over processes: leave them out, or torchrun')


def notes(args):
    """Return lines (list of str) about the processes for the start of the log."""
    if count() == 1:
        return []
    low, more = divmod(args.batch_size, count())
    each = f'{low} or {low + 1}' if more else f'{low}'
    steps = f', {args.accumulate} batches to a step' if args.accumulate > 1 else ''
    shards = ', weights in shards' if args.parallel == 'fsdp' else ''
    return [f'{describe()}{shards}: of the {args.batch_size} samples of a batch each has {each}{steps}']


@contextlib.contextmanager
def gradient_sync(model, wanted):
    """Average the gradients of all processes in the body of the `with` if `wanted` (bool); otherwise do not yet."""
    if is_sharded(model):
        model.set_requires_gradient_sync(wanted)
    with contextlib.nullcontext() if wanted or not hasattr(model, 'no_sync') else model.no_sync():
        yield


# --- values


def from_first_value(value):
    """Return the value of rank 0, in all processes."""
    return broadcast_from_rank0(lambda: value)


def all_gather(value):
    """Return the values of all processes (list, by rank); all processes must call this.

    Args:
        value: picklable, with tensors on the CPU.
    """
    if _group is None:
        return [value]
    found = [None] * count()
    dist.all_gather_object(found, value, group=_group.objects)
    return found


def broadcast_from_rank0(function):
    """Return the value of function(), which only rank 0 calls, in all processes.

    Raises:
        DanluError: raised by the function.
    """
    if _group is None:
        return function()
    answer, failed = None, None
    if is_first():
        try:
            answer = function()
        except BaseException as error:  # of any kind, as the others wait for an answer
            failed = error
    found = [(answer, failed is not None)]
    dist.broadcast_object_list(found, src=0, group=_group.objects)
    if failed is not None:
        raise failed
    answer, has_failed = found[0]
    if has_failed:
        raise SystemExit(1)  # rank 0 shows the error
    return answer


def rank0_first(function):
    """Call a function in rank 0 before the others continue, such as one that must not run twice at once."""

    def do():
        function()  # its value is not shared

    if _group is not None:
        broadcast_from_rank0(do)


def all_reduce_metrics(metrics, device):
    """Return metrics over the samples of all processes; `metrics` keeps the counts of this process.

    Raises:
        DanluError: the metrics cannot be merged, or a target is invalid.
    """
    if _group is None:
        return metrics
    if not hasattr(metrics, 'merge'):
        raise DanluError(
            f'{type(metrics).__name__} cannot be added up over {count()} processes: it has no merge(states); see '
            'metrics.Metrics'
        )
    try:
        share = metrics.reduce_state()
    except DanluError as error:
        raise DanluError(f'in the share of process {rank()}: {error}') from error
    states = all_gather(on_cpu(share))
    merged = copy.copy(metrics)
    merged.reset()
    merged.merge(states, device)
    return merged


def all_reduce_evaluation(recorder, metrics, seen, device):
    """Return Recorder, metrics and number of samples (int) of all processes from those of this process."""
    if _group is None:
        return recorder, metrics, seen
    metrics, every = all_reduce_metrics(metrics, device), type(recorder)()
    every.merge(all_gather(recorder.state_dict()))
    return every, metrics, sum(all_gather(seen))


def is_padding(loader, number):
    """Return whether a batch of a loader (number from 0) pads an empty share of this process (bool)."""
    return _group is not None and hasattr(loader, 'is_padding') and loader.is_padding(number)


def on_cpu(value):
    """Return nested lists, tuples and dicts with all tensors on the CPU; tuples become lists."""
    return map_nested(lambda leaf: leaf.detach().cpu() if torch.is_tensor(leaf) else leaf, value)


class AsyncFlagReduce:
    """Combines a flag and a number of all processes; the result is one step late, so that no process waits."""

    def __init__(self):
        self.waiting = None

    def exchange(self, wish, number):
        """Send a flag and a number, and return those of the last call, combined; all processes call this equally often.

        Args:
            wish: bool.
            number: int above 0, or None.

        Returns:
            whether the flag was set in any process (bool), and the largest number (int), or None.
        """
        wished, largest = 0, 0
        if self.waiting is not None:
            work, told = self.waiting
            work.wait()
            wished, largest = told.tolist()
        told = torch.tensor([int(wish), number or 0])
        self.waiting = dist.all_reduce(told, dist.ReduceOp.MAX, group=_group.parallel, async_op=True), told
        return bool(wished), largest or None


# --- losses


class AllReduceSum(torch.autograd.Function):
    """The loss of all processes; its gradient goes to the values of this process, by their weight in the loss."""

    @staticmethod
    def forward(ctx, values, factors, loss):
        ctx.save_for_backward(factors)
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].to(gradient.dtype), None, None


def all_reduce_loss(loss, parts_of, counts=True):
    """Return the loss of a distributed batch, equal to that of one process with the whole batch.

    A mean of the means would differ if shares differ: last batches, ignored pixels, class weights. All processes get
    the same value, bit for bit; their gradients, averaged by DistributedDataParallel, are the gradient of that value.
    Does not synchronise a GPU.

    Args:
        loss: of this process's share, 0-d tensor.
        parts_of: function() -> terms of the loss, dict from name to (weight, value, count): float, 0-d tensor, number
            or 0-d tensor.
        counts: whether the share counts (bool); padding does not.

    Returns:
        the loss, and its terms with values and counts of all processes; for a single process the loss and None. With
        several terms each value has its own gradient.
    """
    if _group is None:
        return loss, None
    parts = parts_of()
    weights = _numbers_on(loss.device, [weight for weight, _, _ in parts.values()])
    values = torch.stack([value for _, value, _ in parts.values()])
    own = _numbers_on(loss.device, [each for _, _, each in parts.values()]) * counts
    # Without a count the value may be nan, and 0 * nan would spoil the sum.
    sums = torch.cat([torch.where(own > 0, values.detach().double() * own, 0.0), own])
    dist.all_reduce(sums)
    totals, every = sums.split(len(parts))
    some = every > 0
    means = torch.where(some, totals / torch.where(some, every, 1), values.detach().double())
    factors = torch.where(some, weights * own * count() / torch.where(some, every, 1), 0.0)
    value = (weights * means).sum().to(loss.dtype)
    known = {name: (weight, means[place], every[place]) for place, (name, (weight, _, _)) in enumerate(parts.items())}
    if len(parts) > 1:
        shares = torch.where(some, own * count() / torch.where(some, every, 1), 0.0)
        alone = [AllReduceSum.apply(*each) for each in zip(values, shares, means.to(loss.dtype), strict=True)]
        known = {name: (known[name][0], mean, known[name][2]) for name, mean in zip(known, alone, strict=True)}
    return AllReduceSum.apply(values, factors, value), known


def average_tensors(tensors):
    """Replace tensors (list), of the same shapes in all processes, by their means over the processes, in place."""
    if _group is None:
        return
    by_type = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for same in by_type.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in same])
        dist.all_reduce(flat)
        parts = (flat / count()).split([tensor.numel() for tensor in same])
        for tensor, part in zip(same, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


def _numbers_on(device, numbers):
    """Return numbers and 0-d tensors as a float64 tensor (N,) on a device, without synchronising it.

    torch.tensor would copy numbers to the GPU, which waits for all earlier work.
    """
    full = {'dtype': torch.float64, 'device': device}
    return torch.stack([n.detach().double() if torch.is_tensor(n) else torch.full((), n, **full) for n in numbers])


# --- failures


def why_ended(error):
    """Return the failure of another process that ends this one (str), or None if `error` is this process's own."""
    if not _is_consequence(error):
        return None
    if _group.why is None:
        _group.why = KILLED_MESSAGE
        with contextlib.suppress(RuntimeError):
            _group.store.wait([CAUSE_KEY], CAUSE_TIMEOUT)
            number, what = json.loads(_group.store.get(CAUSE_KEY))
            _group.why = f'the failure of process {number}: {what}'
    return _group.why


def _is_consequence(error):
    """Return whether an error only says that another process is gone (bool)."""
    # gloo raises a plain RuntimeError with the name of its source file.
    of_gloo = isinstance(error, RuntimeError) and 'gloo' in str(error)
    freed = not dist.is_initialized()  # by utils.distributed.nccl_watchdog; all later errors follow from that
    return _group is not None and (freed or of_gloo or isinstance(error, dist.DistError))


def _is_to_be_told(error):
    """Return whether this process shows an error (bool): it is the first to fail. Its error is stored for the others.

    Processes other than rank 0 also log the error, unless it repeats that of another process.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return is_first()
    if _is_consequence(error):
        return why_ended(error) == KILLED_MESSAGE and _is_first_to('tell of one that is gone')
    own = json.dumps([rank(), f'{type(error).__name__} {message_of(error)}'])
    first = own
    with contextlib.suppress(RuntimeError):  # the machine with the store is gone
        first = _group.store.compare_set(CAUSE_KEY, '', own).decode()
    if _group.log is not None and (first == own or json.loads(first)[1] != json.loads(own)[1]):
        traceback.print_exception(error, file=_group.log)
    return first == own


def _is_first_to(do):
    """Return whether this process is the first to claim an action named by a text (bool); True without a store."""
    with contextlib.suppress(RuntimeError):
        return _group is None or _group.store.add(hashlib.sha256(do.encode()).hexdigest(), 1) == 1
    return True
