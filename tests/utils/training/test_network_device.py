"""A network on another device than its data, as --device mps has it; torch's fake tensors stand for the device."""

import copy

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from utils.training.network_device import OutputsToCpu, data_device, keep_data_on_cpu, placed


class Pair(nn.Module):
    """Returns its outputs in a tuple and a dict."""

    def __init__(self, device):
        super().__init__()
        self.layer = nn.Linear(4, 3, device=device)

    def forward(self, images):
        outputs = self.layer(images)
        return outputs, {'twice': [2 * outputs], 'name': 'x'}


def test_inputs_and_outputs_are_on_the_cpu_and_weights_where_they_were():
    with FakeTensorMode():
        net = Pair('cuda')
        keep_data_on_cpu(net)
        outputs, others = net(torch.randn(2, 4))
        assert {outputs.device.type, others['twice'][0].device.type} == {'cpu'}
        assert others['name'] == 'x'
        assert net.layer.weight.device.type == 'cuda'
        assert nn.functional.cross_entropy(outputs, torch.tensor([0, 1])).device.type == 'cpu'


def test_a_copy_on_the_cpu_computes_there():
    net = Pair('cpu')
    expected = net(torch.ones(2, 4))[0]
    keep_data_on_cpu(net)
    copied = copy.deepcopy(net)
    assert [*copied.state_dict()] == ['layer.weight', 'layer.bias']
    outputs, _ = copied(torch.ones(2, 4))
    torch.testing.assert_close(outputs, expected, rtol=0, atol=0)
    outputs.sum().backward()
    assert copied.layer.weight.grad.abs().sum() > 0


def test_other_devices_are_not_changed():
    net = placed(Pair('cpu'), torch.device('cpu'))
    assert not any(isinstance(hook, OutputsToCpu) for hook in net._forward_hooks.values())
    assert data_device(torch.device('cuda', 1)) == torch.device('cuda', 1)
    assert data_device(torch.device('mps')) == torch.device('cpu')
