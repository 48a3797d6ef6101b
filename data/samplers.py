"""Which samples make up which batch: a function of (seed, epoch) alone."""

from itertools import islice

import numpy as np
from torch.utils.data import Sampler

from utils.base.seeding import mixed
from utils.distributed import processes


class SharedBatches(Sampler):
    """Base of batch samplers that yield (epoch, samples): of several processes each its part of every batch.

    Together the parts are the batch that one process would have, whatever their number. Where a batch has fewer
    samples than there are processes, the first ones of it stand in for the parts that are empty, so that all processes
    take the same steps. What is left for a last batch of training is not cut into single samples, as batch
    normalisation cannot work on them.

    Attributes:
        stand_ins: (epoch, number from 0 on) of batches for whose empty part here others stand in (set).
    """

    def __init__(self):
        self.epoch, self.start = 1, 0
        self.place, self.padding_batches = (processes.rank(), processes.count()), set()

    def set_epoch(self, epoch, start=0):
        """Choose the epoch (from 1) that the next passes yield, and how many of its batches they pass over."""
        self.epoch, self.start = epoch, start

    def rank_part(self, number, batch):
        """Return this process's part of the samples of a batch, which are an array, Draws or SampleRefs."""
        rank, count = self.place
        if count == 1:
            return batch
        if self.shuffle and len(batch) < self.batch_size:  # the last one: no part of it is a single sample
            count = min(count, max(1, len(batch) // 2))
        size, more = divmod(len(batch), count)
        start = rank * size + min(rank, more)
        part = batch[start : start + size + (rank < more)]
        if rank < count and len(part):
            return part
        self.padding_batches.add((self.epoch, number))
        return batch[:2]  # two, as batch normalisation cannot work on one


class EpochBatches(SharedBatches):
    """Batch sampler that yields (epoch, indices), indices an int64 array or Draws of up to batch_size positions.

    The epoch travels with the batch because worker processes, which hold copies of the data set, must know it to seed
    each sample's augmentation. A last batch of a single training sample is joined to the one before: batch
    normalisation cannot work on one sample, and leaving it out would lose it.

    Args:
        length: number of samples.
        batch_size: samples per batch; the last batch of an epoch holds what is left.
        shuffle: draw a new order for each epoch (training), or keep the order of the list.
        seed: of the order.
        weights: float64 array (length,), how often each sample is drawn, with replacement, relative to the others;
            None: each comes once.
    """

    def __init__(self, length, batch_size, shuffle, seed, weights=None):
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.draw_probabilities = None if weights is None else weights / weights.sum()
        super().__init__()

    def order(self):
        """Return the order of the current epoch: int64 array (length,)."""
        if not self.shuffle:
            return np.arange(self.length)
        # numpy's own generator: torch's global one belongs to the model and must not notice.
        random = np.random.default_rng([self.seed, self.epoch])
        if self.draw_probabilities is not None:
            return random.choice(self.length, self.length, p=self.draw_probabilities)
        return random.permutation(self.length)

    def __len__(self):
        return count_batches(self.length, self.batch_size, self.shuffle)

    def __iter__(self):
        order, batches = self.order(), len(self)
        if self.draw_probabilities is not None:
            order = RepeatedIndices(order, repetitions(order))
        for number in range(self.start, batches):
            end = self.length if number == batches - 1 else (number + 1) * self.batch_size
            yield self.epoch, self.rank_part(number, order[number * self.batch_size : end])


class StreamBatches(SharedBatches):
    """Batch sampler over a stream that yields (epoch, SampleRefs): where the samples of a batch lie.

    Args:
        stream: has `order(epoch)`, which yields the places of an epoch, and a length or none.
        batch_size: samples per batch; the last batch of an epoch holds what is left.
        shuffle: the stream shuffles, for training; a last batch of a single sample is joined to the one before.
    """

    def __init__(self, stream, batch_size, shuffle):
        self.stream, self.batch_size, self.shuffle = stream, batch_size, shuffle
        super().__init__()

    def __len__(self):
        """Return the batches of an epoch; TypeError where the stream does not know its length."""
        return count_batches(len(self.stream), self.batch_size, self.shuffle)

    def __iter__(self):
        for number, batch in enumerate(islice(self._batches(), self.start, None), self.start):
            yield self.epoch, self.rank_part(number, SampleRefs(batch))

    def _batches(self):
        joins = self.shuffle and self.batch_size > 1
        batch = []
        for place in self.stream.order(self.epoch):
            batch.append(place)
            if len(batch) == self.batch_size + 2 * joins:  # two more: what is left will be no single one
                yield batch[: self.batch_size]
                batch = batch[self.batch_size :]
        if batch:
            yield batch


class RepeatedIndices:
    """Indices of samples that may come several times in an epoch, and how often each came before.

    `tolist`, parts by slices and np.asarray are those of the indices.

    Args:
        indices: int64 array (N,).
        repetitions: int64 array (N,): 0 for the first time in the epoch, 1 for the second ...
    """

    def __init__(self, indices, repetitions):
        self.indices, self.repetitions = indices, repetitions

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, part):
        return RepeatedIndices(self.indices[part], self.repetitions[part])

    def tolist(self):
        """Return the indices (list of int)."""
        return self.indices.tolist()

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.indices, dtype=dtype)


