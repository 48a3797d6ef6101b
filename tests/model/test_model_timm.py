"""timm's models by their names, where timm is installed, and what is said where it is not."""

import sys
from argparse import Namespace

import pytest
import torch
from torch import nn

from model.model_entry import select_model
from utils.base.errors import DanluError


def make_args(name, **changes):
    options = {'task': 'classification', 'num_classes': 5, 'channels': 3, 'image_size': [32, 32], 'pretrained': False,
               'model_args': None}  # fmt: skip
    return Namespace(model_type=f'timm:{name}', **(options | changes))


@pytest.fixture
def timm():
    """Return the module, or skip the test: it is an optional extra."""
    return pytest.importorskip('timm', reason='timm is not installed: pip install -r requirements-extra.txt')


def test_without_timm_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)  # as Python does for a module that is not to be found
    with pytest.raises(DanluError, match=r'--model_type timm:resnet18 needs timm, .*: pip install timm .*torchvision:'):
        select_model(make_args('resnet18'))


def test_a_fault_inside_timm_is_not_taken_for_its_absence(monkeypatch, tmp_path):
    (tmp_path / 'timm').mkdir()
    (tmp_path / 'timm' / '__init__.py').write_text('import something_that_timm_needs\n')
    monkeypatch.delitem(sys.modules, 'timm', raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match='something_that_timm_needs'):
        select_model(make_args('resnet18'))


@pytest.mark.slow('a new interpreter')
def test_a_start_without_timm_ends_in_one_line_and_leaves_nothing(run_program, tmp_path):
    (tmp_path / 'sitecustomize.py').write_text("import sys\nsys.modules['timm'] = None\n")
    words = ['--model_type', 'timm:resnet18', '--checkpoints_dir', tmp_path / 'runs', '--device', 'cpu']
    done = run_program('train.py', *words, PYTHONPATH=str(tmp_path))
    assert done.code == 2
    assert done.stderr.count('\n') == 1
    assert done.stderr.startswith('train.py: error: --model_type timm:resnet18 needs timm')
    assert not list((tmp_path / 'runs').iterdir())


@pytest.mark.slow_after(2, 'builds a network each')
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', ['resnet10t', 'mobilenetv3_small_050', 'vit_tiny_patch16_224', 'resnet18.a1_in1k'])
def test_the_model_takes_the_pictures_and_has_num_classes_outputs(timm, name, channels):
    model = select_model(make_args(name, channels=channels, image_size=[48, 64]))
    model.train()
    assert model(torch.rand(2, channels, 48, 64)).shape == (2, 5)


@pytest.mark.slow('builds a large network')
def test_model_args_reach_timm(timm):
    model = select_model(make_args('vgg11', model_args=['drop_rate=0.125', 'global_pool=max']))
    assert 0.125 in {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)}


@pytest.mark.parametrize(
    ('name', 'changes', 'says'),
    [
        ('resnt18', {}, r"unknown timm model 'resnt18'; did you mean resnet18 .*list_models"),
        ('convnext_tin', {}, 'did you mean convnext_tiny or'),
        ('hf-hub:somebody/model', {}, "unknown timm model 'hf-hub:somebody/model'"),
        ('resnet18.nope', {}, "resnet18 has no weights 'nope'; it has .*resnet18.a1_in1k"),
        ('resnet18', {'task': 'segmentation'}, 'is for classification, multilabel, regression, not for'),
        ('resnet18', {'image_size': []}, 'takes images, and the data has vectors of features'),
        ('resnet18', {'model_args': ['depth=3']}, '--model_args depth: timm:resnet18 does not take that: .*depth'),
        ('resnet18', {'model_args': ['in_chans=1']}, '--model_args in_chans: that is --channels'),
        ('resnet18', {'model_args': ['img_size=1']}, '--model_args img_size: that is --image_size'),
        ('vit_tiny_patch16_224', {'image_size': [8, 8]}, r'size 8 8: .*Kernel.*; it was made for --image_size 224 224'),
        ('convnext_tiny', {'image_size': [28, 28]}, r'cannot take --image_size 28 28: .*--image_size 224 224'),
    ],
)
def test_what_does_not_fit_is_refused(timm, name, changes, says):
    with pytest.raises(DanluError, match=says):
        select_model(make_args(name, **changes))


def test_pretrained_weights_that_cannot_be_had_are_named_with_what_to_do(timm, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('Temporary failure in name resolution')

    monkeypatch.setattr('timm.models._builder.load_pretrained', fail)
    says = r'weights of timm:resnet10t \(Temporary failure .*\): it has resnet10t.c3_in1k; .*leave out --pretrained'
    with pytest.raises(DanluError, match=says):
        select_model(make_args('resnet10t', pretrained=True))
    monkeypatch.undo()
    with pytest.raises(DanluError, match=r'it has none; .*leave out --pretrained'):
        select_model(make_args('coatnet_0_224', pretrained=True, image_size=[224, 224]))


def test_a_model_of_timm_trains_and_tests(timm, train_here, eval_here, list_data, tmp_path):
    words = ['--model_type', 'timm:resnet10t', '--model_args', 'drop_rate=0.1', '--epochs', 1]
    run = train_here(*list_data, *words, '--checkpoints_dir', tmp_path)
    assert run.directory.name == 'timm_resnet10t_exp'
    test = eval_here('--load_model_path', run.directory / 'best.pth')
    log = (run.directory / 'log.txt').read_text(encoding='utf-8')
    assert f'\nbest: val/acc {test.values["acc"]} in epoch 1\n' in log
