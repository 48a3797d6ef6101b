"""A convolutional network for CIFAR-10."""

from model.cifar_cnn.cifar_cnn import CifarCNN

__all__ = ['CifarCNN']
