"""What becomes of samples on their way to the network: to the device, augmented, normalised."""

import torch

from utils.tasks.tasks import task_of

PICTURE_DIMENSIONS = 4  # dimensions of a batch of pictures


class Preparation:
    """Turns pictures and targets into what a network takes.

    Args:
        args: options, of which task, mean and std count.
        device: torch.device of the inputs.

    Attributes:
        augment: data.augment.Augment, or None.
        memory_format: torch.memory_format of the normalised pictures.
    """

    def __init__(self, args, device):
        self.device, self.augment, self.memory_format = device, None, torch.preserve_format
        self.has_masks = task_of(args).target == 'mask'
        self.mean = torch.tensor(args.mean or [0.0], device=device).view(1, -1, 1, 1) * 255
        self.std = torch.tensor(args.std or [1.0], device=device).view(1, -1, 1, 1) * 255

    def __call__(self, images, targets, key=None):
        """Bring samples to the device, augment and normalise them; never waits for the device.

        Args:
            images: uint8 (B, C, H, W), 0..255, or float, which is taken as ready.
            targets: (B, ...) as the task has them: utils.tasks.tasks.
            key: (epoch, indices) asks for the augmentation of these samples, where there is one.

        Returns:
            float32 images (B, C, H, W) and targets: int64 where they were uint8 masks (B, H, W) or (B, 1, H, W),
            float32 in 0..1 where they were uint8 pictures (B, C, H, W).
        """
        images = images.to(self.device, non_blocking=True)
        targets = targets.to(self.device, non_blocking=True)
        if key is not None and self.augment is not None:
            images, targets = self.augment(images, targets, *key)
        if images.dtype == torch.uint8:
            images = self.normalised(images)
        if targets.dtype == torch.uint8:
            pictures = targets.dim() == 4 and not self.has_masks
            targets = (
                targets.to(torch.float32, memory_format=self.memory_format).div_(255) if pictures else targets.long()
            )
        return images, targets

    def normalised(self, images):
        """Return uint8 images (B, C, ...) as float32 of mean 0 and deviation 1; pictures in the memory format."""
        if images.dim() != PICTURE_DIMENSIONS:  # features (B, F), signals (B, C, L) ...
            mean, std = (numbers.view(1, -1, *[1] * (images.dim() - 2)) for numbers in (self.mean, self.std))
            return images.float().sub_(mean).div_(std)
        images = images.to(torch.float32, memory_format=self.memory_format)
        if self.memory_format is not torch.channels_last:
            return images.sub_(self.mean).div_(self.std)
        # Row by row, each pixel's channels side by side: a CPU is five times as fast as by the shape of the pictures.
        rows = images.permute(0, 2, 3, 1).flatten(2)
        for operation, numbers in ((rows.sub_, self.mean), (rows.div_, self.std)):
            operation(numbers.flatten().expand(images.shape[1]).repeat(images.shape[3]))
        return images
