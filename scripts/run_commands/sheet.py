"""Draw the samples on which two tests disagree as one image. Imports torch."""

import numpy as np
import torch
from PIL import Image

from data.data_entry import select_eval_loader
from options import parse_test_args
from programs.predictor import Predictor
from utils import viz
from utils.base.errors import DanluError
from utils.base.language import translate
from utils.base.record_schema import recorded_args
from utils.base.text_table import number_text
from utils.drawing.colours import colours_for
from utils.drawing.fonts import class_label
from utils.runs.checkpoint import load_checkpoint
from utils.runs.run import as_number
from utils.tasks.tasks import has_pictures, task_of

PANEL_WIDTH = 320  # pixels; of each of the four images of a sample, and the maximum width of single images
MIN_WIDTH = 150  # pixels; leaves space for the caption
SHEET_WIDTH = 1330  # pixels, approximately
TITLE_SIZE, CAPTION_SIZE = 18, 13  # font sizes in pixels
MAX_PIXELS = 2**23
MARGIN = 12  # pixels
MAX_NAME_LENGTH = 18  # characters


class TestOutputs:
    """The samples of a Test's test set, with the outputs of its network."""

    __test__ = False  # not a pytest class

    def __init__(self, test):
        path = test.head.get('checkpoint', '')
        checkpoint = load_checkpoint(path)
        words = [f'@{test.directory / "args.txt"}', '--device', 'auto', '--num_workers', '0']
        self.args = parse_test_args(words, recorded_args(checkpoint))
        if not has_pictures(self.args):
            raise DanluError(f'--sheet: {translate("the samples are feature vectors, not images")}')
        self.loader = select_eval_loader(self.args)
        hash_now = getattr(self.loader.samples, 'content_hash', lambda: None)()
        if hash_now != test.head.get('data_sha256', hash_now):
            raise DanluError(
                '--sheet: '
                + translate(
                    'the test set of {directory} has changed since the test: test again', directory=test.directory
                )
            )
        self.task, self.predictor = task_of(self.args), None
        if self.task.by_pixel:  # predictions.csv has no masks and images
            self.predictor = Predictor(self.args, checkpoint)

    def samples(self, indices):
        """Yield (index, image, prediction, target) of samples, in the order of the test set.

        The image is the network's input, uint8 (C, H, W). Prediction and target are masks (H, W) or images in tasks
        with these, else None and a tensor.
        """
        for index, image, target in self._read(sorted(set(indices))):
            if self.predictor is None:
                yield index, image, None, target
                continue
            with torch.inference_mode():
                _, predictions, targets = self.predictor.step((image[None], target[None]))
            if self.task.target == 'mask':
                yield index, image, predictions[0].max(0).indices, targets[0]
            else:
                yield index, image, *(viz.denormalise(images, [0.0], [1.0])[0] for images in (predictions, targets))

    def _read(self, indices):
        batches = self.loader.dataset
        if not hasattr(batches.dataset, 'order'):
            for index in indices:
                images, targets, *_ = batches.__getitems__((1, np.array([index])))
                yield index, images[0], targets[0]
            return
        wanted, first = set(indices), 0  # a stream has to be read from the start
        for images, targets, *_ in self.loader:
            for index in sorted(wanted.intersection(range(first, first + len(images)))):
                yield index, images[index - first], targets[index - first]
            first += len(images)
            if first > indices[-1]:
                return


