"""Images of inputs, predictions and targets, drawn with Pillow only: the import costs nothing beyond torch.

Inputs are uint8 tensors or arrays (C, H, W) with C = 1 or 3; results are uint8 arrays (H, W, 3), RGB.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from utils.base.regular_files import naming, open_regular
from utils.base.text_table import number_text
from utils.drawing.colours import PAPER, ignored_colour
from utils.drawing.fonts import class_label, length, line_height, shortened, wrapped, write

INK = (0, 0, 0)
RIGHT = (0, 120, 50)
WRONG = (190, 0, 20)
GAP = 4  # pixels between images
MIN_SHORT_SIDE = 112  # pixels to which the shorter side of a labelled image is enlarged
MAX_LONG_SIDE = 1024  # pixels of its longer side
MAX_SHEET_PIXELS = 2**20  # a long run writes hundreds of sheets
MAX_CAPTION_LINES = 2
NAME_SIZE = 13  # font size in pixels of the names of samples
MAX_FULL_LEGEND = 24  # a legend has all classes if there are at most this many


def denormalise(images, mean, std):
    """Return images that were normalised by (x / 255 - mean) / std as pixels.

    Args:
        images: (N, C, H, W), floating point, on any device.
        mean, std: C numbers each, or one for all channels, for pixels from 0 to 1.

    Returns:
        (N, C, H, W) uint8 tensor on the CPU, rounded and clamped to 0..255.

    Raises:
        ValueError: mean or std has neither C values nor one.
    """
    mean, std = (torch.as_tensor(v, dtype=torch.float32, device=images.device).flatten() for v in (mean, std))
    if not {len(mean), len(std)} <= {1, images.shape[1]}:
        raise ValueError(f'{images.shape[1]} channels, but {len(mean)} means and {len(std)} deviations')
    pixels = images.detach().float() * std.view(-1, 1, 1) + mean.view(-1, 1, 1)
    return pixels.mul_(255).round_().clamp_(0, 255).to(torch.uint8).cpu()


def reduced(batch, factor):
    """Return images, or other values per pixel, reduced in size by a factor.

    Args:
        batch: (B, C, H, W) floating point, averaged over areas; or integers (B, H, W), by nearest neighbour.
        factor: at least 1.
    """
    size = [max(1, round(side / factor)) for side in batch.shape[-2:]]
    if batch.is_floating_point():
        return F.interpolate(batch.float(), size=size, mode='area')
    return F.interpolate(batch[:, None].float(), size=size, mode='nearest-exact')[:, 0].to(batch.dtype)


def colour_mask(mask, colours, ignore_index=None):
    """Return a mask as an image.

    Args:
        mask: (H, W) integers, tensor or array.
        colours: (K, 3) uint8 array (see utils.drawing.colours). Values outside 0..K-1 get `ignored_colour`.
        ignore_index: int, which also gets `ignored_colour`, or None.

    Returns:
        (H, W, 3) uint8 array.
    """
    mask, classes = _array(mask).astype(np.int64), len(colours)
    table = np.vstack([colours, [ignored_colour(colours)]]).astype(np.uint8)
    counts = (mask >= 0) & (mask < classes) & (mask != (-1 if ignore_index is None else ignore_index))
    return table[np.where(counts, mask, classes)]


def overlay(picture, mask, colours, ignore_index=None, alpha=0.5):
    """Return an image with its mask as an overlay; ignored pixels show the image.

    Args:
        picture: (C, H, W) uint8.
        mask, colours, ignore_index: as for `colour_mask`.
        alpha: opacity of the mask, 0..1.

    Returns:
        (H, W, 3) uint8 array.

    Raises:
        ValueError: alpha is out of range, or the sizes differ.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f'alpha must lie between 0 and 1, not {alpha}')
    rgb, painted = rgb_of(picture), colour_mask(mask, colours, ignore_index)
    if rgb.shape != painted.shape:
        raise ValueError(f'an image of {rgb.shape} and a mask of {painted.shape} differ in size')
    mixed = np.rint((1 - alpha) * rgb + alpha * painted.astype(np.float32)).astype(np.uint8)
    return np.where((painted == ignored_colour(colours)).all(-1, keepdims=True), rgb, mixed)


