"""Random changes of training pictures, masks moved with them, by torchvision.transforms.v2.

To add one: write a function that returns a list of v2 transforms, and a line in AUGMENTS.
"""

import torch

from utils.errors import DanluError
from utils.registry import load_entry
from utils.seeding import mix_seed

AUGMENTS = {
    'none': 'data.augment.none',
    'flip': 'data.augment.flip',
    'crop': 'data.augment.crop',
    'standard': 'data.augment.standard',
    'strong': 'data.augment.strong',
}
# These cut their crop out of the whole picture, so it is not brought to image_size before.
RESIZING = ('standard', 'strong')


def resizes_itself(name):
    """Return whether an augmentation brings pictures of any size to image_size."""
    return name in RESIZING


def none(size, fill):
    """Leave the picture as it is."""
    return []


def flip(size, fill):
    """Mirror left and right, one time in two. Not for digits or text."""
    from torchvision.transforms import v2

    return [v2.RandomHorizontalFlip()]


def crop(size, fill):
    """Shift by up to an eighth of each side: pad, then cut `size` out (He et al., 2016, for CIFAR)."""
    from torchvision.transforms import v2

    return [v2.RandomCrop(size, padding=[max(1, size[1] // 8), max(1, size[0] // 8)], fill=fill)]


def standard(size, fill):
    """Cut out a part of 25 to 100 % of the area, bring it to `size`, mirror (Szegedy et al., 2015)."""
    from torchvision.transforms import v2

    return [v2.RandomResizedCrop(size, scale=(0.25, 1.0), antialias=True), v2.RandomHorizontalFlip()]


def strong(size, fill):
    """`standard`, with rotation by up to 15 degrees, colour jitter and an erased patch (Zhong et al., 2020)."""
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    return [
        *standard(size, fill),
        v2.RandomAffine(degrees=15, fill=fill),
        v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
        v2.Lambda(v2.RandomErasing(p=0.25), tv_tensors.Image),  # given the mask as well, it would warn of it
    ]


class Augment:
    """Applies an augmentation to single samples, each with a seed of its own.

    Args:
        name: key of AUGMENTS.
        size: (height, width) of the result.
        masks: whether targets are masks, which then move with their pictures.
        ignore_index: label of the mask's pixels that come from outside the picture.
        seed: the run's seed.
    """

    def __init__(self, name, size, masks, ignore_index, seed):
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        from data.aligned_mask import AlignedMask

        if masks and ignore_index is not None and ignore_index > 255:
            raise DanluError(f'--ignore_index {ignore_index}: masks have 8 bits, so it takes 0..255')
        self.masks, self.seed = masks, seed
        fill = {tv_tensors.Image: 0, AlignedMask: ignore_index or 0}
        self.transform = v2.Compose(load_entry(AUGMENTS, name, 'augmentation')(tuple(size), fill))

    def __call__(self, image, target, epoch, index):
        """Return the sample changed: uint8 (C, H, W), and the target, a mask uint8 (H, W) having moved along.

        The change is a function of (seed, epoch, index): the same for any number of workers and after a resumption.
        It draws from torch's global generator; the caller puts that back.
        """
        from torchvision import tv_tensors  # not kept as attribute: spawned workers get a pickle, which holds no module

        from data.aligned_mask import AlignedMask

        # torch.manual_seed would reseed every device as well and cost 300 times as much.
        torch.default_generator.manual_seed(mix_seed(self.seed, epoch, index))
        image = tv_tensors.Image(image)
        if not self.masks:
            return self.transform(image).as_subclass(torch.Tensor), target
        image, mask = self.transform(image, AlignedMask(target))
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)
