"""Random augmentation of training batches on their device, together with masks and target images.

The augmentation of a sample is a function of (seed, epoch, index, repetition within the epoch). It does not depend on
the number of workers, the device or resuming, and uses no global random generator. To add an augmentation, write a
function that returns a list of steps and add a line to AUGMENTS. A step that only moves pixels sets `moves = True`;
where targets are images, only such steps are allowed.
"""

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from utils.base.errors import DanluError
from utils.base.registry import load_entry
from utils.base.seeding import uniform_draws

AUGMENTS = {
    'none': 'data.augment.none',
    'flip': 'data.augment.flip',
    'crop': 'data.augment.crop',
    'affine': 'data.augment.affine',
    'standard': 'data.augment.standard',
    'strong': 'data.augment.strong',
    'randaugment': 'data.auto_augment.randaugment',
    'trivialaugment': 'data.auto_augment.trivialaugment',
}

MAX_CROP_TRIES = 10  # random rectangles per image, as in torchvision
LARGE_IMAGE_PIXELS = 2**15  # on a CPU, larger images are flipped one by one
LUMINANCE_WEIGHTS = (0.2989, 0.587, 0.114)  # as in torchvision.transforms.v2


def none():
    """No augmentation."""
    return []


def flip():
    """Flip horizontally with probability 0.5. Not for digits or text."""
    return [Flip()]


def crop():
    """Pad by an eighth of each side with black and crop at random; for small images with flip, He et al. 2016."""
    return [Shift(1 / 8)]


def affine():
    """Rotate by up to 10 degrees, shift by up to a tenth, scale by 0.9 to 1.1, filled with black; for digits, text."""
    return [Affine(10, (0.1, 0.1), (0.9, 1.1))]


def standard():
    """Random resized crop of 25 to 100 % of the area (Szegedy et al. 2015), horizontal flip with probability 0.5."""
    return [RandomResizedCrop(0.25, 1.0), Flip()]


def strong():
    """`standard` with rotation by up to 15 degrees, colour jitter and random erasing (Zhong et al. 2020)."""
    return [RandomResizedCrop(0.25, 1.0), Flip(), Affine(15), Jitter(0.4, 0.4, 0.4), Erase(0.25)]


class Augment:
    """Applies an augmentation to batches.

    Args:
        name: key of AUGMENTS.
        ignore_index: label for mask pixels from outside the image; None where targets are not masks.
        seed: the run's seed.
        cut: the data set applies the random crop while it decodes an image, at the resolution of the file (see
            `random_crops`); only the other steps are applied here.
        with_targets: targets are images and are transformed with the inputs; see `refuse_non_geometric`.

    Raises:
        DanluError: the ignore index does not fit into 8-bit masks.
    """

    def __init__(self, name, ignore_index, seed, cut=False, with_targets=False):
        if ignore_index is not None and not 0 <= ignore_index <= 255:
            raise DanluError(f'--ignore_index {ignore_index}: masks have 8 bits, so it takes 0..255')
        steps = list(enumerate(load_entry(AUGMENTS, name, 'augmentation')()))
        self.with_targets = with_targets
        self.ignore_index, self.seed = ignore_index, seed
        self.crop_step = next((item for item in steps if cut and isinstance(item[1], RandomResizedCrop)), None)
        self.steps = [item for item in steps if item is not self.crop_step]

    def __call__(self, images, targets, epoch, indices):
        """Return augmented images, uint8 (B, C, H, W), and targets.

        Args:
            images: uint8 (B, C, H, W), on any device.
            targets: masks uint8 (B, H, W) or images uint8 (B, C', H, W), which are transformed with the images; any
                other targets are returned unchanged.
            epoch: int; indices: int64 array (B,), from data.samplers.random_keys.
        """
        if images.dtype != torch.uint8:
            raise DanluError(f'--augment takes uint8 images, 0..255, and the data set gives {images.dtype}')
        if self.with_targets:  # as additional channels, so that both move alike
            channels = images.shape[1]
            images = torch.cat([images, targets], dim=1)
        masks = targets if self.ignore_index is not None else None
        for number, step in self.steps:
            draws = uniform_draws((self.seed, epoch, number), indices, step.draws)
            images, masks = step(images, masks, draws, self.ignore_index)
        if self.with_targets:
            return images[:, :channels], images[:, channels:]
        return images, targets if masks is None else masks

    def random_crops(self, epoch, indices):
        """Return the random crop of each sample for a data set that crops while decoding; all None if there is no crop.

        Args:
            epoch: int; indices: int64 array (B,), from data.samplers.random_keys.

        Returns:
            list of B functions((height, width)) -> (top, left, height, width), ints.
        """
        if self.crop_step is None:
            return [None] * len(indices)
        number, step = self.crop_step
        return step.crop_functions(uniform_draws((self.seed, epoch, number), indices, step.draws))


