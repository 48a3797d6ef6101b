"""A sheet of training samples as the network gets them, for scripts/look.py."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from utils import viz
from utils.base.text_table import number_text
from utils.drawing.colours import PAPER, colours_for
from utils.drawing.fonts import class_label, families_of, line_height, wrapped, write
from utils.drawing.matplotlib_import import import_matplotlib
from utils.tasks.tasks import target_names, task_of

MAX_GRID_PIXELS = 2**22
MARGIN = 12  # pixels between samples
MOST_FEATURES = 40


def draw_sheet(args, seen, targets, plain, heading):
    """Return training samples as one image.

    Args:
        args: options.
        seen: float32 (N, C, H, W), as the network gets them.
        targets: as the network gets them (utils.tasks.tasks), or class probabilities, float32 (N, K), of mixed samples.
        plain: float32 (N, C, H, W), the samples without augmentation, or None if they are equal.
        heading: lines (list of str) above the samples.

    Returns:
        (H', W', 3) uint8 array: a cell per sample, with `plain` on its left.
    """
    kind, pixels = task_of(args).target, seen.shape[0] * seen.shape[-2] * seen.shape[-1]
    parts = 1 + (plain is not None) + (kind in ('mask', 'picture'))
    factor = max(1.0, (pixels * parts / (0.8 * MAX_GRID_PIXELS)) ** 0.5)  # reduced before text is written on them
    if factor > 1:
        seen, plain = viz.reduced(seen, factor), None if plain is None else viz.reduced(plain, factor)
        targets = viz.reduced(targets, factor) if kind in ('mask', 'picture') else targets
    pictures = [None if part is None else viz.denormalise(part, args.mean, args.std) for part in (plain, seen)]
    befores = [None] * len(seen) if plain is None else pictures[0]
    cell = {'mask': _mask_cell, 'picture': _picture_cell}.get(kind, _text_cell)
    cells = [cell(args, *sample) for sample in zip(befores, pictures[1], targets, strict=True)]
    sheet = viz.grid([_with_margin(part) for part in cells], _columns(cells), MAX_GRID_PIXELS)
    if kind == 'mask':
        classes = targets.unique().tolist()
        sheet = viz.with_legend(sheet, colours_for(args), args.class_names, classes)
    return with_heading(sheet, heading)


def _columns(cells):
    """Return the number of columns (int) for a sheet of about 3:2 with few empty cells."""
    width, height = (max(cell.shape[side] for cell in cells) for side in (1, 0))
    wanted = (1.5 * len(cells) * height / width) ** 0.5
    near = range(max(1, round(0.75 * wanted)), min(len(cells), max(1, round(1.33 * wanted))) + 1)
    return min(near, key=lambda columns: (-len(cells) % columns, abs(columns - wanted)))


def _mask_cell(args, before, picture, mask):
    """Return a sample with its mask as an overlay."""
    over = viz.overlay(picture, mask, colours_for(args), args.ignore_index)
    parts = {'original': before, 'seen': picture}
    parts = {title: viz.rgb_of(part) for title, part in parts.items() if part is not None}
    return viz.panel(parts | {'seen, with its mask': over})


def _picture_cell(args, before, picture, target):
    """Return a sample with its target image."""
    target = viz.denormalise(target[None], [0.0], [1.0])[0]
    parts = {'original': before, 'seen': picture, 'its target': target}
    return viz.panel({title: viz.rgb_of(part) for title, part in parts.items() if part is not None})


def _text_cell(args, before, picture, target):
    """Return a sample with its target as text below it."""
    parts = [viz.enlarged(viz.rgb_of(part)) for part in (before, picture) if part is not None]
    return viz.captioned(viz.beside(*parts), [(target_text(args, target), viz.INK)])


def target_text(args, target):
    """Return a sample's target as text (str).

    Args:
        target: of one sample, as in utils.tasks.tasks: a class, classes (K,), numbers (T,); or probabilities (K,).
    """
    kind, names = task_of(args).target, args.class_names
    if kind == 'labels':
        return viz.label_text(target.nonzero().flatten().tolist(), names)
    if kind == 'numbers':
        called = target_names(args) if len(target) > 1 else None
        values = [number_text(number, trimmed=True) for number in target.tolist()]
        return ', '.join(values if called is None else map(' '.join, zip(called, values, strict=True)))
    if target.dim() == 0:
        return class_label(int(target), names)
    shares = sorted(((share, k) for k, share in enumerate(target.tolist()) if share > 0), reverse=True)
    return ', '.join(f'{class_label(k, names)} {share:.0%}' for share, k in shares)


def _with_margin(picture):
    return np.pad(picture, ((0, MARGIN), (0, MARGIN), (0, 0)), constant_values=PAPER[0])


def with_heading(picture, lines):
    """Return an image, (H, W, 3) uint8 array, with lines of text (list of str) above it."""
    size = min(max(14, picture.shape[1] // 70), 18)
    width = max(picture.shape[1], 30 * size)
    lines = [part for line in lines for part in wrapped(line, size, width, 4)]
    top = len(lines) * line_height(size) + MARGIN
    canvas = Image.new('RGB', (width + 2 * MARGIN, picture.shape[0] + top + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(lines):
        write(draw, (MARGIN, MARGIN + row * line_height(size)), line, size, viz.INK)
    canvas.paste(Image.fromarray(picture), (MARGIN, MARGIN + top))
    return np.asarray(canvas)


def draw_features(args, features, targets, names, heading):
    """Return the features of samples as one image: a column per feature, a dot per sample.

    Args:
        args: options.
        features: float32 (N, F), as the network gets them; the first 40 features are shown.
        targets: labels, int64 (N,), or numbers, float32 (N, T): the labels or the first numbers colour the dots.
        names: of the features (list of str), or None: they are numbered from 1.
        heading: lines (list of str) above the features.

    Returns:
        (H, W, 3) uint8 array.
    """
    # As in utils.drawing.curves: imported on use, as this takes a second, and without pyplot.
    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    values = features[:, :MOST_FEATURES]
    names = (names or [f'{number}' for number in range(1, features.shape[1] + 1)])[: values.shape[1]]
    figure = Figure(figsize=(max(6.0, 1.5 + 0.4 * len(names)), 5.5), dpi=100, layout='constrained')
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    # Spread over the width of a feature's column, as equal values would hide each other.
    places = torch.linspace(-0.3, 0.3, len(values))[:, None] + torch.arange(values.shape[1])
    if targets.dim() == 1:
        colours, labels = colours_for(args) / 255, [class_label(k, args.class_names) for k in range(args.num_classes)]
        for k in targets.unique().tolist():
            chosen = targets == k
            axes.plot(places[chosen].flatten(), values[chosen].flatten(), '.', color=colours[k], label=labels[k], ms=4)
        family = families_of([*names, *labels])
        if args.num_classes <= viz.MAX_FULL_LEGEND:
            axes.legend(loc='upper left', bbox_to_anchor=(1, 1), prop={'family': family})
    else:
        called = (target_names(args) or ['target'])[0]
        shades = targets[:, :1].expand_as(values).flatten()
        dots = axes.scatter(places.flatten(), values.flatten(), c=shades, s=6, cmap='cividis')
        family = families_of([*names, called])
        figure.colorbar(dots).set_label(called, family=family)
    axes.axhline(0, color='grey', lw=0.8)
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 6 else 0, family=family)
    axes.set_ylabel('as the network sees it: 0 the mean, 1 a standard deviation')
    axes.grid(alpha=0.3)
    canvas.draw()
    return with_heading(np.asarray(canvas.buffer_rgba())[..., :3].copy(), heading)
