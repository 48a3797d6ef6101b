"""The fingerprint of a checkpoint: what it notices, what it does not mind, and that taking it changes nothing."""

import copy
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from options import train_args
from train import Trainer
from utils.base.errors import DanluError
from utils.provenance import output_fingerprint
from utils.provenance.output_fingerprint import (
    MAX_STORED_VALUES,
    MOMENT_COUNT,
    NoFingerprintError,
    compare_outputs,
    describe_probe,
    in_float32,
    output_difference,
    preserve_state,
    probe_noise,
    probe_outputs,
)
from utils.runs.checkpoint import load_checkpoint

PROBE = probe_noise((2, 3, 16, 12))


class Net(nn.Module):
    """Convolutions, norms and activations with options that no weight tells of."""

    def __init__(self, activation=nn.ReLU, eps=1e-5, padding_mode='zeros', norm_first=True, dropout=0.2):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, padding_mode=padding_mode)
        self.second = nn.Conv2d(8, 8, 3, padding=1, padding_mode=padding_mode)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8, eps=eps) for _ in range(2))
        self.activation, self.norm_first, self.dropout = activation(), norm_first, nn.Dropout(dropout)
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        for conv, norm in zip((self.first, self.second), self.norms, strict=True):
            images = conv(images)
            images = self.activation(norm(images)) if self.norm_first else norm(self.activation(images))
        return self.head(self.dropout(images.mean((2, 3))))


