"""LeNet-5, for small images."""

from model.lenet.lenet import LeNet

__all__ = ['LeNet']
