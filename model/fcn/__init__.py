"""Fully convolutional networks for segmentation, on torchvision's backbones."""

from model.fcn.fcn import FCN, deeplabv3_fcn, mobilenetv3_fcn, resnet50_fcn, resnet101_fcn

__all__ = ['FCN', 'deeplabv3_fcn', 'mobilenetv3_fcn', 'resnet50_fcn', 'resnet101_fcn']
