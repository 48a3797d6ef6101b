"""LeNet, U-Net and the FCN family."""

import copy
import itertools
import pickle

import pytest
import torch
from torchvision import models

from model.cifar_cnn import CifarCNN
from model.fcn import deeplabv3_fcn, mobilenetv3_fcn, resnet50_fcn, resnet101_fcn
from model.lenet import LeNet
from model.mlp import MLP
from model.unet import UNet
from utils.base.errors import DanluError


def check_gradients(model, images, steps=1):
    """Assert that after `steps` steps every parameter has had a gradient that is not zero."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    reached = set()
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(images)
        torch.nn.functional.cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.long)).backward()
        reached |= {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
    assert {name for name, _ in model.named_parameters()} - reached == set()


def test_unet_adds_what_it_learns_where_it_restores_as_many_channels():
    torch.manual_seed(0)
    model, images = UNet(3, 3, width=4, depth=2, task='restoration'), torch.rand(4, 3, 13, 18)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(images), 1 - images)
        loss.backward()
        optimizer.step()
    assert loss < 0.7 * torch.nn.functional.mse_loss(images, 1 - images)
    assert all(p.grad.any() for p in model.parameters())
    other = UNet(1, 3, width=4, depth=2, task='restoration')  # nothing to add to
    assert other(images).shape == (4, 1, 13, 18)
    assert other.head.weight.any()


@pytest.mark.parametrize('size', [(12, 12), (13, 12), (28, 28), (29, 45)])
@pytest.mark.parametrize('channels', [1, 3])
def test_lenet_fits_any_size(size, channels):
    model = LeNet(num_classes=7, in_channels=channels, image_size=size)
    assert model(torch.rand(2, channels, *size)).shape == (2, 7)


def test_lenet_is_the_one_of_the_paper_by_default():
    assert sum(p.numel() for p in LeNet().parameters()) == 61_706


@pytest.mark.parametrize('size', [(11, 28), (28, 11), (1, 1)])
def test_lenet_refuses_too_small_images(size):
    with pytest.raises(DanluError, match=rf'--image_size {size[0]} {size[1]} is too small: the smallest is 12 12'):
        LeNet(image_size=size)


def test_lenet_without_padding_has_the_papers_sizes_on_32x32():
    model = LeNet(in_channels=3, image_size=(32, 32), padding=0)
    assert [layer.in_features for layer in model.classifier if isinstance(layer, torch.nn.Linear)] == [400, 120, 84]
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert LeNet(image_size=(16, 17), padding=0)(torch.rand(2, 1, 16, 17)).shape == (2, 10)
    with pytest.raises(DanluError, match='the smallest is 16 16'):
        LeNet(image_size=(15, 16), padding=0)


def test_cifar_cnn_has_the_known_sizes():
    model = CifarCNN()
    assert [layer.in_features for layer in model.classifier if isinstance(layer, torch.nn.Linear)] == [1024, 64]
    assert sum(p.numel() for p in model.parameters()) == 145_578
    check_gradients(model, torch.rand(16, 3, 32, 32))


@pytest.mark.parametrize('size', [(8, 8), (9, 15), (45, 67)])
def test_cifar_cnn_fits_any_size(size):
    assert CifarCNN(4, 1, size)(torch.rand(2, 1, *size)).shape == (2, 4)


def test_cifar_cnn_refuses_too_small_images():
    with pytest.raises(DanluError, match='cifar_cnn: --image_size 7 8 is too small: the smallest is 8 8'):
        CifarCNN(image_size=(7, 8))


@pytest.mark.parametrize('hidden', [(), 7, (7,), [9, 8, 7]])
def test_mlp_has_the_layers_asked_for(hidden):
    model = MLP(3, 2, (4, 5), hidden=hidden)
    widths = [40, *([hidden] if isinstance(hidden, int) else hidden), 3]
    layers = [(layer.in_features, layer.out_features) for layer in model.layers if isinstance(layer, torch.nn.Linear)]
    assert layers == list(itertools.pairwise(widths))
    check_gradients(model, torch.rand(8, 2, 4, 5))


def test_gradients_reach_every_parameter_of_lenet():
    check_gradients(LeNet(), torch.rand(8, 1, 28, 28))


@pytest.mark.parametrize('size', [(1, 1), (5, 3), (31, 47), (64, 48)])
def test_unet_keeps_any_size(size):
    assert UNet(5, width=4)(torch.rand(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize('depth', [0, 1, 3])
def test_unet_of_any_depth(depth):
    assert UNet(2, in_channels=1, width=4, depth=depth)(torch.rand(1, 1, 9, 9)).shape == (1, 2, 9, 9)


def test_gradients_reach_every_parameter_of_unet():
    check_gradients(UNet(3, width=4), torch.rand(2, 3, 33, 31))


@pytest.mark.parametrize('channels', [1, 3])
def test_gradients_reach_every_parameter_of_an_fcn(channels):
    torch.manual_seed(0)
    # The stem starts behind a layer of zeros, see test_stem_learns, so that its first layer is reached in step 2.
    check_gradients(mobilenetv3_fcn(3, in_channels=channels), torch.rand(2, channels, 65, 33), steps=2)


def test_the_backbone_is_where_freezing_looks_for_it():
    with torch.device('meta'):
        backbone = resnet50_fcn(3).fcn.backbone
    assert {name for name, _ in backbone.named_children()} >= {'conv1', 'layer1', 'layer4'}


def test_the_stem_leaves_the_network_unchanged_at_first():
    model = mobilenetv3_fcn(3).eval()
    images = torch.rand(1, 3, 33, 33)
    assert torch.equal(model(images), model.fcn(images)['out'])


@pytest.mark.parametrize('make', [LeNet, lambda: UNet(3, width=4), lambda: mobilenetv3_fcn(3)])
def test_models_pickle_and_copy_and_load(make):
    model = make().eval()
    images = torch.rand(1, 1 if isinstance(model, LeNet) else 3, 28, 28)
    expected = model(images)
    assert torch.equal(pickle.loads(pickle.dumps(model))(images), expected)
    assert torch.equal(copy.deepcopy(model)(images), expected)
    other = make().eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images), expected)
    assert all(isinstance(value, torch.Tensor) for value in model.state_dict().values())


@pytest.mark.parametrize(
    ('builder', 'file'),
    [
        (resnet50_fcn, 'resnet50-0676ba61.pth'),
        (resnet101_fcn, 'resnet101-63fe2227.pth'),
        (deeplabv3_fcn, 'resnet50-0676ba61.pth'),
        (mobilenetv3_fcn, 'mobilenet_v3_large-8738ca79.pth'),
    ],
)
def test_without_a_network_the_message_says_what_to_put_where(builder, file, hub, no_network):
    with pytest.raises(DanluError) as error, torch.device('meta'):
        builder(3, pretrained=True)
    message = str(error.value)
    assert f'cannot download https://download.pytorch.org/models/{file} (' in message
    assert f'put it into {hub}' in message
    assert 'Temporary failure in name resolution' in message
    assert '--pretrained' in message
    assert '\n' not in message


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', b'PK\x03\x04 cut short'])
def test_a_damaged_file_is_named(content, hub):
    path = hub / 'mobilenet_v3_large-8738ca79.pth'
    path.write_bytes(content)
    with pytest.raises(DanluError, match=rf'cannot read {path} .*; delete it to download it again'):
        mobilenetv3_fcn(3, pretrained=True)


def test_pretrained_loads_the_backbone(hub):
    source = models.mobilenet_v3_large(weights=None)
    torch.save(source.state_dict(), hub / 'mobilenet_v3_large-8738ca79.pth')
    model = mobilenetv3_fcn(3, in_channels=1, pretrained=True)
    loaded = model.fcn.backbone.state_dict()
    expected = source.features.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.items())
