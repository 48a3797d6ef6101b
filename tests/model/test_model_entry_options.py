"""Models of torch_base, whose constructors take all options, and equip_multi_gpu(model, args)."""

import sys
import types
from argparse import Namespace

import pytest
import torch
from torch import nn

from model import model_entry
from model.model_entry import MODELS, equip_multi_gpu, select_model
from utils.base.errors import DanluError


class ArgsNet(nn.Module):
    """A network as torch_base has them."""

    def __init__(self, args):
        super().__init__()
        self.args, self.layer = args, nn.Linear(args.channels, args.num_classes)


class OptNet(nn.Module):
    """One with other parameters besides, and the options under their other name."""

    def __init__(self, num_classes, width=8, opt=None):
        super().__init__()
        self.width, self.opt, self.layer = width, opt, nn.Linear(1, num_classes)


class PositionalNet(nn.Module):
    """One whose `args` are positional arguments and no options."""

    def __init__(self, *args, num_classes=2):
        super().__init__()
        self.args, self.layer = args, nn.Linear(1, num_classes)


class CountingNet(nn.Module):
    """One that has another use for the name."""

    def __init__(self, args=3, num_classes=2):
        super().__init__()
        self.args, self.layer = args, nn.Linear(1, num_classes)


class LrNet(nn.Module):
    """One that asks for an option that there is not."""

    def __init__(self, args):
        super().__init__()
        self.lr = args.learning_rate


class Inner(nn.Module):
    """One with a fault of its own."""

    def __init__(self, args):
        super().__init__()
        self.layer = self.nothing


@pytest.fixture
def select(monkeypatch):
    """Return a function that builds a class of this file by its name: (name, **changes) -> (model, options)."""
    module = types.ModuleType('mine')
    for entry in (ArgsNet, OptNet, PositionalNet, CountingNet, LrNet, Inner):
        setattr(module, entry.__name__, entry)
        monkeypatch.setitem(MODELS, entry.__name__, f'mine.{entry.__name__}')
    monkeypatch.setitem(sys.modules, 'mine', module)

    def build(name, **changes):
        options = {'task': 'classification', 'num_classes': 5, 'channels': 1, 'image_size': [20, 24],
                   'pretrained': False, 'model_args': None} | changes  # fmt: skip
        args = Namespace(model_type=name, **options)
        return select_model(args), args

    return build


def test_a_parameter_args_gets_all_options(select):
    model, args = select('ArgsNet', channels=3)
    assert model.args is args and model.layer.weight.shape == (5, 3)


def test_opt_likewise_beside_what_else_a_constructor_takes(select):
    model, args = select('OptNet', model_args=['width=32'])
    assert (model.opt, model.width, model.layer.out_features) == (args, 32, 5)


def test_positional_arguments_and_a_value_of_ones_own_are_left_alone(select):
    assert select('PositionalNet')[0].args == ()
    assert select('CountingNet', model_args=['args=4'])[0].args == 4


def test_an_option_that_there_is_not_is_named(select):
    with pytest.raises(DanluError, match=r"model 'LrNet' reads args\.learning_rate, and there is no option --learning"):
        select('LrNet')
    with pytest.raises(AttributeError, match='nothing'):
        select('Inner')


def test_what_else_is_required_is_refused_as_ever(select, monkeypatch):
    monkeypatch.setattr(sys.modules['mine'], 'ArgsNet', lambda backbone: None)
    with pytest.raises(DanluError, match=r"requires 'backbone', but a model is given only .*task, args, opt: give"):
        select('ArgsNet')


@pytest.mark.parametrize('options', [{'gpus': None}, {'gpus': [0], 'device': 'cpu'}])
def test_equip_multi_gpu_takes_the_options_where_there_is_no_gpu(options, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    model = nn.Linear(2, 2)
    assert equip_multi_gpu(model, Namespace(**options)) is model
    with pytest.raises(DanluError, match='no GPU is visible'):
        equip_multi_gpu(model, Namespace(gpus=[0, 1]))


def test_equip_multi_gpu_wraps_for_the_gpus_of_the_options(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 3)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda index: None)
    monkeypatch.setattr(nn.Module, 'to', lambda self, device: self)
    monkeypatch.setattr(model_entry, 'Parallel', lambda module, device_ids: device_ids)
    assert equip_multi_gpu(nn.Linear(2, 2), Namespace(gpus=[2, 1])) == [2, 1]
    assert equip_multi_gpu(nn.Linear(2, 2), Namespace(gpus=[2, 1], device='cpu')) != [2, 1]
