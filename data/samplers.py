"""Which samples make up which batch: a function of (seed, epoch) alone."""

import numpy as np
from torch.utils.data import Sampler


class EpochBatches(Sampler):
    """Batch sampler that yields (epoch, indices), indices an int64 array of up to batch_size positions.

    The epoch travels with the batch because worker processes, which hold copies of the data set, must know it to seed
    each sample's augmentation. A last batch of a single training sample is joined to the one before: batch
    normalisation cannot work on one sample, and leaving it out would lose it.

    Args:
        length: number of samples.
        batch_size: samples per batch; the last batch of an epoch holds what is left.
        shuffle: draw a new order for each epoch (training), or keep the order of the list.
        seed: of the order.
    """

    def __init__(self, length, batch_size, shuffle, seed):
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.epoch = 1

    def set_epoch(self, epoch):
        """Choose the epoch (from 1) that the next pass yields."""
        self.epoch = epoch

    def order(self):
        """Return the order of the current epoch: int64 array (length,)."""
        if not self.shuffle:
            return np.arange(self.length)
        # numpy's own generator: torch's global one belongs to the model and must not notice.
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.length)

    def __len__(self):
        batches, rest = divmod(self.length, self.batch_size)
        return batches + (rest > 0 and not self._joins_last(rest))

    def __iter__(self):
        order, batches = self.order(), len(self)
        for number in range(batches):
            end = self.length if number == batches - 1 else (number + 1) * self.batch_size
            yield self.epoch, order[number * self.batch_size : end]

    def _joins_last(self, rest):
        return self.shuffle and rest == 1 and self.batch_size > 1 and self.length > 1
