"""Pictures of what a model sees and says, with Pillow alone: importing this costs nothing beyond torch.

Pictures come in as uint8 tensors or arrays (C, H, W) with C = 1 or 3, and go out as uint8 arrays (H, W, 3), RGB.
"""

import unicodedata
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito 2008, Color Universal Design: told apart by colour-blind readers too. Its black is left out: it means
# 'ignored' here. Its yellow comes last, for it is faint on white.
OKABE_ITO = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (86, 180, 233), (204, 121, 167), (240, 228, 66))
IGNORED = (0, 0, 0)
PAPER = (255, 255, 255)
INK = (0, 0, 0)
RIGHT = (0, 120, 50)
WRONG = (190, 0, 20)
GAP = 4  # pixels between pictures
SHORT_SIDE = 112  # a labelled picture's shorter side is enlarged to about this
LONG_SIDE = 1024  # and its longer one to no more than this
MOST = 2**20  # pixels of a sheet of pictures, of which a long run writes hundreds


def denormalise(images, mean, std):
    """Return the pictures that were normalised by (x / 255 - mean) / std.

    Args:
        images: (N, C, H, W), floating point, on any device.
        mean, std: C numbers each, or one for all channels, for pixels from 0 to 1.

    Returns:
        (N, C, H, W) uint8 tensor on the CPU, rounded, and clamped to 0..255.

    Raises:
        ValueError: mean or std has neither C values nor one.
    """
    mean, std = (torch.as_tensor(v, dtype=torch.float32, device=images.device).flatten() for v in (mean, std))
    if not {len(mean), len(std)} <= {1, images.shape[1]}:
        raise ValueError(f'{images.shape[1]} channels, but {len(mean)} means and {len(std)} deviations')
    pixels = images.detach().float() * std.view(-1, 1, 1) + mean.view(-1, 1, 1)
    return pixels.mul_(255).round_().clamp_(0, 255).to(torch.uint8).cpu()


def class_colours(num_classes):
    """Return the classes' colours, (K, 3) uint8 array.

    Class k has the same colour whatever K is. The first seven are Okabe and Ito's, each further one is as far as
    possible from those before it and from black and white. From class 1647 on they come again.
    """
    return np.array(_colours(num_classes), dtype=np.uint8).reshape(num_classes, 3)


@cache
def _colours(num_classes):
    """Return the colours of `class_colours`, a list of (3,) arrays."""
    levels = np.linspace(0, 255, 12).round()
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), axis=-1).reshape(-1, 3)
    candidates = candidates[candidates @ (0.3, 0.59, 0.11) > 40]  # by luminance: dark blue looks black
    chosen = list(np.array(OKABE_ITO[:num_classes], dtype=float))
    distance = np.full(len(candidates), np.inf)
    taken = [np.array(IGNORED), np.array(PAPER), *chosen]
    while len(chosen) < num_classes:
        for colour in taken:
            # The eye sees differences in green best and in red least: a common rule for distances in RGB.
            distance = np.minimum(distance, ((candidates - colour) ** 2 * (2, 4, 3)).sum(1))
        if not distance.any():  # every candidate is taken
            chosen.append(chosen[len(chosen) - len(candidates)])
            continue
        taken = [candidates[distance.argmax()]]
        chosen += taken
    return chosen


def colour_mask(mask, num_classes):
    """Paint a mask.

    Args:
        mask: (H, W) integers, tensor or array.
        num_classes: K. What lies outside 0..K-1, such as the ignore index, becomes black.

    Returns:
        (H, W, 3) uint8 array.
    """
    mask = _array(mask).astype(np.int64)
    table = np.vstack([class_colours(num_classes), [IGNORED]]).astype(np.uint8)
    return table[np.where((mask >= 0) & (mask < num_classes), mask, num_classes)]


