"""Masks that torchvision's transforms scale in step with their pictures.

Its own kernel takes the pixel at the upper left of each new pixel instead of the one in its middle, so that masks, and
with them what a network learns, lie up to half a pixel off.
"""

import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional


class AlignedMask(tv_tensors.Mask):
    """A mask (H, W) that is moved like any other and scaled by the nearest pixel."""


@functional.register_kernel('resize', AlignedMask)
def resize(mask, size, max_size=None, **kwargs):
    """Bring a mask to `size` (height, width)."""
    plain = mask.as_subclass(torch.Tensor).unsqueeze(0)
    scaled = functional.resize_image(plain, size, InterpolationMode.NEAREST_EXACT, max_size)
    return tv_tensors.wrap(scaled.squeeze(0), like=mask)


@functional.register_kernel('resized_crop', AlignedMask)
def resized_crop(mask, top, left, height, width, size, **kwargs):
    """Cut a part out of a mask and bring it to `size` (height, width)."""
    return resize(functional.crop(mask, top, left, height, width), size)
