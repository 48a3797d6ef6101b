"""A multi-layer perceptron."""

from model.mlp.mlp import MLP

__all__ = ['MLP']
