"""The pictures of a page: samples read again, put through the network again where that gives a picture, embedded.

A picture is an <svg> of its layers, so that what lies in several of them stands in the file once.
"""

import base64
import io

import numpy as np
import torch
from PIL import Image

from utils import viz
from utils.drawing.matplotlib_import import import_matplotlib
from utils.tasks.one_logit import as_classes
from utils.tasks.tasks import task_of
from utils.training.precision import first_line

LONGEST = 480  # pixels of a side; larger pictures are made smaller
SMALL = 128  # pixels of the longer side up to which a picture is kept as it is, lossless
QUALITY = 88  # of JPEG, for larger ones
TOP = 5  # classes whose probabilities are shown
WRONG, RIGHT, IGNORED = 1, 0, 2
ERROR_COLOUR = (230, 40, 20)


class Drawn:
    """A sample as the page shows it.

    Attributes:
        index: number of the sample.
        fault: why there is no picture (str), or None.
        size: (width, height) of the picture.
        panes: list of (title, layers); a layer is a dict: href, of (the id of another layer), style (a CSS class).
        scores: list of (class index, probability), the highest first, or [].
    """

    def __init__(self, index):
        self.index, self.fault, self.size, self.panes, self.scores = index, None, (1, 1), [], []


class Painter:
    """Draws samples of an Evaluator's test set.

    Args:
        engine: eval.Evaluator.
        colours: (K, 3) uint8 array, of the classes; None where there are none.
    """

    def __init__(self, engine, colours):
        self.engine, self.args, self.kind, self.colours = engine, engine.args, task_of(engine.args).target, colours
        self.error_scale = None  # of a restoration: what the error map's full colour stands for

    def draw(self, indices):
        """Return dict from index to Drawn, of each of the samples; what cannot be drawn has its `fault`."""
        found, raw = {}, []
        for index, sample in self._read(sorted(set(map(int, indices)))):
            drawn = found[index] = Drawn(index)
            try:
                if isinstance(sample, Exception):
                    raise sample
                raw.append((drawn, *self._outcome(drawn, *sample)))
            except Exception as error:  # whatever the data set or a network of the project's own raises: it is shown
                drawn.fault = first_line(error)
        if self.kind == 'picture' and raw:
            errors = [np.abs(output.astype(int) - truth).mean(-1) for _, _, output, truth in raw]
            self.error_scale = max(1.0, float(np.percentile(np.concatenate([e.ravel() for e in errors]), 99.5)))
        for drawn, *parts in raw:
            try:
                self._paint(drawn, *parts)
            except Exception as error:  # a picture of two channels, a mask of another size: it is shown
                drawn.fault = first_line(error)
        return found

    def _read(self, indices):
        """Yield (index, (picture (C, H, W), target)) of samples, or (index, the exception that reading it raised)."""
        batches = getattr(self.engine.loader, 'dataset', None)
        by_number = hasattr(getattr(self.engine.loader, 'batch_sampler', None), 'set_epoch')  # of data.samplers
        if by_number and not hasattr(batches.dataset, 'order'):
            for index in indices:
                try:
                    images, targets, *_ = batches.__getitems__((1, np.array([index])))
                    sample = images[0], targets[0]
                except Exception as error:  # of a data set of the project's own: any; it is shown with the sample
                    sample = error
                yield index, sample
            return
        wanted, first = set(indices), 0  # a stream is read from its beginning
        for images, targets, *_ in self.engine.loader:
            for index in sorted(wanted.intersection(range(first, first + len(images)))):
                yield index, (images[index - first], targets[index - first])
            first += len(images)
            if first > indices[-1]:
                return

    @torch.inference_mode()
    def _outcome(self, drawn, picture, target):
        """Return the picture (C, H, W) uint8 and, where the task has such, prediction and target as arrays (H, W, ...).

        Notes the probabilities of the classes.
        """
        images, *both = self.engine.step((picture[None], target[None]))
        predictions, targets = as_classes(self.engine.args, *both)
        pixels = picture.cpu() if picture.dtype == torch.uint8 else self._denormalised(images)[0]
        if self.kind in ('label', 'labels'):
            scores = predictions[0].double()
            scores = scores.softmax(0) if self.kind == 'label' else scores.sigmoid()
            values, classes = scores.cpu().topk(min(TOP, len(scores)))
            drawn.scores = list(zip(classes.tolist(), values.tolist(), strict=True))
        if self.kind == 'mask':
            return pixels, predictions[0].max(0).indices.cpu().numpy(), targets[0].cpu().numpy()
        if self.kind == 'picture':
            both = (viz.rgb_of(viz.denormalise(part, [0.0], [1.0])[0]) for part in (predictions, targets))
            return (pixels, *both)
        return pixels, None, None

    def _denormalised(self, images):
        return viz.denormalise(images, self.args.mean or [0.0], self.args.std or [1.0])

    def _paint(self, drawn, picture, prediction, target):
        """Make the panes of a sample."""
        rgb = viz.rgb_of(picture)
        size = fitted(rgb.shape)
        drawn.size, name = size, f'p{drawn.index}'
        whole = {'href': self._photo(resized(rgb, size)), 'id': name}
        if self.kind == 'mask':
            drawn.panes = self._mask_panes(whole, name, prediction, target, size)
        elif self.kind == 'picture':
            parts = [
                ('input', rgb),
                ('output', prediction),
                ('truth', target),
                ('error', self._error_map(prediction, target)),
            ]
            drawn.panes = [(title, [{'href': self._photo(resized(part, size))}]) for title, part in parts]
        else:
            drawn.panes = [('', [whole])]

    def _mask_panes(self, whole, name, prediction, target, size):
        """Return input, truth, prediction and errors; masks lie over the one picture."""
        ignored = (target < 0) | (target >= len(self.colours))
        if self.args.ignore_index is not None:
            ignored |= target == self.args.ignore_index
        wrong = np.where(ignored, IGNORED, np.where(prediction == target, RIGHT, WRONG))
        truth = np.where(ignored, 255, target)
        again = {'of': name}
        return [
            ('input', [whole]),
            ('truth', [again, self._mask(truth, self.colours, size, 'mask')]),
            ('prediction', [again, self._mask(prediction, self.colours, size, 'mask')]),
            ('errors', [again | {'style': 'dim'}, self._mask(wrong, [None, ERROR_COLOUR], size, 'error')]),
        ]

    def _mask(self, mask, colours, size, style):
        """Return a layer: a PNG of palette colours; what has none is transparent."""
        palette = np.zeros((256, 3), np.uint8)
        clear = bytearray(256)
        for index, colour in enumerate(colours):
            if colour is not None:
                palette[index], clear[index] = colour, 255
        picture = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.NEAREST)
        picture.putpalette(palette.tobytes())
        return {'href': self._encoded(picture, 'PNG', transparency=bytes(clear), optimize=True), 'style': style}

    def _error_map(self, prediction, target):
        """Return how far each pixel is off, as colours from black over red to white, (H, W, 3) uint8."""
        colormaps = import_matplotlib().colormaps

        error = np.abs(prediction.astype(int) - target).mean(-1) / self.error_scale
        return (colormaps['inferno'](error.clip(0, 1))[..., :3] * 255).round().astype(np.uint8)

    def _photo(self, rgb):
        """Return a picture (H, W, 3) as a data URL; small ones, and those of few colours, lose nothing."""
        picture = Image.fromarray(rgb)
        if (rgb == rgb[..., :1]).all():
            picture = picture.convert('L')
        if max(picture.size) <= SMALL:
            return self._encoded(picture, 'PNG', optimize=True)
        return self._encoded(picture, 'JPEG', quality=QUALITY)

    def _encoded(self, picture, kind, **options):
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        return f'data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}'


