"""Choosing a model by its name, and what its constructor is given."""

import ast
import sys
import threading
import types
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

from model import model_entry
from model.model_entry import MODELS, equip_multi_gpu, select_model
from utils.base.errors import DanluError
from utils.base.registry import load_entry, read_registry


def make_args(model_type, **changes):
    options = {'task': 'classification', 'num_classes': 5, 'channels': 1, 'image_size': [20, 24], 'pretrained': False,
               'model_args': None}  # fmt: skip
    return Namespace(model_type=model_type, **(options | changes))


@pytest.fixture
def register(monkeypatch):
    """Return a function that registers a class or function as somebody's own model."""

    def add(name, entry):
        module = types.ModuleType('mine')
        setattr(module, name, entry)
        monkeypatch.setitem(sys.modules, 'mine', module)
        monkeypatch.setitem(MODELS, name, f'mine.{name}')

    return add


def tasks_of(name):
    """Return the tasks (tuple of str) that a model says it is for."""
    return getattr(load_entry(MODELS, name, 'model'), 'tasks', ())


def test_models_is_a_literal_that_can_be_read_without_importing_torch():
    tree = ast.parse(Path(model_entry.__file__).read_text(encoding='utf-8'))
    values = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == 'MODELS']
    assert [ast.literal_eval(value) for value in values] == [read_registry('model.model_entry', 'MODELS')]


@pytest.mark.parametrize('name', [each for each in MODELS if 'segmentation' in tasks_of(each)])
@pytest.mark.parametrize('channels', [1, 3])
def test_every_segmentation_model_gives_logits_of_the_images_size(name, channels):
    with torch.device('meta'):  # shapes without the arithmetic
        model = select_model(make_args(name, task='segmentation', channels=channels)).eval()
        assert model(torch.rand(2, channels, 45, 67)).shape == (2, 5, 45, 67)


def test_lenet_is_sized_to_image_size():
    assert select_model(make_args('lenet'))(torch.rand(3, 1, 20, 24)).shape == (3, 5)


@pytest.mark.parametrize('name', ['cifar_cnn', 'mlp'])
def test_classifiers_are_sized_to_image_size(name):
    assert select_model(make_args(name))(torch.rand(3, 1, 20, 24)).shape == (3, 5)


@pytest.mark.parametrize('name', ['lenet', 'cifar_cnn', 'mlp', 'torchvision:resnet18'])
@pytest.mark.parametrize(('task', 'outputs'), [('regression', {'num_targets': 2}), ('multilabel', {'num_classes': 2})])
def test_classifiers_have_the_outputs_of_other_tasks(name, task, outputs):
    args = make_args(name, task=task, channels=3, **({'num_classes': None, 'image_size': [32, 32]} | outputs))
    assert select_model(args)(torch.rand(3, 3, 32, 32)).shape == (3, 2)


@pytest.mark.parametrize('channels', [1, 3])
def test_unet_restores_pictures_from_what_they_are(channels):
    args = make_args('unet', task='restoration', channels=channels, num_classes=None)
    images = torch.rand(2, channels, 20, 24)
    assert torch.equal(select_model(args)(images), images)  # until it has learned what to change


@pytest.mark.parametrize(('task', 'outputs'), [('regression', {'num_targets': 2}), ('classification', {})])
def test_mlp_takes_vectors_of_features(task, outputs):
    args = make_args('mlp', task=task, channels=7, image_size=[], **outputs)
    assert select_model(args)(torch.rand(3, 7)).shape == (3, 2 if outputs else 5)


@pytest.mark.parametrize('name', ['lenet', 'cifar_cnn', 'torchvision:resnet18'])
def test_models_for_pictures_refuse_vectors_of_features(name):
    says = f"model '{name}' takes images, and the data has vectors of features; for --task regression give .* mlp "
    with pytest.raises(DanluError, match=says):
        select_model(make_args(name, task='regression', channels=3, image_size=[], num_targets=1))


def test_a_model_of_ones_own_says_that_it_takes_vectors(register):
    class Line(nn.Linear):
        vectors = True

        def __init__(self, num_classes, in_channels):
            super().__init__(in_channels, num_classes)

    register('Line', Line)
    assert select_model(make_args('Line', channels=7, image_size=[]))(torch.rand(3, 7)).shape == (3, 5)