def refuse_non_geometric(name):
    """Raise DanluError unless all steps of an augmentation only move pixels, as target images need."""

    def moves_only(name):
        return all(getattr(step, 'moves', False) for step in load_entry(AUGMENTS, name, 'augmentation')())

    if not moves_only(name):
        fitting = ', '.join(other for other in AUGMENTS if moves_only(other))
        raise DanluError(
            f'--augment {name}: it changes colours or erases parts, which does not fit target images; choose '
            f'one of {fitting}'
        )


class Flip:
    """Horizontal flip with probability 0.5, as v2.RandomHorizontalFlip."""

    draws = 1
    moves = True

    def __call__(self, images, masks, draws, ignore_index):
        """Return the augmented batch; see Augment.__call__."""
        chosen = np.arange(len(images)) + len(images) * (draws[0] < 0.5)
        chosen = torch.from_numpy(chosen).to(images.device, non_blocking=True)

        def mirrored(pixels):  # 3 times faster than torch.where
            if pixels.device.type == 'cpu' and pixels[0].numel() > LARGE_IMAGE_PIXELS:
                return torch.stack([pixels[i].flip(-1) if draws[0, i] < 0.5 else pixels[i] for i in range(len(pixels))])
            return torch.cat([pixels, pixels.flip(-1)]).index_select(0, chosen)

        return mirrored(images), None if masks is None else mirrored(masks)


class Shift:
    """Pad by a share of each side and crop the original size at random, as v2.RandomCrop(size, padding)."""

    draws = 2
    moves = True

    def __init__(self, share):
        self.share = share

    def __call__(self, images, masks, draws, ignore_index):
        """Return the augmented batch; see Augment.__call__."""
        size = images.shape[-2:]
        pads = [max(1, int(side * self.share)) for side in size]
        places = [(draw * (2 * pad + 1)).astype(np.int64) for draw, pad in zip(draws, pads, strict=True)]
        rows, columns = (torch.from_numpy(place).to(images.device, non_blocking=True) for place in places)

        def cut(pixels, fill):
            padded = F.pad(pixels, (pads[1], pads[1], pads[0], pads[0]), value=fill)
            # Indexing a view of all windows is 10 times faster than cropping one by one.
            windows = padded.unfold(-2, size[0], 1).unfold(-2, size[1], 1)
            batch = torch.arange(len(pixels), device=pixels.device)
            return windows[batch, ..., rows, columns, :, :] if pixels.dim() == 3 else windows[batch, :, rows, columns]

        return cut(images, 0), None if masks is None else cut(masks, ignore_index)


class RandomResizedCrop:
    """Random resized crop, as v2.RandomResizedCrop; bilinear for images, nearest neighbour for masks.

    Args:
        scale: (smallest, largest) share of the area.
    """

    ratio = (3 / 4, 4 / 3)  # aspect ratio (width / height) of the crop
    draws = 2 * MAX_CROP_TRIES + 2
    moves = True

    def __init__(self, *scale):
        self.scale = scale

    def __call__(self, images, masks, draws, ignore_index):
        """Return the augmented batch; see Augment.__call__."""
        height, width = images.shape[-2:]
        parts = [choose((height, width)) for choose in self.crop_functions(draws)]
        tops, lefts, heights, widths = np.array(parts, dtype=np.float64).T
        # Affine matrices from output to input coordinates in -1..1.
        matrices = np.zeros((len(images), 2, 3), dtype=np.float32)
        matrices[:, 0, 0], matrices[:, 0, 2] = widths / width, (2 * lefts + widths) / width - 1
        matrices[:, 1, 1], matrices[:, 1, 2] = heights / height, (2 * tops + heights) / height - 1
        grid, options = affine_grid(matrices, images), {'padding_mode': 'border', 'align_corners': False}
        images = F.grid_sample(images.float(), grid, mode='bilinear', **options).round_().to(torch.uint8)
        if masks is not None:
            labels = F.grid_sample(masks.unsqueeze(1).float(), grid, mode='nearest', **options)
            masks = labels.squeeze(1).to(masks.dtype)
        return images, masks

    def crop_functions(self, draws):
        """Return one crop per sample: list of functions((height, width)) -> (top, left, height, width)."""
        sides = np.stack(proportions(draws, self.scale, self.ratio), axis=-1).swapaxes(0, 1).tolist()
        return [partial(self.first_fitting_crop, *sample) for sample in zip(sides, draws[-2:].T.tolist(), strict=True)]

    def first_fitting_crop(self, sides, place, size):
        """Return the first crop that fits into an image, otherwise the largest central crop within the aspect ratios.

        Args:
            sides: height and width of each attempt, for an image of area 1.
            place: relative position of the crop, vertical and horizontal, 0 <= x < 1.
            size: (height, width) of the image.
        """
        height, width = size
        root = math.sqrt(height * width)
        for tall, wide in sides:
            part = round(root * tall), round(root * wide)
            if 1 <= part[0] <= height and 1 <= part[1] <= width:
                break
        else:
            place = (0.5, 0.5)
            part = min(height, round(width / min(self.ratio))), min(width, round(height * max(self.ratio)))
        return int(place[0] * (height - part[0] + 1)), int(place[1] * (width - part[1] + 1)), *part


