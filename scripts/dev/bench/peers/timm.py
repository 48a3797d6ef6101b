"""timm's loader, with its fast collation of uint8 pictures and its normalisation per batch, before the same loop."""

import torch
from timm.data import create_loader

from scripts.dev.bench.common import Files, loss_of, network, optimizer
from scripts.dev.bench.task import CROP_SCALE, NORMALISATION, SIZES


def train(task, turn):
    """Train by timm's loader; its colour jitter is off, as nobody else's is on."""
    loader = create_loader(
        Files(task, transform=None), input_size=(3, *SIZES[task.work]), batch_size=task.batch_size, is_training=True,
        scale=CROP_SCALE, hflip=0.5, color_jitter=None, interpolation='bilinear', num_workers=task.workers,
        pin_memory=task.device == 'cuda', device=torch.device(task.device), **NORMALISATION[task.work],
    )  # fmt: skip
    net = network(task)
    adam = optimizer(net.parameters(), task)
    while True:
        turn()
        running_loss = 0.0
        for images, targets in loader:
            adam.zero_grad()
            loss = loss_of(net(images), targets)
            loss.backward()
            adam.step()
            running_loss += loss.item()
