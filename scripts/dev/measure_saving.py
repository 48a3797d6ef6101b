#!/usr/bin/env python
"""Measure what saving last.pth within an epoch costs the training loop: docs/reliability.md has the figures.

    python scripts/dev/measure_saving.py                                 # ResNet-18, 11 million parameters, with Adam
    python scripts/dev/measure_saving.py --model_type torchvision:vit_b_16 --image_size 224

Groups of steps with one saving at their beginning alternate with groups without, so that what else the machine does
falls on both. A group ends when the file is on the disk, so writing in the background is in it.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

import torch

from options import train_args
from train import Trainer


def measure(args, folder):
    """Return the seconds of the groups without and with a saving (two lists of float), and the bytes of last.pth."""
    size = [args.image_size, args.image_size]
    samples = torch.utils.data.TensorDataset(
        torch.rand(2 * args.batch_size, 3, *size), torch.arange(2 * args.batch_size) % 10
    )
    loader = torch.utils.data.DataLoader(samples, args.batch_size)
    options = train_args(
        model_type=args.model_type, num_classes=10, image_size=size, channels=3, checkpoints_dir=folder
    )
    trainer, seconds = Trainer(options, train_loader=loader, val_loader=loader), ([], [])
    batch = next(iter(loader))
    next(trainer.session.batches(1))
    for group in range(2 * args.groups + 2):
        started = time.perf_counter()
        if group % 2:
            trainer.session.save_within_epoch()
        for _ in range(args.steps):
            trainer.session.resume_check.before_step(trainer)
            done = trainer.train_step(batch)
            trainer.batch += 1
            trainer.session.resume_check.after_step(trainer, done[0], done[2])
        trainer.logger.checkpoints.finish()
        if group > 1:  # the first ones warm up
            seconds[group % 2].append(time.perf_counter() - started)
    return *seconds, Path(options.model_dir, 'last.pth').stat().st_size


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description='Measure what saving last.pth costs the training loop.')
    parser.add_argument('--model_type', default='torchvision:resnet18', help='as train.py has it')
    parser.add_argument('--image_size', default=64, type=int, help='height and width')
    parser.add_argument('--batch_size', default=32, type=int, help='samples per step')
    parser.add_argument('--steps', default=8, type=int, help='of a group')
    parser.add_argument('--groups', default=12, type=int, help='with a saving, and as many without')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir='.') as folder:
        without, including, size = measure(args, folder)
    costs = sorted(b - a for a, b in zip(without, including, strict=True))
    cost, minute = statistics.median(costs), 60.0
    quarter = len(costs) // 4
    print(f'last.pth: {size / 1e6:.0f} MB; a step: {statistics.median(without) / args.steps:.3f} s')
    print(f'a saving costs the loop {cost:.3f} s (quartiles {costs[quarter]:.3f} and {costs[-1 - quarter]:.3f})')
    print(f'at --save_minutes 1 that is {cost / minute:.2%}; 2 % would be --save_minutes {cost / 0.02 / minute:.2g}')


if __name__ == '__main__':
    main()
