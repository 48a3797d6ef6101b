"""Train an autoencoder that compresses each digit to sixteen numbers and reconstructs it.

    python -m examples.autoencoder                                     # checkpoints/autoencoder_exp, a minute on a CPU
    python -m examples.autoencoder --model_args size=2 --epochs 40
    python -m examples.autoencoder --resume checkpoints/autoencoder_exp --epochs 40

This example overrides `step`, which defines inputs and targets, and `gen_imgs_to_write`, which draws images for
TensorBoard. Metrics, checkpoints and resuming are those of the task restoration.
"""

import sys

import torch
from torch import nn
from torchvision.utils import make_grid

from examples.start import prepare_args
from train import Trainer
from utils.base.errors import run_main
from utils.base.seeding import seed_everything
from utils.options.arguments import keyword_values
from utils.training.precision import forward

DEFAULTS = '--data_type noisy_digits --task restoration --loss mse --lr 2e-3 --epochs 20'


class Autoencoder(nn.Module):
    """Encodes images (N, 1, 28, 28) with pixels in 0..1 to codes (N, size), and decodes codes to images."""

    def __init__(self, size=16, width=256):
        super().__init__()
        self.encode = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, width), nn.ReLU(), nn.Linear(width, size))
        self.decode = nn.Sequential(
            *(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, 28 * 28), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))
        )

    def forward(self, images):
        """Return the reconstructed images, of the same shape."""
        return self.decode(self.encode(images))


class AutoencoderTrainer(Trainer):
    """Trains a network to reconstruct its input."""

    def step(self, batch):
        """Return (images, predictions, targets); the targets are the images."""
        _, digits = self.to_device(batch)  # a batch of noisy_digits is (noisy, clean)
        return digits, forward(self.model, digits, self.amp), digits

    def gen_imgs_to_write(self, images, predictions, targets, split):
        """Add a row of images decoded from codes interpolated between the first and the last digit."""
        weights = torch.linspace(0, 1, 8, device=self.device)[:, None]
        with torch.inference_mode():
            first, last = self.net.encode(images[[0, -1]])
            between = self.net.decode(first + weights * (last - first))
        row = (make_grid(between, nrow=8) * 255).byte().permute(1, 2, 0).cpu().numpy()
        return {**super().gen_imgs_to_write(images, predictions, targets, split), f'{split}/between': row}


def main(argv):
    """Train by the command line `argv` (list of str)."""
    args = prepare_args('autoencoder', DEFAULTS, argv)
    seed_everything(args.seed)  # before the weights are initialised
    AutoencoderTrainer(args, model=Autoencoder(**keyword_values(args.model_args or []))).train()


if __name__ == '__main__':
    run_main(lambda: main(sys.argv[1:]), 'autoencoder.py')