def overlay(picture, mask_colours, alpha=0.5):
    """Lay a painted mask over its picture.

    Args:
        picture: (C, H, W) uint8.
        mask_colours: (H, W, 3) uint8 array from `colour_mask`. Where it is black (ignored), the picture stays as it is.
        alpha: from 0, only the picture, to 1, only the mask.

    Returns:
        (H, W, 3) uint8 array.

    Raises:
        ValueError: alpha is out of range, or the sizes differ.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha must lie between 0 and 1, not {alpha}')
    rgb = rgb_of(picture)
    if rgb.shape != mask_colours.shape:
        raise ValueError(f'a picture of {rgb.shape} and a mask of {mask_colours.shape} do not fit')
    mixed = np.rint((1 - alpha) * rgb + alpha * mask_colours.astype(np.float32)).astype(np.uint8)
    return np.where((mask_colours == IGNORED).all(-1, keepdims=True), rgb, mixed)


def labelled_picture(picture, prediction, target, class_names=None):
    """Return a picture with what was predicted and what is true written below it, green if right, red if wrong.

    Args:
        picture: (C, H, W) uint8. It is enlarged by a whole factor until its shorter side has 112 pixels or more.
        prediction, target: class indices, int; or several of a sample with many labels, lists of int.
        class_names: list of str, or None: the indices are written. Pillow's own font has ASCII only, so from any other
            name what is ASCII is written, after the index.

    Returns:
        (H', W', 3) uint8 array, W' at least 112.
    """
    sets = [label if isinstance(label, list) else [int(label)] for label in (prediction, target)]
    names = [', '.join(_written(index, class_names) for index in labels) or 'none' for labels in sets]
    return _captioned(picture, *names, RIGHT if sets[0] == sets[1] else WRONG)


def numbered_picture(picture, prediction, target):
    """Return a picture with the numbers that were predicted and those that are true written below it.

    Args:
        picture: as for `labelled_picture`.
        prediction, target: lists of float.

    Returns:
        (H', W', 3) uint8 array, W' at least 112.
    """
    texts = [' '.join(f'{number:.4g}' for number in numbers) for numbers in (prediction, target)]
    return _captioned(picture, *texts, INK)


def _captioned(picture, prediction, target, colour):
    """Return an enlarged picture with two texts (str) below it, (H', W', 3) uint8 array."""
    rgb = enlarged(rgb_of(picture))
    size = max(13, max(rgb.shape[1], SHORT_SIDE) // 20)
    return captioned(rgb, [(f'pred: {prediction}', colour), (f'true: {target}', colour)], size)


def captioned(rgb, lines, size):
    """Return a picture with lines of text below it.

    Args:
        rgb: (H, W, 3) uint8 array.
        lines: list of (str, colour). Pillow's own font has ASCII only: see `ascii_of`. What is too long is cut.
        size: of the letters, in pixels.

    Returns:
        (H', W', 3) uint8 array, W' at least 112.
    """
    picture, line = Image.fromarray(rgb), size + size // 3
    width = max(picture.width, SHORT_SIDE)
    canvas = Image.new('RGB', (width, picture.height + len(lines) * line + GAP), PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw, font = ImageDraw.Draw(canvas), _font(size)
    for row, (text, colour) in enumerate(lines):
        place = (GAP, picture.height + GAP // 2 + row * line)
        draw.text(place, _shortened(text, font, width - 2 * GAP), fill=colour, font=font)
    return np.asarray(canvas)


def enlarged(rgb):
    """Return an (H, W, 3) array enlarged by a whole factor until its shorter side has 112 pixels, or 1 if it has."""
    height, width = rgb.shape[:2]
    factor = max(1, min(-(-SHORT_SIDE // min(height, width)), LONG_SIDE // max(height, width)))
    return rgb.repeat(factor, axis=0).repeat(factor, axis=1)


def segmentation_panel(picture, prediction_mask, target_mask, num_classes):
    """Return input, prediction and target side by side, with thin gaps.

    Args:
        picture: (C, H, W) uint8.
        prediction_mask, target_mask: (H, W) integers, tensors or arrays; outside 0..K-1 they are drawn black.
        num_classes: K.

    Returns:
        (H, 3 W + 8, 3) uint8 array.
    """
    return beside(rgb_of(picture), *(colour_mask(mask, num_classes) for mask in (prediction_mask, target_mask)))


def restoration_panel(picture, prediction, target):
    """Return input, output and target side by side, with thin gaps, each (C, H, W) uint8 and enlarged if it is small.

    Returns:
        (H', 3 W' + 8, 3) uint8 array.
    """
    return beside(*(enlarged(rgb_of(part)) for part in (picture, prediction, target)))


def beside(first, *others):
    """Return (H, W, 3) arrays of one height side by side."""
    gap = np.full((len(first), GAP, 3), PAPER, dtype=np.uint8)
    return np.concatenate([first, *(part for other in others for part in (gap, other))], axis=1)


def grid(pictures, columns, most=MOST):
    """Return pictures in rows, each in the upper left corner of a cell as large as the largest one.

    Args:
        pictures: (H, W, 3) uint8 arrays; their sizes may differ.
        columns: how many stand side by side, at least 1; fewer if there are fewer.
        most: pixels of the result, which is made smaller if it had more.

    Returns:
        one (H', W', 3) uint8 array.

    Raises:
        ValueError: there is no picture, or no column.
    """
    pictures = list(pictures)
    if not pictures or columns < 1:
        raise ValueError(f'a grid needs pictures and columns, not {len(pictures)} and {columns}')
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height = max(picture.shape[0] for picture in pictures) + GAP
    width = max(picture.shape[1] for picture in pictures) + GAP
    sheet = np.full((rows * height - GAP, columns * width - GAP, 3), PAPER, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    if sheet.shape[0] * sheet.shape[1] <= most:
        return sheet
    factor = (most / (sheet.shape[0] * sheet.shape[1])) ** 0.5
    size = max(1, int(sheet.shape[1] * factor)), max(1, int(sheet.shape[0] * factor))
    return np.asarray(Image.fromarray(sheet).resize(size, Image.BOX))


def save_picture(path, array):
    """Write an (H, W, 3) uint8 array as PNG, whatever the name ends in; missing directories are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, format='PNG')


def _array(tensor):
    """Return a tensor, or what numpy understands, as an array on the CPU."""
    return tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


def rgb_of(picture):
    """Return a picture (C, H, W) uint8 as an (H, W, 3) array, grey as RGB.

    Raises:
        ValueError: C is neither 1 nor 3, or the dtype is another.
    """
    picture = _array(picture)
    if picture.ndim != 3 or picture.shape[0] not in {1, 3} or picture.dtype != np.uint8:
        raise ValueError(f'expected a uint8 picture (1 or 3, H, W), got {picture.dtype} {picture.shape}')
    return np.ascontiguousarray(np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0))


@cache
def _font(size):
    """Return Pillow's own font; it unpacks it anew each time."""
    return ImageFont.load_default(size)


def _written(index, class_names):
    """Return how class `index` is written in ASCII (str)."""
    if class_names is None or not 0 <= index < len(class_names):  # an ignored target has no name
        return str(index)
    name = class_names[index]
    return name if name.isascii() else f'{index} {ascii_of(name)}'.strip()


def ascii_of(text):
    """Return what is ASCII of a text (str), accents taken off letters: what Pillow's own font can draw."""
    return unicodedata.normalize('NFKD', text).encode('ascii', 'ignore').decode()


def _shortened(text, font, width):
    """Return text, cut and ended by an ellipsis if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + '…') > width:
        text = text[:-1]
    return text.rstrip() + '…'
