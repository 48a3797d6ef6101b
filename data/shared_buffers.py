"""Shared memory for the batches of worker processes, allocated once per run instead of once per batch."""

import torch
from torch.utils.data import default_collate, get_worker_info

# A worker process has at most two batches that are not yielded yet, and the one before may still be read.
BUFFERS = 3
SMALL_BYTES = 2**16  # copying takes less time than sharing memory


class SharedBuffers:
    """Buffers into which a worker process stacks the samples of its batches in turn, sent without copying.

    The process that trains keeps the buffers mapped. A received batch is valid until its worker process has made
    BUFFERS others, so `Loader` copies what `prepare` does not copy.

    Attributes:
        used: whether the last batch that was stacked here is in buffers (bool).
    """

    def __init__(self):
        self.buffers, self.turn, self.kept, self.used = {}, 0, {}, False

    def __reduce__(self):
        return SharedBuffers, ()

    def collate(self, images, targets):
        """Return the images and targets of samples, sequences of tensors of one shape and dtype, each as one tensor.

        In a worker process uint8 images of one shape with their targets are stacked in buffers.
        """
        images, targets = list(images), [torch.as_tensor(target) for target in targets]
        self.used = (
            get_worker_info() is not None and _are_pixels(images) and (_are_pixels(targets) or _are_small(targets))
        )
        if not self.used:
            return default_collate(images), default_collate(targets)
        self.turn = (self.turn + 1) % BUFFERS
        return self._stack('images', images), self._stack('targets', targets)

    def _stack(self, name, samples):
        first = samples[0]
        one = first.numel() * first.element_size()
        size = len(samples) * one
        buffer = self.buffers.get((name, self.turn))
        if buffer is None or len(buffer) < size:  # the last batch of an epoch may have one sample more
            buffer = self.buffers[name, self.turn] = torch.empty(size + one, dtype=torch.uint8).share_memory_()
        return torch.stack(samples, out=buffer[:size].view(first.dtype).view(len(samples), *first.shape))

    def received(self, batch, copy):
        """Return a batch from the buffers of a worker process, and keep the buffers mapped.

        Args:
            batch: (images, targets, ...).
            copy: whether images and targets are copied, because they stay in use; small targets always are.
        """
        parts = []
        for tensor in batch[:2]:
            storage = tensor.untyped_storage()
            self.kept[storage.data_ptr()] = storage
            parts.append(tensor.clone() if copy or tensor.dtype != torch.uint8 else tensor)
        return (*parts, *batch[2:])


def _are_pixels(samples):
    return all(each.dtype == torch.uint8 and each.dim() > 1 and each.shape == samples[0].shape for each in samples)


def _are_small(samples):
    first = samples[0]
    alike = all(each.dtype == first.dtype and each.shape == first.shape for each in samples)
    return alike and 0 < len(samples) * first.numel() * first.element_size() <= SMALL_BYTES
