"""RandAugment (Cubuk et al. 2020) and TrivialAugment (Mueller and Hutter 2021), as in torchvision.transforms.v2.

Operations, magnitudes and frequencies are those of torchvision. Each sample of a batch gets its own operation and
magnitude; samples with the same operation are transformed together. See data/augment.py.
"""

import numpy as np
import torch
import torch.nn.functional as F

from data.augment import LUMINANCE_WEIGHTS, warp_nearest

MAGNITUDE_BINS = 31  # as in torchvision
GEOMETRIC_OPERATIONS = ('ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate')
ENHANCEMENTS = ('Brightness', 'Color', 'Contrast', 'Sharpness')
SIGNED_OPERATIONS = (*GEOMETRIC_OPERATIONS, *ENHANCEMENTS)  # the magnitude is negative with probability 0.5
OPERATIONS = ('Identity', *SIGNED_OPERATIONS, 'Posterize', 'Solarize', 'AutoContrast', 'Equalize')


def randaugment():
    """Two of 14 operations at magnitude 9 of 0..30 (Cubuk et al. 2020): torchvision's RandAugment()."""
    shares = {'ShearX': 0.3, 'ShearY': 0.3, 'Rotate': 30.0, 'Posterize': 4, **dict.fromkeys(ENHANCEMENTS, 0.9)}
    return [Operation(shares, relative_shift=150 / 331, magnitude=9) for _ in range(2)]


def trivialaugment():
    """One of 14 operations at a random magnitude (Mueller and Hutter 2021): torchvision's TrivialAugmentWide()."""
    largest = {'ShearX': 0.99, 'ShearY': 0.99, 'Rotate': 135.0, 'Posterize': 6, **dict.fromkeys(ENHANCEMENTS, 0.99)}
    return [Operation(largest | {'TranslateX': 32.0, 'TranslateY': 32.0})]


class Operation:
    """Apply one of OPERATIONS to each image, with equal probability. Pixels from outside the image become black.

    Shears, shifts and rotations transform masks too, with nearest neighbour; mask pixels from outside become the ignore
    index.

    Args:
        largest: dict from an operation to its magnitude in the last bin; for Posterize the number of bits removed.
        relative_shift: replaces largest['TranslateX'] and ['TranslateY'], as a share of width and height.
        magnitude: number of the bin, from 0; None: random for each sample.
    """

    draws = 3

    def __init__(self, largest, relative_shift=None, magnitude=None):
        self.largest, self.relative_shift, self.magnitude = largest, relative_shift, magnitude

    def __call__(self, images, masks, draws, ignore_index):
        """Return the augmented batch; see data.augment.Augment.__call__."""
        numbers = (draws[0] * len(OPERATIONS)).astype(np.int64)
        bins = (
            np.full(len(images), self.magnitude) if self.magnitude is not None else np.int64(draws[1] * MAGNITUDE_BINS)
        )
        signs = np.where(draws[2] < 0.5, -1.0, 1.0)
        magnitudes = np.zeros(len(images))
        for number, name in enumerate(OPERATIONS):
            if (table := self.magnitudes(name, images.shape[-2:])) is not None:
                chosen = numbers == number
                magnitudes[chosen] = table[bins[chosen]] * (signs[chosen] if name in SIGNED_OPERATIONS else 1.0)
        images, masks = images.clone(), None if masks is None else masks.clone()
        self._move(images, masks, numbers, magnitudes, ignore_index)
        for name in OPERATIONS[1 + len(GEOMETRIC_OPERATIONS) :]:
            chosen = np.flatnonzero(numbers == OPERATIONS.index(name))
            if len(chosen):
                where = torch.from_numpy(chosen).to(images.device, non_blocking=True)
                images[where] = apply_colour_operation(name, images[where], magnitudes[chosen])
        return images, masks

    def magnitudes(self, name, size):
        """Return the magnitude of an operation in each bin, float64 (MAGNITUDE_BINS,), or None if it has no magnitude.

        Args:
            name: one of OPERATIONS.
            size: (height, width) of the images.
        """
        if name == 'Solarize':
            return _linspace(1.0, 0.0)
        if name == 'Posterize':
            return (
                (8 - torch.arange(MAGNITUDE_BINS) / ((MAGNITUDE_BINS - 1) / self.largest[name]))
                .round()
                .double()
                .numpy()
            )
        if name.startswith('Translate') and self.relative_shift is not None:
            return _linspace(0.0, self.relative_shift * size[name == 'TranslateX'])
        return _linspace(0.0, self.largest[name]) if name in self.largest else None

    @staticmethod
    def _move(images, masks, numbers, magnitudes, ignore_index):
        """Apply the geometric operations of a batch in place."""
        first = OPERATIONS.index(GEOMETRIC_OPERATIONS[0])
        chosen = np.flatnonzero((numbers >= first) & (numbers < first + len(GEOMETRIC_OPERATIONS)))
        if not len(chosen):
            return
        where = torch.from_numpy(chosen).to(images.device, non_blocking=True)
        matrices = np.concatenate(
            [
                operation_matrix(GEOMETRIC_OPERATIONS[numbers[n] - first], magnitudes[n], images.shape[-2:])
                for n in chosen
            ]
        )
        part, part_masks = warp_nearest(images[where], None if masks is None else masks[where], matrices, ignore_index)
        images[where] = part
        if masks is not None:
            masks[where] = part_masks


