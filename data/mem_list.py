"""A list file whose images are decoded once, at the start, and kept as uint8 in memory or in --cache_dir."""

import math
import mmap
import os

import numpy as np
import torch

from data.cache.decode_cache import find_or_make
from data.cache.decode_cache_file import CACHE_FORMAT, HASH_BYTES, MappedPixels, PixelFile
from data.cache.decode_cache_key import pixel_key
from data.cache.memory_check import refuse_large_block
from data.checks.sample_facts import LabelsInMasks
from data.list_dataset import MIN_SAMPLES_FOR_PROCESSES, ListDataset
from data.lists.decoders import decoder_version
from data.lists.list_file import random_positions
from data.lists.read_bytes import ReadHashes
from data.tensor_dataset import InMemory
from utils.base.content_hash import hash_rows, join_hashes
from utils.base.machine import cpu_cores
from utils.base.parallel_map import can_fork, parallel_call

# Small images are decoded by processes, as threads cannot run Python code in parallel; larger ones by threads.
SMALL_IMAGE_PIXELS = 128 * 128
MAX_COUNTED_MASKS = 2000  # masks of --cache_dir whose labels are counted


class MemList(ListDataset):
    """As ListDataset, with decoded images (N x C x H x W bytes) in memory or a mapped file, for fast batches.

    Images are stored at image_size, so random crops are taken from that size and not from the file's own.
    """

    in_memory = True

    def __init__(self, args, split):
        self.cache_dir = args.cache_dir
        super().__init__(args, split)

    def check(self, faults):
        """Decode every image, mask and target image into memory or --cache_dir, adding errors to `faults`.

        Images found in --cache_dir were decoded and checked before.
        """
        # Shape of one target that consists of pixels.
        target = {'mask': self.size, 'picture': (self.channels, *self.size)}.get(self.target)
        shape = (len(self), self.channels, *self.size)
        if self.cache_dir is None:
            self.block = self.decode_into_memory(shape, target, faults)
            return
        coding = None if self.coding is None else tuple(self.coding)
        decoding = CACHE_FORMAT, shape, target, coding, self.bits, tuple(self.fit), decoder_version(self.fit.decoder)
        key = pixel_key(self.listing, target is not None, decoding)
        file = PixelFile(os.path.join(self.cache_dir, f'{key[:32]}.pixels'), key, shape, target)
        note = find_or_make(file, lambda write: self.decode(write, faults))
        if note is not None:  # otherwise there are errors, which stop the run
            self.notes.append(note)
            self.block, self.file_hashes = MappedPixels(file, self.labels), file.hashes()

    def summarise_checks(self):
        """As ListDataset; labels of cached masks are counted in the cached pixels."""
        super().summarise_checks()
        if self.coding is not None and not self.labels_in_masks.read:
            masks = self.block.targets[torch.from_numpy(random_positions(len(self), MAX_COUNTED_MASKS))]
            self.labels_in_masks = LabelsInMasks.in_tensor(masks, self.coding.ignore_index, len(self))

    def find_bad(self, faults):
        """As ListDataset; --cache_dir cannot help, as it contains only valid samples."""
        self.decode(lambda *sample: None, faults)

    def decode_into_memory(self, shape, target, faults):
        """Return all images and targets as InMemory; `target` is the shape of a target of pixels, otherwise None."""
        refuse_large_block(len(self), shape[1:], *([] if target is None else [target]))
        images = self.empty_block(shape)
        targets = self.labels if target is None else self.empty_block((len(self), *target))
        self.file_hashes = self.empty_block((len(self), HASH_BYTES)).numpy().view(np.uint32)

        def keep(index, image, pixels, hashes):
            images[index], self.file_hashes[index] = image, hashes
            if pixels is not None:
                targets[index] = pixels

        self.decode(keep, faults)
        return InMemory(images, targets)

    def decode(self, write, faults):
        """Decode every sample; return whether all are valid.

        Args:
            write: function(index, image, target or None, hashes of both files, 0 where there is none).
            faults: ErrorCollector.
        """
        before, self.read_hashes = faults.count, ReadHashes()

        def decode(index):
            self.check_sample(index)
            image, target = self.read_image(index), self.read_target(index) if self.labels is None else None
            write(index, image, target, [value or 0 for value in self.read_hashes.pop(index)])

        if self.uses_processes():
            for index, message in parallel_call(decode, len(self), cpu_cores()):
                faults.add(self.listing.where(index), message, index)
        else:
            self.for_all_in_threads(decode, faults)
        self.read_hashes = None
        return faults.count == before

    def sample_hashes(self):
        """Return the hash of each sample (utils/provenance/contents.py): uint64 array (N,)."""
        pictures, targets = self.file_hashes.astype(np.uint64).T
        if self.labels is not None:
            targets = hash_rows(self.labels.numpy())
        return np.where(pictures == 0, np.uint64(0), join_hashes(pictures, targets))

    def uses_processes(self):
        """Return whether processes decode the images instead of threads: if there are many small ones."""
        return (
            len(self) >= MIN_SAMPLES_FOR_PROCESSES
            and self.size[0] * self.size[1] <= SMALL_IMAGE_PIXELS
            and cpu_cores() > 1
            and can_fork()
        )

    def empty_block(self, shape):
        """Return a uint8 tensor that worker processes can write to."""
        if not self.uses_processes():
            return torch.empty(shape, dtype=torch.uint8)
        return torch.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=torch.uint8).view(shape)

    @property
    def mapped(self):
        """Return whether reading images may wait for a disk (bool)."""
        return self.cache_dir is not None

    load = None  # random crops are applied to batches of the decoded images

    def __getitem__(self, index):
        """Return one sample; see ListDataset."""
        return self.block[index]

    def __getitems__(self, indices):
        """Return a batch, uint8 (B, C, H, W) and targets, for an int64 array (B,) of positions."""
        return self.block.__getitems__(indices)

    def move_if_fits(self, device, at_most):
        """Move the data to a device; see data.tensor_dataset.InMemory.move_if_fits."""
        self.block.move_if_fits(device, at_most)
