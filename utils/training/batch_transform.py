"""The transform of a batch before the network: copy to the device, augment, normalise."""

import torch

from utils.tasks.tasks import task_of

PICTURE_DIMENSIONS = 4  # dimensions of a batch of pictures


class BatchTransform:
    """Turns the images and targets of a loader into the network's inputs.

    Args:
        args: options; task, mean and std are used.
        device: torch.device of the inputs.

    Attributes:
        augment: data.augment.Augment, or None.
        memory_format: torch.memory_format of the normalised images.
    """

    def __init__(self, args, device):
        self.device, self.augment, self.memory_format = device, None, torch.preserve_format
        self.has_masks = task_of(args).target == 'mask'
        self.mean = torch.tensor(args.mean or [0.0], device=device).view(1, -1, 1, 1) * 255
        self.std = torch.tensor(args.std or [1.0], device=device).view(1, -1, 1, 1) * 255

    def __call__(self, images, targets, key=None):
        """Copy a batch to the device, augment and normalise it; never waits for the device.

        Args:
            images: uint8 (B, C, H, W), 0..255, or float, which is not normalised.
            targets: (B, ...) as the task has them: utils.tasks.tasks.
            key: (epoch, indices) of the samples, for the augmentation; None: no augmentation.

        Returns:
            float32 images (B, C, H, W) and targets: int64 for uint8 masks (B, H, W) or (B, 1, H, W), float32 in 0..1
            for uint8 images (B, C, H, W).
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
        """Return uint8 images (B, C, ...) as float32 minus mean, divided by std; images in the memory format."""
        if images.dim() != PICTURE_DIMENSIONS:  # features (B, F), signals (B, C, L) ...
            mean, std = (numbers.view(1, -1, *[1] * (images.dim() - 2)) for numbers in (self.mean, self.std))
            return images.float().sub_(mean).div_(std)
        images = images.to(torch.float32, memory_format=self.memory_format)
        if self.memory_format is not torch.channels_last:
            return images.sub_(self.mean).div_(self.std)
        # On rows with interleaved channels, a CPU is five times as fast as with broadcasting over (B, C, H, W).
        rows = images.permute(0, 2, 3, 1).flatten(2)
        for operation, numbers in ((rows.sub_, self.mean), (rows.div_, self.std)):
            operation(numbers.flatten().expand(images.shape[1]).repeat(images.shape[3]))
        return images
