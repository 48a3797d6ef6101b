"""Output fingerprints: outputs of a network for a fixed input (the probe), saved in each checkpoint.

load_state_dict accepts weights whenever names and shapes match. Another activation, padding, order of layers or eps of
a norm has no parameters but changes the outputs. Comparing outputs detects every such change.

The standard probe is noise with standard deviation 1, like normalised images and features, in the input size of the
run. RULE numbers the way the noise is made and never changes its meaning. For a network with other inputs, override
Trainer.probe; the checkpoint then stores that probe. From the first validation on, a few of its inputs are a second
probe (utils/provenance/probe_samples.py), and the layers are recorded (utils/provenance/layer_outputs.py).

On one machine the outputs are bit-identical. Other devices, thread counts, memory layouts and versions of torch changed
them by up to 1e-6 of the largest output; ReLU instead of LeakyReLU(0.01) by 4e-3 or more, eps 1e-3 instead of 1e-5 in
trained batch norms by 8e-3, another padding mode by 1e-2. TOLERANCE lies between.
"""

import math
import weakref
from contextlib import contextmanager, nullcontext
from itertools import chain

import numpy as np
import torch

from utils.base.errors import DanluError, first_line
from utils.base.nested import map_nested
from utils.base.seeding import get_rng_state, set_rng_state
from utils.base.text_table import number_text
from utils.distributed.fsdp import is_sharded
from utils.logger import TimeBudget
from utils.provenance.layer_outputs import LayerLog, first_difference
from utils.provenance.probe_samples import restore_samples, select_samples
from utils.runs.checkpoint import unwrap_model

RULE = 1
PROBE_SAMPLES = 2
TOLERANCE = 1e-4  # relative to the largest value of the same output
MAX_STORED_VALUES = 1000  # per network; of larger outputs a sample and MOMENT_COUNT moments are stored
MOMENT_COUNT = 3  # mean, root mean square, maximum
MAX_NOISE_VALUES = 2**28  # eight bytes each
MAX_PROBE_VALUES = 2**16  # of a probe that is stored in the checkpoint
TIME_SHARE = 0.005  # of the run time, for checkpoints within an epoch


class NoFingerprintError(Exception):
    """The reason (str) why a network or a checkpoint has no usable fingerprint."""


class OutputFingerprinter:
    """Adds output fingerprints to the checkpoints of a run.

    Args:
        trainer: train.Trainer; `probe` returns the probe, `eval_weights` selects the weights, `logger` prints once if
            the network has no fingerprint.
    """

    def __init__(self, trainer):
        # A reference cycle would keep worker processes alive until they time out.
        self.trainer, self.time_budget = weakref.proxy(trainer), TimeBudget(TIME_SHARE)
        self.probe = self.stored_probe = self.why_impossible = self.samples = None

    def note_inputs(self, inputs):
        """Take a few inputs of the validation for the probe, once in a run; inputs: as Engine.step returns them."""
        # Not of a sharded network, whose processes would have to agree on whether their own inputs can be stored.
        if self.samples is None and self.why_impossible is None and not is_sharded(self.trainer.net):
            self.samples = select_samples(inputs)

    def add_to(self, states):
        """Add `fingerprint` (dict or None) to the states (dict from a name to a dict) that are about to be saved.

        All states must hold the current weights. Within an epoch a large network is not evaluated for each checkpoint.
        """
        found, interruption = None, self.trainer.session.preemption
        if self.why_impossible is None and (not self.trainer.batch or interruption.signal or self._may_be_slow()):
            with self.time_budget.spending():
                found = self._compute_fingerprint()
        for state in states.values():
            state['fingerprint'] = found

    def _may_be_slow(self):
        # All processes must evaluate a sharded network together, and their time budgets differ.
        return self.time_budget.due() and not is_sharded(self.trainer.net)

    def _compute_fingerprint(self):
        net = unwrap_model(self.trainer.net)
        try:
            with self.trainer.eval_weights():
                if self.probe is None:
                    self._select_probe(net)
                found = {**answers(net, self.probe), 'samples': self._sample_answers(net)}
        except Exception as error:  # a user's network may raise anything; training continues
            self.why_impossible = failure_reason(error)
            self.trainer.logger.print(
                'checkpoints are saved without output fingerprint, so later changes of the model code are not noticed: '
                f'{self.why_impossible}. If the network takes other inputs, override Trainer.probe'
            )
            return None
        return {'rule': RULE, 'probe': self.stored_probe, 'device': _device_of(self.trainer.net).type, **found}

    def _sample_answers(self, net):
        """Return the `answers` for the samples of the validation (dict, with the samples), or None without samples."""
        if self.samples is None or 'shape' not in self.stored_probe:
            return None
        inputs = restore_samples(self.samples)
        if list(inputs.shape[1:]) != self.stored_probe['shape'][1:]:
            return None
        try:
            return {**self.samples, **answers(net, inputs)}
        except Exception as error:  # of a network whose Trainer.step changes the inputs
            self.samples = None
            self.trainer.logger.print(
                f'checkpoints have no outputs for samples of the validation: {failure_reason(error)}'
            )
            return None

    def _select_probe(self, net):
        """Select the probe, once, and check that the network is deterministic."""
        probe = self.trainer.probe()
        if probe is None:
            raise NoFingerprintError('the size of the input is not known')
        if torch.is_tensor(probe) and torch.equal(probe, probe_noise(probe.shape)):
            self.stored_probe = {'shape': list(probe.shape)}
        else:
            self.stored_probe = {'inputs': probe}
            count = sum(tensor.numel() for _, tensor in named_tensors(probe))
            if count > MAX_PROBE_VALUES:
                raise NoFingerprintError(f'the probe has {count:,} values, at most {MAX_PROBE_VALUES:,} can be saved')
        first, second = probe_outputs(net, probe, twice=True)
        if output_difference(first, second):
            raise NoFingerprintError('in eval mode the network gives other outputs each time')
        self.probe = probe


