"""LeNet-5, for small pictures."""

from model.lenet.lenet import LeNet

__all__ = ['LeNet']