def labelled_picture(picture, prediction, target, class_names=None):
    """Return an image with predicted and true labels below it, green if they are equal, else red.

    Args:
        picture: (C, H, W) uint8, enlarged by an integer factor until its shorter side has 112 pixels or more.
        prediction, target: class indices, int; or lists of int for several labels.
        class_names: list of str, or None for indices.

    Returns:
        (H', W', 3) uint8 array, W' at least 112.
    """
    sets = [label if isinstance(label, list) else [int(label)] for label in (prediction, target)]
    pred, true = (label_text(labels, class_names) for labels in sets)
    return _with_both(picture, pred, true, RIGHT if sets[0] == sets[1] else WRONG)


def numbered_picture(picture, prediction, target):
    """Return an image with predicted and true numbers below it.

    Args:
        picture: as for `labelled_picture`.
        prediction, target: lists of float.

    Returns:
        (H', W', 3) uint8 array, W' at least 112.
    """
    return _with_both(picture, numbers_text(prediction), numbers_text(target), INK)


def label_text(labels, class_names=None):
    """Return the names of labels (list of int) as text (str)."""
    return ', '.join(class_label(index, class_names) for index in labels) or 'none'


def numbers_text(numbers):
    """Return numbers (list of float) as text (str)."""
    return ', '.join(number_text(number, trimmed=True) for number in numbers)


def _with_both(picture, prediction, target, colour):
    """Return an enlarged image with two texts (str) below it, (H', W', 3) uint8 array."""
    rgb = enlarged(rgb_of(picture))
    return captioned(rgb, [(f'pred: {prediction}', colour), (f'true: {target}', colour)])