class SampleRefs:
    """Stands in for the indices of a batch where samples have none: a list of places, each with an `index`.

    `tolist` and parts by slices are as an array's; np.asarray gives the indices, int64 (B,). A place may have a
    `repetition`: how often its sample came before in the epoch.
    """

    def __init__(self, places):
        self.places = places

    def __len__(self):
        return len(self.places)

    def __getitem__(self, part):
        return SampleRefs(self.places[part])

    def tolist(self):
        """Return the places (list)."""
        return self.places

    def __array__(self, dtype=None, copy=None):
        return np.array([place.index for place in self.places], dtype=dtype or np.int64)

    @property
    def repetitions(self):
        """How often the sample of each place came before in the epoch: int64 array (B,)."""
        return np.array([getattr(place, 'repetition', 0) for place in self.places], dtype=np.int64)


def repetitions(order):
    """Return how often each of the indices in an array (N,) is among those before it: int64 array (N,)."""
    by_index = np.argsort(order, kind='stable')
    ordered = order[by_index]
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])  # of the places of one index
    positions = np.arange(len(order))
    counts = np.empty(len(order), dtype=np.int64)
    counts[by_index] = positions - np.maximum.accumulate(np.where(begins, positions, 0))
    return counts


def random_keys(samples):
    """Return what the randomness of each sample of a batch is a function of, beside seed and epoch: int64 array (B,).

    The first time in an epoch that is the sample's index, each later time another number.

    Args:
        samples: int64 array, Draws or SampleRefs.
    """
    keys, again = np.asarray(samples), getattr(samples, 'repetitions', None)
    if again is None or not again.any():
        return keys
    return np.where(again > 0, mixed(keys, again), keys)


def join_batches(batches):
    """Return the samples of several batches, each an int64 array or Draws, as one."""
    if not isinstance(batches[0], RepeatedIndices):
        return np.concatenate(batches)
    return RepeatedIndices(
        *(np.concatenate([getattr(part, of) for part in batches]) for of in ('indices', 'repetitions'))
    )


def count_batches(length, batch_size, join_last):
    """Return how many batches (int) a number of samples makes, a last single one being joined or not."""
    batches, rest = divmod(length, batch_size)
    joined = join_last and rest == 1 and batch_size > 1 and length > 1
    return batches + (rest > 0 and not joined)


def shuffled(items, size, random):
    """Yield what an iterable yields, each item in exchange for a later one: shuffled in a buffer of `size` items.

    Args:
        items: iterable.
        size: at least 1, which leaves the order as it is.
        random: numpy.random.Generator.
    """
    items = iter(items)
    buffer = list(islice(items, size))
    for item, chosen in zip(items, _random_integers(size, random), strict=False):
        yield buffer[chosen]
        buffer[chosen] = item
    for chosen in random.permutation(len(buffer)).tolist():
        yield buffer[chosen]


def _random_integers(size, random):
    while True:
        yield from random.integers(size, size=256).tolist()  # one by one they would take ten times as long
