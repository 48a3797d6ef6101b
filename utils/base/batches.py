"""Batches (images, targets), tensors or numpy arrays, and the number of samples of a loader."""

import numpy as np
import torch
from torch.utils.data import IterableDataset

from utils.base.errors import DanluError

BATCH_LENGTH = 2


def fault_of_batch(batch):
    """Return why a loader's value is not a batch (images, targets) (str), or None if it is one."""
    if not isinstance(batch, list | tuple):
        kind = 'tensor' if torch.is_tensor(batch) else type(batch).__name__
        hint = ', or give TensorDataset(inputs, targets)' if torch.is_tensor(batch) else ''
        return f'a batch is (images, targets), this one is a {kind}: override step() for that{hint}'
    if len(batch) != BATCH_LENGTH:
        return f'a batch is (images, targets), this one has {len(batch)} parts: override step() for that'
    for part in batch:
        if not isinstance(part, torch.Tensor | np.ndarray):
            kind = type(part).__name__
            return f'a batch is (images, targets), both tensors; this one holds a {kind}: override step() for that'
    return None


def images_and_targets(batch):
    """Return (images, targets) of a loader's batch as tensors.

    Raises:
        DanluError: the value is not a batch (images, targets).
    """
    if fault := fault_of_batch(batch):
        raise DanluError(fault)
    return tuple(map(torch.as_tensor, batch))


def match_net_dtype(images, net):
    """Return float64 inputs (tensor), numpy's default, as float32 unless the network (nn.Module) is float64.

    Inputs of other dtypes are returned unchanged.
    """
    if images.dtype != torch.float64:
        return images
    parameter = next(iter(net.parameters()), None)
    return images if parameter is not None and parameter.dtype == torch.float64 else images.float()


def length_or_none(thing):
    """Return len(thing), or None if it has no length, as a stream."""
    try:
        return len(thing)
    except TypeError:
        return None


def count_batch_samples(batch):
    """Return the number of samples of a batch (int): the length of its first tensor, in nested containers; else 1."""
    while isinstance(batch, dict | list | tuple) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return length_or_none(batch) or 1


def count_loader_samples(loader):
    """Return the number of samples of one pass over a loader (int), or None if it is unknown.

    A DataLoader's sampler may omit or repeat samples of the data set.
    """
    dataset, batches = getattr(loader, 'dataset', None), getattr(loader, 'batch_sampler', None)
    shared = hasattr(batches, 'start')  # data.samplers.SharedBatches
    if shared or not hasattr(loader, 'batch_sampler') or isinstance(dataset, IterableDataset):
        return length_or_none(dataset)
    return length_or_none(getattr(batches, 'sampler', None))


def count_dropped_samples(loader):
    """Return the number of samples of each pass that a DataLoader drops by drop_last (int)."""
    count, size = count_loader_samples(loader), getattr(loader, 'batch_size', None)
    return count % size if getattr(loader, 'drop_last', False) and count and size else 0