def trained(net):
    """Return a network after some steps: its batch norms have seen data of other means and deviations."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    for _ in range(20):
        images = torch.rand(8, 3, 16, 12)
        loss = nn.functional.cross_entropy(net(images), (images.mean((1, 2, 3)) * 50 % 5).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


@pytest.fixture(scope='module')
def weights():
    return trained(Net()).state_dict()


def with_weights(weights, **options):
    net = Net(**options)
    net.load_state_dict(weights)
    return net


def shape_of(probe):
    return {'shape': list(probe.shape)}


def fingerprint_of(net, probe=PROBE):
    return {'rule': 1, 'probe': shape_of(probe), 'device': 'cpu', 'outputs': probe_outputs(net, probe)}


# --- what it notices


@pytest.mark.parametrize(
    'options',
    [
        {'activation': lambda: nn.LeakyReLU(0.01)},
        {'activation': nn.GELU},
        {'activation': nn.SiLU},
        {'eps': 1e-3},
        {'padding_mode': 'reflect'},
        {'padding_mode': 'replicate'},
        {'norm_first': False},
    ],
    ids=['leaky', 'gelu', 'silu', 'eps', 'reflect', 'replicate', 'order'],
)
def test_it_notices_what_load_state_dict_accepts_without_a_word(options, weights):
    said = compare_outputs(with_weights(weights, **options), fingerprint_of(with_weights(weights)))
    assert said.startswith('largest difference 0.') or said.startswith('largest difference 1')


def test_the_difference_and_the_scale_that_are_named_are_those_of_the_outputs(weights):
    then, now = with_weights(weights).eval(), with_weights(weights, activation=nn.GELU).eval()
    with torch.no_grad():
        outputs, others = then(PROBE), now(PROBE)
    said = compare_outputs(now, fingerprint_of(then))
    difference, largest = (each.abs().max().item() for each in (others - outputs, outputs))
    assert said == f'largest difference {difference:#.4g}, largest output {largest:#.4g}'


def test_a_changed_weight_is_noticed(weights):
    net = with_weights(weights)
    kept = fingerprint_of(net)
    with torch.no_grad():
        net.first.weight[0, 0, 0, 0] += 0.05
    assert compare_outputs(net, kept)


def test_padding_is_noticed_at_the_border_of_a_large_output():
    zeros, mirrored = (nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode) for mode in ('zeros', 'reflect'))
    mirrored.load_state_dict(zeros.state_dict())
    probe = probe_noise((2, 3, 96, 96))
    kept = probe_outputs(zeros, probe)
    assert len(kept['']['values']) == MAX_STORED_VALUES + MOMENT_COUNT
    assert output_difference(kept, probe_outputs(mirrored, probe))


def test_a_change_outside_of_the_chosen_numbers_is_noticed_by_the_moments():
    output = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    kept = output_fingerprint.summarize_output(output)
    chosen = set(kept['']['values'].tolist())
    others = torch.tensor([value not in chosen for value in output.flatten().tolist()])
    changed = torch.where(others, 1.01 * output.flatten(), output.flatten()).view(output.shape)
    assert output_difference(kept, output_fingerprint.summarize_output(changed))


def test_another_shape_of_the_output_is_told():
    assert output_difference(
        probe_outputs(nn.Conv2d(3, 4, 3), PROBE), probe_outputs(nn.Conv2d(3, 4, 3, padding=1), PROBE)
    ) == ('the shape of its output is (2, 4, 16, 12) instead of (2, 4, 14, 10)')


# --- what it does not mind


@pytest.mark.parametrize('change', ['layout', 'threads', 'double', 'wrapped', 'dropout', 'frozen', 'training'])
def test_it_does_not_mind_what_computes_the_same(change, weights):
    net, kept = with_weights(weights), fingerprint_of(with_weights(weights))
    if change == 'layout':
        net.to(memory_format=torch.channels_last)
    elif change == 'dropout':
        net = with_weights(weights, dropout=0.7)
    elif change == 'wrapped':
        net = nn.DataParallel(net)
    elif change == 'frozen':
        net.first.requires_grad_(False)
    elif change == 'double':  # rounding as far off as on any other device
        assert output_difference(kept['outputs'], probe_outputs(net.double(), PROBE.double())) is None
        return
    net.train(change == 'training')
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if change == 'threads' else threads)
    try:
        assert compare_outputs(net, kept) is None
    finally:
        torch.set_num_threads(threads)


def test_float32_is_meant_whatever_autocast_says(weights):
    net = with_weights(weights)
    kept = fingerprint_of(net)
    with torch.autocast('cpu', torch.bfloat16):
        assert compare_outputs(net, kept) is None


def test_noise_is_what_it_always_was():
    """A number that moves here makes every checkpoint of before differ: give a new RULE instead."""
    assert probe_noise((2, 2)).tolist() == [
        [0.16909493505954742, 0.7454378604888916],
        [0.35598278045654297, 0.15547990798950195],
    ]
    assert abs(probe_noise((2, 3, 32, 32)).mean()) < 0.03
    assert probe_noise((2, 3, 32, 32)).std().item() == pytest.approx(1, abs=0.02)


def test_nan_and_infinity_are_equal_to_themselves():
    odd = output_fingerprint.summarize_output(torch.tensor([1.0, math.nan, math.inf, -math.inf]))
    assert output_difference(odd, copy.deepcopy(odd)) is None
    for other in ([1.0, 2.0, math.inf, -math.inf], [1.0, math.nan, -math.inf, -math.inf], [math.nan] * 4):
        assert output_difference(odd, output_fingerprint.summarize_output(torch.tensor(other))).startswith(
            'largest difference inf'
        )


# --- it disturbs nothing


class Nosy(nn.Module):
    """A network that draws, counts its calls in buffers and keeps norms of its own in eval mode."""

    def __init__(self):
        super().__init__()
        self.frozen, self.norm = nn.BatchNorm2d(3).eval(), nn.BatchNorm2d(3)
        self.register_buffer('calls', torch.zeros(1))
        self.register_buffer('replaced', torch.zeros(1))
        self.register_buffer('nothing', None)

    def forward(self, images):
        self.calls += 1
        self.replaced = self.replaced + 1
        random.random(), np.random.rand(), torch.rand(1)
        return self.norm(self.frozen(images)).mean((2, 3))


def test_taking_it_changes_nothing():
    net = Nosy()
    net.norm.weight.grad = torch.ones(3)
    modes = {name: module.training for name, module in net.named_modules()}
    assert modes == {'': True, 'frozen': False, 'norm': True}
    before, objects = copy.deepcopy(net.state_dict()), dict(net.named_buffers())
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    probe_outputs(net, PROBE, twice=True)
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(buffer is objects[name] for name, buffer in net.named_buffers())
    assert net.norm.weight.grad.tolist() == [1, 1, 1]
    assert net.norm.bias.grad is None
    assert random.getstate() == state[0]
    assert np.random.get_state()[1].tolist() == state[1]
    assert torch.equal(torch.get_rng_state(), state[2])


def test_a_network_that_fails_is_left_as_it_was():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Linear(7, 2))
    with pytest.raises(RuntimeError):
        probe_outputs(net, PROBE)
    assert all(module.training for module in net.modules())


def test_a_compiled_network_is_asked_without_the_compiler():
    net = nn.Linear(4, 2)
    net._compiled_call_impl = compiled = SimpleNamespace()  # what nn.Module.compile sets, here not even to be called
    probe_outputs(net, probe_noise((2, 4)))
    assert net._compiled_call_impl is compiled


@pytest.mark.parametrize('switch', ['older', 'newer'])
def test_the_precision_that_was_chosen_is_chosen_again(switch):
    matmul = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision(), matmul.fp32_precision
    try:
        if switch == 'older':
            torch.set_float32_matmul_precision('high')
        else:
            matmul.fp32_precision = 'tf32'
        with in_float32():
            assert matmul.fp32_precision == 'ieee'
            assert torch.backends.cudnn.conv.fp32_precision in ('ieee', 'none')
        assert matmul.fp32_precision == 'tf32'
        assert torch.backends.cudnn.conv.fp32_precision == 'tf32'
        if switch == 'older':
            assert torch.get_float32_matmul_precision() == 'high'
    finally:
        matmul.fp32_precision = before[1]
        torch.set_float32_matmul_precision(before[0])


# --- outputs and inputs of all kinds


class Several(nn.Module):
    """Takes two arguments and returns a nest."""

    def forward(self, left, right):
        return {'out': left @ right, 'aux': [left.sum(), (right > 0, None, 'word')], 'wide': left.repeat(1, 2000)}


@pytest.mark.parametrize('as_words', [False, True])
def test_nested_outputs_are_kept_by_their_names(as_words):
    left, right = probe_noise((3, 4)), probe_noise((4, 2))
    found = probe_outputs(Several(), {'left': left, 'right': right} if as_words else (left, right))
    assert {name: part['shape'] for name, part in found.items()} == {
        'out': [3, 2],
        'aux.0': [],
        'aux.1.0': [4, 2],
        'wide': [3, 8000],
    }
    assert torch.equal(found['out']['values'], (left @ right).flatten())
    assert sum(len(part['values']) for part in found.values()) <= MAX_STORED_VALUES + MOMENT_COUNT


def test_a_network_that_returns_no_tensor_has_none():
    class Wordy(nn.Module):
        def forward(self, images):
            return {'text': ['seven']}

    with pytest.raises(NoFingerprintError, match='returns dict without a tensor'):
        probe_outputs(Wordy(), PROBE)


@pytest.mark.parametrize(
    'kept',
    [
        None,
        {'rule': 2, 'probe': {'shape': [2, 3, 16, 12]}, 'outputs': {}},
        {'rule': 1},
        {'rule': 1, 'probe': {'shape': 'many'}, 'outputs': {}},
        {'rule': 1, 'probe': {'shape': [2, 9, 9]}, 'outputs': {}},
        {'rule': 1, 'probe': {'shape': [2, 3, 16, 12]}, 'outputs': {'': {'shape': [2, 5], 'values': torch.zeros(3)}}},
        [],
    ],
)
def test_a_fingerprint_that_cannot_be_compared_is_no_alarm(kept, weights):
    with pytest.raises(NoFingerprintError):
        compare_outputs(with_weights(weights), kept)


# --- in a run


class Few:
    """A loader of three batches of pictures."""

    def __iter__(self):
        for number in range(3):
            images = torch.rand(6, 3, 16, 12, generator=torch.Generator().manual_seed(number))
            yield images, torch.arange(6) % 5


def trainer_of(folder, cls=Trainer, model=None, val_loader=None, **options):
    torch.manual_seed(1)
    args = train_args(
        **{'checkpoints_dir': folder, 'device': 'cpu', 'epochs': 2, 'num_classes': 5, 'channels': 3} | options,
        **{'image_size': [16, 12], 'batch_size': 6, 'mean': [0, 0, 0], 'std': [1, 1, 1]},
    )
    return cls(args, model=Net() if model is None else model, train_loader=Few(), val_loader=val_loader or Few())


def checkpoints_of(trainer):
    return {path.name: load_checkpoint(path) for path in (trainer.logger.directory).glob('*.pth')}


def said_by(trainer):
    return (trainer.logger.directory / 'log.txt').read_text(encoding='utf-8')


@pytest.mark.parametrize('ema', [None, 0.5])
def test_each_checkpoint_holds_what_its_weights_answer(ema, tmp_path):
    """With --ema those that are tested: the average, also in last.pth."""
    trainer = trainer_of(tmp_path, save_freq=1, keep_top=1, ema=ema)
    trainer.train()
    found = checkpoints_of(trainer)
    assert {'best.pth', 'last.pth', 'epoch_0001.pth', 'epoch_0002.pth'} < set(found)
    for name, state in found.items():
        weights = state['ema']['model'] if ema and 'ema' in state else state['model']
        assert compare_outputs(with_weights(weights), state['fingerprint']) is None, name
        assert compare_outputs(with_weights(weights, activation=nn.GELU), state['fingerprint']), name
    if ema:
        assert compare_outputs(with_weights(found['last.pth']['model']), found['last.pth']['fingerprint'])
    assert 'without output fingerprint' not in said_by(trainer)


class Bright(Few):
    """A loader whose images have larger values than noise."""

    def __iter__(self):
        return ((5 * images, targets) for images, targets in super().__iter__())


class Clipping(Net):
    """A network that clips what noise does not reach."""

    def forward(self, images):
        return super().forward(images.clamp(max=2.0))


def test_samples_of_the_validation_show_what_noise_does_not(tmp_path):
    trainer = trainer_of(tmp_path, val_loader=Bright())
    trainer.train()
    state = checkpoints_of(trainer)['best.pth']
    samples = state['fingerprint']['samples']
    assert samples['pixels'].shape == (4, 3, 16, 12)
    assert describe_probe(state['fingerprint']) == '2 inputs of noise, 4 samples of the validation'
    assert compare_outputs(with_weights(state['model']), state['fingerprint']) is None
    clipping = Clipping()
    clipping.load_state_dict(state['model'])
    told, layer = compare_outputs(clipping, state['fingerprint']).splitlines()
    assert told.startswith('largest difference ')
    assert told.endswith(', for samples of the validation')
    assert layer == 'first difference: the input of first (Conv2d)'
    older = {name: value for name, value in state['fingerprint'].items() if name not in ('samples', 'layers')}
    assert compare_outputs(clipping, older) is None, 'noise alone does not show it'
    assert describe_probe(older) == '2 inputs of noise'


def test_training_goes_the_same_way_with_and_without_it(tmp_path, monkeypatch):
    def weights_after(folder):
        trainer = trainer_of(folder, save_steps=1)
        trainer.train()
        return checkpoints_of(trainer)['last.pth']

    with_it = weights_after(tmp_path / 'with')
    monkeypatch.setattr(output_fingerprint.OutputFingerprinter, 'add_to', lambda self, states: None)
    without = weights_after(tmp_path / 'without')
    assert 'fingerprint' in with_it
    assert 'fingerprint' not in without
    for key in ('model', 'rng'):
        assert repr(with_it[key]) == repr(without[key])
        assert all(torch.equal(a, b) for a, b in zip(*(tensors(s[key]) for s in (with_it, without)), strict=True))


def tensors(value):
    return [tensor for _, tensor in output_fingerprint.named_tensors(value)]


def test_within_an_epoch_a_slow_network_is_not_asked_each_time(tmp_path, monkeypatch):
    asked = []
    trainer = trainer_of(tmp_path, save_steps=1)
    monkeypatch.setattr(trainer.session.fingerprints.time_budget, 'due', lambda: False)
    monkeypatch.setattr(
        trainer.session.fingerprints, '_compute_fingerprint', lambda: asked.append((trainer.epoch, trainer.batch))
    )
    trainer.train()
    assert asked == [(1, 0), (2, 0)]


class Dicing(Net):
    """Draws noise in tests too."""

    def forward(self, images):
        return super().forward(images + torch.rand_like(images))


class Choosy(nn.Module):
    """Takes two things by name."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 5)

    def forward(self, *, images, scale):
        return self.head(images.mean((2, 3)) * scale)