def _linspace(first, last):
    """Return MAGNITUDE_BINS evenly spaced numbers, computed in float32 as in torchvision: float64 (MAGNITUDE_BINS,)."""
    return torch.linspace(first, last, MAGNITUDE_BINS).double().numpy()


def operation_matrix(name, magnitude, size):
    """Return the affine matrix of a geometric operation from output to input coordinates in -1..1: float32 (1, 2, 3).

    Args:
        name: one of GEOMETRIC_OPERATIONS.
        magnitude: float; for shears the shift per pixel from the upper left corner; for shifts pixels, rounded towards
            0; for Rotate degrees, counterclockwise.
        size: (height, width) of the image.
    """
    height, width = size
    matrix = np.eye(2, 3)  # in pixels from the centre
    if name == 'ShearX':
        matrix[0, 1:] = magnitude, magnitude * height / 2
    elif name == 'ShearY':
        matrix[1, 0], matrix[1, 2] = magnitude, magnitude * width / 2
    elif name == 'Rotate':
        angle = np.radians(magnitude)
        matrix[:, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    else:
        matrix[int(name == 'TranslateY'), 2] = -int(magnitude)
    halves = np.array([[width], [height]]) / 2
    return (matrix * np.append(halves, 1) / halves)[None].astype(np.float32)


def apply_colour_operation(name, pixels, magnitudes):
    """Return images after a colour operation: uint8 (B, C, H, W), C being 1 or 3.

    Args:
        name: one of OPERATIONS.
        pixels: uint8 (B, C, H, W).
        magnitudes: float64 array (B,).
    """
    from torchvision.transforms.v2 import functional  # slow to import

    if name in ('AutoContrast', 'Equalize'):  # computed per image
        return functional.autocontrast(pixels) if name == 'AutoContrast' else functional.equalize(pixels)
    if name == 'Posterize':
        bits = torch.from_numpy((256 - 2 ** (8 - magnitudes)).astype(np.uint8))
        return pixels & bits.to(pixels.device, non_blocking=True).view(-1, 1, 1, 1)
    factors = [255.0 * magnitudes] if name == 'Solarize' else [1.0 + magnitudes, -magnitudes]
    factors = torch.from_numpy(np.stack(factors).astype(np.float32)).to(pixels.device, non_blocking=True)
    factor, rest = (factors[n].view(-1, 1, 1, 1) for n in (0, -1))
    if name == 'Solarize':
        return torch.where(pixels >= factor, 255 - pixels, pixels)
    if name == 'Color' and pixels.shape[1] == 1:
        return pixels
    if name == 'Sharpness':  # exact where both terms are equal
        blended = pixels + (smooth_3x3(pixels) - pixels) * rest
    elif name == 'Brightness':
        blended = pixels * factor
    else:
        blended = pixels * factor + (luminance(pixels) if name == 'Color' else mean_luminance(pixels)) * rest
    return blended.clamp_(0, 255).to(torch.uint8)


def luminance(pixels):
    """Return luminance rounded down (B, 1, H, W), float32, of uint8 pixels (B, C, H, W)."""
    if pixels.shape[1] == 1:
        return pixels.float()
    red, green, blue = pixels.split(1, dim=1)
    return (
        (LUMINANCE_WEIGHTS[0] * red)
        .add_(green, alpha=LUMINANCE_WEIGHTS[1])
        .add_(blue, alpha=LUMINANCE_WEIGHTS[2])
        .floor_()
    )


def mean_luminance(pixels):
    """Return the mean luminance of each image, float32 (B, 1, 1, 1)."""
    return luminance(pixels).mean((1, 2, 3), keepdim=True)


def smooth_3x3(pixels):
    """Return images smoothed by a 3x3 window and rounded, float32 (B, C, H, W); border pixels stay unchanged."""
    smooth, channels = pixels.float(), pixels.shape[1]
    if min(pixels.shape[2:]) > 2:
        kernel = torch.full((3, 3), 1 / 13, device=pixels.device)
        kernel[1, 1] = 5 / 13
        kernel = kernel.expand(channels, 1, 3, 3)
        smooth[..., 1:-1, 1:-1] = F.conv2d(pixels.float(), kernel, groups=channels).round_()
    return smooth
