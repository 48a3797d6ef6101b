"""A list file whose pictures are decoded once, at the start, and kept as uint8 in memory."""

import torch

from data.in_memory import InMemory
from data.list_dataset import ListDataset
from data.pictures import read_picture


class MemList(ListDataset):
    """As ListDataset, and a batch costs one index operation; N x C x H x W bytes of memory.

    Pictures are kept at image_size, so random crops cut from that and not from the file's own size.
    """

    in_memory = True

    def check(self, faults):
        """Decode every picture and mask into the block; whatever cannot be decoded is a fault."""
        images = torch.empty(len(self), self.channels, *self.size, dtype=torch.uint8)
        masks = torch.empty(len(self), *self.size, dtype=torch.uint8) if self.masks else None

        def decode(index):
            self.check_sample(index)
            images[index] = read_picture(self.listing.image_path(index), self.channels, self.size, crop=not self.masks)
            if masks is not None:
                masks[index] = self.read_mask_checked(index, self.size)

        self.for_all(decode, faults)
        self.block = InMemory(images, self.labels if masks is None else masks)

    load = None  # a part is cut out of the block's pictures, a batch at a time

    def __getitem__(self, index):
        """Return one sample, as ListDataset does."""
        return self.block[index]

    def __getitems__(self, indices):
        """Return a batch: uint8 (B, C, H, W) and its targets, for an int64 array (B,) of positions."""
        return self.block.__getitems__(indices)

    def hold_on(self, device, at_most):
        """Move the block to a device: see data.in_memory.InMemory.hold_on."""
        self.block.hold_on(device, at_most)
