"""Parts of a network that are not trained: which parameters, and the running statistics of their norms."""

import pytest
import torch
from torch import nn

from options import parse_train_args
from train import Trainer
from utils.base.errors import DanluError
from utils.base.module_prefixes import check_prefixes, is_in_module
from utils.training.freeze import freeze, train_mode
from utils.training.lr_finder import try_learning_rates


class Network(nn.Module):
    """Two blocks whose names begin alike, and a head."""

    def __init__(self, classes=2):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.layer10 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True))
        self.head = nn.Linear(4, classes)

    def forward(self, images):
        return self.head(self.layer10(self.layer1(images)).mean((2, 3)))


def frozen_names(net):
    return [name for name, parameter in net.named_parameters() if not parameter.requires_grad]


@pytest.mark.parametrize(
    ('parts', 'names'),
    [
        (None, []),
        ([], []),
        (['layer1'], ['layer1.0.weight', 'layer1.0.bias', 'layer1.1.weight', 'layer1.1.bias']),
        (['layer1.1', 'head.bias'], ['layer1.1.weight', 'layer1.1.bias', 'head.bias']),
        (['layer10'], ['layer10.0.weight', 'layer10.0.bias']),
    ],
)
def test_whole_parts_of_the_names_count(parts, names):
    net = Network()
    lines = freeze(net, parts)
    assert frozen_names(net) == names
    assert len(lines) == bool(parts)


def test_the_line_counts_trained_parameters():
    lines = freeze(Network(), ['layer1', 'head.bias'])
    # 3*4*9+4 and 2*4 of layer1, 2 of the head; 4*4*9+4 of layer10 and 4*2 of the head are left.
    assert lines == ['frozen: 122 of 278 parameters, 156 are trained; norms that keep their statistics: 1']


@pytest.mark.parametrize(
    ('parts', 'says'),
    [
        (
            ['layr1'],
            r"--freeze: unknown part of the model 'layr1'; did you mean layer1 .*of layer1, layer10, head",
        ),
        (['layer1', 'layer'], "unknown part of the model 'layer'"),
        (['layer1.7'], r'did you mean layer1\.'),
        (['layer1.2'], "unknown part of the model 'layer1.2'"),  # dropout has nothing to freeze
        ([''], "unknown part of the model ''"),
        (['layer1', 'layer10', 'head'], '--freeze layer1 layer10 head: nothing is left to train'),
    ],
)
def test_what_does_not_fit_is_refused(parts, says):
    with pytest.raises(DanluError, match=says):
        freeze(Network(), parts)


def test_frozen_norms_keep_their_statistics_and_the_others_learn_theirs():
    net = Network()
    train_mode(nn.DataParallel(net.eval()), ['layer1'])
    before = {name: value.clone() for name, value in net.named_buffers()}
    net(torch.rand(8, 3, 9, 9) + 5)
    same = {name: torch.equal(value, before[name]) for name, value in net.named_buffers()}
    assert same.pop('layer10.1.running_mean') is False
    assert same.pop('layer10.1.running_var') is False
    assert same.pop('layer10.1.num_batches_tracked') in (True, False)  # instance norms do not count
    assert all(same.values())
    assert len(same) == 3
    assert net.layer1[2].training, 'dropout is not a norm'
    train_mode(net, None)
    assert net.layer1[1].training


def test_a_network_that_consists_of_one_part_is_named_with_what_lies_deeper():
    with pytest.raises(DanluError, match=r"'backbone'; did you mean network\.backbone\? \(it consists of network\)"):
        check_prefixes('--freeze', ['backbone'], ['network.backbone.weight', 'network.head.weight'])


def test_prefixes():
    assert is_in_module('layer1.0.weight', 'layer1')
    assert is_in_module('layer1', 'layer1')
    assert not is_in_module('layer10.weight', 'layer1')
    assert not is_in_module('layer1', 'layer1.0')


def test_find_lr_does_not_change_frozen_norms(list_data, tmp_path):
    words = [*list_data, '--checkpoints_dir', tmp_path, '--device', 'cpu', '--freeze', 'layer1']
    trainer = Trainer(parse_train_args([str(word) for word in words]), model=Network(classes=3))
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    rates, _ = try_learning_rates(trainer)
    trainer.logger.close()
    after = trainer.net.state_dict()
    assert len(rates) > 10
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith('layer1.'))
    assert not torch.equal(after['layer10.1.running_mean'], before['layer10.1.running_mean'])


@pytest.mark.slow('trains a ResNet-18 three times')
def test_a_frozen_part_keeps_its_loaded_weights(train_here, list_data, tmp_path):
    """Two epochs: model.train() at the start of the second must not wake the norms up again."""
    words = ['--model_type', 'torchvision:resnet18', '--checkpoints_dir', tmp_path]
    first = train_here(*list_data, *words, '--epochs', 1)
    parts = ['conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4.0']
    start = ['--load_model_path', first.directory / 'last.pth']
    second = train_here(*list_data, *words, *start, '--epochs', 2, '--freeze', *parts)
    assert (
        'frozen: 6,455,872 of 11,178,051 parameters, 4,722,179 are trained; norms that keep their statistics: 18'
        in second.stdout
    )
    before, after = (torch.load(run.directory / 'last.pth', weights_only=True)['model'] for run in (first, second))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.partition('.')[0] for name in changed} == {'layer4', 'fc'}
    assert {name.split('.')[1] for name in changed if name.startswith('layer4')} == {'1'}
    assert 'layer4.1.bn1.running_mean' in changed
    resumed = train_here('--resume', second.directory, '--epochs', 3)
    last = torch.load(resumed.directory / 'last.pth', weights_only=True)['model']
    assert all(torch.equal(last[name], before[name]) for name in before if name not in changed)
