"""torchvision's models by their names."""

import warnings

import pytest
import torch
from torch import nn
from torchvision import models

from model.torchvision_models import torchvision_model
from utils.base.errors import DanluError

FAMILIES = [
    ('resnet18', 32),
    ('squeezenet1_1', 32),
    ('mobilenet_v3_small', 32),
    ('shufflenet_v2_x0_5', 32),
    ('densenet121', 32),
    ('swin_t', 32),
    ('efficientnet_b0', 32),
    ('googlenet', 32),
    ('inception_v3', 75),
]


@pytest.mark.parametrize(('name', 'size'), FAMILIES)
def test_the_head_has_num_classes_outputs(name, size):
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # googlenet and inception warn of their slow initialisation
        model = torchvision_model(name, 'classification', 7, 3, False)
    model.train()  # auxiliary outputs would show here
    assert model(torch.rand(2, 3, size, size)).shape == (2, 7)


@pytest.mark.parametrize(('name', 'size'), [('vit_b_32', (64, 64)), ('maxvit_t', (224, 224))])
def test_vision_transformers_are_sized_to_their_images(name, size):
    with torch.device('meta'):
        model = torchvision_model(name, 'classification', 7, 3, False, size)
        assert model(torch.rand(2, 3, *size)).shape == (2, 7)


@pytest.mark.slow_after(6, 'builds large networks')
@pytest.mark.parametrize('name', [n for n, _ in FAMILIES if n != 'densenet121'] + ['convnext_tiny', 'mnasnet0_5'])
@pytest.mark.parametrize('num_classes', [7, 1000])
def test_pretrained_heads_are_replaced(name, num_classes, hub, monkeypatch):
    weights = models.get_model_weights(name).DEFAULT
    fake = fake_weights(name, monkeypatch)
    model = torchvision_model(name, 'classification', num_classes, 3, True)
    state = model.state_dict()
    differing = {key for key in state if not torch.equal(state[key], fake[key])}
    layers = {key.rpartition('.')[0] for key in differing}
    assert len(layers) == (0 if num_classes == len(weights.meta['categories']) else 1)
    assert all(state[key].shape[0] == 7 for key in differing)
    model.train()
    assert isinstance(model(torch.rand(2, 3, 75, 75)), torch.Tensor)


@pytest.mark.slow('builds a large network')
def test_pretrained_vit_of_its_own_size(monkeypatch):
    fake = fake_weights('vit_b_32', monkeypatch)
    model = torchvision_model('vit_b_32', 'classification', 7, 3, True, (224, 224))
    assert model.heads.head.out_features == 7
    assert torch.equal(model.conv_proj.weight, fake['conv_proj.weight'])


def test_pretrained_vit_of_another_size_is_refused():
    with pytest.raises(DanluError, match=r'vit_b_32 cannot be built for --image_size 64 64: .*224'):
        torchvision_model('vit_b_32', 'classification', 7, 3, True, (64, 64))


def fake_weights(name, monkeypatch):
    """Let torchvision load the weights of a freshly made model; return them (dict)."""
    options = {'aux_logits': True, 'init_weights': False} if name in ('googlenet', 'inception_v3') else {}
    if name in models.list_models(models.segmentation):
        options['weights_backbone'] = None
        options |= {'aux_loss': True} if not name.startswith('lraspp') else {}
    fake = models.get_model(name, weights=None, **options).state_dict()
    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', lambda url, *args, **kwargs: fake)
    return fake


@pytest.mark.slow_after(2, 'builds large networks')
@pytest.mark.parametrize('name', models.list_models(models.segmentation))
def test_segmentation_models_return_one_tensor(name):
    with torch.device('meta'):
        model = torchvision_model(name, 'segmentation', 5, 3, False)
        assert model(torch.rand(2, 3, 65, 47)).shape == (2, 5, 65, 47)


