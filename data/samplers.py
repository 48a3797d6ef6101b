"""Batch samplers: the samples of each batch are a function of (seed, epoch)."""

from itertools import islice

import numpy as np
from torch.utils.data import Sampler

from utils.base.seeding import mixed
from utils.distributed import processes


class SharedBatches(Sampler):
    """Base of batch samplers that yield (epoch, samples): each process gets its part of every batch.

    Together the parts are the batch of a single process, for any number of processes. If a batch has fewer samples than
    there are processes, its first samples are used as padding for empty parts, so that all processes take the same
    steps. The last training batch is not split into single samples, which batch normalisation cannot handle.

    Attributes:
        padding_batches: (epoch, number from 0) of batches whose part in this process is padding (set).
    """

    def __init__(self):
        self.epoch, self.start = 1, 0
        self.rank_and_count, self.padding_batches = (processes.rank(), processes.count()), set()

    def set_epoch(self, epoch, start=0):
        """Set the epoch (from 1) of the next passes, and how many of its batches to skip."""
        self.epoch, self.start = epoch, start

    def rank_part(self, number, batch):
        """Return this process's part of a batch of samples: an array, RepeatedIndices or SampleRefs."""
        rank, count = self.rank_and_count
        if count == 1:
            return batch
        if self.shuffle and len(batch) < self.batch_size:  # the last batch: no parts of a single sample
            count = min(count, max(1, len(batch) // 2))
        size, more = divmod(len(batch), count)
        start = rank * size + min(rank, more)
        part = batch[start : start + size + (rank < more)]
        if rank < count and len(part):
            return part
        self.padding_batches.add((self.epoch, number))
        return batch[:2]  # two, as batch normalisation needs more than one


class EpochBatches(SharedBatches):
    """Batch sampler that yields (epoch, indices): an int64 array or RepeatedIndices of up to batch_size positions.

    Each batch contains the epoch because worker processes, which have copies of the data set, need it to seed each
    sample's augmentation. A single remaining training sample is added to the last batch, because batch normalisation
    cannot handle a batch of one sample.

    Args:
        length: number of samples.
        batch_size: samples per batch; the last batch of an epoch may be smaller.
        shuffle: draw a new order for each epoch (training), or keep the order.
        seed: of the order.
        weights: float64 array (length,), relative frequencies for drawing with replacement; None: each sample once.
    """

    def __init__(self, length, batch_size, shuffle, seed, weights=None):
        self.length, self.batch_size, self.shuffle, self.seed = length, batch_size, shuffle, seed
        self.draw_probabilities = None if weights is None else weights / weights.sum()
        super().__init__()

    def order(self):
        """Return the order of the current epoch: int64 array (length,)."""
        if not self.shuffle:
            return np.arange(self.length)
        # A separate generator, as torch's global one belongs to the model.
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
    """Batch sampler over a stream that yields (epoch, SampleRefs).

    Args:
        stream: has `order(epoch)`, which yields sample references, and possibly a length.
        batch_size: samples per batch; the last batch of an epoch may be smaller.
        shuffle: the stream shuffles, for training; a single remaining sample is added to the last batch.
    """

    def __init__(self, stream, batch_size, shuffle):
        self.stream, self.batch_size, self.shuffle = stream, batch_size, shuffle
        super().__init__()

    def __len__(self):
        """Return the number of batches of an epoch; raises TypeError if the stream's length is unknown."""
        return count_batches(len(self.stream), self.batch_size, self.shuffle)

    def __iter__(self):
        for number, batch in enumerate(islice(self._batches(), self.start, None), self.start):
            yield self.epoch, self.rank_part(number, SampleRefs(batch))

    def _batches(self):
        joins = self.shuffle and self.batch_size > 1
        batch = []
        for ref in self.stream.order(self.epoch):
            batch.append(ref)
            if len(batch) == self.batch_size + 2 * joins:  # two more, so that no single sample remains
                yield batch[: self.batch_size]
                batch = batch[self.batch_size :]
        if batch:
            yield batch


class RepeatedIndices:
    """Sample indices that may repeat within an epoch, with the number of earlier occurrences.

    Slicing keeps both; `tolist` and np.asarray return the indices.

    Args:
        indices: int64 array (N,).
        repetitions: int64 array (N,): 0 for the first occurrence in the epoch, 1 for the second ...
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
    """A batch of sample references, each with an `index`; replaces indices where the data set is a stream.

    Slicing and `tolist` work as for an array; np.asarray returns the indices, int64 (B,). A reference may have a
    `repetition`: the number of earlier occurrences of its sample in the epoch.
    """

    def __init__(self, refs):
        self.refs = refs

    def __len__(self):
        return len(self.refs)

    def __getitem__(self, part):
        return SampleRefs(self.refs[part])

    def tolist(self):
        """Return the references (list)."""
        return self.refs

    def __array__(self, dtype=None, copy=None):
        return np.array([ref.index for ref in self.refs], dtype=dtype or np.int64)

    @property
    def repetitions(self):
        """Number of earlier occurrences of each sample in the epoch: int64 array (B,)."""
        return np.array([getattr(ref, 'repetition', 0) for ref in self.refs], dtype=np.int64)


def repetitions(order):
    """Return how often each index in an array (N,) occurs before its position: int64 array (N,)."""
    by_index = np.argsort(order, kind='stable')
    ordered = order[by_index]
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])  # of the positions of one index
    positions = np.arange(len(order))
    counts = np.empty(len(order), dtype=np.int64)
    counts[by_index] = positions - np.maximum.accumulate(np.where(begins, positions, 0))
    return counts


def random_keys(samples):
    """Return the key of each sample's randomness within (seed, epoch): int64 array (B,).

    For the first occurrence of a sample in an epoch the key is its index, for later ones another number.

    Args:
        samples: int64 array, RepeatedIndices or SampleRefs.
    """
    keys, again = np.asarray(samples), getattr(samples, 'repetitions', None)
    if again is None or not again.any():
        return keys
    return np.where(again > 0, mixed(keys, again), keys)


def join_batches(batches):
    """Return the concatenation of several batches, int64 arrays or RepeatedIndices."""
    if not isinstance(batches[0], RepeatedIndices):
        return np.concatenate(batches)
    return RepeatedIndices(
        *(np.concatenate([getattr(part, of) for part in batches]) for of in ('indices', 'repetitions'))
    )


def count_batches(length, batch_size, join_last):
    """Return the number of batches (int); with `join_last` a single remaining sample is added to the last batch."""
    batches, rest = divmod(length, batch_size)
    joined = join_last and rest == 1 and batch_size > 1 and length > 1
    return batches + (rest > 0 and not joined)


def shuffled(items, size, random):
    """Yield the items of an iterable, shuffled in a buffer of `size` items.

    Args:
        items: iterable.
        size: at least 1, which keeps the order.
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
        yield from random.integers(size, size=256).tolist()  # 10 times faster than single draws
