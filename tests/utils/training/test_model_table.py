"""The table of layers: known numbers of FLOPs, and networks of every odd kind, which are left as they were."""

from argparse import Namespace

import pytest
import torch
from torch import nn
from torchvision import models

from model.lenet import LeNet
from utils.training import model_table as module
from utils.training.model_table import MAX_LAYER_ROWS, model_table


def table(net, channels=1, image_size=(8, 8)):
    return model_table(net, Namespace(channels=channels, image_size=image_size))


def rows_of(lines):
    """Return the rows between the line of dashes and the sums: name -> the words after it."""
    inside = [line.split() for line in lines[2:] if not line.startswith(('(', 'parameters:', 'no outputs'))]
    return {words[0]: words[1:] for words in inside}


def test_a_network_counted_by_hand():
    lines = table(LeNet(), image_size=(28, 28))
    # A multiply-add is two: 2 * outputs * inputs of each.
    conv1, conv2 = 2 * 6 * 28 * 28 * 25, 2 * 16 * 10 * 10 * 6 * 25
    linear = [2 * 400 * 120, 2 * 120 * 84, 2 * 84 * 10]
    total = conv1 + conv2 + sum(linear)
    assert lines[-1].startswith('parameters: 61,706, trainable: 61,706; FLOPs of one sample of 1x28x28, forward: ')
    assert lines[-1].endswith(f'forward: {total:,} ({total / 1000:.4g} k)')
    assert lines[:5] == [
        'layer       kind        output    parameters    FLOPs',
        '-----------------------------------------------------',
        'features    Sequential  16x5x5         2,572  715.2 k',
        '  0         Conv2d      6x28x28          156  235.2 k',
        '  3         Conv2d      16x10x10       2,416    480 k',
    ]
    assert [line.split()[0] for line in lines[2:-1]] == ['features', '0', '3', 'classifier', '1', '3', '5']


@pytest.mark.parametrize(
    ('name', 'flops', 'parameters'),
    [('resnet18', 3.628e9, 11_689_512), ('vit_b_16', 35.13e9, 86_567_656), ('swin_t', 8.98e9, 28_288_354)],
)
def test_known_networks(name, flops, parameters):
    """Torchvision states 1.81, 17.56 and 4.49 G multiply-adds."""
    with torch.device('meta'):
        net = models.get_model(name, weights=None)
    lines = table(net, 3, (224, 224))
    total = int(lines[-1].split('forward: ')[1].split()[0].replace(',', ''))
    assert total == pytest.approx(flops, rel=0.015)
    assert f'parameters: {parameters:,}' in lines[-1]
    assert len(lines) <= MAX_LAYER_ROWS + 4
    assert max(map(len, lines)) <= 120


@pytest.mark.slow_after(1, 'builds deep networks')
@pytest.mark.parametrize('name', ['densenet201', 'efficientnet_v2_l', 'maxvit_t', 'vit_h_14'])
def test_deep_networks_stay_readable(name):
    with torch.device('meta'):
        net = models.get_model(name, weights=None)
    lines = table(net, 3, (224, 224))
    assert 5 < len(lines) <= MAX_LAYER_ROWS + 4
    assert lines[-2].startswith('(down to ')
    assert max(map(len, lines)) <= 120