def answers(net, probe):
    """Return the outputs of a network for a probe, and the statistics of its layers (dict): see `probe_outputs`."""
    log = LayerLog()
    try:
        return {'outputs': probe_outputs(net, probe, log=log), 'layers': log.record()}
    except Exception:  # of a network whose modules take no hooks, as those of TorchScript; or of the network itself
        return {'outputs': probe_outputs(net, probe), 'layers': None}


def standard_probe(args):
    """Return the probe for the input size in the options, float32 (2, C, H, W) or (2, F), or None."""
    if not args.channels or args.image_size is None:
        return None
    return probe_noise((PROBE_SAMPLES, args.channels, *args.image_size))


def probe_noise(shape):
    """Return the noise of RULE: float32, uniform, mean 0, standard deviation 1.

    NumPy guarantees that RandomState never changes its stream (NEP 19). No other generator is used.
    """
    draws = np.random.RandomState(0).random_sample(math.prod(shape)).reshape(tuple(shape))
    return torch.from_numpy(((2 * draws - 1) * math.sqrt(3)).astype(np.float32))


def probe_outputs(net, probe, twice=False, log=None):
    """Return the outputs of a network in eval mode and float32; the state of the network does not change.

    Args:
        net: nn.Module on its device, not wrapped.
        probe: tensor, tuple or list of arguments, or dict of keyword arguments, on any device.
        twice: evaluate twice and return two results.
        log: LayerLog that records the layers, or None.

    Returns:
        dict from a name to {'shape': list of int, 'values': float32 (n,) on the CPU} for each tensor of the output. The
        name is '' if the output is a tensor. Of a large tensor a sample and the moments are returned.

    Raises:
        NoFingerprintError: the output holds no tensor.
        Exception: raised by the network.
    """
    device = _device_of(net)
    probe = nested_to_device(probe, device)
    words = probe if isinstance(probe, dict) else {}
    places = probe if isinstance(probe, list | tuple) else () if words else (probe,)
    exact = torch.no_grad(), torch.autocast(device.type, enabled=False)
    layers = nullcontext() if log is None else log.recording(net)
    with preserve_state(net), in_float32(), exact[0], exact[1], layers:
        found = [summarize_output(net(*places, **words)) for _ in range(1 + twice)]
    return found if twice else found[0]


def _device_of(net):
    """Return the torch.device of a network's weights."""
    return next((tensor.device for tensor in chain(net.parameters(), net.buffers())), torch.device('cpu'))


def summarize_output(output):
    """Return what is stored of an output: see `probe_outputs`."""
    found = list(named_tensors(output))
    if not found:
        raise NoFingerprintError(f'the network returns {type(output).__name__} without a tensor')
    most = max(MAX_STORED_VALUES // len(found), 1)
    return {name: {'shape': list(tensor.shape), 'values': sample_values(tensor, most)} for name, tensor in found}


def sample_values(tensor, most):
    """Return the values of a tensor, float32 (n,) on the CPU; if more than `most`, a fixed sample and the moments."""
    numbers = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)
    if len(numbers) > most:
        draws = np.random.RandomState(0).random_sample(most)
        chosen = numbers[torch.from_numpy((draws * len(numbers)).astype(np.int64)).to(numbers.device)]
        exact = numbers.double()
        moments = torch.stack([exact.mean(), exact.square().mean().sqrt(), exact.abs().max()])
        numbers = torch.cat([chosen.double(), moments])
    return numbers.to('cpu', torch.float32, copy=True)


