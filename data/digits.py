"""Bundled digits: 6,000 MNIST images, 5,000 for training and 1,000 for testing (digits.LICENSE.md), clean or noisy."""

from pathlib import Path

import numpy as np
import torch

from data.tensor_dataset import InMemory, with_channels, with_size
from utils.base.regular_files import regular
from utils.base.seeding import uniform_draws

DIGITS_FILE = Path(__file__).with_name('digits.npz')
NOISE_STD = 50  # standard deviation for pixels in 0..255
NOISE_KEYS = {'train': 0x74726E, 'test': 0x747374}  # independent noise for both splits


class Digits(InMemory):
    """Handwritten digits, 28x28, grey; mean and standard deviation are those of MNIST's training images."""

    @staticmethod
    def describe(args):
        """Return the options that the data set determines (dict)."""
        return {'num_classes': 10, 'image_size': [28, 28], 'channels': 1, 'mean': [0.1307], 'std': [0.3081]}

    def __init__(self, args, split):
        images, labels = read_digits(_part(split))
        super().__init__(_fit_to_options(images, args), labels, source=(images, labels))


class NoisyDigits(InMemory):
    """Digits with Gaussian noise of standard deviation 50/255, clipped to 0..1, to be restored to the clean digits.

    The noise is a function of the digit's index: the same in every epoch and run.
    """

    @staticmethod
    def describe(args):
        """Return the options that the data set determines (dict)."""
        return {'image_size': [28, 28], 'channels': 1}

    def __init__(self, args, split):
        part = _part(split)
        images, _ = read_digits(part)
        noise = NOISE_STD * normal_draws((NOISE_KEYS[part],), np.arange(len(images)), images[0].numel())
        noisy = (images + torch.from_numpy(noise).view(images.shape)).round_().clamp_(0, 255).to(torch.uint8)
        super().__init__(_fit_to_options(noisy, args), _fit_to_options(images, args), source=(noisy, images))


def read_digits(part):
    """Return images, uint8 (N, 1, 28, 28), and labels, int64 (N,), of a split: 'train' or 'test'."""
    with np.load(regular(DIGITS_FILE), allow_pickle=False) as file:
        images = torch.from_numpy(file[f'{part}_images']).unsqueeze(1)
        return images, torch.from_numpy(file[f'{part}_labels']).long()


def normal_draws(key, indices, count):
    """Return normally distributed numbers, a function of (key, index): float32 (B, count).

    Box and Muller 1958. Generators of numpy and torch are not used, as their numbers may change between versions.
    """
    half = -(-count // 2)
    draws = uniform_draws(key, indices, 2 * half)
    radius, angle = np.sqrt(-2 * np.log1p(-draws[:half])), 2 * np.pi * draws[half:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].T.astype(np.float32)


def _part(split):
    return 'train' if split == 'train' else 'test'


def _fit_to_options(images, args):
    return with_size(with_channels(images, args.channels), args.image_size)
