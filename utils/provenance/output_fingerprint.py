"""What a network answers to a fixed probe: kept in each checkpoint, asked again when one is loaded.

load_state_dict takes weights for whatever has parameters of the same names and shapes. Another activation, padding or
order of layers, another eps of a norm: none of them has any, and all of them change what the weights compute. The
answers tell, whatever the change was.

The probe is noise of deviation 1, as normalised pictures and features are, of the run's own size, by RULE, which never
changes: a new one gets another number. A network that takes something else says by Trainer.probe what it is to be
asked; that is then kept whole.

On one machine the answers to one probe are the same bits. Other devices, thread counts, memory layouts and versions of
torch moved them by up to 1e-6 of the largest; ReLU instead of LeakyReLU(0.01) moves them by 4e-3 and more, another eps
(1e-3 instead of 1e-5) of trained batch norms by 8e-3, another padding mode by 1e-2. TOLERANCE lies between.
"""

import math
import weakref
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch

from utils.base.errors import DanluError
from utils.base.seeding import get_rng_state, set_rng_state
from utils.distributed.fsdp import is_sharded
from utils.logger import TimeBudget
from utils.runs.checkpoint import unwrap_model

RULE = 1
SAMPLES = 2
TOLERANCE = 1e-4  # of the largest number in the same output
MAX_STORED_VALUES = 1000  # numbers of an answer that are kept, of a larger one a sample and MOMENTS
MOMENT_COUNT = 3
MAX_NOISE_VALUES = 2**28  # numbers of a probe that is drawn, which take eight bytes each
MAX_PROBE_VALUES = 2**16  # numbers of a probe that is kept whole
TIME_SHARE = 0.005  # of a run's time, for checkpoints within an epoch


class NoFingerprintError(Exception):
    """Why there is none (str): of this network, or in this checkpoint."""


class OutputFingerprinter:
    """Adds to the checkpoints of a run what its network answers at that moment.

    Args:
        trainer: train.Trainer; what its `probe` returns is asked, `eval_weights` gives the weights, and `logger` is
            told once if the network cannot be asked.
    """

    def __init__(self, trainer):
        # In a circle worker processes would be waited for until they time out.
        self.trainer, self.time_budget = weakref.proxy(trainer), TimeBudget(TIME_SHARE)
        self.probe = self.stored_probe = self.why_impossible = None

    def add_to(self, states):
        """Add `fingerprint` (dict, or None where there is none) to states (dict name -> dict) about to be saved.

        All of them must be of the weights that the network has now. Within an epoch a large network is not asked at
        every saving.
        """
        found, interruption = None, self.trainer.interruption
        if self.why_impossible is None and (not self.trainer.batch or interruption.signal or self._may_be_slow()):
            with self.time_budget.spending():
                found = self._compute_fingerprint()
        for state in states.values():
            state['fingerprint'] = found

    def _may_be_slow(self):
        # Of a network in shards all processes are asked, which have not all had the same time.
        return self.time_budget.due() and not is_sharded(self.trainer.net)

    def _compute_fingerprint(self):
        net = unwrap_model(self.trainer.net)
        try:
            with self.trainer.eval_weights():
                if self.probe is None:
                    self._select_probe(net)
                outputs = probe_outputs(net, self.probe)
        except Exception as error:  # of a network that is somebody's own: whatever it raises, training goes on
            self.why_impossible = failure_reason(error)
            self.trainer.logger.print(
                f'the checkpoints have no fingerprint, by which a change of the code is noticed: {self.why_impossible} '
                '(a network that takes something else: override Trainer.probe)'
            )
            return None
        return {'rule': RULE, 'probe': self.stored_probe, 'device': self.trainer.device.type, 'outputs': outputs}

    def _select_probe(self, net):
        """Settle on a probe, once, and make sure that the network answers it the same way each time."""
        probe = self.trainer.probe()
        if probe is None:
            raise NoFingerprintError('the size of a sample is not known')
        if torch.is_tensor(probe) and torch.equal(probe, probe_noise(probe.shape)):
            self.stored_probe = {'shape': list(probe.shape)}
        else:
            self.stored_probe = {'inputs': probe}
            count = sum(tensor.numel() for _, tensor in named_tensors(probe))
            if count > MAX_PROBE_VALUES:
                raise NoFingerprintError(
                    f'the probe has {count:,} numbers, and no more than {MAX_PROBE_VALUES:,} are kept'
                )
        first, second = probe_outputs(net, probe, twice=True)
        if output_difference(first, second):
            raise NoFingerprintError('in a test the network computes something else each time')
        self.probe = probe


