"""AMP, channels_last and torch.compile, and --fast, which chooses those that are faster on this device.

AMP is torch.autocast around the forward pass, with a gradient scaler for float16; Micikevicius et al. 2018, Mixed
Precision Training. channels_last stores the channels of a pixel side by side, which some devices' convolutions prefer.
"""

import copy
import math
import statistics
import time

import torch

from utils.base.errors import DanluError, first_line
from utils.base.seeding import get_rng_state, set_rng_state
from utils.distributed import processes
from utils.tasks.tasks import has_pictures

AMP_DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
MIN_SPEEDUP = 1.03  # factor below which an option stays off
MAX_TIMED_ROUNDS, MAX_TIMED_SECONDS = 100, 3.0  # of one comparison, whichever ends first
MAX_LOSS_CHANGE = 0.05  # as a share of the loss


def forward(net, images, amp):
    """Return the network's predictions, float32 also where `amp` (key of AMP_DTYPES or None) computes with 16 bits."""
    if amp is None:
        return net(images)
    with torch.autocast(images.device.type, AMP_DTYPES[amp]):
        predictions = net(images)
    half = torch.is_tensor(predictions) and predictions.dtype in AMP_DTYPES.values()
    return predictions.float() if half else predictions


def compile_network(net, image):
    """Compile a network with torch.compile, in place: its weights keep their names.

    Args:
        net: nn.Module on its device; a compiled one is not changed.
        image: float32 (1, C, H, W) on that device, to compile at once; None: compiled in the first step.

    Raises:
        DanluError: the network cannot be compiled here; with the compiler's reason.
    """
    training = net.training
    if net._compiled_call_impl is None:
        net.compile()
    if image is None:
        return
    try:
        with torch.no_grad():
            net.eval()(image)
    except Exception as error:  # errors of the network, of torch.compile or of a missing C++ compiler have many types
        net._compiled_call_impl = None
        raise DanluError(
            f'--compile: this network cannot be compiled here: {first_line(error)}; leave it out'
        ) from error
    finally:
        net.train(training)


def choose_speed_options(trainer, alone=True):
    """Turn on those of channels_last, amp and compile that are not set in a trainer's args and make a step faster.

    Args:
        trainer: train.Trainer; its network and the random generators are not changed.
        alone: whether there is only one process and one device; otherwise nothing is compiled.

    Returns:
        a line (str) on the gain of each option.

    Raises:
        DanluError: the loader has no batch.
    """
    args, wanted = trainer.args, {'channels_last': True, 'amp': 'bf16', 'compile': True}
    if trainer.device.type == 'cpu':
        del wanted['compile']  # compiling takes a minute and gains next to nothing: docs/performance.md
    elif not torch.cuda.is_bf16_supported(including_emulation=False):
        wanted['amp'] = 'fp16'
    if not has_pictures(args):
        del wanted['channels_last']
    if not alone:
        wanted.pop('compile', None)
    wanted = {name: value for name, value in wanted.items() if getattr(args, name) is None}
    state = get_rng_state()
    batch = next(iter(trainer.train_loader), None)
    if batch is None:
        raise DanluError('there is no batch to train on: the loader is empty')
    batch = trainer.to_device(batch)
    found, line = processes.broadcast_from_rank0(
        lambda: find_speed_options(trainer.net, trainer.compute_loss, batch, wanted)
    )
    set_rng_state(state)
    for name, value in found.items():
        setattr(args, name, value)
    return line


def find_speed_options(net, loss_of, batch, wanted):
    """Try options one after the other on a copy of a network, and keep those that make its training step faster.

    Args:
        net: nn.Module on its device, which is not changed; the random generators are.
        loss_of: function(predictions, targets) -> 0-d tensor.
        batch: (images, targets) as the network takes them.
        wanted: dict from an option's name ('channels_last', 'amp', 'compile') to the value to try.

    Returns:
        dict with the keys of `wanted`: the value if it is faster and gives the same loss, else off; and a line (str)
        on the gain of each option.
    """
    chosen, report = {}, []
    for name, value in wanted.items():
        shown = name if value is True else f'{name} {value}'
        try:
            old, new = (TimedNetwork(net, loss_of, batch, options) for options in (chosen, chosen | {name: value}))
            gain, change = compare_speed(old, new)
        except (RuntimeError, DanluError) as error:  # memory, an operation without this type, a missing compiler
            report.append(f'{shown} off (fails here: {first_line(error)})')
            continue
        faster, same = gain >= MIN_SPEEDUP, change <= MAX_LOSS_CHANGE
        if faster and same:
            chosen[name] = value
        reason = '' if same else f', but moves the loss by {change:.0%}'
        report.append(f'{shown} {"on" if name in chosen else "off"} ({gain:.2f} times as fast{reason})')
    off = {name: None if name == 'amp' else False for name in wanted}
    return off | chosen, f'fast on this device: {", ".join(report) or "nothing left to try"}'


class TimedNetwork:
    """A copy of a network with some options whose training steps are timed."""

    def __init__(self, net, loss_of, batch, options):
        self.net, self.loss_of, (self.images, self.targets) = copy.deepcopy(net), loss_of, batch
        self.options, self.amp = options, options.get('amp')
        if options.get('channels_last'):
            self.net.to(memory_format=torch.channels_last)
            self.images = self.images.contiguous(memory_format=torch.channels_last)
        if options.get('compile'):
            compile_network(self.net, self.images[:1])

    def loss(self):
        """Return the batch's loss (float) without dropout, whose random numbers depend on the memory format."""
        with torch.no_grad():
            return float(self.loss_of(forward(self.net.eval(), self.images, self.amp), self.targets))

    def seconds(self):
        """Return the duration of a step in seconds: forward, loss and backward."""
        _synchronize(self.images.device)
        started = time.perf_counter()
        self.net.train().zero_grad(set_to_none=True)
        self.loss_of(forward(self.net, self.images, self.amp), self.targets).backward()
        _synchronize(self.images.device)
        return time.perf_counter() - started


def compare_speed(old, new):
    """Return the speedup (float) of a TimedNetwork over another one, and the change of the loss as a share of it."""
    before, after = old.loss(), new.loss()
    change = abs(after - before) / max(abs(before), 1e-3)
    old.seconds(), new.seconds()  # to warm up
    started, ratios = time.perf_counter(), []
    while len(ratios) < MAX_TIMED_ROUNDS and (len(ratios) < 3 or time.perf_counter() - started < MAX_TIMED_SECONDS):
        ratios.append(old.seconds() / new.seconds())
    return statistics.median(ratios), math.inf if math.isnan(change) else change


def _synchronize(device):
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
