"""Mixup and CutMix: mix each training sample with the previous one in the batch, on the batch's device.

The result is a function of (seed, epoch, index and repetition of the batch's first sample). It does not depend on the
number of workers, the device or resuming, and uses no shared random generator.
"""

import numpy as np
import torch

from utils.base.errors import DanluError
from utils.base.seeding import mix_seed

MIXING_KEY = 0x6D6978  # makes the draws independent of others of (seed, epoch, index)


def select_mixing(args):
    """Return the Mixing for args.mixup and args.cutmix, or None without both."""
    if args.mixup is None and args.cutmix is None:
        return None
    return Mixing(args.mixup, args.cutmix, args.num_classes, args.seed)


class Mixing:
    """Mixes batches by mixup (Zhang et al. 2018), CutMix (Yun et al. 2019), or either with probability 0.5.

    As torchvision.transforms.v2.MixUp and CutMix: the share that each sample keeps is drawn from Beta(alpha, alpha)
    once per batch; the rest comes from the previous sample, for the first sample from the last.

    Args:
        mixup, cutmix: alpha of each method, more than 0; None: not used. Not both None.
        num_classes: K.
        seed: the run's seed.
    """

    def __init__(self, mixup, cutmix, num_classes, seed):
        ways = ((mix_up, mixup), (cut_and_paste, cutmix))
        self.mixing_methods = [(way, alpha) for way, alpha in ways if alpha is not None]
        self.num_classes, self.seed = num_classes, seed

    def __call__(self, images, targets, epoch, indices):
        """Return a mixed batch: images, and class probabilities, float32 (B, K).

        Args:
            images: floating point (B, C, H, W), normalised, on any device; not modified.
            targets: labels, int64 (B,), on the same device.
            epoch: int; indices: int64 array (B,), from data.samplers.random_keys.

        Raises:
            DanluError: the targets are not labels.
        """
        if targets.dim() != 1 or targets.dtype != torch.int64:
            raise DanluError(
                f'--mixup and --cutmix mix labels, torch.int64 of shape (B,), and the data set gives {targets.dtype} '
                f'of shape {tuple(targets.shape)}: leave them out'
            )
        random = np.random.default_rng(mix_seed(self.seed, epoch, MIXING_KEY, int(indices[0])))
        way, alpha = self.mixing_methods[random.integers(len(self.mixing_methods))]
        images, share = way(images, random.beta(alpha, alpha), random)
        # F.one_hot would synchronise the GPU.
        truth = torch.zeros(len(targets), self.num_classes, device=targets.device).scatter_(1, targets[:, None], 1.0)
        return images, blend_with_previous(truth, share)


def mix_up(images, share, random):
    """Return images (B, C, H, W) blended with the previous ones, and the share that each keeps."""
    return blend_with_previous(images, share), share


def cut_and_paste(images, share, random):
    """Return images (B, C, H, W) with a box pasted from the previous ones, and the share of area that each keeps."""
    height, width = images.shape[-2:]
    top, left, bottom, right = random_box((height, width), share, random)
    pasted = images.clone()
    pasted[..., top:bottom, left:right] = images[..., top:bottom, left:right].roll(1, 0)
    return pasted, 1.0 - (bottom - top) * (right - left) / (height * width)


def random_box(size, share, random):
    """Return a box (top, left, bottom, right), ints, that leaves at least `share` of the area.

    As v2.CutMix: with the aspect ratio of the image, centred at random, clipped at the edges.

    Args:
        size: (height, width) of the image.
        share: float in 0..1.
        random: numpy.random.Generator.
    """
    middle, half = random.integers(size), (0.5 * np.sqrt(1.0 - share) * np.array(size)).astype(np.int64)
    return *np.maximum(middle - half, 0).tolist(), *np.minimum(middle + half, size).tolist()


def blend_with_previous(values, share):
    """Return share * values + (1 - share) * previous values, for floating point values (B, ...)."""
    return values.roll(1, 0).mul_(1.0 - share).add_(values.mul(share))