def test_a_constructor_that_names_the_task_is_given_it(register):
    register('asking', lambda num_classes, task: (num_classes, task))
    assert select_model(make_args('asking', task='restoration')) == (1, 'restoration')
    register('anything', lambda num_classes, **others: others)
    assert 'task' not in select_model(make_args('anything'))


def test_model_args_reach_the_constructor():
    model = select_model(make_args('mlp', model_args=['hidden=30,20', 'dropout=0.25']))
    sizes = [(layer.in_features, layer.out_features) for layer in model.layers if isinstance(layer, nn.Linear)]
    assert sizes == [(480, 30), (30, 20), (20, 5)]
    assert {layer.p for layer in model.layers if isinstance(layer, nn.Dropout)} == {0.25}
    unet = select_model(make_args('unet', task='segmentation', model_args=['width=4', 'depth=1']))
    assert sum(p.numel() for p in unet.parameters()) < 5000


@pytest.mark.parametrize(
    ('text', 'value'),
    [('a=1', 1), ('a=0.5', 0.5), ('a=1,2', (1, 2)), ('a=gelu', 'gelu'), ('a=true', True), ('a=False', False),
     ('a=None', None), ("a='1'", '1'), ('a=b=c', 'b=c'), ('a=[1, 2]', [1, 2])],
)  # fmt: skip
def test_values_of_model_args(register, text, value):
    register('taking', lambda num_classes, a: a)
    assert select_model(make_args('taking', model_args=[text])) == value


@pytest.mark.parametrize(
    ('name', 'words', 'says'),
    [
        ('lenet', ['width=3'], "--model_args width: model 'lenet' takes padding"),
        ('resnet50_fcn', ['width=3'], "--model_args width: model 'resnet50_fcn' takes nothing further"),
        ('mlp', ['image_size=3'], '--model_args image_size: that is --image_size'),
        ('torchvision:resnet18', ['in_channels=1'], '--model_args in_channels: that is --channels'),
        ('torchvision:resnet18', ['depth=3'], '--model_args depth: torchvision:resnet18 does not take that: .*depth'),
        ('mlp', ['hidden=3,0'], "hidden=3,0: model 'mlp' takes for hidden whole numbers from 1"),
        ('mlp', ['hidden=1.5,2'], "model 'mlp' takes for hidden whole numbers from 1"),
    ],
)
def test_model_args_that_do_not_fit_are_refused(name, words, says):
    with pytest.raises(DanluError, match=says):
        select_model(make_args(name, channels=3, image_size=[64, 64], model_args=words))


def test_model_args_reach_torchvision():
    args = make_args('torchvision:vgg11', channels=3, image_size=[32, 32], model_args=['dropout=0.125'])
    with torch.device('meta'):
        model = select_model(args)
    assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.125}


def test_a_class_that_takes_num_classes_alone_works(register):
    class Own(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.given = num_classes

    register('Own', Own)
    assert select_model(make_args('Own')).given == 5


def test_a_name_with_a_colon_may_be_ones_own(register):
    register('mine:net', lambda num_classes: num_classes)
    assert select_model(make_args('mine:net')) == 5
    with pytest.raises(DanluError, match=r"unknown library of models 'zoo:' \(known: timm:, torchvision:\)"):
        select_model(make_args('zoo:net'))


def test_a_function_gets_exactly_what_it_names(register):
    register('names', lambda image_size, in_channels=3, width=8: (image_size, in_channels, width))
    assert select_model(make_args('names')) == ((20, 24), 1, 8)


def test_kwargs_get_everything(register):
    register('everything', lambda **kwargs: kwargs)
    expected = {'num_classes': 5, 'in_channels': 1, 'image_size': (20, 24), 'pretrained': True}
    assert select_model(make_args('everything', pretrained=True)) == expected


def test_positional_rest_is_no_name(register):
    register('rest', lambda num_classes, *pretrained: (num_classes, pretrained))
    assert select_model(make_args('rest')) == (5, ())


def test_an_argument_that_nobody_gives_is_named(register):
    register('needs', lambda num_classes, width: None)
    with pytest.raises(DanluError, match=r"'needs': .* requires 'width'.*give 'width' a default"):
        select_model(make_args('needs'))


def test_a_wrong_name_answers_with_the_close_matches():
    with pytest.raises(DanluError, match=r"unknown model 'resnet50_fnc'; did you mean .*resnet50_fcn.*known: .*unet"):
        select_model(make_args('resnet50_fnc'))


def test_pretrained_without_weights_says_which_have_some():
    with pytest.raises(DanluError, match=r"'lenet' has no pretrained weights.*torchvision:<name>.*fcn"):
        select_model(make_args('lenet', pretrained=True))


def test_only_the_chosen_entry_is_imported(monkeypatch):
    monkeypatch.setitem(MODELS, 'half_written', 'model.half_written.Net')
    monkeypatch.delitem(sys.modules, 'model.unet', raising=False)
    select_model(make_args('lenet'))
    assert 'model.unet' not in sys.modules


def test_torchvision_models_go_by_their_prefix():
    model = select_model(make_args('torchvision:squeezenet1_1', channels=3, image_size=[32, 32]))
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)


