"""Train a generative adversarial network on the digits (Goodfellow et al. 2014), with two networks and two optimizers.

    python -m examples.gan                                            # checkpoints/gan_exp, a minute on a CPU
    python -m examples.gan --resume checkpoints/gan_exp --epochs 60   # options: those of train.py

This example overrides `train_step` for two optimizers, `select_metrics` for its own metric, and `resume_state` to save
the critic in last.pth. best.pth holds the generator.
"""

import sys

import torch
from torch import nn
from torch.nn.functional import softplus
from torchvision.utils import make_grid

from examples.start import prepare_args
from train import Trainer
from utils.base.errors import run_main
from utils.base.machine import select_gpus
from utils.base.seeding import seed_everything
from utils.training.network_device import placed
from utils.training.optim import select_optimizer
from utils.training.precision import forward

DEFAULTS = '--mean 0.5 --std 0.5 --lr 1e-3 --momentum 0.5 --epochs 15'
LATENT_SIZE = 64  # random numbers per image


def generator():
    """Return a network from noise (N, LATENT_SIZE) to images (N, 1, 28, 28) in -1..1: DCGAN, Radford et al. 2016."""
    return nn.Sequential(
        *(nn.Linear(LATENT_SIZE, 64 * 7 * 7), nn.Unflatten(1, (64, 7, 7)), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1), nn.Tanh()),
    )


def critic():
    """Return a network from images (N, 1, 28, 28) to logits (N, 1), positive for real images."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, stride=2, padding=1)),
        *(nn.BatchNorm2d(64), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(64 * 7 * 7, 1)),
    )


class SlicedDistance:
    """Sliced Wasserstein distance between two sets of images, by 256 random projections (Bonneel et al. 2015)."""

    monitor, mode = 'distance', 'min'

    def reset(self):
        self.sets = [], []

    def update(self, *pictures):
        for kept, batch in zip(self.sets, pictures, strict=True):
            kept.append(batch.flatten(1))

    def state_dict(self):
        """Return the images so far, which last.pth saves for the metric of an interrupted epoch."""
        return {'sets': self.sets}

    def load_state_dict(self, state, device):
        self.sets = tuple([pictures.to(device) for pictures in kept] for kept in state['sets'])

    def compute(self):
        directions = torch.randn(28 * 28, 256, generator=torch.Generator().manual_seed(0)) / 28
        fake, real = ((torch.cat(kept) @ directions.to(kept[0])).sort(0).values for kept in self.sets)
        return {'distance': (fake - real).abs().mean().item()}


class GANTrainer(Trainer):
    """Trains the generator, which is the network of the Trainer, and the critic."""

    def __init__(self, args):
        seed_everything(args.seed)
        self.critic = placed(critic(), select_gpus(args)[0])  # before the Trainer restores a resumed run
        self.critic_optimizer = select_optimizer(self.critic, args)
        super().__init__(args, model=generator())

    def select_metrics(self):
        return SlicedDistance()

    def step(self, batch):
        """Return noise, the images generated from it, and real images."""
        real, _ = self.to_device(batch)
        noise = torch.randn(len(real), LATENT_SIZE, device=self.device)
        return noise, forward(self.model, noise, self.amp), real

    def compute_loss(self, fake, real):
        """Return the generator's loss."""
        return softplus(-self.critic(fake)).mean()

    def train_step(self, batch):
        """Train the critic on a batch, then the generator."""
        noise, fake, real = self.step(batch)
        critic_loss = softplus(-self.critic(real)).mean() + softplus(self.critic(fake.detach())).mean()
        self.critic_optimizer.zero_grad()
        critic_loss.backward()
        self.critic_optimizer.step()
        loss = self.compute_loss(fake, real)
        self.update(loss)
        self.logger.record('train/loss', loss, len(real))
        self.logger.record('train/critic_loss', critic_loss, len(real))
        self.compute_metrics(fake.detach(), real, self.metrics['train'])
        return noise, fake, real

    def val_per_epoch(self, epoch):
        with torch.random.fork_rng():  # the same noise in each validation, without effect on training
            torch.manual_seed(self.args.seed)
            super().val_per_epoch(epoch)

    def probe(self):
        """Return noise for the fingerprint of a checkpoint, because the generator takes no images."""
        return torch.linspace(-2, 2, 2 * LATENT_SIZE).view(2, LATENT_SIZE)

    def gen_imgs_to_write(self, noise, fake, real, split):
        """Return generated images above real ones."""
        rows = make_grid(torch.cat([fake[:16], real[:16]]), nrow=16, normalize=True, value_range=(-1, 1))
        return {f'{split}/made_and_real': (rows * 255).byte().permute(1, 2, 0).cpu().numpy()}

    def resume_state(self):
        own = {'critic': self.critic.state_dict(), 'critic_optimizer': self.critic_optimizer.state_dict()}
        return super().resume_state() | own

    def set_resume_state(self, state):
        super().set_resume_state(state)
        self.critic.load_state_dict(state['critic'])
        self.critic_optimizer.load_state_dict(state['critic_optimizer'])


def main(argv):
    """Train by the command line `argv` (list of str)."""
    args = prepare_args('gan', DEFAULTS, argv)
    GANTrainer(args).train()


if __name__ == '__main__':
    run_main(lambda: main(sys.argv[1:]), 'gan.py')