class ChoosyTrainer(Trainer):
    """What a user writes for it."""

    def step(self, batch):
        images, targets = self.to_device(batch)
        return images, self.model(images=images, scale=2.0), targets


class AskingTrainer(ChoosyTrainer):
    """And one that says what to ask."""

    def probe(self):
        return {'images': torch.linspace(0, 1, 24).view(2, 3, 2, 2), 'scale': torch.tensor(2.0)}


class LavishTrainer(ChoosyTrainer):
    """And one that asks too much."""

    def probe(self):
        return {'images': torch.zeros(2, 3, 200, 200), 'scale': torch.tensor(2.0)}


@pytest.mark.parametrize(
    ('cls', 'model', 'why'),
    [
        (Trainer, Dicing, 'in eval mode the network gives other outputs each time'),
        (
            ChoosyTrainer,
            Choosy,
            'the network does not accept the probe (TypeError: Choosy.forward() takes 1 positional',
        ),
        (LavishTrainer, Choosy, 'the probe has 240,001 values, at most 65,536 can be saved'),
    ],
)
def test_why_there_is_none_is_said_once(cls, model, why, tmp_path):
    trainer = trainer_of(tmp_path, cls, model(), save_steps=1)
    trainer.train()
    assert {state['fingerprint'] for state in checkpoints_of(trainer).values()} == {None}
    assert said_by(trainer).count('without output fingerprint') == 1
    assert why in said_by(trainer)
    assert 'Trainer.probe' in said_by(trainer)


