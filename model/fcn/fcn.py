"""FCN and DeepLabV3 of torchvision on ImageNet backbones, with a stem for any number of input channels."""

import contextlib

import torch
from torch import nn
from torchvision import models
from torchvision.models import segmentation

from model.argument_ranges import ANYTHING, CHANNELS, CLASSES, FLAG, takes
from model.pretrained import downloading
from model.submodules import Stem


class FCN(nn.Module):
    """A segmentation network of torchvision after a Stem: float images (N, in_channels, H, W) to logits.

    Args:
        network: torchvision segmentation network for three channels, without auxiliary classifier; stored as
            `self.fcn`, its backbone is `self.fcn.backbone`.
        in_channels: channels of the images; `self.stem` maps them to three.
    """

    tasks = ('segmentation',)

    @takes(network=ANYTHING, in_channels=CHANNELS)
    def __init__(self, network, in_channels=3):
        super().__init__()
        self.stem = Stem(in_channels)
        self.fcn = network
        # The layout of the weights determines that of the convolutions: on two CPU cores, 1.5 times faster.
        self.to(memory_format=torch.channels_last)

    def forward(self, images):
        """Return the logits (N, num_classes, H, W) of float images (N, in_channels, H, W), H and W of any size."""
        return self.fcn(self.stem(images))['out']


@takes(num_classes=CLASSES, in_channels=CHANNELS, pretrained=FLAG)
def resnet50_fcn(num_classes, in_channels=3, pretrained=False):
    """Return an FCN on a dilated ResNet-50. Long et al. 2015, https://arxiv.org/abs/1411.4038.

    Args:
        num_classes: number of classes including background.
        in_channels: channels of the images.
        pretrained: whether to initialise the backbone with ImageNet weights, downloaded once.

    Raises:
        DanluError: the weights cannot be downloaded, or an argument is out of range.
    """
    return _build(segmentation.fcn_resnet50, models.ResNet50_Weights, num_classes, in_channels, pretrained)


@takes(num_classes=CLASSES, in_channels=CHANNELS, pretrained=FLAG)
def resnet101_fcn(num_classes, in_channels=3, pretrained=False):
    """Return an FCN on a dilated ResNet-101; paper, arguments and errors as for resnet50_fcn."""
    return _build(segmentation.fcn_resnet101, models.ResNet101_Weights, num_classes, in_channels, pretrained)


@takes(num_classes=CLASSES, in_channels=CHANNELS, pretrained=FLAG)
def deeplabv3_fcn(num_classes, in_channels=3, pretrained=False):
    """Return a DeepLabV3 on a ResNet-50; arguments and errors as for resnet50_fcn.

    Chen et al. 2017, https://arxiv.org/abs/1706.05587. Its image pooling normalises one value per image and channel, so
    training batches need at least two images.
    """
    return _build(segmentation.deeplabv3_resnet50, models.ResNet50_Weights, num_classes, in_channels, pretrained)


@takes(num_classes=CLASSES, in_channels=CHANNELS, pretrained=FLAG)
def mobilenetv3_fcn(num_classes, in_channels=3, pretrained=False):
    """Return a DeepLabV3 on a MobileNetV3-Large, the smallest and fastest of these; otherwise as deeplabv3_fcn.

    MobileNetV3: Howard et al. 2019, https://arxiv.org/abs/1905.02244.
    """
    builder = segmentation.deeplabv3_mobilenet_v3_large
    return _build(builder, models.MobileNet_V3_Large_Weights, num_classes, in_channels, pretrained)


for function in (resnet50_fcn, resnet101_fcn, deeplabv3_fcn, mobilenetv3_fcn):
    function.tasks = FCN.tasks


def _build(builder, backbone_weights, num_classes, in_channels, pretrained):
    # torchvision itself uses V1 for these networks; the V2 recipe is tuned for classification.
    weights = backbone_weights.IMAGENET1K_V1 if pretrained else None
    with downloading(weights) if weights else contextlib.nullcontext():
        # Both None explicitly, as torchvision downloads a backbone by default.
        network = builder(weights=None, weights_backbone=weights, num_classes=num_classes)
    return FCN(network, in_channels)
