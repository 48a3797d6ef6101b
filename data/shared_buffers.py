"""Shared memory for the batches of worker processes, allocated once per run instead of once per batch."""

import math
from typing import NamedTuple

import torch
from torch.utils.data import default_collate, get_worker_info

# A worker process has at most two batches that are not yielded yet, and the one before may still be read.
BUFFERS = 3
SMALL_BYTES = 2**16  # sending takes less time than sharing memory
# Of targets that numpy can send. Sending a tensor takes a millisecond: both processes open a connection.
SENT_DTYPES = {torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64}


class BufferView(NamedTuple):
    """Where the process that trains finds a tensor that a worker process has put into a buffer."""

    key: tuple  # of the buffer: number of the worker process, name, turn
    buffer: torch.Tensor | None  # the buffer itself, uint8 (N,); None: it was sent before
    dtype: torch.dtype
    shape: tuple


class SharedBuffers:
    """Buffers into which a worker process stacks the samples of its batches in turn, sent without copying.

    The process that trains keeps the buffers mapped; each is sent once per pass. A received batch is valid until its
    worker process has made BUFFERS others, so `Loader` copies what `prepare` does not copy.

    Attributes:
        used: whether the last batch that was stacked here is in buffers (bool).
        kept: buffers that were received (dict by key).
    """

    def __init__(self):
        self.buffers, self.turn, self.kept, self.used = {}, 0, {}, False
        self.sending, self.sent, self.has_target_buffer = None, {}, False

    def __reduce__(self):
        return SharedBuffers, ()

    def collate(self, images, targets):
        """Return the images and targets of samples, sequences of tensors of one shape and dtype, each as one tensor.

        In a worker process uint8 images of one shape with their targets are stacked in buffers, small targets beside
        them.
        """
        images, targets = list(images), [torch.as_tensor(target) for target in targets]
        pixels = _are_pixels(targets)
        self.used = get_worker_info() is not None and _are_pixels(images) and (pixels or _are_small(targets))
        if not self.used:
            return default_collate(images), default_collate(targets)
        self.turn, self.has_target_buffer = (self.turn + 1) % BUFFERS, pixels
        return self._stack('images', images), self._stack('targets', targets) if pixels else torch.stack(targets)

    def _stack(self, name, samples):
        first = samples[0]
        one = first.numel() * first.element_size()
        size = len(samples) * one
        buffer = self.buffers.get((name, self.turn))
        if buffer is None or len(buffer) < size:  # the last batch of an epoch may have one sample more
            buffer = self.buffers[name, self.turn] = torch.empty(size + one, dtype=torch.uint8).share_memory_()
        return torch.stack(samples, out=buffer[:size].view(first.dtype).view(len(samples), *first.shape))

    def send(self, batch, pass_number):
        """Return a batch that was just stacked here as a worker process sends it.

        Args:
            batch: (images, targets, ...).
            pass_number: of this pass over the data. Batches of an earlier pass may be lost, so each pass sends the
                buffers again.

        Returns:
            (images, targets, ...): a BufferView for what is in a buffer, an array for small targets.
        """
        if pass_number != self.sending:
            self.sending, self.sent = pass_number, {}
        images, targets, *rest = batch
        targets = self._view('targets', targets) if self.has_target_buffer else targets.numpy()
        return self._view('images', images), targets, *rest

    def _view(self, name, tensor):
        """Return the BufferView of a tensor that was just stacked as `name`."""
        key, buffer = (get_worker_info().id, name, self.turn), self.buffers[name, self.turn]
        known = self.sent.get(key) is buffer
        self.sent[key] = buffer
        return BufferView(key, None if known else buffer, tensor.dtype, tuple(tensor.shape))

    def received(self, batch, copy):
        """Return a batch (images, targets, ...) from `send` of a worker process, and keep its buffers mapped.

        Args:
            batch: result of `send`.
            copy: whether images and targets are copied, because they stay in use.
        """
        parts = []
        for part in batch[:2]:
            if not isinstance(part, BufferView):
                parts.append(torch.from_numpy(part))
                continue
            if part.buffer is not None:
                self.kept[part.key] = part.buffer
            size = math.prod(part.shape) * part.dtype.itemsize
            tensor = self.kept[part.key][:size].view(part.dtype).view(part.shape)
            parts.append(tensor.clone() if copy else tensor)
        return (*parts, *batch[2:])


def _are_pixels(samples):
    return all(each.dtype == torch.uint8 and each.dim() > 1 and each.shape == samples[0].shape for each in samples)


def _are_small(samples):
    first = samples[0]
    alike = all(each.dtype == first.dtype and each.shape == first.shape for each in samples)
    size = len(samples) * first.numel() * first.element_size()
    return alike and first.dtype in SENT_DTYPES and 0 < size <= SMALL_BYTES
