"""Pictures of what a model sees and says, with Pillow alone: importing this costs nothing beyond torch.

Pictures come in as uint8 tensors or arrays (C, H, W) with C = 1 or 3, and go out as uint8 arrays (H, W, 3), RGB.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from utils.base.regular_files import naming, open_regular
from utils.drawing.colours import PAPER, ignored_colour
from utils.drawing.fonts import class_label, length, line_height, shortened, wrapped, write

INK = (0, 0, 0)
RIGHT = (0, 120, 50)
WRONG = (190, 0, 20)
GAP = 4  # pixels between pictures
MIN_SHORT_SIDE = 112  # a labelled picture's shorter side is enlarged to about this
MAX_LONG_SIDE = 1024  # and its longer one to no more than this
MAX_SHEET_PIXELS = 2**20  # pixels of a sheet of pictures, of which a long run writes hundreds
MAX_CAPTION_LINES = 2  # of a caption; what is longer is cut off
MAX_FULL_LEGEND = 24  # classes that a legend has all of, whichever a picture holds


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


def reduced(batch, factor):
    """Return pictures, or what else has a value per pixel, with sides shorter by a factor.

    Args:
        batch: (B, C, H, W) floating point, averaged over areas; or integers (B, H, W), of which some are taken.
        factor: at least 1.
    """
    size = [max(1, round(side / factor)) for side in batch.shape[-2:]]
    if batch.is_floating_point():
        return F.interpolate(batch.float(), size=size, mode='area')
    return F.interpolate(batch[:, None].float(), size=size, mode='nearest-exact')[:, 0].to(batch.dtype)


def colour_mask(mask, colours, ignore_index=None):
    """Paint a mask.

    Args:
        mask: (H, W) integers, tensor or array.
        colours: (K, 3) uint8 array, as utils.drawing.colours has them. What lies outside 0..K-1 gets `ignored_colour`.
        ignore_index: int, painted so even if it is in 0..K-1, or None.

    Returns:
        (H, W, 3) uint8 array.
    """
    mask, classes = _array(mask).astype(np.int64), len(colours)
    table = np.vstack([colours, [ignored_colour(colours)]]).astype(np.uint8)
    counts = (mask >= 0) & (mask < classes) & (mask != (-1 if ignore_index is None else ignore_index))
    return table[np.where(counts, mask, classes)]


def overlay(picture, mask, colours, ignore_index=None, alpha=0.5):
    """Lay a painted mask over its picture; where no class is, the picture stays as it is.

    Args:
        picture: (C, H, W) uint8.
        mask, colours, ignore_index: as for `colour_mask`.
        alpha: from 0, only the picture, to 1, only the mask.

    Returns:
        (H, W, 3) uint8 array.

    Raises:
        ValueError: alpha is out of range, or the sizes differ.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha must lie between 0 and 1, not {alpha}')
    rgb, painted = rgb_of(picture), colour_mask(mask, colours, ignore_index)
    if rgb.shape != painted.shape:
        raise ValueError(f'a picture of {rgb.shape} and a mask of {painted.shape} do not fit')
    mixed = np.rint((1 - alpha) * rgb + alpha * painted.astype(np.float32)).astype(np.uint8)
    return np.where((painted == ignored_colour(colours)).all(-1, keepdims=True), rgb, mixed)


def labelled_picture(picture, prediction, target, class_names=None):
    """Return a picture with what was predicted and what is true written below it, green if right, red if wrong.

    Args:
        picture: (C, H, W) uint8. It is enlarged by a whole factor until its shorter side has 112 pixels or more.
        prediction, target: class indices, int; or several of a sample with many labels, lists of int.
        class_names: list of str, or None: the indices are written.

    Returns:
        (H', W', 3) uint8 array, W' at least 112.
    """
    sets = [label if isinstance(label, list) else [int(label)] for label in (prediction, target)]
    pred, true = (label_text(labels, class_names) for labels in sets)
    return _with_both(picture, pred, true, RIGHT if sets[0] == sets[1] else WRONG)


