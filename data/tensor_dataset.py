"""Data sets held in tensors: a batch is one index operation, without Python code per sample."""

import hashlib

import torch
from torch.utils.data import Dataset

from data.cache.memory_check import refuse_large_block
from utils.base.content_hash import hash_rows, join_hashes


class InMemory(Dataset):
    """Images and targets as tensors.

    Args:
        images: uint8 tensor (N, C, H, W), or float32 tensor (N, F) of features.
        targets: tensor (N, ...): int64 (N,) for labels, uint8 (N, H, W) for masks, etc. (utils/tasks/tasks.py).
        names: sequence of N names for results and messages; default: the position.
        source: (images, targets) before conversion of size and channels, or None if not converted. Hashes are computed
            from the source, so that a test set has the same hash at any size.
    """

    in_memory = True
    _hashes = _sample_hashes = None

    def __init__(self, images, targets, names=None, source=None):
        self.images, self.targets, self.names = images, targets, names
        if source is not None and source[0] is not images:
            self._hashes = _hashes_of(*source)  # now, so that the source can be freed
            self._sample_hashes = self.hash_samples(*source)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        """Return one sample: uint8 (C, H, W) and its target."""
        return self.images[index], self.targets[index]

    def __getitems__(self, indices):
        """Return a batch, uint8 (B, C, H, W) and targets, for an int64 array (B,) of positions."""
        indices = torch.as_tensor(indices).to(self.images.device, non_blocking=True)
        return self.images.index_select(0, indices), self.targets.index_select(0, indices)

    def move_if_fits(self, device, at_most):
        """Move images and targets to a device (torch.device) unless they take more than `at_most` bytes."""
        if self.images.nbytes + self.targets.nbytes <= at_most:
            self.sample_hashes()  # before the data leaves this memory
            self.images, self.targets = self.images.to(device), self.targets.to(device)

    def name(self, index):
        """Return the name (str) of a sample."""
        return f'{index:05d}' if self.names is None else self.names[index]

    def content_hash(self):
        """Return the SHA-256 (str) of all images and targets."""
        return self._known_hashes()[0]

    def content_parts(self):
        """Return the SHA-256 of all images and of all targets (dict of str)."""
        return dict(self._known_hashes()[1])

    def sample_hashes(self):
        """Return the hash of each sample (utils/provenance/contents.py): uint64 array (N,)."""
        if self._sample_hashes is None:
            self._sample_hashes = self.hash_samples(self.images, self.targets)
        return self._sample_hashes

    def hash_samples(self, images, targets):
        """Return the hash of each sample, uint64 array (N,), for images and targets as in the constructor."""
        return join_hashes(*(hash_rows(part.cpu().numpy()) for part in (images, targets)))

    def _known_hashes(self):
        if self._hashes is None:
            self._hashes = _hashes_of(self.images, self.targets)
        return self._hashes


def _hashes_of(images, targets):
    """Return the SHA-256 of images and targets together (str), and of each separately (dict of str)."""
    digest = hashlib.sha256(images.cpu().contiguous().numpy())
    parts = {'pictures': digest.hexdigest()}
    labels = targets.cpu().contiguous().numpy()
    digest.update(labels)
    return digest.hexdigest(), parts | {'targets': hashlib.sha256(labels).hexdigest()}


def with_channels(images, channels):
    """Return uint8 images (N, C, H, W) with `channels` channels: grey is repeated, RGB converted to luminance."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R 601-2, as Pillow's convert('L')
    return (images * weights).sum(1, keepdim=True).round().to(torch.uint8)


def with_size(images, size):
    """Return uint8 images (N, C, H, W) resized to `size` (height, width), bilinear with antialiasing."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    refuse_large_block(len(images), (images.shape[1], *size))
    result = images.new_empty(*images.shape[:2], *size)
    for start in range(0, len(images), 1024):  # all at once as float32 would take 5 times the memory
        part = images[start : start + 1024].float()
        part = torch.nn.functional.interpolate(part, size=tuple(size), mode='bilinear', antialias=True)
        result[start : start + 1024] = part.round_().clamp_(0, 255)
    return result