def standard_probe(args):
    """Return pictures float32 (SAMPLES, C, H, W), or features (SAMPLES, F), of the options; None: they do not say."""
    if not args.channels or args.image_size is None:
        return None
    return probe_noise((SAMPLES, args.channels, *args.image_size))


def probe_noise(shape):
    """Return the noise of RULE: float32, uniform, of mean 0 and deviation 1.

    numpy has promised never to change what a RandomState draws (NEP 19). No other generator is touched.
    """
    draws = np.random.RandomState(0).random_sample(math.prod(shape)).reshape(tuple(shape))
    return torch.from_numpy(((2 * draws - 1) * math.sqrt(3)).astype(np.float32))


def probe_outputs(net, probe, twice=False):
    """Return what a network answers in a test, in float32, and leave everything as it was.

    Args:
        net: nn.Module on its device, not wrapped.
        probe: a tensor, or a tuple or list of arguments, or a dict of arguments by name; on any device.
        twice: ask twice, and return two answers.

    Returns:
        dict name -> {'shape': list of int, 'values': float32 (n,) on the CPU}, for each tensor of the output; '' is the
        name of one that is not in a tuple, list or dict. A large one is told by numbers of it and its MOMENTS.

    Raises:
        NoFingerprintError: the output holds no tensor.
        Exception: what the network raises.
    """
    device = next((tensor.device for tensor in chain(net.parameters(), net.buffers())), torch.device('cpu'))
    probe = nested_to_device(probe, device)
    words = probe if isinstance(probe, dict) else {}
    places = probe if isinstance(probe, list | tuple) else () if words else (probe,)
    with preserve_state(net), in_float32(), torch.no_grad(), torch.autocast(device.type, enabled=False):
        found = [summarize_output(net(*places, **words)) for _ in range(1 + twice)]
    return found if twice else found[0]


def summarize_output(output):
    """Return what is kept of a network's output: see `answers`."""
    found = list(named_tensors(output))
    if not found:
        raise NoFingerprintError(f'the network returns {type(output).__name__}, and in it no tensor')
    most = max(MAX_STORED_VALUES // len(found), 1)
    return {name: {'shape': list(tensor.shape), 'values': sample_values(tensor, most)} for name, tensor in found}


def sample_values(tensor, most):
    """Return a tensor's numbers, float32 (n,) on the CPU; of more than `most` a fixed choice and mean, rms, maximum."""
    numbers = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)
    if len(numbers) > most:
        draws = np.random.RandomState(0).random_sample(most)
        chosen = numbers[torch.from_numpy((draws * len(numbers)).astype(np.int64)).to(numbers.device)]
        exact = numbers.double()
        moments = torch.stack([exact.mean(), exact.square().mean().sqrt(), exact.abs().max()])
        numbers = torch.cat([chosen.double(), moments])
    return numbers.to('cpu', torch.float32, copy=True)


def output_difference(then, now):
    """Return how two results of `answers` differ (str), or None: not by more than TOLERANCE."""
    shapes = [{name: tuple(part['shape']) for name, part in each.items()} for each in (then, now)]
    if shapes[0] != shapes[1]:
        told_then, told_now = (', '.join(f'{name} {shape}'.strip() for name, shape in each.items()) for each in shapes)
        return f'its output is {told_now} instead of {told_then}'
    largest, scale_there = 0.0, 0.0
    for name, part in then.items():
        old, new = part['values'].double(), now[name]['values'].double()
        if not old.numel():
            continue
        same = (old == new) | (old.isnan() & new.isnan())  # also infinities of one sign
        difference = torch.where(same, 0.0, (new - old).abs().nan_to_num(nan=math.inf, posinf=math.inf)).max().item()
        scale = old.abs().nan_to_num(posinf=0.0).max().item()
        if difference > TOLERANCE * max(scale, TOLERANCE) and difference > largest:
            largest, scale_there = difference, scale
    return f'largest difference {largest:.2g}, of outputs up to {scale_there:.2g}' if largest else None