class Affine:
    """Rotate around the centre, scale, shear and shift, as v2.RandomAffine.

    Images and masks use nearest neighbour, so that they stay aligned. Pixels from outside the image become black, in
    masks the ignore index.

    Args:
        degrees: largest rotation in either direction.
        translate: largest horizontal and vertical shift in either direction, as shares of width and height.
        scale: (smallest, largest) factor.
        shear: largest horizontal and vertical shear in either direction, in degrees.
    """

    draws = 6
    moves = True

    def __init__(self, degrees, translate=(0, 0), scale=(1, 1), shear=(0, 0)):
        self.degrees, self.translate, self.scale, self.shear = degrees, translate, scale, shear

    def __call__(self, images, masks, draws, ignore_index):
        """Return the augmented batch; see Augment.__call__."""
        size = images.shape[-2:]
        return warp_nearest(images, masks, inverse_matrices(size, *self.choose(size, draws)), ignore_index)

    def choose(self, size, draws):
        """Return angles (B,) in degrees, shifts (2, B) in whole pixels, factors (B,) and shears (2, B) in degrees."""
        either_way, sides = 2 * draws - 1, np.array([[size[1]], [size[0]]])
        shifts = np.rint(either_way[1:3] * sides * np.array(self.translate)[:, None])
        factors = self.scale[0] + draws[3] * (self.scale[1] - self.scale[0])
        return either_way[0] * self.degrees, shifts, factors, either_way[4:] * np.array(self.shear)[:, None]


def inverse_matrices(size, angles, shifts, factors, slants):
    """Return matrices from output to input coordinates for rotation, scaling, shear and shift, as in torchvision.

    Args:
        size: (height, width) of the images.
        angles, shifts, factors, slants: as returned by Affine.choose.

    Returns:
        float32 (B, 2, 3): affine matrices in image coordinates -1..1.
    """
    cos, sin = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    across, down = np.tan(np.radians(slants))
    a, c = cos + sin * down, sin - cos * down  # first column of rotation and shear, of determinant 1
    matrices = np.array([[cos - c * across, sin + a * across], [-c, a]]) / factors  # in pixels from the centre
    offsets = -(matrices * shifts).sum(1)
    halves = np.array([[size[1]], [size[0]]]) / 2
    matrices, offsets = matrices * halves / halves[:, None], offsets / halves
    return np.concatenate([matrices, offsets[:, None]], axis=1).transpose(2, 0, 1).astype(np.float32)


def warp_nearest(images, masks, matrices, ignore_index):
    """Return images and masks (or None) transformed by affine matrices with nearest neighbour; see Affine.

    Args:
        matrices: float32 (B, 2, 3), as returned by `inverse_matrices`.
    """
    grid = affine_grid(matrices, images)
    options = {'mode': 'nearest', 'padding_mode': 'zeros', 'align_corners': False}
    images = F.grid_sample(images.float(), grid, **options).to(torch.uint8)
    if masks is not None:  # shifted by 1, so that 0 marks pixels from outside
        labels = F.grid_sample(masks.unsqueeze(1).float() + 1, grid, **options).squeeze(1)
        masks = torch.where(labels > 0, labels - 1, float(ignore_index)).to(masks.dtype)
    return images, masks


def affine_grid(matrices, images):
    """Return the sampling grid (B, H, W, 2) for F.grid_sample from affine matrices, a float32 array (B, 2, 3)."""
    matrices = torch.from_numpy(matrices).to(images.device, non_blocking=True)
    return F.affine_grid(matrices, [len(images), 1, *images.shape[-2:]], align_corners=False)