class Odd(nn.Module):
    """A list of layers, one used twice under two names, a tensor that is no buffer, and a dictionary as output."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.LSTM(8, 4, batch_first=True)])
        self.again = self.layers[0]
        self.unused = nn.Linear(5, 5)
        self.scale = nn.Parameter(torch.ones(8), requires_grad=False)
        self.plain = torch.ones(8) * torch.ones(8, requires_grad=True)

    def forward(self, images):
        features = self.again(self.layers[0](images[:, 0])) * self.plain * self.scale
        outputs, states = self.layers[1](features)
        return {'outputs': outputs, 'states': states}


def test_shared_layers_count_once_and_any_kind_of_output_is_taken():
    lines = table(Odd())
    rows = rows_of(lines)
    assert rows['scale'] == ['Parameter', '8', '8']
    # 8 rows through 8x8, twice; eight steps of an LSTM with 4 gates of 4 that see 8 and 4 numbers.
    assert rows['0'] == ['Linear', '8x8', '72', '2.048', 'k']
    assert rows['1'] == ['LSTM', '8x4', '...', '224', '3.072', 'k']
    assert rows['layers'] == ['ModuleList', '296', '5.12', 'k']
    assert rows['unused'] == ['Linear', '30']
    assert 'again' not in rows
    assert lines[-1].startswith('parameters: 334, trainable: 326; ')
    assert f'{2 * 2 * 8 * 8 * 8 + 2 * 8 * 16 * 12:,}' in lines[-1]


def test_attention_is_one_row_with_its_arithmetic():
    net = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(64, 4, 100, batch_first=True))
    rows = rows_of(table(net, channels=10))
    projections, attention = 4 * 2 * 10 * 64 * 64, 2 * 2 * 10 * 10 * 64
    assert rows['self_attn'][:2] == ['MultiheadAttention', '10x64']
    assert rows['self_attn'][-2:] == [f'{(projections + attention) / 1000:.4g}', 'k']
    assert 'out_proj' not in rows


def test_a_network_without_parts():
    assert rows_of(table(nn.Conv2d(1, 2, 3)))['-'] == ['Conv2d', '2x6x6', '20', '1.296', 'k']
    assert table(nn.Flatten())[-1].startswith('parameters: 0, trainable: 0; FLOPs of one sample of 1x8x8, forward: 0')


def test_a_sample_may_be_a_vector_of_features():
    lines = table(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), channels=3, image_size=[])
    assert rows_of(lines)['2'] == ['Linear', '2', '10', '16']
    assert lines[-1] == 'parameters: 26, trainable: 26; FLOPs of one sample of 3, forward: 40 (40)'


class Asking(nn.Module):
    """Asks for a number, which tensors on the meta device have not."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 2)

    def forward(self, images):
        return self.linear(images) if images.sum().item() > 0 else None


@pytest.mark.parametrize(
    ('net', 'image_size', 'says'),
    [
        (Asking(), (8, 8), 'it does not run on the meta device (RuntimeError: '),
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), (8, 8), 'it does not run on the meta device (RuntimeError: '),
        (nn.Linear(8, 2), None, 'the size of a sample is not known'),
    ],
)
def test_where_it_cannot_run_the_parameters_are_there_and_the_reason(net, image_size, says):
    lines = table(net, image_size=image_size)
    parameters = sum(p.numel() for p in net.parameters())
    assert lines[-2] == f'parameters: {parameters}, trainable: {parameters}'
    assert lines[-1].startswith('no outputs and no FLOPs: ' + says)
    assert any('Linear' in line and str(parameters) in line for line in lines)


def test_the_network_its_hooks_and_the_generators_are_left_as_they_were():
    net, called = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)), []
    net[0].register_forward_hook(lambda *args: called.append('hook'))
    net.compile(backend='eager')
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tensors, state = [id(p) for p in net.parameters()], torch.get_rng_state()
    fast = torch.backends.mha.get_fastpath_enabled()
    hooks = [dict(part._forward_hooks) for part in net.modules()]
    assert 'Conv2d' in table(net)[2]
    assert called == []
    assert [id(p) for p in net.parameters()] == tensors
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.device.type == 'cpu' for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert [dict(part._forward_hooks) for part in net.modules()] == hooks
    assert net.training
    assert net[1].training
    assert net._compiled_call_impl is not None


def test_no_weights_are_copied():
    """A network of 40 GB, of which there is one page: a copy of it would not go unnoticed."""
    net = nn.Linear(100_000, 100_000, device='meta')
    net.weight = nn.Parameter(torch.zeros(1).expand(100_000, 100_000))
    net.bias = None
    lines = model_table(nn.Sequential(nn.Flatten(), net), Namespace(channels=1, image_size=(250, 400)))
    assert '(20 G)' in lines[-1]


def test_long_names_are_cut(monkeypatch):
    monkeypatch.setattr(module, 'MAX_COLUMN_CHARS', {'layer': 10, 'kind': 9, 'output': 18})
    net = nn.Sequential()
    net.add_module('a_very_long_name', nn.Conv2d(1, 2, 3))
    net.add_module('short', nn.BatchNorm2d(2))
    lines = table(net)
    assert lines[2].startswith('a_very_...  Conv2d')
    assert 'BatchN...' in lines[3]


def test_a_run_prints_it_into_the_terminal_and_the_log(train_here, list_data, tmp_path):
    words = ['--epochs', 1, '--checkpoints_dir', tmp_path]
    without, with_it = (train_here(*list_data, *words, *more) for more in ([], ['--print_model']))
    log = (with_it.directory / 'log.txt').read_text(encoding='utf-8')
    for text in (with_it.stdout, log):
        assert 'features    Sequential' in text
        assert 'FLOPs of one sample of 3x20x16, forward: ' in text
    assert 'Sequential' not in without.stdout
    weights = [torch.load(run.directory / 'last.pth', weights_only=True)['model'] for run in (without, with_it)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