@pytest.mark.parametrize('name', ['lraspp_mobilenet_v3_large', 'deeplabv3_mobilenet_v3_large'])
def test_pretrained_segmentation_heads_are_replaced(name, monkeypatch):
    fake = fake_weights(name, monkeypatch)
    model = torchvision_model(name, 'segmentation', 5, 3, True)
    logits = model(torch.rand(2, 3, 33, 47))
    assert logits.shape == (2, 5, 33, 47)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())  # no auxiliary classifier left over
    backbone = model.network.backbone.state_dict()
    assert torch.equal(backbone['0.0.weight'], fake['backbone.0.0.weight'])


def test_a_wrong_name_answers_with_the_close_matches():
    with pytest.raises(DanluError, match=r"unknown torchvision model 'resnet81'; did you mean .*resnet18.*known: alex"):
        torchvision_model('resnet81', 'classification', 5, 3, False)


@pytest.mark.parametrize(
    ('name', 'task', 'kind'),
    [
        ('fcn_resnet50', 'classification', 'segmentation'),
        ('resnet18', 'segmentation', 'classification'),
        ('ssd300_vgg16', 'classification', 'detection'),
        ('r3d_18', 'classification', 'video'),
        ('quantized_resnet18', 'classification', 'quantization'),
        ('raft_small', 'segmentation', 'optical_flow'),
    ],
)
def test_models_for_another_task_are_refused(name, task, kind):
    fitting = 'lraspp_mobilenet_v3_large' if task == 'segmentation' else 'resnet18'
    with pytest.raises(DanluError, match=rf'torchvision:{name} is a {kind} model, --task {task} .*{fitting}'):
        torchvision_model(name, task, 5, 3, False)


def test_an_unknown_task_is_refused():
    with pytest.raises(
        DanluError,
        match='no models for --task dance: choose classification or multilabel or regression or segmentation',
    ):
        torchvision_model('resnet18', 'dance', 5, 3, False)


def test_grey_pictures_are_told_the_option():
    with pytest.raises(DanluError, match='add --channels 3'):
        torchvision_model('resnet18', 'classification', 5, 1, False)


@pytest.mark.parametrize(
    ('name', 'size', 'message'),
    [
        ('alexnet', (32, 64), r'--image_size 32 64 is too small: the smallest is 63 63'),
        ('densenet121', (28, 28), r'--image_size 28 28 is too small: the smallest is 29 29'),
        ('vit_b_16', (32, 48), r'takes square images: --image_size 32 32'),
        (
            'vit_b_16',
            (28, 28),
            r'cannot be built for --image_size 28 28: .*patch size; it was made for --image_size 224 224$',
        ),
        (
            'maxvit_t',
            (100, 100),
            r'cannot be built for --image_size 100 100: .*partition.*; it was made for --image_size 224 224$',
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused(name, size, message):
    with pytest.raises(DanluError, match=message), torch.device('meta'):
        torchvision_model(name, 'classification', 5, 3, False, size)


@pytest.mark.parametrize('name', ['resnet18', 'swin_t', 'efficientnet_v2_s'])
def test_small_pictures_are_taken_where_they_work(name):
    with torch.device('meta'):
        assert torchvision_model(name, 'classification', 5, 3, False, (28, 28))(torch.rand(2, 3, 28, 28)).shape == (
            2,
            5,
        )


def test_without_a_network_the_message_says_what_to_put_where(hub, no_network):
    file = 'resnet18-f37072fd.pth'
    with pytest.raises(DanluError, match=rf'cannot download \S+/{file} .*put it into {hub},'):
        torchvision_model('resnet18', 'classification', 5, 3, True)


def test_a_file_put_there_by_hand_is_used(hub):
    source = models.resnet18(weights=None)
    torch.save(source.state_dict(), hub / 'resnet18-f37072fd.pth')
    model = torchvision_model('resnet18', 'classification', 5, 3, True)
    assert isinstance(model.fc, nn.Linear)
    assert model.fc.out_features == 5
    assert torch.equal(model.conv1.weight, source.conv1.weight)