class Jitter:
    """Scale brightness, contrast and saturation by random factors 1 - x .. 1 + x in random order: v2.ColorJitter."""

    draws = 4
    orders = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])

    def __init__(self, brightness, contrast, saturation):
        self.strengths = np.array([[brightness], [contrast], [saturation]])

    def __call__(self, images, masks, draws, ignore_index):
        """Return the augmented batch; see Augment.__call__."""
        factors = (1 + (2 * draws[:3] - 1) * self.strengths).astype(np.float32)
        order = self.orders[(draws[3] * len(self.orders)).astype(np.int64)]
        pixels = images.float()
        for place in range(3):
            for kind in range(3):
                chosen = np.flatnonzero(order[:, place] == kind)
                if len(chosen) == 0 or (kind == 2 and images.shape[1] == 1):  # grey has no saturation
                    continue
                where = torch.from_numpy(chosen).to(images.device, non_blocking=True)
                factor = torch.from_numpy(factors[kind, chosen]).to(images.device, non_blocking=True).view(-1, 1, 1, 1)
                part = pixels.index_select(0, where)
                other = 0.0 if kind == 0 else self.luminance(part)
                if kind == 1:
                    other = other.mean((2, 3), keepdim=True)
                pixels.index_copy_(0, where, (other + factor * (part - other)).clamp_(0, 255))
        return pixels.round_().to(torch.uint8), masks

    @staticmethod
    def luminance(pixels):
        """Return the luminance (B, 1, H, W) of pixels (B, C, H, W)."""
        if pixels.shape[1] == 1:
            return pixels
        red, green, blue = pixels.split(1, dim=1)
        return LUMINANCE_WEIGHTS[0] * red + LUMINANCE_WEIGHTS[1] * green + LUMINANCE_WEIGHTS[2] * blue


class Erase:
    """Fill a random rectangle with black with a probability, as v2.RandomErasing by default; masks stay unchanged."""

    scale, ratio = (0.02, 0.33), (0.3, 3.3)
    draws = 2 * MAX_CROP_TRIES + 3

    def __init__(self, probability):
        self.probability = probability

    def __call__(self, images, masks, draws, ignore_index):
        """Return the augmented batch; see Augment.__call__."""
        size = images.shape[-2:]
        heights, widths, found = random_rectangles(size, draws, self.scale, self.ratio)
        erased = found & (draws[-1] < self.probability)
        starts = np.floor(draws[-3] * (size[0] - heights + 1)), np.floor(draws[-2] * (size[1] - widths + 1))
        sides = []
        for length, start, extent in zip(size, starts, (heights, widths), strict=True):
            edges = np.stack([start, start + extent * erased]).astype(np.int64)
            edges = torch.from_numpy(edges).to(images.device, non_blocking=True)
            places = torch.arange(length, device=images.device)
            sides.append((places >= edges[0, :, None]) & (places < edges[1, :, None]))
        hole = sides[0][:, :, None] & sides[1][:, None, :]
        return images * ~hole.unsqueeze(1), masks  # several times faster than filling


def random_rectangles(size, draws, scale, ratio):
    """Return heights and widths, float (B,), of each sample's first random rectangle that fits, and whether one fits.

    Args:
        size: (height, width) of the image.
        draws, scale, ratio: as for `proportions`.
    """
    heights, widths = (np.rint(math.sqrt(size[0] * size[1]) * sides) for sides in proportions(draws, scale, ratio))
    fits = (heights >= 1) & (heights <= size[0]) & (widths >= 1) & (widths <= size[1])
    first = fits.argmax(0), np.arange(draws.shape[1])
    return heights[first], widths[first], fits.any(0)


def proportions(draws, scale, ratio):
    """Return heights and widths, float (MAX_CROP_TRIES, B), of random rectangles in an image of area 1.

    Args:
        draws: float (2 * MAX_CROP_TRIES or more, B), 0 <= x < 1: for areas, then for log-uniform aspect ratios.
        scale, ratio: (smallest, largest) share of the area and aspect ratio (width / height).
    """
    areas = scale[0] + draws[:MAX_CROP_TRIES] * (scale[1] - scale[0])
    ratios = np.exp(
        np.log(ratio[0]) + draws[MAX_CROP_TRIES : 2 * MAX_CROP_TRIES] * (np.log(ratio[1]) - np.log(ratio[0]))
    )
    return np.sqrt(areas / ratios), np.sqrt(areas * ratios)