def test_a_task_of_ones_own_says_what_to_ask_and_it_is_kept_whole(tmp_path):
    trainer = trainer_of(tmp_path, AskingTrainer, Choosy())
    trainer.train()
    state = checkpoints_of(trainer)['best.pth']
    net = Choosy()
    net.load_state_dict(state['model'])
    assert compare_outputs(net, state['fingerprint']) is None
    with torch.no_grad():
        net.head.bias += 1
    assert compare_outputs(net, state['fingerprint']).startswith('largest difference 1.000, ')


@pytest.mark.slow('four starts')
def test_a_run_that_goes_on_is_asked_again(tmp_path, capsys):
    trainer = trainer_of(tmp_path, ema=0.5)
    trainer.train()
    run = str(trainer.logger.directory)
    resume = {'epochs': 3, 'resume': run, 'device': 'cpu'}

    def resumed(net, **options):
        return Trainer(train_args(**resume, **options), model=net, train_loader=Few(), val_loader=Few())

    with pytest.raises(DanluError, match='no longer gives the outputs it was saved with: largest difference'):
        resumed(Net(activation=nn.GELU), strict_record=True)
    capsys.readouterr()
    resumed(Net(activation=nn.GELU)).close()
    assert (
        'this checkpoint no longer gives the outputs it was saved with: largest difference' in capsys.readouterr().out
    )
    resumed(Net(), strict_record=True).train()
    assert 'no longer' not in capsys.readouterr().out


@pytest.mark.slow('four runs')
def test_new_training_from_weights_tells_if_they_compute_something_else(tmp_path, capsys):
    trainer = trainer_of(tmp_path)
    trainer.train()
    best = str(trainer.logger.directory / 'best.pth')
    with pytest.raises(DanluError, match='no longer gives'):
        trainer_of(tmp_path, model=Net(activation=nn.GELU), load_model_path=best, strict_record=True)
    trainer_of(tmp_path, load_model_path=best, strict_record=True).close()
    capsys.readouterr()
    trainer_of(tmp_path, model=Net(activation=nn.GELU), load_model_path=best, load_exclude=['head']).close()
    said = capsys.readouterr().out
    assert 'no longer gives' not in said
    assert ': not all weights were loaded' in said
    with pytest.raises(DanluError, match=r'--strict_record: not known whether .* not all weights'):
        trainer_of(tmp_path, load_model_path=best, load_exclude=['head'], strict_record=True)


def test_the_context_is_left_also_by_an_exception(weights):
    net = with_weights(weights).train()
    with pytest.raises(ZeroDivisionError), preserve_state(net):
        assert not net.training
        raise ZeroDivisionError
    assert net.training
