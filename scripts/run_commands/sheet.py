"""A sheet of pictures of the samples that two tests judge differently. Importing it takes seconds: it imports torch."""

import numpy as np
import torch
from PIL import Image

from data.data_entry import select_eval_loader
from eval import Predictor
from options import parse_test_args
from utils import viz
from utils.base.errors import DanluError
from utils.base.record_schema import recorded_args
from utils.base.text_table import number_text
from utils.drawing.colours import colours_for
from utils.drawing.fonts import class_label
from utils.runs.checkpoint import load_checkpoint
from utils.tasks.tasks import has_pictures, task_of

PANEL = 320  # pixels, the width of each part of a picture that stands in four parts, and the most of others
SMALL = 150  # the least width of a picture with its caption, so that names and classes can be read
WIDTH = 1330  # of the sheet, about
TITLE, LETTERS = 18, 13  # heights of letters
MOST = 2**23  # pixels of a sheet
MARGIN = 12
NAME = 18  # letters of a name that fit below a small picture


class Net:
    """The samples of a Test's test set, and what its network makes of them."""

    def __init__(self, test):
        path = test.head.get('checkpoint', '')
        checkpoint = load_checkpoint(path)
        words = [f'@{test.directory / "args.txt"}', '--device', 'auto', '--num_workers', '0']
        self.args = parse_test_args(words, recorded_args(checkpoint))
        if not has_pictures(self.args):
            raise DanluError('--sheet: the samples are vectors of features, of which there are no pictures')
        self.loader = select_eval_loader(self.args)
        hash_now = getattr(self.loader.dataset.dataset, 'content_hash', lambda: None)()
        if hash_now != test.head.get('data_sha256', hash_now):
            raise DanluError(f'--sheet: the test set of {test.directory} is no longer what it was: test it anew')
        self.task, self.predictor = task_of(self.args), None
        if self.task.by_pixel:  # whose predictions are in no table
            self.predictor = Predictor(self.args, checkpoint)

    def samples(self, indices):
        """Yield (index, picture, prediction, target) of the samples asked for, in the order of the test set.

        The picture is uint8 (C, H, W), as the network is given it; prediction and target are a mask (H, W) or a picture
        where the task has these, else None and a tensor.
        """
        for index, picture, target in self._read(sorted(set(indices))):
            if self.predictor is None:
                yield index, picture, None, target
                continue
            with torch.inference_mode():
                _, predictions, targets = self.predictor.step((picture[None], target[None]))
            if self.task.target == 'mask':
                yield index, picture, predictions[0].max(0).indices, targets[0]
            else:
                yield index, picture, *(viz.denormalise(part, [0.0], [1.0])[0] for part in (predictions, targets))

    def _read(self, indices):
        batches = self.loader.dataset
        if not hasattr(batches.dataset, 'order'):
            for index in indices:
                images, targets, *_ = batches.__getitems__((1, np.array([index])))
                yield index, images[0], targets[0]
            return
        wanted, first = set(indices), 0  # a stream is read from its beginning
        for images, targets, *_ in self.loader:
            for index in sorted(wanted.intersection(range(first, first + len(images)))):
                yield index, images[index - first], targets[index - first]
            first += len(images)
            if first > indices[-1]:
                return