def test_without_gpus_the_model_is_unchanged():
    model = nn.Linear(2, 2)
    assert equip_multi_gpu(model, []) is model
    assert model.weight.device.type == 'cpu'


def test_gpus_choose_the_device_and_the_wrapper(monkeypatch):
    moved = []
    monkeypatch.setattr(nn.Module, 'to', lambda self, device: moved.append(device) or self)
    monkeypatch.setattr(model_entry, 'Parallel', lambda module, device_ids: ('parallel', module, device_ids))
    model = nn.Linear(2, 2)
    assert equip_multi_gpu(model, [3]) is model
    assert equip_multi_gpu(model, [2, 0]) == ('parallel', model, [2, 0])
    assert moved == ['cuda:3', 'cuda:2']


class Replica(nn.Module):
    """Says what autocast makes of its numbers."""

    def forward(self):
        """Return whether there is autocast, and its type."""
        return torch.is_autocast_enabled('cuda'), torch.get_autocast_dtype('cuda')


def torchs_parallel_apply(self, replicas, inputs, kwargs):
    """Call replicas as torch.nn.parallel.parallel_apply does: in threads that only know whether there is autocast."""
    enabled, found = torch.is_autocast_enabled('cuda'), []

    def work(replica):
        with torch.autocast('cuda', enabled=enabled):
            found.append(replica())

    for replica in replicas:
        thread = threading.Thread(target=work, args=(replica,))
        thread.start()
        thread.join()
    return found


@pytest.mark.parametrize('wanted', [(True, torch.bfloat16), (True, torch.float16), (False, torch.bfloat16)])
def test_several_gpus_compute_with_the_16_bits_that_were_asked_for(wanted, monkeypatch):
    monkeypatch.setattr(nn.DataParallel, 'parallel_apply', torchs_parallel_apply)
    monkeypatch.setattr(torch.cuda.amp.common, 'amp_definitely_not_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda *_: True)
    parallel = model_entry.Parallel(Replica())
    with torch.autocast('cuda', wanted[1], enabled=wanted[0]):
        found = parallel.parallel_apply([Replica(), Replica()], [], [])
    assert found == [wanted] * 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_one_gpu_gets_the_model():
    model = equip_multi_gpu(select_model(make_args('lenet')), [0])
    assert model(torch.rand(3, 1, 20, 24, device='cuda:0')).device == torch.device('cuda:0')


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two CUDA devices')
def test_two_gpus_share_a_batch():
    model = select_model(make_args('lenet'))
    images = torch.rand(5, 1, 20, 24)
    expected = model(images)
    parallel = equip_multi_gpu(model, [1, 0])
    assert isinstance(parallel, nn.DataParallel)
    torch.testing.assert_close(parallel(images.to('cuda:1')).cpu(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ('model_type', 'task', 'own', 'fitting'),
    [
        ('unet', 'classification', 'segmentation, restoration', 'lenet, cifar_cnn, mlp'),
        ('lenet', 'segmentation', 'classification, multilabel, regression', 'resnet50_fcn, .*, unet'),
        ('resnet50_fcn', 'restoration', 'segmentation', 'unet'),
        ('torchvision:resnet18', 'restoration', 'classification, multilabel, regression, segmentation', 'unet'),
    ],
)
def test_a_model_for_another_task_is_refused_with_those_for_it(model_type, task, own, fitting):
    says = rf"model '{model_type}' is for {own}, not for --task {task} \(models for it: {fitting}\)"
    with pytest.raises(DanluError, match=says):
        select_model(make_args(model_type, task=task))
