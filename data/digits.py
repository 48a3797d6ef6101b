"""The digits that ship with Danlu: 6,000 pictures of MNIST, 5,000 to train and 1,000 to test (digits.LICENSE.md).

With labels, or with noise to be removed.
"""

from pathlib import Path

import numpy as np
import torch

from data.tensor_dataset import InMemory, with_channels, with_size
from utils.base.regular_files import regular
from utils.base.seeding import uniform_draws

DIGITS_FILE = Path(__file__).with_name('digits.npz')
NOISE_STD = 50  # standard deviation, of pixels in 0..255
NOISE_KEYS = {'train': 0x74726E, 'test': 0x747374}  # the noise of the test digits is not that of those trained on


class Digits(InMemory):
    """Handwritten digits, 28x28, grey; the mean and deviation are those of MNIST's training pictures."""

    @staticmethod
    def describe(args):
        """Return what the options can take from the data set (dict)."""
        return {'num_classes': 10, 'image_size': [28, 28], 'channels': 1, 'mean': [0.1307], 'std': [0.3081]}

    def __init__(self, args, split):
        images, labels = read_digits(_part(split))
        super().__init__(_fit_to_options(images, args), labels, source=(images, labels))


class NoisyDigits(InMemory):
    """The digits with noise, to be restored to those without: Gaussian of deviation 50/255, cut off at black and white.

    A digit's noise is a function of its index alone: the same in every epoch and every run.
    """

    @staticmethod
    def describe(args):
        """Return what the options can take from the data set (dict)."""
        return {'image_size': [28, 28], 'channels': 1}

    def __init__(self, args, split):
        part = _part(split)
        images, _ = read_digits(part)
        noise = NOISE_STD * normal_draws((NOISE_KEYS[part],), np.arange(len(images)), images[0].numel())
        noisy = (images + torch.from_numpy(noise).view(images.shape)).round_().clamp_(0, 255).to(torch.uint8)
        super().__init__(_fit_to_options(noisy, args), _fit_to_options(images, args), source=(noisy, images))


def read_digits(part):
    """Return the pictures, uint8 (N, 1, 28, 28), and labels, int64 (N,), of a part: 'train' or 'test'."""
    with np.load(regular(DIGITS_FILE), allow_pickle=False) as file:
        images = torch.from_numpy(file[f'{part}_images']).unsqueeze(1)
        return images, torch.from_numpy(file[f'{part}_labels']).long()


def normal_draws(key, indices, count):
    """Return normally distributed numbers that are a function of (key, index) alone: float32 (B, count).

    Box and Muller 1958. Not from a generator of numpy or torch, whose numbers may change with its version.
    """
    half = -(-count // 2)
    draws = uniform_draws(key, indices, 2 * half)
    radius, angle = np.sqrt(-2 * np.log1p(-draws[:half])), 2 * np.pi * draws[half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].T.astype(np.float32)


def _part(split):
    return 'train' if split == 'train' else 'test'


def _fit_to_options(images, args):
    return with_size(with_channels(images, args.channels), args.image_size)
