"""The network as it is exported: with its normalisation and, where asked for, the resizing of Danlu's loaders."""

import torch
from torch import nn

from utils.options.fit import Fit

LARGEST_LEVEL = 255


class Deployed(nn.Module):
    """A network that takes what cameras and files give: pixels 0..255, or features in their units.

    Args:
        net: nn.Module in evaluation mode; takes normalised float32.
        args: options of the run: mean, std, image_size, channels, fit ...
        kind: what the inputs are, one of KINDS of scripts.exporting.metadata.
        half: whether the network computes in float16; inputs and outputs stay as they are.
    """

    def __init__(self, net, args, kind, half=False):
        super().__init__()
        self.net, self.kind, self.half_precision = net, kind, half
        mean, std = (torch.tensor(numbers or [default]) for numbers, default in ((args.mean, 0.0), (args.std, 1.0)))
        if kind != 'features':
            mean, std = (255 * numbers.view(1, -1, 1, 1) for numbers in (mean, std))
        self.register_buffer('mean', mean, persistent=False)
        self.register_buffer('std', std, persistent=False)
        self.resize = Resize(Fit.of(args), args.image_size) if kind == 'photos' else None

    def forward(self, images):
        """Return the outputs of the network, float32, for a batch of inputs."""
        if self.resize is not None:
            images = self.resize(images)
        if self.kind != 'inputs':
            images = (images.float() - self.mean) / self.std
        outputs = self.net(images.half() if self.half_precision else images)
        return outputs.float()


def halve(net):
    """Convert a network (nn.Module) to float16, in place, but for the scale of regression targets; return it."""
    scales = {name: getattr(net, name) for name in ('target_centre', 'target_deviation') if hasattr(net, name)}
    net.half()
    for name, numbers in scales.items():
        setattr(net, name, numbers)
    return net


class Resize(nn.Module):
    """Resizes images as Danlu's loaders do, with Pillow's filters: uint8 (N, H, W, C) to float32 (N, C, *size).

    Each axis is multiplied by a matrix of filter weights. H and W are free. Pillow also rounds between the two axes, so
    single pixels differ by one level of 255.

    Args:
        fit: utils.options.fit.Fit.
        size: (height, width) of the results.
    """

    def __init__(self, fit, size):
        super().__init__()
        self.fit, self.size = fit, tuple(size)
        levels = torch.tensor(fit.levels, dtype=torch.float32).view(1, -1, 1, 1)
        self.register_buffer('levels', levels, persistent=False)

    def forward(self, images):
        """Return the images, with values 0..255."""
        rows, columns = (torch.arange(images.shape[axis], dtype=torch.float64) for axis in (1, 2))
        full = rows[-1] + 1, columns[-1] + 1
        boxes, places = self.boxes(full)
        down, across = (
            weights(places_in, box, place, side, self.fit.interpolation)
            for places_in, box, place, side in zip((rows, columns), boxes, places, self.size, strict=True)
        )
        pixels = images.permute(0, 3, 1, 2).float()
        pixels = torch.matmul(down, torch.matmul(pixels, across.T))
        pixels = torch.floor(pixels + 0.5).clamp(0, LARGEST_LEVEL)
        if self.fit.how != 'pad':
            return pixels
        covered = (down.sum(1) > 0).float()[:, None] * (across.sum(1) > 0).float()
        return pixels * covered + self.levels[:, : pixels.shape[1]] * (1 - covered)

    def boxes(self, full):
        """Return for each axis (start, length) in the image, and (start, length) in the result: 0-d float64 tensors.

        See utils.options.fit.Fit.source_box and target_box.
        """
        zero = torch.zeros((), dtype=torch.float64)
        sides = [zero + side for side in self.size]
        if self.fit.how == 'crop':
            factor = self.fit.share * torch.minimum(full[0] / sides[0], full[1] / sides[1])
            lengths = [side * factor for side in sides]
            starts = [(whole - length) / 2 for whole, length in zip(full, lengths, strict=True)]
            return [*zip(starts, lengths, strict=True)], [(zero, side) for side in sides]
        boxes = [(zero, whole) for whole in full]
        if self.fit.how == 'stretch':
            return boxes, [(zero, side) for side in sides]
        factor = torch.minimum(sides[0] / full[0], sides[1] / full[1])
        lengths = [
            torch.round(whole * factor).clamp(min=1).minimum(side) for whole, side in zip(full, sides, strict=True)
        ]
        starts = [torch.floor((side - length) / 2) for side, length in zip(sides, lengths, strict=True)]
        return boxes, [*zip(starts, lengths, strict=True)]


def weights(positions, box, place, side, interpolation):
    """Return the weights of the pixels of an axis in the resized axis: float32 (side, n).

    Args:
        positions: 0 .. n-1, float64 (n,).
        box: (start, length) of the part of the axis that is resized.
        place: (start, length) of the part of the result that it fills; weights outside are zeros.
        side: length of the result (int).
        interpolation: one of utils.options.fit.INTERPOLATIONS.
    """
    scale = box[1] / place[1]
    results = torch.arange(side, dtype=torch.float64) - place[0]
    centres = box[0] + (results + 0.5) * scale
    if interpolation == 'nearest':
        found = (positions[None] == torch.floor(centres)[:, None]).double()
    else:
        distances = (positions[None] + 0.5 - centres[:, None]) / scale.clamp(min=1)
        found = FILTERS[interpolation](distances)
        found = found / found.sum(1, keepdim=True)
    inside = (results >= 0) & (results < place[1])
    return torch.where(inside[:, None], found, 0.0).float()


def _triangle(x):
    return (1 - x.abs()).clamp(min=0)


def _cubic(x):
    """Return the cubic filter with a = -0.5 (Keys 1981)."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _lanczos(x):
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


FILTERS = {'bilinear': _triangle, 'bicubic': _cubic, 'lanczos': _lanczos}
