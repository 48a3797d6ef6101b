"""AMP, channels_last, torch.compile, and the search for those that help: on the CPU, which has all of them."""

import pytest
import torch
from torch import nn

from utils.base.errors import DanluError
from utils.training import precision
from utils.training.precision import compile_network, find_speed_options, forward


class Network(nn.Module):
    """A convolution, dropout and a linear layer that note what they were given."""

    def __init__(self):
        super().__init__()
        self.convolution, self.dropout, self.linear = nn.Conv2d(3, 8, 3), nn.Dropout(), nn.Linear(8 * 4 * 4, 5)
        self.seen = []

    def forward(self, images):
        features = self.dropout(self.convolution(images))
        self.seen.append((features.dtype, images.is_contiguous(memory_format=torch.channels_last)))
        return self.linear(features.flatten(1))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def batch():
    return torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 5


@pytest.mark.parametrize('amp', ['bf16', 'fp16'])
def test_amp_computes_with_16_bits_and_returns_32(batch, amp):
    net = Network().eval()
    exact, predictions = forward(net, batch[0], None), forward(net, batch[0], amp)
    assert [dtype for dtype, _ in net.seen] == [torch.float32, {'bf16': torch.bfloat16, 'fp16': torch.float16}[amp]]
    assert predictions.dtype == torch.float32
    assert 0 < (predictions - exact).abs().max() < 0.05
    predictions.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in net.parameters())


@pytest.fixture
def gains(monkeypatch):
    """Return a dict: name of an option -> what comparing with it gives, (gain, change of the loss) or an exception."""
    known = {}

    def compare(old, new):
        (name,) = new.options.keys() - old.options.keys()
        if isinstance(known[name], Exception):
            raise known[name]
        return known[name]

    monkeypatch.setattr(precision, 'compare_speed', compare)
    monkeypatch.setattr(precision, 'compile_network', lambda net, image: None)
    return known


WANTED = {'channels_last': True, 'amp': 'bf16', 'compile': True}


@pytest.mark.parametrize(
    ('results', 'found', 'said'),
    [
        (
            [(1.2, 0.0), (0.55, 0.001), (1.5, 0.0)],
            {'channels_last': True, 'amp': None, 'compile': True},
            'channels_last on (1.20 times as fast), amp bf16 off (0.55 times as fast), compile on (1.50 times as fast)',
        ),
        (
            [(1.02, 0.0), (2.0, 0.3), (1.0, 0.0)],
            {'channels_last': False, 'amp': None, 'compile': False},
            'channels_last off (1.02 times as fast), amp bf16 off (2.00 times as fast, but moves the loss by 30%), '
            'compile off (1.00 times as fast)',
        ),
        (
            [(1.5, float('inf')), (1.9, 0.01), RuntimeError('no C++ compiler\nlong trace')],
            {'channels_last': False, 'amp': 'bf16', 'compile': False},
            'channels_last off (1.50 times as fast, but moves the loss by inf%), amp bf16 on (1.90 times as fast), '
            'compile off (fails here: no C++ compiler)',
        ),
    ],
)
def test_faster_options_with_the_same_loss_are_kept(batch, gains, results, found, said):
    gains.update(zip(WANTED, results, strict=True))
    assert find_speed_options(Network(), nn.functional.cross_entropy, batch, WANTED) == (
        found,
        f'fast on this device: {said}',
    )


def test_an_error_without_a_message_is_named_by_its_class(batch, gains):
    gains['amp'] = NotImplementedError()
    found, line = find_speed_options(Network(), nn.functional.cross_entropy, batch, {'amp': 'bf16'})
    assert (found, line) == ({'amp': None}, 'fast on this device: amp bf16 off (fails here: NotImplementedError)')


def test_nothing_left_to_try(batch):
    found, line = find_speed_options(Network(), nn.functional.cross_entropy, batch, {})
    assert (found, line) == ({}, 'fast on this device: nothing left to try')


def test_fast_does_not_change_the_network(batch, monkeypatch):
    monkeypatch.setattr(precision, 'MIN_SPEEDUP', 0)
    net = Network().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found, line = find_speed_options(net, nn.functional.cross_entropy, batch, {'channels_last': True, 'amp': 'bf16'})
    assert found == {'channels_last': True, 'amp': 'bf16'}, line
    assert line.count(' on (') == 2
    assert not net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not net.convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_slower_variant_is_seen_to_be_slower(batch):
    class Slow(Network):
        def forward(self, images):
            for _ in range(200 if torch.is_autocast_enabled('cpu') else 1):
                images = images + 1e-6
            return super().forward(images)

    found, line = find_speed_options(Slow(), nn.functional.cross_entropy, batch, {'amp': 'bf16'})
    assert found == {'amp': None}, line


@pytest.mark.slow('builds C++ code')
def test_a_compiled_network_keeps_its_names_and_values(batch):
    net = Network().eval()
    with torch.no_grad():
        expected = net(batch[0])
    names = list(net.state_dict())
    compile_network(net, batch[0][:1])
    assert list(net.state_dict()) == names
    with torch.no_grad():
        assert torch.allclose(net(batch[0]), expected, atol=1e-5)
    assert not net.training


def test_a_network_that_cannot_be_compiled_is_one_line(batch):
    class Broken(nn.Module):
        def forward(self, images):
            raise ValueError('first line\nsecond line')

    net = Broken()
    with pytest.raises(
        DanluError, match=r'^--compile: this network cannot be compiled here: first line; leave it out$'
    ):
        compile_network(net, batch[0])
    assert net._compiled_call_impl is None
    assert net.training
