"""The processes of one run, as torchrun starts them: what they share out, add up and agree on.

Each of them runs the whole program; the first one, rank 0, writes. For one alone all of this does nothing.

    with joined(choose_device):           # in main()
        args = from_first(make_args)      # made by the first, the same for all
        every = gathered(value)           # what each of them has

What comes in which part of a batch is in data/samplers.py.
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
from utils.distributed.fsdp import fault_of_options, is_sharded
from utils.distributed.nccl_watchdog import NcclWatchdog
from utils.distributed.rank_log import RankLog, warn_once
from utils.distributed.rendezvous_id import rendezvous_id

PROCESS_TIMEOUT = timedelta(minutes=30)  # for one that is slower: it may read a large list or draw a page of pictures
CAUSE_KEY = 'cause of the end'  # in the store: what the first process that failed has to say
CAUSE_TIMEOUT = timedelta(seconds=5)  # for the word of a process that failed to arrive
KILLED_MESSAGE = 'the end of another process, which left no word, as one that is killed does not (torchrun says which)'


class DistContext:
    """What the processes that have joined speak through.

    Args:
        store: torch.distributed.Store, which outlives each of them.
        objects: a process group for what lies in the memory of the CPU.
        parallel: one for what goes on while a step is computed, so that their order does not matter.
        log: utils.distributed.rank_log.RankLog of a process that is not the first, or None.

    Attributes:
        why: what another process has said of its end (str), once that was asked for, or None.
    """

    def __init__(self, store, objects, parallel, log):
        self.store, self.objects, self.parallel, self.log, self.why = store, objects, parallel, log, None


_group = None


@contextlib.contextmanager
def init_distributed(choose_device):
    """Be one of the processes that torchrun has started, in the body of the `with`; alone this does nothing.

    What goes wrong is said on the terminal by the process for which it did first, and no other.

    Args:
        choose_device: function() -> torch.device; processes on GPUs speak through NCCL, others through gloo.

    Raises:
        DanluError: they cannot find each other.
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
    """Let a process that is not the first write its log into a run's directory (or that of a checkpoint)."""
    if _group is not None and _group.log is not None:
        _group.log.put_into(directory if os.path.isdir(directory) else os.path.dirname(directory))


def count():
    """Return how many processes there are (int)."""
    return (
        1 if _group is None else rank_env.rank_info().count
    )  # also when utils.distributed.nccl_watchdog has ended the groups


def rank():
    """Return the number of this one (int), from 0 on."""
    return 0 if _group is None else rank_env.rank_info().rank


def is_first():
    """Return whether this is the process that writes (bool)."""
    return rank() == 0


def describe():
    """Return what there is to say of the processes (str), '' of one alone."""
    if _group is None:
        return ''
    machines = len(set(all_gather(socket.gethostname())))
    on = f' on {machines} machines' if machines > 1 else ''
    return f'{count()} processes{on} ({dist.get_backend()})'


def check(args, *ready_made):
    """Refuse what several processes cannot do, such as loaders that are not shared out (`ready_made`, or None).

    Raises:
        DanluError: one of that.
    """
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
    """Return what is to be said of the processes at the start (list of str)."""
    if count() == 1:
        return []
    low, more = divmod(args.batch_size, count())
    each = f'{low} or {low + 1}' if more else f'{low}'
    steps = f', {args.accumulate} batches to a step' if args.accumulate > 1 else ''
    shards = ', weights in shards' if args.parallel == 'fsdp' else ''
    return [f'{describe()}{shards}: of the {args.batch_size} samples of a batch each has {each}{steps}']


@contextlib.contextmanager
def gradient_sync(model, wanted):
    """Average the gradients of all processes in the body of the `with`, or, unless that is `wanted` (bool), later."""
    if is_sharded(model):
        model.set_requires_gradient_sync(wanted)
    with contextlib.nullcontext() if wanted or not hasattr(model, 'no_sync') else model.no_sync():
        yield


# --- values


def from_first_value(value):
    """Return the value that the first process has, to all of them."""
    return broadcast_from_rank0(lambda: value)


def all_gather(value):
    """Return what each process has (list, by rank); all of them call this.

    Args:
        value: what pickle takes, tensors on the CPU.
    """
    if _group is None:
        return [value]
    found = [None] * count()
    dist.all_gather_object(found, value, group=_group.objects)
    return found


def broadcast_from_rank0(function):
    """Return what a function returns in the first process, to all of them; it is called in that one alone.

    Raises:
        DanluError: what it raised there.
    """
    if _group is None:
        return function()
    answer, failed = None, None
    if is_first():
        try:
            answer = function()
        except BaseException as error:  # whatever it is, the others are not to wait for an answer
            failed = error
    found = [(answer, failed is not None)]
    dist.broadcast_object_list(found, src=0, group=_group.objects)
    if failed is not None:
        raise failed
    answer, has_failed = found[0]
    if has_failed:
        raise SystemExit(1)  # the first one says why
    return answer


def rank0_first(function):
    """Let the first process do something by itself before the others go on: what two must not do at once."""

    def do():
        function()  # what it returns stays here

    if _group is not None:
        broadcast_from_rank0(do)


