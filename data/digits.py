"""The digits that ship with Danlu: 6,000 pictures of MNIST, 5,000 to train and 1,000 to test (digits.LICENSE.md)."""

from pathlib import Path

import numpy as np
import torch

from data.in_memory import InMemory, with_channels, with_size

FILE = Path(__file__).with_name('digits.npz')


class Digits(InMemory):
    """Handwritten digits, 28x28, grey; the mean and deviation are those of MNIST's training pictures."""

    @staticmethod
    def describe(args):
        """Return what the options can take from the data set (dict)."""
        return {'num_classes': 10, 'image_size': [28, 28], 'channels': 1, 'mean': [0.1307], 'std': [0.3081]}

    def __init__(self, args, split):
        part = 'train' if split == 'train' else 'test'
        with np.load(FILE, allow_pickle=False) as file:
            images = torch.from_numpy(file[f'{part}_images']).unsqueeze(1)
            labels = torch.from_numpy(file[f'{part}_labels']).long()
        super().__init__(with_size(with_channels(images, args.channels), args.image_size), labels)