def numbered_picture(picture, prediction, target):
    """Return a picture with the numbers that were predicted and those that are true written below it.

    Args:
        picture: as for `labelled_picture`.
        prediction, target: lists of float.

    Returns:
        (H', W', 3) uint8 array, W' at least 112.
    """
    return _with_both(picture, number_text(prediction), number_text(target), INK)


def label_text(labels, class_names=None):
    """Return what a set of labels (list of int) is called (str)."""
    return ', '.join(class_label(index, class_names) for index in labels) or 'none'


def number_text(numbers):
    """Return numbers (list of float) as text (str)."""
    return ', '.join(f'{number:.4g}' for number in numbers)


def _with_both(picture, prediction, target, colour):
    """Return an enlarged picture with two texts (str) below it, (H', W', 3) uint8 array."""
    rgb = enlarged(rgb_of(picture))
    return captioned(rgb, [(f'pred: {prediction}', colour), (f'true: {target}', colour)])


def captioned(rgb, lines, size=None):
    """Return a picture with lines of text below it.

    Args:
        rgb: (H, W, 3) uint8 array.
        lines: list of (str, colour), each of which may take two lines; what is still too long is cut.
        size: of the letters, in pixels; None: as it suits the picture.

    Returns:
        (H', W', 3) uint8 array, W' at least 112.
    """
    width = max(rgb.shape[1], MIN_SHORT_SIDE)
    size = size or max(13, min(width // 20, rgb.shape[0]))
    broken = [
        (part, colour) for text, colour in lines for part in wrapped(text, size, width - 2 * GAP, MAX_CAPTION_LINES)
    ]
    canvas = Image.new('RGB', (width, rgb.shape[0] + len(broken) * line_height(size) + GAP), PAPER)
    canvas.paste(Image.fromarray(rgb), ((width - rgb.shape[1]) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for row, (text, colour) in enumerate(broken):
        write(draw, (GAP, rgb.shape[0] + GAP // 2 + row * line_height(size)), text, size, colour)
    return np.asarray(canvas)


def titled(rgb, title):
    """Return a picture, (H, W, 3) uint8 array, with a title (str) above it; as wide as the wider of the two."""
    size = max(13, min(rgb.shape[1] // 24, rgb.shape[0]))
    width = max(rgb.shape[1], length(title, size))
    canvas = Image.new('RGB', (width, rgb.shape[0] + line_height(size) + GAP // 2), PAPER)
    write(ImageDraw.Draw(canvas), (0, 0), title, size, INK)
    canvas.paste(Image.fromarray(rgb), (0, line_height(size) + GAP // 2))
    return np.asarray(canvas)


def enlarged(rgb):
    """Return an (H, W, 3) array enlarged by a whole factor until its shorter side has 112 pixels, or 1 if it has."""
    height, width = rgb.shape[:2]
    factor = max(1, min(-(-MIN_SHORT_SIDE // min(height, width)), MAX_LONG_SIDE // max(height, width)))
    return rgb.repeat(factor, axis=0).repeat(factor, axis=1)


def segmentation_panel(picture, prediction_mask, target_mask, colours, ignore_index=None):
    """Return input, prediction and truth side by side, each with its title above and enlarged if it is small.

    Args:
        picture: (C, H, W) uint8.
        prediction_mask, target_mask: (H, W) integers, tensors or arrays.
        colours, ignore_index: as for `colour_mask`; a prediction of the class that is ignored keeps its colour.

    Returns:
        (H', W', 3) uint8 array; `with_legend` says which colour is which class.
    """
    said, truth = colour_mask(prediction_mask, colours), colour_mask(target_mask, colours, ignore_index)
    return panel({'input': rgb_of(picture), 'prediction': said, 'truth': truth})


def restoration_panel(picture, prediction, target):
    """Return input, output and truth side by side, each with its title above and enlarged if it is small.

    Args:
        picture, prediction, target: (C, H, W) uint8.

    Returns:
        (H', W', 3) uint8 array.
    """
    return panel({'input': rgb_of(picture), 'output': rgb_of(prediction), 'truth': rgb_of(target)})


def panel(parts):
    """Return pictures side by side with their titles: dict from title to (H, W, 3) uint8 array, all of one size."""
    return beside(*(titled(enlarged(part), title) for title, part in parts.items()))


def beside(first, *others):
    """Return (H, W, 3) uint8 arrays of one height side by side, with thin gaps."""
    gap = np.full((len(first), GAP, 3), PAPER, dtype=np.uint8)
    return np.concatenate([first, *(part for other in others for part in (gap, other))], axis=1)


def with_legend(picture, colours, class_names=None, classes=None):
    """Return a picture with the classes' colours and names below it.

    Args:
        picture: (H, W, 3) uint8 array.
        colours: (K, 3) uint8 array.
        class_names: list of K str, or None: the classes' numbers are written.
        classes: those that occur in it (iterable of int), or None. Of up to 24 classes all are shown, so that the
            legends of a data set look alike; of more those that occur.

    Returns:
        (H', W, 3) uint8 array, W being at least 112; names that are too long for it are cut.
    """
    shown = range(len(colours)) if classes is None or len(colours) <= MAX_FULL_LEGEND else sorted(set(classes))
    entries = [(class_label(k, class_names), colours[k]) for k in shown if 0 <= k < len(colours)]
    entries.append(('ignored', ignored_colour(colours)))
    width = max(picture.shape[1], MIN_SHORT_SIDE)
    size = min(max(13, width // 60), 18)
    swatch = size + size // 3  # a square of the font's size, and what keeps the name off it
    longest = max(length(name, size) for name, _ in entries) + swatch + size
    cell = min(longest, width, max(200, width // 2))  # one long name is not to part all others
    columns = max(1, width // cell)
    height = line_height(size) + GAP
    canvas = Image.new('RGB', (width, picture.shape[0] + 2 * GAP + -(-len(entries) // columns) * height), PAPER)
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for place, (name, colour) in enumerate(entries):
        left, top = place % columns * cell, picture.shape[0] + 2 * GAP + place // columns * height
        square = (left, top + size // 4, left + size - 1, top + size // 4 + size - 1)
        draw.rectangle(square, fill=tuple(map(int, colour)), outline=INK)
        write(draw, (left + swatch, top), shortened(name, size, cell - swatch - GAP), size, INK)
    return np.asarray(canvas)


def grid(pictures, columns, most=MAX_SHEET_PIXELS):
    """Return pictures in rows, each in the upper left corner of a cell as large as the largest one.

    Args:
        pictures: (H, W, 3) uint8 arrays; their sizes may differ.
        columns: how many stand side by side, at least 1; fewer if there are fewer.
        most: how many pixels it may have; one that had more is made smaller.

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
    with naming(path), open_regular(path, 'wb') as file:
        Image.fromarray(array).save(file, format='PNG')


def _array(tensor):
    """Return a tensor, or what numpy understands, as an array on the CPU."""
    return tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


def drawable(pictures):
    """Return pictures (B, C, H, W) with 1 or 3 channels: of other numbers of channels the first three, or the first."""
    channels = pictures.shape[1]
    return pictures if channels in (1, 3) else pictures[:, : 3 if channels > 3 else 1]


def rgb_of(picture):
    """Return a picture (C, H, W) uint8, tensor or array, as an (H, W, 3) array, grey as RGB.

    Raises:
        ValueError: C is neither 1 nor 3, or the dtype is another.
    """
    picture = _array(picture)
    if picture.ndim != 3 or picture.shape[0] not in {1, 3} or picture.dtype != np.uint8:
        raise ValueError(f'expected a uint8 picture (1 or 3, H, W), got {picture.dtype} {picture.shape}')
    return np.ascontiguousarray(np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0))
