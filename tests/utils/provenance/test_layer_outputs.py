"""The first layer of a network that no longer gives what it gave."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from utils.provenance.layer_outputs import MAX_CALLS, LayerLog, first_difference

TOLERANCE = 1e-4
INPUTS = 3 * torch.randn(4, 3, 12, 10, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two blocks, one layer that is called twice, and code between layers."""

    def __init__(self, activation=nn.ReLU, scale=1.0, eps=1e-5):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), activation(inplace=True), nn.BatchNorm2d(8, eps=eps))
        self.act, self.head, self.scale = nn.ReLU(inplace=True), nn.Linear(8, 5), scale

    def forward(self, images):
        found = self.act(self.features(images))
        found = self.act(F.avg_pool2d(found, 2) * self.scale - 0.1)
        return self.head(found.mean((2, 3)))


@pytest.fixture(scope='module')
def weights():
    torch.manual_seed(0)
    return Net().state_dict()


def recorded(net, weights, inputs=INPUTS):
    net.load_state_dict(weights)
    log = LayerLog()
    with torch.no_grad(), log.recording(net.eval()):
        net(inputs)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    return log.record()


@pytest.mark.parametrize(
    ('changed', 'told'),
    [
        ({}, None),
        ({'activation': nn.ReLU6}, None),  # the values are below 6: another class that gives the same is no difference
        ({'activation': nn.Hardtanh}, 'features.1 (ReLU -> Hardtanh)'),
        ({'scale': 1.01}, 'the input of act (ReLU)'),
        ({'eps': 1e-2}, 'features.2 (BatchNorm2d)'),
    ],
)
def test_the_first_layer_that_differs_is_named(changed, told, weights):
    then = recorded(Net(), weights, INPUTS / 3)
    assert first_difference(then, recorded(Net(**changed), weights, INPUTS / 3), TOLERANCE) == told


def test_an_activation_that_cuts_only_large_values_is_named_where_there_are_some(weights):
    then = recorded(Net(), weights, 10 * INPUTS)
    now = recorded(Net(activation=nn.ReLU6), weights, 10 * INPUTS)
    assert first_difference(then, now, TOLERANCE) == 'features.1 (ReLU -> ReLU6)'


def test_layers_that_are_called_in_another_order_or_not_at_all(weights):
    then = recorded(Net(), weights)
    fewer = copy.deepcopy(then)
    for name in ('names', 'classes', 'values'):
        fewer[name] = fewer[name][:-1]
    assert first_difference(then, fewer, TOLERANCE) == '5 calls of layers, 6 when saved'
    other = copy.deepcopy(then)
    other['names'][1] = 'pool'
    assert first_difference(then, other, TOLERANCE) == 'pool (ReLU) is called where features.1 (ReLU) was'


def test_the_layout_of_memory_makes_no_difference(weights):
    then = recorded(Net(), weights)
    now = recorded(Net().to(memory_format=torch.channels_last), weights, INPUTS.to(memory_format=torch.channels_last))
    assert first_difference(then, now, TOLERANCE) is None


class Odd(nn.Module):
    """Layers that get and give other things than a tensor, and one that is called for each step."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.embedding = nn.LSTM(4, 3, batch_first=True), nn.Embedding(7, 4)
        self.step = nn.Linear(3, 3)

    def forward(self, words):
        found = self.recurrent(input=self.embedding(words))[0].mean(1)
        for _ in range(MAX_CALLS + 5):
            found = self.step(found)
        return {'scores': found}


def test_other_layers_are_recorded_too_and_not_without_end():
    net, log = Odd(), LayerLog()
    with torch.no_grad(), log.recording(net):
        net(torch.tensor([[1, 2, 3], [4, 5, 6]]))
    found = log.record()
    assert found['names'][:3] == ['embedding', 'recurrent', 'step']
    assert found['values'].shape == (MAX_CALLS, 2, 8)
    assert first_difference(found, found, TOLERANCE) is None
