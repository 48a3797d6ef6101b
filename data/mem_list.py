"""A list file whose pictures are decoded once, at the start, and kept as uint8 in memory or in --cache_dir."""

import math
import mmap
import os

import torch

from data.cache.decode_cache import find_or_make
from data.cache.decode_cache_file import CACHE_FORMAT, MappedPixels, PixelFile
from data.cache.decode_cache_key import pixel_key
from data.cache.memory_check import refuse_large_block
from data.checks.sample_facts import LabelsInMasks
from data.list_dataset import MIN_SAMPLES_FOR_PROCESSES, ListDataset
from data.lists.list_file import random_positions
from data.tensor_dataset import InMemory
from utils.base.machine import cpu_cores
from utils.base.parallel_map import can_fork, parallel_call

# Threads decode small pictures one after the other, as most of that is Python; starting processes takes a while.
SMALL_IMAGE_PIXELS = 128 * 128  # pixels
MAX_COUNTED_MASKS = 2000  # masks of --cache_dir in which labels are counted


class MemList(ListDataset):
    """As ListDataset, and a batch costs one index operation; N x C x H x W bytes of memory, or of a mapped file.

    Pictures are kept at image_size, so random crops cut from that and not from the file's own size.
    """

    in_memory = True

    def __init__(self, args, split):
        self.cache_dir = args.cache_dir
        super().__init__(args, split)

    def check(self, faults):
        """Decode every picture, mask and target picture into the block; whatever cannot be decoded is a fault.

        What --cache_dir has was decoded and checked before.
        """
        # Of one sample's target, where it is pixels.
        target = {'mask': self.size, 'picture': (self.channels, *self.size)}.get(self.target)
        shape = (len(self), self.channels, *self.size)
        if self.cache_dir is None:
            self.block = self.decode_into_memory(shape, target, faults)
            return
        coding = None if self.coding is None else tuple(self.coding)
        decoding = CACHE_FORMAT, shape, target, coding, self.bits, tuple(self.fit)
        key = pixel_key(self.listing, target is not None, decoding)
        file = PixelFile(os.path.join(self.cache_dir, f'{key[:32]}.pixels'), key, shape, target)
        note = find_or_make(file, lambda write: self.decode(write, faults))
        if note is not None:  # without one there are faults, and the data set is not going to be used
            self.notes.append(note)
            self.block = MappedPixels(file, self.labels)

    def keep_facts(self):
        """As ListDataset; the labels of masks that --cache_dir had are counted in the pixels that it has."""
        super().summarise_checks()
        if self.coding is not None and not self.labels_in_masks.read:
            masks = self.block.targets[torch.from_numpy(random_positions(len(self), MAX_COUNTED_MASKS))]
            self.labels_in_masks = LabelsInMasks.in_tensor(masks, self.coding.ignore_index, len(self))

    def find_bad(self, faults):
        """As ListDataset; what --cache_dir has is that of the samples which are left, so it cannot help here."""
        self.decode(lambda *sample: None, faults)

    def decode_into_memory(self, shape, target, faults):
        """Return all pictures and targets as InMemory; `target` is the shape of one that is pixels, or None."""
        refuse_large_block(len(self), shape[1:], *([] if target is None else [target]))
        images = self.empty_block(shape)
        targets = self.labels if target is None else self.empty_block((len(self), *target))

        def keep(index, image, pixels):
            images[index] = image
            if pixels is not None:
                targets[index] = pixels

        self.decode(keep, faults)
        return InMemory(images, targets)

    def decode(self, write, faults):
        """Call write(index, picture, pixels of its target or None) for every sample; return whether all were right."""
        before = faults.count

        def decode(index):
            self.check_sample(index)
            write(index, self.read_image(index), self.read_target(index) if self.labels is None else None)

        if self.uses_processes():
            for index, message in parallel_call(decode, len(self), cpu_cores()):
                faults.add(self.listing.where(index), message, index)
        else:
            self.for_all_in_threads(decode, faults)
        return faults.count == before

    def uses_processes(self):
        """Return whether processes decode the pictures, not threads: there are many small ones."""
        return (
            len(self) >= MIN_SAMPLES_FOR_PROCESSES
            and self.size[0] * self.size[1] <= SMALL_IMAGE_PIXELS
            and cpu_cores() > 1
            and can_fork()
        )

    def empty_block(self, shape):
        """Return a uint8 tensor into which the processes that decode can write."""
        if not self.uses_processes():
            return torch.empty(shape, dtype=torch.uint8)
        return torch.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=torch.uint8).view(shape)

    @property
    def mapped(self):
        """Return whether reading the pictures may mean waiting for a disk (bool)."""
        return self.cache_dir is not None

    load = None  # a part is cut out of the block's pictures, a batch at a time

    def __getitem__(self, index):
        """Return one sample, as ListDataset does."""
        return self.block[index]

    def __getitems__(self, indices):
        """Return a batch: uint8 (B, C, H, W) and its targets, for an int64 array (B,) of positions."""
        return self.block.__getitems__(indices)

    def hold_on(self, device, at_most):
        """Move the block to a device: see data.tensor_dataset.InMemory.move_if_fits."""
        self.block.move_if_fits(device, at_most)
