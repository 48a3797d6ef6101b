"""--lr_decay: which layers networks have, and the learning rate of each."""

import pytest
import torch
from torch import nn

from options import parse_train_args
from utils.base.errors import DanluError
from utils.training.layer_decay import layer_lr_table, layer_numbers
from utils.training.optim import select_optimizer


class Network(nn.Module):
    """A stem with a norm, a list of two blocks, a norm, a head; and an embedding of its own."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 4))
        self.stem = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(2)))
        self.last = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


LAYERS = {'token': 0, 'stem': 0, 'norm': 0, 'blocks.0': 1, 'blocks.1': 2, 'last': 2, 'head': 3}


def layer_of(name):
    return next(layer for part, layer in LAYERS.items() if name == part or name.startswith(f'{part}.'))


def rates(net, *words):
    """Return the learning rate of each parameter, by its name."""
    optimizer = select_optimizer(net, parse_train_args(['--lr', '0.1', *words]))
    found = {id(p): group['lr'] for group in optimizer.param_groups for p in group['params']}
    return {name: found[id(p)] for name, p in net.named_parameters() if p.requires_grad}


def test_each_layer_has_a_share_of_the_rate_of_the_next():
    net = Network()
    assert layer_numbers(net) == {name: layer_of(name) for name, _ in net.named_parameters()}
    assert rates(net, '--lr_decay', '0.5') == pytest.approx(
        {name: 0.1 * 0.5 ** (3 - layer_of(name)) for name, _ in net.named_parameters()}
    )


def test_lr_decay_combines_with_lr_of_weight_decay_and_freeze():
    net = Network()
    net.blocks.requires_grad_(False)
    words = ['--lr_decay', '0.5', '--lr_of', 'stem=0.1', '--weight_decay', '0.01', '--decay_weights_only']
    found = rates(net, *words)
    assert found['stem.weight'] == pytest.approx(0.1 * 0.5**3 * 0.1)
    assert found['norm.weight'] == pytest.approx(0.1 * 0.5**3) and found['head.bias'] == pytest.approx(0.1)
    groups = select_optimizer(net, parse_train_args(['--lr', '0.1', *words])).param_groups
    assert {p.dim() > 1 for group in groups for p in group['params'] if group['weight_decay'] == 0.0} == {False}


@pytest.mark.parametrize(
    ('name', 'layers', 'first', 'last', 'between'),
    [
        ('resnet18', 10, ['conv1', 'bn1'], ['fc'], {'layer1.0': 1, 'layer4.1': 8}),
        ('vit_b_16', 14, ['class_token', 'conv_proj', 'encoder.pos_embedding'], ['heads'],
         {'encoder.layers.encoder_layer_0': 1, 'encoder.layers.encoder_layer_11': 12, 'encoder.ln': 12}),
        ('convnext_tiny', 9, ['features.0'], ['classifier.2'], {'features.1': 1, 'features.7': 7}),
    ],
)  # fmt: skip
def test_the_layers_of_torchvisions_networks(name, layers, first, last, between):
    with torch.device('meta'):
        net = pytest.importorskip('torchvision').models.get_model(name, weights=None)
    found = layer_numbers(net)
    assert sorted(set(found.values())) == list(range(layers))

    def of(part):
        return {number for key, number in found.items() if key == part or key.startswith(f'{part}.')}

    assert all(of(part) == {0} for part in first)
    assert all(of(part) == {layers - 1} for part in last)
    assert all(of(part) == {number} for part, number in between.items())


@pytest.mark.parametrize('name', ['test_vit', 'test_resnet'])
def test_the_layers_of_timms_networks_are_timms(name):
    timm = pytest.importorskip('timm')
    from timm.optim import param_groups_layer_decay

    net = timm.create_model(name)
    scales = {id(p): group['lr_scale'] for group in param_groups_layer_decay(net, layer_decay=0.5)
              for p in group['params']}  # fmt: skip
    found = rates(net, '--lr_decay', '0.5')
    assert found == pytest.approx({name: 0.1 * scales[id(p)] for name, p in net.named_parameters()})


def test_the_table_shows_each_layer():
    net = Network()
    net.blocks[0].requires_grad_(False)
    lines = layer_lr_table(net, select_optimizer(net, parse_train_args(['--lr', '0.1', '--lr_decay', '0.5'])))
    assert [line.split()[-1] for line in lines[2:]] == ['0.0125', 'frozen', '0.05', '0.1']
    assert 'blocks.0' in lines[3] and '28' in lines[3].split()


def test_a_network_of_one_layer_is_refused():
    with pytest.raises(DanluError, match=r'--lr_decay 0\.5: Linear has one layer only; leave it out'):
        rates(nn.Linear(2, 2), '--lr_decay', '0.5')