def all_reduce_metrics(metrics, device):
    """Return metrics of what all processes have counted; `metrics` goes on with its own share.

    Raises:
        DanluError: these cannot be added up, or a target is wrong.
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
    """Return a Recorder, metrics and number of samples (int) of all processes, given those of this one."""
    if _group is None:
        return recorder, metrics, seen
    metrics, every = all_reduce_metrics(metrics, device), type(recorder)()
    every.merge(all_gather(recorder.state_dict()))
    return every, metrics, sum(all_gather(seen))


def is_padding(loader, number):
    """Return whether a batch of a loader, by its number from 0 on, stands in for an empty part of it (bool)."""
    return _group is not None and hasattr(loader, 'is_padding') and loader.is_padding(number)


def on_cpu(value):
    """Return nested lists, tuples and dicts with their tensors on the CPU."""
    if torch.is_tensor(value):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: on_cpu(item) for key, item in value.items()}
    return type(value)(map(on_cpu, value)) if isinstance(value, list | tuple) else value


class AsyncFlagReduce:
    """What any of the processes wants all of them do, known a step later: nothing waits for it meanwhile."""

    def __init__(self):
        self.waiting = None

    def exchange(self, wish, number):
        """Tell the others, and return what all of them told the last time; all processes call this equally often.

        Args:
            wish: bool.
            number: int above 0, or None.

        Returns:
            whether one of them wished so (bool), and the largest of the numbers (int), or None.
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
    """The loss of all processes; its gradient goes to the values of this one, as much as they have in it."""

    @staticmethod
    def forward(ctx, values, factors, loss):
        ctx.save_for_backward(factors)
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].to(gradient.dtype), None, None


def all_reduce_loss(loss, parts_of, counts=True):
    """Return the loss of a batch that was shared out, as if one process had all of it.

    A mean of the means would be another loss wherever shares differ: the last batch, ignored pixels, class weights.
    Every process gets the same value, bit for bit; the gradients that it leaves in each, averaged by
    DistributedDataParallel, are those of that value. Does not wait for a GPU.

    Args:
        loss: of this process's share, 0-d tensor.
        parts_of: function() -> what it consists of, dict from a name to (weight, value, count): float, 0-d tensor,
            number or 0-d tensor.
        counts: whether the share counts (bool); one that stands in for an empty share does not.

    Returns:
        the loss, and the parts with values and counts of all; alone the loss and None. Of several parts each value has
        a gradient of its own, likewise.
    """
    if _group is None:
        return loss, None
    parts = parts_of()
    weights = _numbers_on(loss.device, [weight for weight, _, _ in parts.values()])
    values = torch.stack([value for _, value, _ in parts.values()])
    own = _numbers_on(loss.device, [each for _, _, each in parts.values()]) * counts
    # Of nothing there may be no number: 0 * nan would spoil the sum.
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
    """Replace tensors (list), which all processes have alike, by their means over the processes, in place."""
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
    """Return numbers and 0-d tensors of a device as a float64 tensor (N,) there, without waiting for it.

    A number that is copied there, as torch.tensor does, waits for all that a GPU has to do before.
    """
    full = {'dtype': torch.float64, 'device': device}
    return torch.stack([n.detach().double() if torch.is_tensor(n) else torch.full((), n, **full) for n in numbers])


# --- ends


def why_ended(error):
    """Return why this process has to end where the reason is another one (str), or None: `error` is the reason."""
    if not _is_consequence(error):
        return None
    if _group.why is None:
        _group.why = KILLED_MESSAGE
        with contextlib.suppress(RuntimeError):
            _group.store.wait([CAUSE_KEY], CAUSE_TIMEOUT)
            number, what = json.loads(_group.store.get(CAUSE_KEY))
            _group.why = f'the end of process {number}: {what}'
    return _group.why


def _is_consequence(error):
    """Return whether an error only says that another process has gone (bool)."""
    # gloo raises a plain RuntimeError, in which it names its own source file.
    of_gloo = isinstance(error, RuntimeError) and 'gloo' in str(error)
    freed = (
        not dist.is_initialized()
    )  # by utils.distributed.nccl_watchdog: whatever fails after it does so because of that
    return _group is not None and (freed or of_gloo or isinstance(error, dist.DistError))


def _is_to_be_told(error):
    """Return whether this process is to show an error (bool): no other one has; put down what it says for the others.

    A process that is not the first has it in its log, unless it says what another one has said.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return is_first()
    if _is_consequence(error):
        return why_ended(error) == KILLED_MESSAGE and _is_first_to('tell of one that is gone')
    own = json.dumps([rank(), f'{type(error).__name__} {message_of(error)}'])
    first = own
    with contextlib.suppress(RuntimeError):  # the store is gone with the machine that had it
        first = _group.store.compare_set(CAUSE_KEY, '', own).decode()
    if _group.log is not None and (first == own or json.loads(first)[1] != json.loads(own)[1]):
        traceback.print_exception(error, file=_group.log)
    return first == own


def _is_first_to(do):
    """Return whether this process is the first to do something (bool), a text; where nobody knows it is."""
    with contextlib.suppress(RuntimeError):
        return _group is None or _group.store.add(hashlib.sha256(do.encode()).hexdigest(), 1) == 1
    return True