def compare_outputs(net, fingerprint):
    """Return how a network's answers differ from those in a checkpoint (str), or None: they do not.

    Args:
        net: nn.Module on its device, wrapped or not.
        fingerprint: what is in the checkpoint; None where there is nothing.

    Raises:
        NoFingerprintError: there is none, or it cannot be compared.
    """
    if fingerprint is None:
        raise NoFingerprintError('the checkpoint holds no fingerprint')
    try:
        if fingerprint['rule'] != RULE:
            raise NoFingerprintError(f'the rule {fingerprint["rule"]} of its fingerprint is not known here')
        kept = fingerprint['probe']
        if math.prod(kept.get('shape', ())) > MAX_NOISE_VALUES:
            raise NoFingerprintError(f'its probe has more than {MAX_NOISE_VALUES:,} numbers')
        probe = probe_noise(kept['shape']) if 'shape' in kept else kept['inputs']
        return output_difference(fingerprint['outputs'], probe_outputs(unwrap_model(net), probe))
    except Exception as error:  # of a changed network, or of a fingerprint that something else has made
        raise NoFingerprintError(failure_reason(error)) from error


def failure_reason(error):
    """Return what an exception says about why there is no fingerprint (str, one line)."""
    if isinstance(error, NoFingerprintError | DanluError):
        return str(error)
    line = next(iter(str(error).strip().splitlines()), 'no reason given')
    return f'the network does not take the probe ({type(error).__name__}: {line[:200]})'


def named_tensors(value, name=''):
    """Yield (dotted name, tensor) for each tensor in nested tuples, lists and dicts."""
    if torch.is_tensor(value):
        yield name, value.detach()
        return
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in parts:
        yield from named_tensors(part, f'{name}.{key}' if name else str(key))


def nested_to_device(value, device):
    """Return nested tuples, lists and dicts with their tensors on a device."""
    if torch.is_tensor(value):
        return value.to(device)
    if isinstance(value, dict):
        return {key: nested_to_device(part, device) for key, part in value.items()}
    return [nested_to_device(part, device) for part in value] if isinstance(value, list | tuple) else value


@contextmanager
def preserve_state(net):
    """Have a network, not compiled, in eval mode for the body of the `with`, then all as it was before."""
    modes = [(module, module.training) for module in net.modules()]
    compiled = [(module, module._compiled_call_impl) for module in net.modules() if module._compiled_call_impl]
    buffers = [(m._buffers, n, b, b.clone()) for m in net.modules() for n, b in m._buffers.items() if b is not None]
    rng = get_rng_state()
    try:
        for module, _ in compiled:
            module._compiled_call_impl = None
        for module, _ in modes:  # not by net.eval(), which somebody's own network may do more in
            module.training = False
        yield
    finally:
        for module, call in compiled:
            module._compiled_call_impl = call
        for module, training in modes:
            module.training = training
        set_rng_state(rng)
        for place, name, buffer, before in buffers:
            place[name] = buffer
            if not torch.equal(buffer, before):
                buffer.data.copy_(before)


@contextmanager
def in_float32():
    """Compute in float32 in the body of the `with`, without the TF32 or bfloat16 that devices may put in its place."""
    backends = torch.backends
    try:
        before = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    except RuntimeError:  # torch does not tell these any more where somebody has used those that replace them
        places = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul]
        places = [(place, place.fp32_precision) for place in [*places, backends.mkldnn.conv]]
        for place, _ in places:
            place.fp32_precision = 'ieee'
        try:
            yield
        finally:
            for place, precision in places:
                place.fp32_precision = precision
        return
    torch.set_float32_matmul_precision('highest')
    backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        backends.cudnn.allow_tf32 = before[1]