def draw_sheet(path, a, b, groups, cells):
    """Write a PNG file of samples with their names, true classes, and both predictions.

    Args:
        path: path of the file.
        a, b: scripts.run_commands.pairing.Test.
        groups: list of (direction of change, number of samples, indices of the samples to draw).
        cells: dict from each index to its cells in predictions.csv, (of a, of b).

    Raises:
        DanluError: the data or the checkpoints are missing, or the samples are not images.
    """
    indices = [index for _, _, drawn_indices in groups for index in drawn_indices]
    outputs = TestOutputs(a)
    if outputs.task.by_pixel:
        others = {index: rest for index, *rest in TestOutputs(b).samples(indices)}
        drawn = {i: _side_by_side(outputs, cells[i], rest, others[i]) for i, *rest in outputs.samples(indices)}
    else:
        drawn = {i: _with_caption(outputs, cells[i], image) for i, image, _, _ in outputs.samples(indices)}
    blocks = [_title(f'A: {a.name}    B: {b.name}', TITLE_SIZE)]
    if outputs.task.by_pixel:
        blocks.append(_title('from left to right: input, truth, A, B', CAPTION_SIZE))
    for direction, count, drawn_indices in groups:
        subset = f', {len(drawn_indices)} shown' if len(drawn_indices) < count else ''
        blocks.append(_title(f'{direction}: {count}{subset}', TITLE_SIZE))
        columns = max(1, SHEET_WIDTH // (drawn[drawn_indices[0]].shape[1] + viz.GAP))
        blocks.append(viz.grid([drawn[index] for index in drawn_indices], columns, MAX_PIXELS))
    if outputs.task.target == 'mask':
        blocks.append(_legend(outputs.args))
    width = max(block.shape[1] for block in blocks)
    sheet = np.concatenate([_padded(block, bottom=MARGIN, width=width) for block in blocks])
    viz.save_picture(path, np.pad(sheet, ((MARGIN, 0), (MARGIN, MARGIN), (0, 0)), constant_values=255))


def _padded(image, bottom=0, width=0):
    """Return an image (H, W, 3) with white pixels below, and on the right up to `width`."""
    return np.pad(image, ((0, bottom), (0, max(0, width - image.shape[1])), (0, 0)), constant_values=255)


def _with_caption(outputs, cells, image):
    """Return an image with name, true class and both predictions, (H, W, 3) uint8 array."""
    known = 'prediction' in cells[0]
    predictions = [_column_text(outputs, each, 'prediction') for each in cells]
    colours = [_colour(each) for each in cells] if known and 'correct' in cells[0] else [viz.INK] * 2
    lines = [
        (_short_name(cells[0]), viz.INK),
        (f'truth: {_column_text(outputs, cells[0], "target")}', viz.INK),
        *((f'{side}: {text}', colour) for side, text, colour in zip('AB', predictions, colours, strict=True)),
    ]
    rgb = viz.enlarged(viz.rgb_of(image))
    rgb = _resized(rgb, rgb.shape, False) if rgb.shape[1] > PANEL_WIDTH else rgb
    return viz.captioned(_padded(rgb, width=MIN_WIDTH), lines, CAPTION_SIZE)


def _side_by_side(outputs, cells, of_a, of_b):
    """Return input, target and both predictions side by side, with name and quality, (H, W, 3) uint8 array."""
    image, prediction, truth = of_a
    others = [truth, prediction, of_b[1]]
    if outputs.task.target == 'mask':
        images = [viz.rgb_of(image), *(viz.colour_mask(mask, colours_for(outputs.args)) for mask in others)]
    else:
        images = [viz.rgb_of(each) for each in (image, *others)]
    images = [_resized(each, images[0].shape, outputs.task.target == 'mask') for each in images]
    column = 'miou' if outputs.task.target == 'mask' else 'psnr'
    values = ', '.join(
        f'{side} {number_text(float(each[column] or "nan"))}' for side, each in zip('AB', cells, strict=True)
    )
    caption = f'{_short_name(cells[0])}    {column}: {values}'
    row = viz.captioned(viz.beside(*images), [(caption, viz.INK)], CAPTION_SIZE)
    return _padded(row, width=row.shape[1] + MARGIN)


def _resized(image, shape, mask):
    """Return an image (H, W, 3) in the size of `shape`, scaled to about PANEL_WIDTH."""
    height, width = shape[:2]
    factor = PANEL_WIDTH / width if width > PANEL_WIDTH else max(1, PANEL_WIDTH // 2 // width)
    size = round(width * factor), round(height * factor)
    return np.asarray(Image.fromarray(image).resize(size, Image.NEAREST if mask or factor >= 1 else Image.BOX))


def _short_name(cells):
    """Return a sample's name (str), without its beginning if it is long."""
    name = cells['name']
    return name if len(name) <= MAX_NAME_LENGTH else f'...{name[-MAX_NAME_LENGTH:]}'


def _column_text(outputs, cells, column):
    """Return the classes or numbers in the column 'target' or 'prediction' (str), predictions with confidence."""
    if outputs.task.target == 'numbers':
        columns = [name for name in cells if name == column or name.startswith(f'{column}/')]
        return '  '.join(number_text(float(cells[name])) for name in columns)
    known = outputs.args.class_names or []
    names = cells[column].split('|') if outputs.task.target == 'labels' else [cells[column]]
    shown = [class_label(known.index(name), known) if name in known else name for name in names]
    confidence = as_number(cells.get('confidence')) if column == 'prediction' else None
    return (', '.join(shown) or 'none') + ('' if confidence is None else f' ({confidence:.0%})')


def _colour(cells):
    return viz.RIGHT if cells['correct'] == '1' else viz.WRONG


def _title(text, size):
    """Return a line of text as an (H, SHEET_WIDTH, 3) uint8 array."""
    return viz.captioned(np.full((viz.GAP, SHEET_WIDTH, 3), 255, np.uint8), [(text, viz.INK)], size)


def _legend(args):
    """Return the classes with their colours, (H, W, 3) uint8 array."""
    return viz.with_legend(np.full((viz.GAP, SHEET_WIDTH, 3), 255, np.uint8), colours_for(args), args.class_names)