def output_difference(then, now):
    """Return how two results of `probe_outputs` differ (str), or None if within TOLERANCE."""
    shapes = [{name: tuple(part['shape']) for name, part in each.items()} for each in (then, now)]
    if shapes[0] != shapes[1]:
        told_then, told_now = (', '.join(f'{name} {shape}'.strip() for name, shape in each.items()) for each in shapes)
        return f'the shape of its output is {told_now} instead of {told_then}'
    largest, scale_there = 0.0, 0.0
    for name, part in then.items():
        old, new = part['values'].double(), now[name]['values'].double()
        if not old.numel():
            continue
        same = (old == new) | (old.isnan() & new.isnan())  # also equal infinities
        difference = torch.where(same, 0.0, (new - old).abs().nan_to_num(nan=math.inf, posinf=math.inf)).max().item()
        scale = old.abs().nan_to_num(posinf=0.0).max().item()
        if difference > TOLERANCE * max(scale, TOLERANCE) and difference > largest:
            largest, scale_there = difference, scale
    return f'largest difference {number_text(largest)}, largest output {number_text(scale_there)}' if largest else None


def compare_outputs(net, fingerprint):
    """Return how the outputs of a network differ from the fingerprint of a checkpoint (str), or None if they agree.

    The text is a line on the outputs and, if the layers were recorded, one on the first layer that differs.

    Args:
        net: nn.Module on its device, wrapped or not.
        fingerprint: value in the checkpoint, or None.

    Raises:
        NoFingerprintError: there is no fingerprint, or it cannot be compared.
    """
    if fingerprint is None:
        raise NoFingerprintError('the checkpoint has no output fingerprint')
    try:
        if fingerprint['rule'] != RULE:
            raise NoFingerprintError(
                f'its fingerprint has rule {fingerprint["rule"]}, which this version does not know'
            )
        kept = fingerprint['probe']
        if math.prod(kept.get('shape', ())) > MAX_NOISE_VALUES:
            raise NoFingerprintError(f'its probe has more than {MAX_NOISE_VALUES:,} values')
        probe = probe_noise(kept['shape']) if 'shape' in kept else kept['inputs']
        if told := _difference(net, probe, fingerprint):
            return told
        samples = fingerprint.get('samples')
        return samples and _difference(net, restore_samples(samples), samples, ', for samples of the validation')
    except Exception as error:  # a changed network or an invalid fingerprint may raise anything
        raise NoFingerprintError(failure_reason(error)) from error


def _difference(net, probe, then, where=''):
    """Return how the `answers` of a network for a probe differ from recorded ones (str), or None."""
    net = unwrap_model(net)
    told = output_difference(then['outputs'], probe_outputs(net, probe))
    if told is None:
        return None
    now = answers(net, probe)['layers'] if then.get('layers') else None
    layer = first_difference(then['layers'], now, TOLERANCE) if now else None
    return f'{told}{where}' + (f'\nfirst difference: {layer}' if layer else '')


def describe_probe(fingerprint):
    """Return what a fingerprint (dict) was computed for (str): '2 inputs of noise, 4 samples of the validation'."""
    shape = fingerprint['probe'].get('shape')
    told = f'{shape[0]} inputs of noise' if shape else 'the inputs of Trainer.probe'
    samples = fingerprint.get('samples')
    return f'{told}, {len(samples["pixels"])} samples of the validation' if samples else told


def failure_reason(error):
    """Return the reason in an exception why there is no fingerprint (str, one line)."""
    if isinstance(error, NoFingerprintError | DanluError):
        return str(error)
    return f'the network does not accept the probe ({type(error).__name__}: {first_line(error)[:200]})'


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
    return map_nested(lambda leaf: leaf.to(device) if torch.is_tensor(leaf) else leaf, value)


@contextmanager
def preserve_state(net):
    """Put a network into eval mode without compilation in the body of the `with`; restore everything afterwards."""
    modes = [(module, module.training) for module in net.modules()]
    compiled = [(module, module._compiled_call_impl) for module in net.modules() if module._compiled_call_impl]
    buffers = [(m._buffers, n, b, b.clone()) for m in net.modules() for n, b in m._buffers.items() if b is not None]
    rng = get_rng_state()
    try:
        for module, _ in compiled:
            module._compiled_call_impl = None
        for module, _ in modes:  # a user's network may override eval()
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
    """Compute in true float32, without TF32 or bfloat16, in the body of the `with`."""
    backends = torch.backends
    try:
        before = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    except RuntimeError:  # torch refuses these settings once the newer ones were used
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
