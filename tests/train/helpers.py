"""Helpers of the tests of train.py: bits of weights, and a Trainer with ready-made parts."""

import hashlib

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from options import parse_train_args
from tests.networks import Dropping
from train import Trainer
from utils.logger import TAGS
from utils.runs.checkpoint import load_checkpoint

MEASURED = {'seconds', 'images_per_second', 'data_wait', 'gpu_memory_gib'}  # they differ from run to run


def bits(value):
    """Return nested tensors and plain values as something that compares equal only for equal bits."""
    if torch.is_tensor(value):
        return str(value.dtype), tuple(value.shape), value.cpu().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {name: bits(inner) for name, inner in value.items()}
    return [bits(inner) for inner in value] if isinstance(value, list | tuple) else value


def weights_in(directory, name='last.pth'):
    """Return the bits of the weights in a checkpoint."""
    return bits(load_checkpoint(directory / name)['model'])


def computed(rows):
    """Return rows of history.csv without what was measured with a clock."""
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def snapshot(directory):
    """Return the hash of every file below a directory."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.rglob('*') if p.is_file()}


def log_of(run):
    """Return the text of log.txt, which ends with the best epoch where the terminal has a longer summary."""
    return (run.directory / 'log.txt').read_text(encoding='utf-8')


def check_events(run, history_of, events_of):
    """Hold what TensorBoard shows against history.csv: every epoch once, every value the same."""
    rows, events = history_of(run), events_of(run)
    epochs = [int(row['epoch']) for row in rows]
    assert epochs == list(range(1, len(rows) + 1))
    assert {'train/loss', 'val/loss', 'lr', 'system/seconds'} <= set(events.scalars)
    for name in set(rows[0]) - {'epoch'}:
        tag = TAGS.get(name, name)
        assert [event.step for event in events.scalars[tag]] == epochs, tag
        wanted = [float(np.float32(row[name])) for row in rows]  # TensorBoard keeps float32
        assert [event.value for event in events.scalars[tag]] == wanted, tag
    assert set(events.images) == {'train/samples', 'val/samples'}
    for tag, pictures in events.images.items():  # short epochs may be left out, but for the first and the last one
        drawn = [picture.step for picture in pictures]
        assert drawn == sorted({*drawn, epochs[0], epochs[-1]} & set(epochs)), tag
    return events


def samples(count, seed, dtype=torch.float32):
    """Return a TensorDataset of pictures (N, 3, 2, 2) and labels 0..2 that can be learned."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.rand(count, 3, 2, 2, generator=generator) / 2
    images[torch.arange(count), labels] += 0.4
    if dtype == torch.uint8:
        images = images * 255
    return TensorDataset(images.to(dtype), labels)


def loader(count=50, seed=0, batch_size=8, dtype=torch.float32):
    """Return ready-made batches: uneven, in the same order in each epoch."""
    return DataLoader(samples(count, seed, dtype), batch_size=batch_size, generator=torch.Generator())


def notebook_args(folder, *words):
    """Return options as a notebook makes them."""
    words = ['--checkpoints_dir', folder, '--num_classes', 3, '--device', 'cpu', *words]
    return parse_train_args([str(word) for word in words])


def notebook_trainer(folder, *words, kind=Trainer, **parts):
    """Return a Trainer of ready-made parts."""
    torch.manual_seed(5)  # of the model's first weights
    parts = {'model': Dropping(), 'train_loader': loader(), 'val_loader': loader(21, 1), **parts}
    return kind(notebook_args(folder, *words), **parts)


class Watching(Trainer):
    """Notes what reaches `step`, and what the network gets."""

    def step(self, batch):
        images, predictions, targets = super().step(batch)
        self.seen = [*getattr(self, 'seen', []), (batch, images, targets)]
        return images, predictions, targets


class Plain(nn.Module):
    """A linear network for any size of picture, or for each pixel."""

    def __init__(self, classes, channels, per_pixel):
        super().__init__()
        self.layer, self.per_pixel = nn.Conv2d(channels, classes, 1), per_pixel

    def forward(self, images):
        maps = self.layer(images)
        return maps if self.per_pixel else maps.mean((2, 3))
