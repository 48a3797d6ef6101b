"""Crops, resizing and margins of decoded images and masks.

Pillow resizes from parts of pixels; torch resizes whole pixels with antialiasing as Pillow does, twice as fast.
"""

import numpy as np
import torch
from PIL import Image

TORCH_INTERPOLATIONS = ('bilinear', 'bicubic')
WHOLE = 1e-6  # a box this close to whole pixels is one of whole pixels


def source_and_target_box(full, size, fit, part):
    """Return the box (top, left, height, width) to read from an image of size `full`, and the box of `size` to fill."""
    if size is None:
        return (0, 0, *full), None
    if part is not None:
        box, place = part(full), (0, 0, *size)
    else:
        box, place = fit.source_box(full, size), fit.target_box(full, size)
    return _whole_box(box, full) if fit.has_whole_boxes else box, place


def sufficient_size(full, box, size):
    """Return the (height, width) that is enough of an image, such that the box keeps at least `size` pixels."""
    factor = max(1, int(min(box[2] / size[0], box[3] / size[1])))
    return full[0] // factor, full[1] // factor


def resized(picture, size, method, box, full):
    """Return the box (top, left, height, width) of an image of size `full`, resized to `size`: PIL.Image."""
    if tuple(box) == (0, 0, *full) and full == tuple(size):
        return picture
    down, across = picture.height / full[0], picture.width / full[1]  # 1 without draft
    top, left, height, width = box[0] * down, box[1] * across, box[2] * down, box[3] * across
    edges = (left, top, min(left + width, picture.width), min(top + height, picture.height))
    return picture.resize((size[1], size[0]), method, box=edges)


def with_margins(picture, size, place, levels):
    """Return an image (PIL.Image) placed in the box `place` of `size`; margins have the levels of the channels."""
    if place[2:] == tuple(size):
        return picture
    filled = Image.new(picture.mode, (size[1], size[0]), levels[0] if picture.mode == 'L' else tuple(levels))
    filled.paste(picture, (place[1], place[0]))
    return filled


def labels_with_margins(labels, size, place, label):
    """Return a mask, uint8 array, placed in the box `place` of `size`; margins have the label `label`."""
    if place[2:] == tuple(size):
        return labels
    filled = np.full(size, label, dtype=np.uint8)
    filled[place[0] : place[0] + place[2], place[1] : place[1] + place[3]] = labels
    return filled


def reduced_size(full, short):
    """Return the (height, width) of an image of size `full` reduced to at most `short` pixels on its shorter side."""
    if min(full) <= short:
        return tuple(full)
    return tuple(max(1, round(side * short / min(full))) for side in full)


def resize_reduced(pixels, size, fit, part):
    """Return a reduced image, uint8 (C, H, W), cropped and resized to `size` by `fit` or `part` as in `read_picture`.

    The crop is rounded to whole pixels, so that torch resizes it.
    """
    box, place = source_and_target_box(tuple(pixels.shape[1:]), size, fit, part)
    found = resized_by_torch(pixels, tuple(pixels.shape[1:]), size, fit, box, place)
    if found is not None:
        return planar(found)
    picture = resized(as_picture(pixels), place[2:], Image.Resampling[fit.interpolation.upper()], box, pixels.shape[1:])
    picture = np.asarray(with_margins(picture, size, place, fit.levels))
    return torch.from_numpy(picture.reshape(*size, -1).transpose(2, 0, 1).copy())


def resize_reduced_labels(labels, size, fit, part):
    """Return a reduced mask, uint8 (H, W), cropped and resized as `resize_reduced`, by nearest neighbour."""
    box, place = source_and_target_box(tuple(labels.shape), size, fit, part)
    picture = resized(Image.fromarray(labels.numpy()), place[2:], Image.NEAREST, box, tuple(labels.shape))
    return torch.from_numpy(labels_with_margins(np.array(picture), size, place, fit.label))


def _whole_box(box, full):
    """Return a box (top, left, height, width) rounded to whole pixels within an image of size `full`."""
    sides = [max(1, round(side)) for side in box[2:]]
    return *(min(round(at), most - side) for at, side, most in zip(box, sides, full, strict=False)), *sides


def resized_by_torch(pixels, full, size, fit, box, place):
    """Return decoded pixels, uint8 tensor (C, H, W), as `read_picture` does, or None where Pillow has to resize them.

    Args:
        pixels: of an image of the size `full`, or of that image at 1/2, 1/4 or 1/8; on any device.
        box, place: from `source_and_target_box`.
    """
    if size is None or (tuple(pixels.shape[1:]) == tuple(size) == full and tuple(box) == (0, 0, *full)):
        return pixels
    resized = resize_box(pixels, box, place[2:], fit.interpolation) if tuple(pixels.shape[1:]) == full else None
    if resized is None or place[2:] == tuple(size):
        return resized
    levels = torch.tensor(fit.levels[: len(pixels)], dtype=torch.uint8, device=pixels.device)
    filled = levels[:, None, None].repeat(1, *size)
    filled[:, place[0] : place[0] + place[2], place[1] : place[1] + place[3]] = resized
    return filled


def resize_box(pixels, box, size, interpolation):
    """Return a box of an image resized by torch, or None where torch does not do what Pillow does.

    Args:
        pixels: uint8 tensor (C, H, W).
        box: (top, left, height, width) in pixels.
        size: (height, width) to resize to.
        interpolation: one of utils.options.fit.INTERPOLATIONS.

    Returns:
        uint8 tensor (C, *size).
    """
    top, left, height, width = whole = [round(number) for number in box]
    if any(abs(a - b) > WHOLE for a, b in zip(whole, box, strict=True)):
        return None
    part = pixels[:, top : top + height, left : left + width]
    if tuple(part.shape[1:]) == tuple(size):
        return part
    if interpolation not in TORCH_INTERPOLATIONS:
        return None
    if not pixels.is_cpu:
        return resize_in_float(part, size, interpolation)
    # Decoded channels are interleaved. With the strides of channels_last, which `unsqueeze` alone does not give, torch
    # does not separate them: `planar` takes less time.
    return _interpolate(part.permute(1, 2, 0).unsqueeze(0).permute(0, 3, 1, 2), size, interpolation).squeeze(0)


def resize_in_float(pixels, size, interpolation):
    """Return pixels, uint8 tensor (C, H, W), resized as by `resize_box`, on devices whose kernels take only floats."""
    resized = _interpolate(pixels.float().unsqueeze(0), size, interpolation).squeeze(0)
    return resized.clamp_(0, 255).round_().to(torch.uint8)


def _interpolate(batch, size, interpolation):
    options = {'mode': interpolation, 'antialias': True, 'align_corners': False}
    return torch.nn.functional.interpolate(batch, tuple(size), **options)


def planar(pixels):
    """Return pixels, uint8 tensor (C, H, W), contiguous; of interleaved channels twice as fast as torch does."""
    if pixels.is_contiguous():
        return pixels
    planes = torch.empty(pixels.shape, dtype=pixels.dtype)
    for plane, channel in zip(planes.numpy(), pixels.numpy(), strict=True):
        np.copyto(plane, channel)
    return planes


def as_picture(pixels):
    """Return pixels, uint8 tensor (C, H, W), as PIL.Image."""
    pixels = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
