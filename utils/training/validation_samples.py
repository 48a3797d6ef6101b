"""The samples of a validation that TensorBoard shows: evenly spread, as a list often has one class after another."""

import torch
from torch.utils.data import IterableDataset

from utils.training.session import MAX_IMAGES, drawn_samples

FEATURE_DIMENSIONS = 2  # (B, N)


class ValidationSamples:
    """Collects MAX_IMAGES samples, evenly spread over the batches of a validation.

    Of a loader without a length, of a stream, whose length a resumed run may not know yet, and of samples that are not
    images, it takes the first ones of the first batch.

    Args:
        loader: of the validation data, as this process reads it.

    Attributes:
        places: (number of the batch, position in the batch) of each sample (list of pairs of int), both from 0.
    """

    def __init__(self, loader):
        data = getattr(loader, 'samples', getattr(loader, 'dataset', None))
        try:
            self.batches = None if isinstance(data, IterableDataset) else len(loader)
        except TypeError:
            self.batches = None
        self.number, self.device, self.places, self.parts = 0, None, [], []

    def add(self, images, predictions, targets):
        """Take the samples of the next batch that are drawn; the arguments are results of `step`."""
        batch, number = (images, predictions, targets), self.number
        self.number += 1
        if number == 0:
            self.device = images.device
            if not self.batches or images.dim() <= FEATURE_DIMENSIONS or not are_samples(batch):
                self.batches, first = None, drawn_samples(*batch)
                self.parts = [[copied(part) for part in first]]
                self.places = [(0, position) for position in range(len(first[0]))]
        if self.batches:
            for position in positions(number, self.batches, len(images)):
                self.places.append((number, position))
                self.parts.append([copied(part[position : position + 1]) for part in batch])

    def samples(self):
        """Return images, predictions and targets of the samples; where sizes differ, of those like the first one."""
        if self.batches:
            shapes = [[part.shape for part in parts] for parts in self.parts]
            alike = [number for number, each in enumerate(shapes) if each == shapes[0]]
            self.places = [self.places[number] for number in alike]
            self.parts = [[torch.cat(column) for column in zip(*(self.parts[n] for n in alike), strict=True)]]
        return tuple(part.to(self.device) if torch.is_tensor(part) else part for part in self.parts[0])


def copied(part):
    """Return a copy of a tensor on the CPU, as a slice keeps the memory of its batch; other objects unchanged."""
    return part.to('cpu', copy=True) if torch.is_tensor(part) else part


def are_samples(batch):
    """Return whether all parts of a batch are tensors with one entry for each sample (bool)."""
    return all(torch.is_tensor(part) and part.dim() and len(part) == len(batch[0]) for part in batch)


def positions(number, batches, size):
    """Return the positions (list of int) of the samples that are drawn of a batch.

    Args:
        number: of the batch, from 0.
        batches: number of batches.
        size: number of samples in the batch.
    """
    parts = 2 * MAX_IMAGES  # a sample is drawn from the middle of each of MAX_IMAGES equal parts
    chosen = [divmod((2 * index + 1) * batches, parts) for index in range(MAX_IMAGES)]
    return list(dict.fromkeys(rest * size // parts for batch, rest in chosen if batch == number))