def draw_sheet(path, a, b, chosen, cells):
    """Draw samples as a PNG file: with their names, what is true, and what both tests said.

    Args:
        path: where to.
        a, b: scripts.run_commands.pairing.Test.
        chosen: list of (which way they changed, how many did, indices of those to draw).
        cells: dict from each index to its cells in predictions.csv, (of a, of b).

    Raises:
        DanluError: the data or the checkpoints are gone, or the samples are no pictures.
    """
    indices = [index for _, _, some in chosen for index in some]
    net = Net(a)
    if net.task.by_pixel:
        others = {index: rest for index, *rest in Net(b).samples(indices)}
        drawn = {i: _in_parts(net, cells[i], rest, others[i]) for i, *rest in net.samples(indices)}
    else:
        drawn = {i: _with_caption(net, cells[i], picture) for i, picture, _, _ in net.samples(indices)}
    parts = [_title(f'A: {a.name}    B: {b.name}', TITLE)]
    if net.task.by_pixel:
        parts.append(_title('from left to right: input, truth, A, B', LETTERS))
    for way, there, some in chosen:
        few = f', {len(some)} of them here' if len(some) < there else ''
        parts.append(_title(f'{way}: {there}{few}', TITLE))
        columns = max(1, WIDTH // (drawn[some[0]].shape[1] + viz.GAP))
        parts.append(viz.grid([drawn[index] for index in some], columns, MOST))
    if net.task.target == 'mask':
        parts.append(_legend(net.args))
    width = max(part.shape[1] for part in parts)
    sheet = np.concatenate([_padded(part, bottom=MARGIN, width=width) for part in parts])
    viz.save_picture(path, np.pad(sheet, ((MARGIN, 0), (MARGIN, MARGIN), (0, 0)), constant_values=255))


def _padded(part, bottom=0, width=0):
    """Return a picture (H, W, 3) with white below it, and on its right up to a width."""
    return np.pad(part, ((0, bottom), (0, max(0, width - part.shape[1])), (0, 0)), constant_values=255)


def _with_caption(net, cells, picture):
    """Return a picture with its name, what is true, and what both said, (H, W, 3) uint8 array."""
    named = 'prediction' in cells[0]
    said = [_said(net, of_one, 'prediction') for of_one in cells]
    colours = [_colour(of_one) for of_one in cells] if named and 'correct' in cells[0] else [viz.INK] * 2
    lines = [
        (_name(cells[0]), viz.INK),
        (f'truth: {_said(net, cells[0], "target")}', viz.INK),
        *((f'{side}: {text}', colour) for side, text, colour in zip('AB', said, colours, strict=True)),
    ]
    rgb = viz.enlarged(viz.rgb_of(picture))
    rgb = _resized(rgb, rgb.shape, False) if rgb.shape[1] > PANEL else rgb
    return viz.captioned(_padded(rgb, width=SMALL), lines, LETTERS)


def _in_parts(net, cells, of_a, of_b):
    """Return input, truth and both predictions side by side, with the name and how good they are, (H, W, 3)."""
    picture, first, truth = of_a
    masks = [truth, first, of_b[1]]
    if net.task.target == 'mask':
        parts = [viz.rgb_of(picture), *(viz.colour_mask(mask, colours_for(net.args)) for mask in masks)]
    else:
        parts = [viz.rgb_of(part) for part in (picture, *masks)]
    parts = [_resized(part, parts[0].shape, net.task.target == 'mask') for part in parts]
    column = 'miou' if net.task.target == 'mask' else 'psnr'
    values = ', '.join(
        f'{side} {number_text(float(of_one[column] or "nan"))}' for side, of_one in zip('AB', cells, strict=True)
    )
    row = viz.captioned(viz.beside(*parts), [(f'{_name(cells[0])}    {column}: {values}', viz.INK)], LETTERS)
    return _padded(row, width=row.shape[1] + MARGIN)


def _resized(part, shape, mask):
    """Return a part (H, W, 3) in the size of the first one, brought to about the width of a panel."""
    height, width = shape[:2]
    factor = PANEL / width if width > PANEL else max(1, PANEL // 2 // width)
    size = round(width * factor), round(height * factor)
    return np.asarray(Image.fromarray(part).resize(size, Image.NEAREST if mask or factor >= 1 else Image.BOX))


def _name(cells):
    """Return a sample's name, or its end where it is long (str)."""
    name = cells['name']
    return name if len(name) <= NAME else f'...{name[-NAME:]}'


def _said(net, cells, column):
    """Return what a sample is or was said to be (str): the classes of a cell, or the numbers of several."""
    if net.task.target == 'numbers':
        columns = [name for name in cells if name == column or name.startswith(f'{column}/')]
        return '  '.join(number_text(float(cells[name])) for name in columns)
    known = net.args.class_names or []
    names = cells[column].split('|') if net.task.target == 'labels' else [cells[column]]
    shown = [class_label(known.index(name), known) if name in known else name for name in names]
    sure = f' ({float(cells["confidence"]):.0%})' if column == 'prediction' and cells.get('confidence') else ''
    return (', '.join(shown) or 'none') + sure


def _colour(cells):
    return viz.RIGHT if cells['correct'] == '1' else viz.WRONG


def _title(text, size):
    """Return a line of text as an (H, WIDTH, 3) uint8 array."""
    return viz.captioned(np.full((viz.GAP, WIDTH, 3), 255, np.uint8), [(text, viz.INK)], size)


def _legend(args):
    """Return the classes with their colours, (H, W, 3) uint8 array."""
    return viz.with_legend(np.full((viz.GAP, WIDTH, 3), 255, np.uint8), colours_for(args), args.class_names)
