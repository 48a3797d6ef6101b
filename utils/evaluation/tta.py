"""Test-time augmentation: a network whose outputs are averaged over several views of each image, --tta.

    flip        the image and its mirror image
    five_crop   the four corners and the centre, CROP_SHARE of each side, enlarged to the size of the image
    multiscale  the image at SCALES of its size

Probabilities are averaged, as in Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural
networks; numbers and restored images as they are. Masks and restored images are flipped and scaled back first. The
outputs have the form of the network's own: logits whose softmax or sigmoid is the mean probability.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from utils.base.errors import DanluError, first_line
from utils.tasks.one_logit import is_one_logit
from utils.tasks.tasks import task_of

CROP_SHARE = 7 / 8
SCALES = (0.75, 1.0, 1.25)
MAX_DIVISOR = 32  # networks often need sides that a power of two divides, up to this one


def with_tta(net, args):
    """Return a network (nn.Module) with the test-time augmentation of args.tta; None: the network itself."""
    return net if getattr(args, 'tta', None) is None else AveragedViews(net, args)


class AveragedViews(nn.Module):
    """Averages a network's outputs over views of its images, float (B, C, H, W).

    Args:
        net: nn.Module, wrapped for several GPUs or not.
        args: options; tta and those of the task's outputs are used.

    Raises:
        DanluError: in the first batch, if the network does not take images of another size.
    """

    def __init__(self, net, args):
        super().__init__()
        self.net, self.args, self.task = net, args, task_of(args)

    def forward(self, images):
        """Return the averaged outputs of a batch, float32 (B, ...)."""
        if not torch.is_tensor(images) or images.dim() != 4:
            raise DanluError(f'--tta {self.args.tta}: the inputs of this network are not images; leave it out')
        views = VIEWS[self.args.tta](images)
        return mean_outputs(self.args, [self._outputs(*view, images.shape[-2:]) for view in views])

    def _outputs(self, view, undo, size):
        """Return the outputs of a view, float32, as if the network had seen the image itself."""
        try:
            outputs = self.net(view)
        except (RuntimeError, ValueError, AssertionError) as error:
            if view.shape[-2:] == size:
                raise
            raise DanluError(
                f'--tta {self.args.tta}: this network takes no images of {view.shape[-1]}x{view.shape[-2]} besides '
                f'those of {size[1]}x{size[0]} ({first_line(error)}): give --tta flip'
            ) from error
        if not torch.is_tensor(outputs):
            raise DanluError(f'--tta: the network returns a {type(outputs).__name__} instead of a tensor; leave it out')
        outputs = outputs.float()
        return undo(outputs) if self.task.by_pixel else outputs


def mean_outputs(args, outputs):
    """Return the mean of outputs (list of tensors (B, ...)) in the form of a network's outputs, float32.

    Probabilities are averaged for tasks with classes: the result are logits whose softmax or sigmoid is their mean.
    """
    task, outputs = task_of(args), torch.stack(outputs)
    if not task.has_classes:
        return outputs.mean(0)
    if task.target == 'labels' or is_one_logit(args, outputs[0]):  # one sigmoid per class
        return _log_mean(functional.logsigmoid(outputs)) - _log_mean(functional.logsigmoid(-outputs))
    return _log_mean(outputs.log_softmax(2))


def _log_mean(logs):
    """Return the logarithm of the mean of exp(logs) over the first axis."""
    return logs.logsumexp(0) - math.log(len(logs))


def _unchanged(outputs):
    return outputs


def _mirrored(images):
    return images.flip(-1)


def flip_views(images):
    """Return views (list of (images, function that undoes the view on outputs per pixel))."""
    return [(images, _unchanged), (_mirrored(images), _mirrored)]


def five_crop_views(images):
    """Return views, as `flip_views`; they are not undone, as they do not cover the image."""
    height, width = images.shape[-2:]
    rows, columns = (max(1, round(side * CROP_SHARE)) for side in (height, width))
    places = [(top, left) for top in (0, height - rows) for left in (0, width - columns)]
    places.append(((height - rows) // 2, (width - columns) // 2))
    crops = [images[..., top : top + rows, left : left + columns] for top, left in places]
    return [(_resized(crop, (height, width)), _unchanged) for crop in crops]


def multiscale_views(images):
    """Return views, as `flip_views`."""
    size, views = tuple(images.shape[-2:]), []
    for scale in SCALES:
        scaled = tuple(scaled_side(side, scale) for side in size)
        views.append((_resized(images, scaled), lambda outputs: _resized(outputs, size)))
    return views


def scaled_side(side, scale):
    """Return a side (int, pixels) times `scale`, rounded to a multiple of a power of two that divides the side.

    This is the largest power of two, up to MAX_DIVISOR, by which the rounded side differs from `side` unless the scale
    is 1: of 32 pixels, multiples of 32 would leave all views the same.
    """
    divisor = math.gcd(side, MAX_DIVISOR)
    while scale != 1 and divisor > 1 and max(1, round(side * scale / divisor)) * divisor == side:
        divisor //= 2
    return max(1, round(side * scale / divisor)) * divisor


def _resized(images, size):
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    smaller = size[0] < images.shape[-2]
    return functional.interpolate(images, size=size, mode='bilinear', antialias=smaller)


VIEWS = {'flip': flip_views, 'five_crop': five_crop_views, 'multiscale': multiscale_views}
