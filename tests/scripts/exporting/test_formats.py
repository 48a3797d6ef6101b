"""Every model of MODELS, and models of torchvision, exported to ONNX: equal to 1e-4 on real images, in any batch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from model.model_entry import MODELS, select_model
from scripts.exporting.deployed import Deployed
from scripts.exporting.formats import FORMATS, write_file
from utils.base.registry import PROJECT, load_entry

TORCHVISION = ('vit_b_16',)
SEGMENTATION = ['lraspp_mobilenet_v3_large']
TOLERANCE = 1e-4


def options(model_type, task):
    """Return options (Namespace) that build a network for small RGB images."""
    return SimpleNamespace(
        model_type=model_type, model_args=None, model_source=None, task=task, num_classes=5, num_targets=1, channels=3,
        image_size=[32, 32], pretrained=False, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], fit='stretch',
        crop_share=None, interpolation=None, ignore_index=255, loss=None, target_scale='none', target_mean=None,
        device='cpu', gpus=None, target_std=None,
    )  # fmt: skip


def photos(count):
    """Return digits as RGB images, uint8 (count, 3, 32, 32)."""
    with np.load(PROJECT / 'data' / 'digits.npz') as file:
        images = torch.from_numpy(file['test_images'][:count])[:, None].float()
    return interpolate(images, (32, 32), mode='bilinear').round().to(torch.uint8).repeat(1, 3, 1, 1)


def task_of_model(name):
    """Return the task that a model of MODELS is built for (str)."""
    tasks = getattr(load_entry(MODELS, name, 'model'), 'tasks', ('classification',))
    return tasks[0]


# They have the blocks of deeplabv3_fcn and lraspp_mobilenet_v3_large, in other numbers. test_export.py has a ResNet-18.
ALIKE = ('resnet50_fcn', 'resnet101_fcn', 'mobilenetv3_fcn')
CASES = [
    *((name, task_of_model(name)) for name in MODELS if name not in ALIKE),
    *((f'torchvision:{name}', 'classification') for name in TORCHVISION),
    *((f'torchvision:{name}', 'segmentation') for name in SEGMENTATION),
]


@pytest.mark.slow('exports large networks to ONNX')
@pytest.mark.parametrize(('model_type', 'task'), CASES)
def test_onnx_computes_the_same_in_batches_of_any_size(model_type, task, tmp_path):
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    args = options(model_type, task)
    net = select_model(args)
    with torch.no_grad():
        net.train()(torch.rand(4, 3, 32, 32))  # statistics of batch norms other than 0 and 1
    module = Deployed(net.eval(), args, 'pixels').eval()
    write_file('onnx', tmp_path / 'net.onnx', module, photos(2), {'names': '["a"]'}, True)
    run = FORMATS['onnx'].load(tmp_path / 'net.onnx')
    for count in (1, 2, 5):
        with torch.no_grad():
            expected = module(photos(count))
        found = run(photos(count))
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) <= TOLERANCE * max(1.0, float(expected.abs().max()))


def test_torchscript_of_small_models(tmp_path):
    for model_type, task in CASES[:3]:
        args = options(model_type, task)
        module = Deployed(select_model(args).eval(), args, 'pixels').eval()
        write_file('torchscript', tmp_path / 'net.pt', module, photos(2), {}, True)
        with torch.no_grad():
            torch.testing.assert_close(FORMATS['torchscript'].load(tmp_path / 'net.pt')(photos(5)), module(photos(5)))