def fitted(shape):
    """Return the size (width, height) of a picture (H, W, 3) in the page."""
    height, width = shape[:2]
    factor = min(1.0, LONGEST / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))


def resized(rgb, size):
    """Return a picture (H, W, 3) in this size (width, height)."""
    picture = Image.fromarray(rgb)
    return rgb if picture.size == size else np.asarray(picture.resize(size, Image.BOX))


def chosen(badness, worst, best, others, seed):
    """Return which samples are drawn: dict from a group's name to indices (list of int), no sample in two groups.

    Args:
        badness: (N,) float, larger for worse; -inf: does not count and is not drawn.
        worst, best, others: how many of each; 'others' are those in the middle, or by chance where seed is not None.
        seed: of the draw, or None.
    """
    order = np.argsort(-badness, kind='stable')
    order = order[badness[order] > -np.inf]
    count = len(order)
    groups = {'worst': order[: min(worst, count)].tolist()}
    left = order[len(groups['worst']) :]
    groups['best'] = left[::-1][:best].tolist()
    left = left[: len(left) - len(groups['best'])]
    if seed is None:
        start = max(0, min(count // 2 - others // 2 - len(groups['worst']), len(left) - others))
        groups['median'] = left[start : start + others].tolist()
    else:
        drawn = np.random.default_rng(seed).permutation(len(left))[:others]
        groups['others'] = left[np.sort(drawn)].tolist()
    return {name: indices for name, indices in groups.items() if indices}
