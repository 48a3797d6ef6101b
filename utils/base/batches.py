"""A loader's batch: (images, targets), both tensors or arrays of numpy; and how many samples a loader has."""

import numpy as np
import torch
from torch.utils.data import IterableDataset

from utils.base.errors import DanluError

PARTS = 2


def fault_of_batch(batch):
    """Return why something that a loader yields is no batch of (images, targets) (str), or None: it is one."""
    if not isinstance(batch, list | tuple):
        kind = 'tensor' if torch.is_tensor(batch) else type(batch).__name__
        hint = ', or give TensorDataset(inputs, targets)' if torch.is_tensor(batch) else ''
        return f'a batch is (images, targets), this one is a {kind}: override step() for that{hint}'
    if len(batch) != PARTS:
        return f'a batch is (images, targets), this one has {len(batch)} parts: override step() for that'
    for part in batch:
        if not isinstance(part, torch.Tensor | np.ndarray):
            kind = type(part).__name__
            return f'a batch is (images, targets), both tensors; this one holds a {kind}: override step() for that'
    return None


def pair_of(batch):
    """Return (images, targets) of a loader's batch, both tensors.

    Raises:
        DanluError: it is no such batch.
    """
    if fault := fault_of_batch(batch):
        raise DanluError(fault)
    return tuple(map(torch.as_tensor, batch))


def as_net_takes(images, net):
    """Return inputs (tensor) of float64, as numpy makes them, as float32, unless the network (nn.Module) has float64.

    Inputs of other types are returned as they are.
    """
    if images.dtype != torch.float64:
        return images
    parameter = next(iter(net.parameters()), None)
    return images if parameter is not None and parameter.dtype == torch.float64 else images.float()


def length_of(thing):
    """Return len(thing), or None where it has none or does not know it: of a stream."""
    try:
        return len(thing)
    except TypeError:
        return None


def size_of(batch):
    """Return how many samples a batch has (int): the length of its first tensor, in whatever it lies; else 1."""
    while isinstance(batch, dict | list | tuple) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return length_of(batch) or 1


def samples_of(loader):
    """Return how many samples one pass over a loader gives (int), or None: unknown.

    A DataLoader's sampler may leave samples of the data set out, or take some again.
    """
    dataset, batches = getattr(loader, 'dataset', None), getattr(loader, 'batch_sampler', None)
    shared = hasattr(batches, 'start')  # data.samplers.SharedBatches
    if shared or not hasattr(loader, 'batch_sampler') or isinstance(dataset, IterableDataset):
        return length_of(dataset)
    return length_of(getattr(batches, 'sampler', None))


def samples_left_out(loader):
    """Return how many samples of each pass a DataLoader leaves out by drop_last (int)."""
    count, size = samples_of(loader), getattr(loader, 'batch_size', None)
    return count % size if getattr(loader, 'drop_last', False) and count and size else 0
