"""Mixing of training samples: each picture and its label with those before it in the batch, on the batch's device.

What becomes of a batch is a function of (seed, epoch, index and repetition of its first sample) alone: the same for any
number of workers, on any device and after a resumption, without touching any random generator that others use.
"""

import numpy as np
import torch

from utils.base.errors import DanluError
from utils.base.seeding import mix_seed

MIXING_KEY = 0x6D6978  # keeps these draws apart from others of (seed, epoch, index)


def select_mixing(args):
    """Return the Mixing that args.mixup and args.cutmix ask for, or None: nothing is mixed."""
    if args.mixup is None and args.cutmix is None:
        return None
    return Mixing(args.mixup, args.cutmix, args.num_classes, args.seed)


class Mixing:
    """Mixes batches by mixup (Zhang et al. 2018), CutMix (Yun et al. 2019), or by either, one time in two each.

    As torchvision.transforms.v2.MixUp and CutMix: one share for the whole batch, from the distribution
    Beta(alpha, alpha); each sample keeps it, and takes the rest from the one before it, the first from the last.

    Args:
        mixup, cutmix: alpha of either, more than 0; None: this one is not used. Not both None.
        num_classes: K.
        seed: the run's seed.
    """

    def __init__(self, mixup, cutmix, num_classes, seed):
        ways = ((mix_up, mixup), (cut_and_paste, cutmix))
        self.mixing_methods = [(way, alpha) for way, alpha in ways if alpha is not None]
        self.num_classes, self.seed = num_classes, seed

    def __call__(self, images, targets, epoch, indices):
        """Return a batch mixed: images, and class probabilities, float32 (B, K).

        Args:
            images: floating point (B, C, H, W), normalised, on any device; left as they are.
            targets: labels, int64 (B,), on the same device.
            epoch: int; indices: int64 array (B,), as data.samplers.random_keys returns them.

        Raises:
            DanluError: the targets are no labels.
        """
        if targets.dim() != 1 or targets.dtype != torch.int64:
            raise DanluError(
                f'--mixup and --cutmix mix labels, torch.int64 of shape (B,), and the data set gives {targets.dtype} '
                f'of shape {tuple(targets.shape)}: leave them out'
            )
        random = np.random.default_rng(mix_seed(self.seed, epoch, MIXING_KEY, int(indices[0])))
        way, alpha = self.mixing_methods[random.integers(len(self.mixing_methods))]
        images, share = way(images, random.beta(alpha, alpha), random)
        # Not F.one_hot, which looks at the labels' values and so waits for them.
        truth = torch.zeros(len(targets), self.num_classes, device=targets.device).scatter_(1, targets[:, None], 1.0)
        return images, blend_with_previous(truth, share)


def mix_up(images, share, random):
    """Return images (B, C, H, W) blended with those before them, and the share that each keeps."""
    return blend_with_previous(images, share), share


def cut_and_paste(images, share, random):
    """Return images (B, C, H, W) with a part of those before them in it, and the share that each keeps of its area."""
    height, width = images.shape[-2:]
    top, left, bottom, right = random_box((height, width), share, random)
    pasted = images.clone()
    pasted[..., top:bottom, left:right] = images[..., top:bottom, left:right].roll(1, 0)
    return pasted, 1.0 - (bottom - top) * (right - left) / (height * width)


def random_box(size, share, random):
    """Return a box (top, left, bottom, right), ints, that leaves at least `share` of the area.

    As v2.CutMix has it: of the picture's shape, about a random place, cut off at the edges.

    Args:
        size: (height, width) of the picture.
        share: float from 0 to 1.
        random: numpy.random.Generator.
    """
    middle, half = random.integers(size), (0.5 * np.sqrt(1.0 - share) * np.array(size)).astype(np.int64)
    return *np.maximum(middle - half, 0).tolist(), *np.minimum(middle + half, size).tolist()


def blend_with_previous(values, share):
    """Return values (B, ...), floating point, times `share`, plus those before them times the rest."""
    return values.roll(1, 0).mul_(1.0 - share).add_(values.mul(share))