def captioned(rgb, lines, size=None):
    """Return an image with lines of text below it.

    Args:
        rgb: (H, W, 3) uint8 array.
        lines: list of (str, colour); each may be broken into two lines, and is cut if it is longer.
        size: font size in pixels; None: by the size of the image.

    Returns:
        (H', W', 3) uint8 array, W' at least 112.
    """
    width = max(rgb.shape[1], MIN_SHORT_SIDE)
    size = size or max(13, min(width // 20, rgb.shape[0]))
    room = width - 2 * GAP
    broken = [(part, colour) for text, colour in lines for part in wrapped(text, size, room, MAX_CAPTION_LINES)]
    canvas = Image.new('RGB', (width, rgb.shape[0] + len(broken) * line_height(size) + GAP), PAPER)
    canvas.paste(Image.fromarray(rgb), ((width - rgb.shape[1]) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for row, (text, colour) in enumerate(broken):
        write(draw, (GAP, rgb.shape[0] + GAP // 2 + row * line_height(size)), text, size, colour)
    return np.asarray(canvas)


def named(rgb, name):
    """Return an image, (H, W, 3) uint8 array, with the name of its sample below it.

    Args:
        name: str; directories at its beginning are left out if it is longer than two lines.
    """
    width = max(rgb.shape[1], MIN_SHORT_SIDE) - 2 * GAP
    while '/' in name and length(name, NAME_SIZE) > (MAX_CAPTION_LINES - 0.5) * width:  # lines may break early
        name = name.partition('/')[2]
    return captioned(rgb, [(name, INK)], NAME_SIZE)


def titled(rgb, title):
    """Return an image, (H, W, 3) uint8 array, with a title (str) above it, as wide as the wider of both."""
    size = max(13, min(rgb.shape[1] // 24, rgb.shape[0]))
    width = max(rgb.shape[1], length(title, size))
    canvas = Image.new('RGB', (width, rgb.shape[0] + line_height(size) + GAP // 2), PAPER)
    write(ImageDraw.Draw(canvas), (0, 0), title, size, INK)
    canvas.paste(Image.fromarray(rgb), (0, line_height(size) + GAP // 2))
    return np.asarray(canvas)


def enlarged(rgb):
    """Return an (H, W, 3) array enlarged by an integer factor until its shorter side has 112 pixels."""
    height, width = rgb.shape[:2]
    factor = max(1, min(-(-MIN_SHORT_SIDE // min(height, width)), MAX_LONG_SIDE // max(height, width)))
    return rgb.repeat(factor, axis=0).repeat(factor, axis=1)


def segmentation_panel(picture, prediction_mask, target_mask, colours, ignore_index=None):
    """Return input, prediction and target mask side by side, with titles, enlarged if they are small.

    Args:
        picture: (C, H, W) uint8.
        prediction_mask, target_mask: (H, W) integers, tensors or arrays.
        colours, ignore_index: as for `colour_mask`; predictions of the ignored class keep their colour.

    Returns:
        (H', W', 3) uint8 array; `with_legend` adds the names of the colours.
    """
    said, truth = colour_mask(prediction_mask, colours), colour_mask(target_mask, colours, ignore_index)
    return panel({'input': rgb_of(picture), 'prediction': said, 'truth': truth})


def restoration_panel(picture, prediction, target):
    """Return input, output and target side by side, with titles, enlarged if they are small.

    Args:
        picture, prediction, target: (C, H, W) uint8.

    Returns:
        (H', W', 3) uint8 array.
    """
    return panel({'input': rgb_of(picture), 'output': rgb_of(prediction), 'truth': rgb_of(target)})


def panel(parts):
    """Return images of one size side by side with titles, from a dict of title to (H, W, 3) uint8 array."""
    return beside(*(titled(enlarged(part), title) for title, part in parts.items()))


def beside(first, *others):
    """Return (H, W, 3) uint8 arrays of one height side by side, with gaps."""
    gap = np.full((len(first), GAP, 3), PAPER, dtype=np.uint8)
    return np.concatenate([first, *(part for other in others for part in (gap, other))], axis=1)


def with_legend(picture, colours, class_names=None, classes=None):
    """Return an image with the colours and names of the classes below it.

    Args:
        picture: (H, W, 3) uint8 array.
        colours: (K, 3) uint8 array.
        class_names: list of K str, or None for indices.
        classes: the classes in the image (iterable of int), or None for all. Up to 24 classes are always shown, so that
            the legends of a data set are equal; of more classes those in the image.

    Returns:
        (H', W, 3) uint8 array, W at least 112; long names are cut.
    """
    shown = range(len(colours)) if classes is None or len(colours) <= MAX_FULL_LEGEND else sorted(set(classes))
    entries = [(class_label(k, class_names), colours[k]) for k in shown if 0 <= k < len(colours)]
    entries.append(('ignored', ignored_colour(colours)))
    width = max(picture.shape[1], MIN_SHORT_SIDE)
    size = min(max(13, width // 60), 18)
    swatch = size + size // 3  # a square of the font size and a gap
    longest = max(length(name, size) for name, _ in entries) + swatch + size
    cell = min(longest, width, max(200, width // 2))  # one long name does not widen all cells
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
    """Return images in rows, each in the upper left corner of a cell of the size of the largest image.

    Args:
        pictures: (H, W, 3) uint8 arrays; their sizes may differ.
        columns: images per row, at least 1.
        most: maximum number of pixels; a larger grid is reduced.

    Returns:
        one (H', W', 3) uint8 array.

    Raises:
        ValueError: there are no images, or columns is below 1.
    """
    pictures = list(pictures)
    if not pictures or columns < 1:
        raise ValueError(f'a grid needs images and columns, not {len(pictures)} and {columns}')
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
    """Write an (H, W, 3) uint8 array as PNG, whatever the file's extension; missing directories are created."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with naming(path), open_regular(path, 'wb') as file:
        Image.fromarray(array).save(file, format='PNG')


def _array(tensor):
    """Return a tensor or array-like as an array on the CPU."""
    return tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


def input_pixels(images, args):
    """Return a network's inputs, (B, C, H, W), as `denormalise` does, by the mean and standard deviation in `args`."""
    return denormalise(images, args.mean or [0.0], args.std or [1.0])


def drawable(pictures):
    """Return images (B, C, H, W) with 1 or 3 channels: the first three channels, or the first of two."""
    channels = pictures.shape[1]
    return pictures if channels in (1, 3) else pictures[:, : 3 if channels > 3 else 1]


def rgb_of(picture):
    """Return an image (C, H, W) uint8, tensor or array, as an (H, W, 3) array, grey as RGB.

    Raises:
        ValueError: C is neither 1 nor 3, or the dtype is not uint8.
    """
    picture = _array(picture)
    if picture.ndim != 3 or picture.shape[0] not in {1, 3} or picture.dtype != np.uint8:
        raise ValueError(f'expected a uint8 image (1 or 3, H, W), got {picture.dtype} {picture.shape}')
    return np.ascontiguousarray(np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0))
